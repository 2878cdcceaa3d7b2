"""What a run leaves with people: what it came to, one sample of each kind of row, and the commands that come next."""

from collections.abc import Iterator

from rich.text import Text

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import printable
from bulkcert.log import is_json
from bulkcert.output.summary import Kind, Summary
from bulkcert.runs.undo import Undo
from bulkcert.service.actions import ACTIONS
from bulkcert.service.codes import WRONG_INSTANCE
from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.store.paths import RunFiles
from bulkcert.views.console import show, show_error, stderr, warn
from bulkcert.views.unregistered import on_unregistered
from bulkcert.views.verified import label_of, read_text
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


def show_undone(summary: Summary, undo: Undo) -> None:
    """Prints what an undo came to, on stdout."""
    show(_undone(summary, undo))


def _undone(summary: Summary, undo: Undo) -> Iterator[tuple[str, str | Text]]:
    outcomes = undo.progress.outcomes
    restored = f"{outcomes[Outcome.UNDONE]:,} of {counted(undo.rows, 'row')}: {undo.action.desired} again"
    yield "undone", Text(restored, style="green")
    for outcome, count in outcomes.items():
        if outcome is not Outcome.UNDONE:
            yield "", Text(f"{count:>9,} {outcome}", style="red")
    if outcomes.total() - outcomes[Outcome.UNDONE]:
        yield "", f"last: {undo.progress.last_error}"
    yield from _calls(summary, undo.progress.sends.sends)
    yield "results", summary.results
    status = summary.latest.exit_status or ExitStatus.OK
    yield "exit status", f"{status}: {'all of it is undone' if status == ExitStatus.OK else 'not all of it is undone'}"


def show_ending(summary: Summary, files: RunFiles, *, resumable: bool, quiet: bool) -> None:
    """Prints why a run or an undo ended early, if it did, and what to do next, on stderr.

    Args:
        summary: Of the run.
        files: Of the run.
        resumable: Whether it can be resumed and looked at again; a rehearsal cannot.
        quiet: Whether only what is amiss is wanted.
    """
    if summary.stopped:
        show_error(BulkcertError(ExitStatus(summary.exit_status), f"stopped: {summary.stopped}", summary.advice))
    elif quiet and summary.exit_status and not is_json():
        # What a timer mails is what is on stderr; for machines the end of the run is a warning by itself.
        warn(_left(summary))
    if count := summary.outcomes.get(Outcome.NOT_REGISTERED):
        protected = Outcome.PROTECTED in summary.outcomes
        stderr.print(Text(f"{count:,} not registered: {on_unregistered(ACTIONS[summary.action], protected=protected)}"))
    steps = [*next_steps(summary, files)] if resumable else []
    if not quiet:
        steps += _afterwards(summary, files, resumable=resumable)
    for purpose, command_ in steps:
        stderr.print(Text(f"{purpose}: {command_}"))


def _left(summary: Summary) -> str:
    """Returns in one line why a run that has ended in order does not end with 0."""
    if summary.is_undone:
        return f"UNDONE: {undone_words(summary)}; see {summary.results}"
    left = {name: count for name, count in summary.outcomes.items() if name not in {*DESIRED, Outcome.DUPLICATE}}
    rows, what = sum(left.values()), ", ".join(f"{count:,} {name}" for name, count in left.items())
    if not left:
        rows, what = summary.drifted, "read back so"
    state = "row is" if rows == 1 else "rows are"
    return f"{rows:,} {state} not in the desired state: {what}; see {summary.results}"


def _totals(summary: Summary, calls: int) -> Iterator[tuple[str, str | Text]]:
    yield "rows", f"{summary.rows:,}"
    for outcome, count in summary.outcomes.items():
        style = "green" if Outcome(outcome) in DESIRED else "yellow" if outcome == Outcome.DUPLICATE else "red"
        yield "", Text(f"{count:>9,} {outcome}", style=style)
        for line in _kinds([kind for kind in summary.kinds if kind.outcome == outcome]):
            yield "", line
    yield from _calls(summary, calls)
    latency = summary.latency_ms
    if latency.p50 is not None:
        yield "latency", f"p50 {latency.p50:g} ms, p90 {latency.p90:g} ms, p99 {latency.p99:g} ms"
    if (read_back := summary.verification) and read_back.not_desired:
        what = f"{counted(read_back.not_desired, 'row')} not in the desired state on {read_back.finished}"
        yield "verified", Text(what, style="red")
    elif read_back and read_back.exit_status:
        yield label_of(read_back), Text(f"{read_back.finished}: {read_text(read_back)}", style="red")
    yield "results", summary.results
    yield "exit status", f"{summary.exit_status}: {_came_to(summary)}"


