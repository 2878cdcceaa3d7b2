"""What a session leaves with people: what it came to, a sample of each kind of row, and the commands that come next."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from bulkcert.errors import ON_PURPOSE, BulkcertError, ExitStatus
from bulkcert.log import is_json
from bulkcert.output.failed import FailedRows
from bulkcert.output.formats import FormulaRows
from bulkcert.output.steps import (
    REASON_WIDTH,
    UNREAD,
    label_of,
    left_words,
    meaning,
    meaning_read,
    read_words,
    steps_after,
    steps_left,
    undone_words,
)
from bulkcert.output.summary import Kind, Summary
from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.store.sessions import Verification
from bulkcert.store.status import RunStatus
from bulkcert.views.console import say, say_step, warn
from bulkcert.views.errors import show_error
from bulkcert.views.layout import MESSAGE_WIDTH, outcome_line, rehearsal_line, show
from bulkcert.words import counted, faults, later, printable, tr, trn

if TYPE_CHECKING:  # each is loaded by its command
    from bulkcert.runs.undo import Undo
    from bulkcert.runs.verify import Verifier

KINDS_SHOWN = 8
"""Kinds of rows of one outcome that are shown with a sample."""

GROUPS_SHOWN = 5
"""Groups of failed rows that are shown."""

_NOT_TRIED = frozenset({Outcome.NOT_ATTEMPTED, Outcome.UNDONE})
"""Outcomes of rows of which nothing went wrong."""


def undone_rows(summary: Summary, undo: "Undo") -> Iterator[tuple[str, str | Text]]:
    """Yields names and values that say what an undo came to."""
    yield from rehearsal_line() if summary.rehearsal else ()
    outcomes = undo.progress.outcomes
    counts = {"count": outcomes[Outcome.UNDONE], "rows": counted(undo.rows, "row")}
    restored = tr("{count:,} of {rows}: {state} again", **counts, state=tr(undo.action.desired))
    yield tr("undone"), Text(restored, style="green")
    others = {outcome.value: count for outcome, count in outcomes.items() if outcome is not Outcome.UNDONE}
    yield from map(outcome_line, others, others.values())
    if others:
        yield "", tr("last: {error}", error=undo.progress.last_error)
    yield from _calls(summary, undo.progress.sends.sends)
    yield tr("results"), summary.results
    yield from failed_lines(summary.failed) if summary.failed else ()
    status = summary.latest.exit_status or ExitStatus.OK
    words = tr("all of it is undone") if status == ExitStatus.OK else tr("not all of it is undone")
    if status == ExitStatus.OK and summary.unknown_before:
        rows = counted(summary.unknown_before, "row")
        words = tr("all is undone but {rows}: what they were before is not known", rows=rows)
    yield tr("exit status"), f"{status}{tr(': ')}{words}"


def show_ending(summary: Summary, status: RunStatus, *, quiet: bool) -> None:
    """Prints why a run or an undo ended early, if it did, and what to do next, on stderr; quiet: what is amiss."""
    warn_of_formulas(status.files.results, summary.formulas)
    if is_json():
        return  # the event of the end says it to machines
    if summary.stopped:
        show_stop(ExitStatus(summary.exit_status), summary.stopped, summary.advice)
    elif quiet and summary.exit_status:
        # What a timer mails is what is on stderr.
        warn(_left(summary, status))
    for step in (*steps_left(status), *(() if quiet else steps_after(status))):
        say_step(step.purpose, step.command)


def show_stop(status: ExitStatus, why: str, advice: str) -> None:
    """Prints why a session ended early: no error where somebody wanted it."""
    text = tr("stopped: {why}", why=why)
    if status in ON_PURPOSE:
        warn(text)
    else:
        show_error(BulkcertError(status, text, advice))


def warn_of_formulas(path: Path, formulas: FormulaRows) -> None:
    """Warns of rows of a CSV file with cells that a spreadsheet would run, and that must stay as they are."""
    if formulas.rows:
        warn(
            trn(
                "{file}: a cell of the list itself, or a serial, would be run by a spreadsheet in {count:,} row (row "
                "{first:,}); it is as it was",
                "{file}: cells of the list itself, or serials, would be run by a spreadsheet in {count:,} rows (the "
                "first: {first:,}); they are as they were",
                formulas.rows,
                file=path,
                first=formulas.first,
            )
        )


def _left(summary: Summary, status: RunStatus) -> str:
    """Returns in one line why a run that has ended in order does not end with 0, and the file that says most of it."""
    file = summary.failed.file if summary.failed else summary.results
    if status.is_undone:
        return tr("UNDONE: {what}; see {file}", what=undone_words(status), file=file)
    left = {name: count for name, count in summary.outcomes.items() if name not in {*DESIRED, Outcome.DUPLICATE}}
    rows, what = sum(left.values()), tr(", ").join(f"{count:,} {name}" for name, count in left.items())
    if not left:
        rows, what = summary.drifted, tr("read back so")
    one = later("{count:,} row is not in the desired state: {what}; see {file}")
    many = later("{count:,} rows are not in the desired state: {what}; see {file}")
    return trn(one, many, rows, what=what, file=file)


def summary_rows(summary: Summary, status: RunStatus, *, calls: int) -> Iterator[tuple[str, str | Text]]:
    """Yields names and values that say what a run came to; ``calls`` are those of this start of the command."""
    yield from rehearsal_line() if summary.rehearsal else ()
    yield tr("rows"), f"{summary.rows:,}"
    for outcome, count in summary.outcomes.items():
        yield outcome_line(outcome, count)
        # What has stopped the run is said once, in the end.
        stop = summary.stop_code if outcome == Outcome.NOT_ATTEMPTED else None
        if outcome not in {*DESIRED, Outcome.DUPLICATE}:
            yield from _kinds([kind for kind in summary.kinds if kind.outcome == outcome and kind.code != stop])
    yield from _calls(summary, calls)
    if calls and len({*summary.latency_ms.values()}) > 1:
        values = ((tr("longest") if name == "longest" else name, value) for name, value in summary.latency_ms.items())
        of_all = tr(" (all sessions)") if summary.calls > calls else ""
        yield tr("latency"), tr(", ").join(f"{name} {value:g} ms" for name, value in values) + of_all
    if (read_back := summary.verification) and read_back.exit_status:
        yield label_of(read_back), Text(f"{read_back.finished}{tr(': ')}{read_words(read_back)}", style="red")
    yield tr("results"), summary.results
    yield from failed_lines(summary.failed) if summary.failed else ()
    undone = status.is_undone and summary.exit_status == ExitStatus.INCOMPLETE
    undone_as = tr("UNDONE: {what}", what=undone_words(status)) if undone else ""
    yield tr("exit status"), f"{summary.exit_status}{tr(': ')}{undone_as or meaning(summary.exit_status, summary.rows)}"


def failed_lines(failed: FailedRows) -> Iterator[tuple[str, str]]:
    """Yields the file of the rows that are not in the desired state, and what failed, by code and CA."""
    yield tr("rows left"), left_words(failed.file, failed.rows)
    groups = [group for group in failed.groups if group.kind not in _NOT_TRIED]
    for group in groups[:GROUPS_SHOWN]:
        under = f" CA {printable(group.ca_sn)}" if group.ca_sn else ""
        under += f" {group.instance}" if group.instance else ""
        yield "", f"{group.rows:>9,} {' '.join(filter(None, (group.kind, printable(group.code))))}{under}"
    if len(groups) > GROUPS_SHOWN:
        yield "", f"{'':>9} {tr('and further groups')}"


def _calls(summary: Summary, calls: int) -> Iterator[tuple[str, str]]:
    latest = summary.latest
    if calls:
        reads = latest.pages + latest.reads
        read = tr(", of which {reads},", reads=counted(reads, "read")) if reads else ""
        counts = {"calls": calls, "rate": latest.achieved_rate, "peak": latest.peak_window}
        pace = tr("{calls:,}{read} at {rate:,.1f}/s; peak (1 s window) {peak:,}", read=read, **counts)
        outages = f"{tr(', ')}{counted(latest.outages, 'outage')}" if latest.outages else ""
        yield tr("calls"), f"{pace}{tr('; ')}{faults(latest.retries, latest.throttles)}{outages}"
        if latest.handed_over:
            said = later("{calls} of lanes that fell silent given to others")
            yield "", tr(said, calls=counted(latest.handed_over, "call"))
    else:
        yield tr("calls"), tr("none")
    if summary.calls > calls or summary.calls_at_least:
        in_all = tr("{count:,} in all sessions", count=summary.calls)
        yield "", tr("at least {what}", what=in_all) if summary.calls_at_least else in_all


def _kinds(kinds: list[Kind]) -> Iterator[tuple[str, str]]:
    """Yields a line for each kind of the rows of an outcome, most frequent first; none for what needs no word."""
    said = sorted((kind for kind in kinds if kind.code or kind.message), key=lambda kind: -kind.rows)
    for kind in said[:KINDS_SHOWN]:
        request = tr(" (request {id})", id=printable(kind.request_id)) if kind.request_id else ""
        serial = f" ({printable(kind.serial)})" if kind.serial.strip() else ""
        message = printable(kind.message, MESSAGE_WIDTH)
        sample = tr("row {row:,}{serial}: {message}", row=kind.row, serial=serial, message=message)
        yield "", f"{kind.rows:>13,} {printable(kind.code) or tr('as')} {sample}{request}"
    if (more := len(said) - KINDS_SHOWN) > 0:
        yield "", f"{'':>13} {tr('and {count} more, in the summary', count=more)}"


def show_verified(
    verifier: "Verifier", verification: Verification, status: RunStatus, *, as_json: bool, quiet: bool
) -> None:
    """Prints what a verification came to, on stdout, and on stderr what to do next; quiet: what is amiss."""
    if not as_json:
        show(_read_back(verifier, verification))
    if (stop := verifier.stop) is not None:
        show_stop(stop.status, stop.message, stop.advice)
    elif quiet and verification.exit_status:
        amiss = {tr("not in the desired state"): verification.not_desired, tr("not read"): verification.unread}
        text = tr(", ").join(f"{counted(count, 'row')} {what}" for what, count in amiss.items() if count)
        warn(tr("{what}; see {file}", what=text, file=status.failed or status.files.results))
    speaks = not (quiet or as_json)
    if speaks and status.is_undone:
        say(tr("the run was undone, wholly or in part"), style="yellow")
    for step in steps_left(status):
        say_step(step.purpose, step.command)
    action, asked = verifier.opened.action, verifier.opened.asked
    may_watch = action.repeatable and not (verifier.options.watch or asked.rehearsal)
    if speaks and may_watch and verifier.would_call:
        say_step(tr("to call them again, and keep reading"), status.files.command("verify", "--watch", "10m"))


def _read_back(verifier: "Verifier", verification: Verification) -> Iterator[tuple[str, str | Text]]:
    opened, progress = verifier.opened, verifier.progress
    wanted = str(opened.action.desired_status)
    yield from rehearsal_line() if opened.asked.rehearsal else ()
    rows, state = counted(opened.asked.rows, "row"), tr(opened.action.desired)
    said = later("{results}: {rows}, desired state {state}")
    yield label_of(verification), tr(said, results=opened.files.results, rows=rows, state=state)
    for status, count in verification.statuses.items():
        yield "", Text(f"{count:>9,} {status}", style="green" if status == wanted else "red")
    for reason, count in verification.unread_because.items():
        why = tr(UNREAD[reason])
        if reason == "refused":
            why = tr("{why}; last {error}", why=why, error=printable(verification.refusal, REASON_WIDTH))
        yield "", Text(f"{count:>9,} {tr('not read: {why}', why=why)}", style="red")
    if duplicates := opened.asked.rows - verifier.rows:
        yield "", f"{duplicates:>9,} {tr('duplicate, as the row that it repeats')}"
    if verification.called_again:
        yield tr("called again"), counted(verification.called_again, "certificate")
    read = {"pages": counted(progress.pages, "page"), "certificates": counted(progress.reads, "certificate")}
    yield tr("calls"), f"{verification.calls:,}{tr(': ')}{tr('{pages}, {certificates} one by one', **read)}"
    kept = tr("with verified_status and verified_at") if verifier.has_read else tr("unchanged: nothing was read")
    yield tr("results"), f"{opened.files.results}{tr(', ')}{kept}"
    yield from failed_lines(verifier.failed) if verifier.failed else ()
    yield tr("exit status"), f"{verification.exit_status}{tr(': ')}{meaning_read(verification)}"
