"""What a run leaves with people: what it came to, one sample of each kind of row, and the commands that come next."""

import shlex
from collections.abc import Iterator

from rich.text import Text

from bulkcert.actions import ACTIONS
from bulkcert.batch.outcome import WANTED, Outcome
from bulkcert.batch.source import printable
from bulkcert.batch.summary import Kind, Summary
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import is_json
from bulkcert.terminal import same_command, show, show_error, stderr, warn
from bulkcert.undo_command import undo_command
from bulkcert.unregistered import on_unregistered
from bulkcert.verified import label_of, told_read
from bulkcert.words import counted, meaning

KINDS_SHOWN = 8
"""Kinds of rows of one outcome that are shown with a sample."""

MESSAGE_WIDTH = 160
"""Characters of a message that are shown."""

_MENDED_FIRST = frozenset(
    {ExitStatus.UNAVAILABLE, ExitStatus.CANNOT_WRITE, ExitStatus.DENIED, ExitStatus.MISCONFIGURED}
)


def show_summary(summary: Summary, *, calls: int) -> None:
    """Prints what a run came to, on stdout.

    Args:
        summary: Of the run.
        calls: Calls that this start of the command has made.
    """
    show(_totals(summary, calls))


def show_ending(summary: Summary, *, resumable: bool, overwrite: bool, quiet: bool) -> None:
    """Prints why a run ended early, if it did, and what to do next, on stderr.

    Args:
        summary: Of the run.
        resumable: Whether it can be gone on with and looked at again; a rehearsal cannot.
        overwrite: Whether the command has started a run anew.
        quiet: Whether only what is amiss is wanted.
    """
    if summary.stopped:
        show_error(BulkcertError(ExitStatus(summary.exit_status), f"stopped: {summary.stopped}", summary.advice))
    elif quiet and summary.exit_status and not is_json():
        # What a timer mails is what stands on stderr; for machines the end of the run is a warning by itself.
        warn(_left(summary))
    if count := summary.outcomes.get(Outcome.NOT_REGISTERED):
        protected = Outcome.PROTECTED in summary.outcomes
        stderr.print(Text(f"{count:,} not registered: {on_unregistered(ACTIONS[summary.action], protected=protected)}"))
    steps = [*_next_steps(summary, overwrite=overwrite)] if resumable else []
    if not quiet:
        steps += _afterwards(summary, resumable=resumable)
    for purpose, command in steps:
        stderr.print(Text(f"{purpose}: {command}"))


def _left(summary: Summary) -> str:
    """Returns in one line why a run that has ended in order does not end with 0."""
    left = {name: count for name, count in summary.outcomes.items() if name not in {*WANTED, Outcome.DUPLICATE}}
    rows, told = sum(left.values()), ", ".join(f"{count:,} {name}" for name, count in left.items())
    if not left and summary.verification:
        rows, told = summary.verification.not_wanted, f"read back so on {summary.verification.finished}"
        if not rows:
            return f"an earlier verification has read rows in another state; see {summary.results}"
    state = "row is" if rows == 1 else "rows are"
    return f"{rows:,} {state} not in the wanted state: {told}; see {summary.results}"


def _totals(summary: Summary, calls: int) -> Iterator[tuple[str, str | Text]]:
    yield "rows", f"{summary.rows:,}"
    for outcome, count in summary.outcomes.items():
        style = "green" if Outcome(outcome) in WANTED else "yellow" if outcome == Outcome.DUPLICATE else "red"
        yield "", Text(f"{count:>9,} {outcome}", style=style)
        for line in _kinds([kind for kind in summary.kinds if kind.outcome == outcome]):
            yield "", line
    yield from _calls(summary, calls)
    latency = summary.latency_ms
    if latency.p50 is not None:
        yield "latency", f"p50 {latency.p50:g} ms, p90 {latency.p90:g} ms, p99 {latency.p99:g} ms"
    if (read_back := summary.verification) and read_back.not_wanted:
        told = f"{counted(read_back.not_wanted, 'row')} not in the wanted state on {read_back.finished}"
        yield "verified", Text(told, style="red")
    elif read_back and read_back.exit_status:
        yield label_of(read_back), Text(f"{read_back.finished}: {told_read(read_back)}", style="red")
    yield "results", summary.results
    yield "summary", f"{summary.results}.summary.json"
    before = "before the undo, " if summary.standing_undo else ""
    yield "exit status", f"{summary.exit_status}: {before}{meaning(summary.exit_status)}"
    if undone := summary.taken_back:
        in_part = " in part" if summary.standing_undo else ""
        since = f", called again{in_part} since" if summary.called_since_undo else ""
        told = f"{counted(undone.rows, 'row')}, by {undone.results} on {undone.finished}{since}"
        yield "taken back", Text(told, style="yellow")