def _came_to(summary: Summary) -> str:
    """Returns the exit status in words; what was undone is no success."""
    if summary.is_undone and summary.exit_status == ExitStatus.INCOMPLETE:
        return f"UNDONE: {undone_words(summary)}"
    return meaning(summary.exit_status)


def undone_words(summary: Summary) -> str:
    """Returns how many certificates an undo has put into the opposite state again, or perhaps has."""
    opposite = ACTIONS[ACTIONS[summary.action].inverse or summary.action].desired
    certain = f"{counted(summary.undone, 'certificate')} {'is' if summary.undone == 1 else 'are'} {opposite} again"
    return f"{certain}, {summary.maybe_undone:,} more perhaps" if summary.maybe_undone else certain


def _calls(summary: Summary, calls: int) -> Iterator[tuple[str, str]]:
    latest = summary.latest
    if calls:
        pace = f"{calls:,} at {latest.achieved_rate:,.1f}/s; peak (1 s window) {latest.peak_window:,}"
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
    if not said or Outcome(said[0].outcome) in {*DESIRED, Outcome.DUPLICATE}:
        return
    said.sort(key=lambda kind: -kind.rows)
    for kind in said[:KINDS_SHOWN]:
        request = f" (request {printable(kind.request_id)})" if kind.request_id else ""
        sample = f"row {kind.row:,} ({printable(kind.serial)}): {printable(kind.message, MESSAGE_WIDTH)}{request}"
        yield f"{kind.rows:>13,} {printable(kind.code) or 'as'} {sample}"
    if (more := len(said) - KINDS_SHOWN) > 0:
        yield f"{'':>13} and {more} more {'codes' if more > 1 else 'code'}, in the summary"


def next_steps(summary: Summary, files: RunFiles) -> Iterator[tuple[str, str]]:
    """Yields what is left to do with the run itself: what for, and the command."""
    outcomes, latest = summary.outcomes, summary.latest
    if latest.kind == "undo" and latest.exit_status != ExitStatus.OK:
        verb = "undo" if latest.exit_status == ExitStatus.INCOMPLETE else "resume"
        yield "to resume the undo", files.command(verb)
    if summary.is_undone:
        yield "to do it again", files.command("resume", "--retry", "undone")
    elif outcomes.get(Outcome.NOT_ATTEMPTED) and latest.kind == "run":
        yield _before_resuming(summary), files.command("resume")
    elif failed := [outcome.value for outcome in (Outcome.FAILED, Outcome.UNKNOWN) if outcomes.get(outcome)]:
        yield f"to try the {' and '.join(failed)} again", files.command("resume", "--retry", ",".join(failed))
    elif summary.drifted:
        yield "to call again what was read back in another state", files.command("resume", "--retry", "drifted")


def _before_resuming(summary: Summary) -> str:
    if summary.stop_code == WRONG_INSTANCE:
        return "with the right --instance and --region, to resume"
    return "after that, to resume" if summary.exit_status in _MENDED_FIRST else "to resume"


def _afterwards(summary: Summary, files: RunFiles, *, resumable: bool) -> Iterator[tuple[str, str]]:
    """Yields what may be done with the results."""
    as_run = resumable and summary.calls and summary.exit_status in (ExitStatus.OK, ExitStatus.INCOMPLETE)
    if as_run and not summary.is_undone and (summary.verification is None or not summary.verification.is_proof):
        yield "to verify it", files.command("verify")
    if resumable and (undo := undo_step(summary, files)):
        yield undo
    if summary.rows:
        yield "to report it", files.command("report")


def undo_step(summary: Summary, files: RunFiles) -> tuple[str, str] | None:
    """Returns what an undo does, in words, and its command; None where there is nothing to undo."""
    changed = summary.outcomes.get(Outcome.SUCCEEDED, 0) + summary.outcomes.get(Outcome.UNKNOWN, 0)
    if summary.is_undone or not changed or ACTIONS[summary.action].inverse is None:
        return None
    # Without a word about them the undo would ask for one.
    unknown = summary.unknown_before
    blindly = f" ({counted(unknown, 'row')}: what they were before is not known)" if unknown else ""
    return f"to undo it{blindly}", files.command("undo", *(["--include-unknown"] if unknown else []))