def _calls(summary: Summary, calls: int) -> Iterator[tuple[str, str]]:
    latest = summary.sessions[-1]
    if calls:
        pace = f"{calls:,} at {latest.achieved_rate:,.1f}/s; worst one-second window {latest.worst_window:,}"
        outages = f", {counted(latest.outages, 'outage')}" if latest.outages else ""
        retries = f"{latest.retries:,} {'retry' if latest.retries == 1 else 'retries'}"
        yield "calls", f"{pace}; {retries}, {counted(latest.throttles, 'throttle')}{outages}"
    else:
        yield "calls", "none"
    if summary.calls > calls or summary.calls_at_least:
        yield "", f"{'at least ' * summary.calls_at_least}{summary.calls:,} in all sessions"


def _kinds(kinds: list[Kind]) -> Iterator[str]:
    """Yields a line for each kind of the rows of an outcome, most frequent first; none for what needs no word."""
    said = [kind for kind in kinds if kind.code or kind.message]
    if not said or Outcome(said[0].outcome) in {*WANTED, Outcome.DUPLICATE}:
        return
    said.sort(key=lambda kind: -kind.rows)
    for kind in said[:KINDS_SHOWN]:
        request = f" (request {printable(kind.request_id)})" if kind.request_id else ""
        sample = f"row {kind.row:,} ({printable(kind.serial)}): {printable(kind.message, MESSAGE_WIDTH)}{request}"
        yield f"{kind.rows:>13,} {printable(kind.code) or 'as'} {sample}"
    if (more := len(said) - KINDS_SHOWN) > 0:
        yield f"{'':>13} and {more} more {'codes' if more > 1 else 'code'}, in the summary"


def _next_steps(summary: Summary, *, overwrite: bool) -> Iterator[tuple[str, str]]:
    """Yields what is left to do with the run itself."""
    outcomes = summary.outcomes
    if outcomes.get(Outcome.NOT_ATTEMPTED):
        yield _before_going_on(summary), same_command(overwrite=overwrite)
    elif summary.standing_undo:
        return  # calling again would undo the undo
    elif outcomes.get(Outcome.FAILED, 0) + outcomes.get(Outcome.UNKNOWN, 0):
        yield "to try the failed and unknown again", same_command("--retry-failed", overwrite=overwrite)
    elif summary.verification and summary.verification.not_wanted:
        yield "to call again what was read back in another state", same_command("--retry-failed", overwrite=overwrite)


def _before_going_on(summary: Summary) -> str:
    if summary.exit_status == ExitStatus.MISCONFIGURED and "--instance" in summary.advice:
        return "with the right --instance and --region, to go on"
    return "after that, to go on" if summary.exit_status in _MENDED_FIRST else "to go on"


def _afterwards(summary: Summary, *, resumable: bool) -> Iterator[tuple[str, str]]:
    """Yields what may be done with the results."""
    results = shlex.quote(summary.results)
    undone, as_run = summary.standing_undo, resumable and summary.calls and summary.exit_status in (0, 1)
    if as_run and not undone and (summary.verification is None or not summary.verification.is_proof):
        yield "to prove it", f"bulkcert verify {results}"
    if resumable and (undo := undo_command(summary, summary.results)):
        yield undo
    if summary.rows:
        yield "to tell others", f"bulkcert report {results}"
