"""What a verification leaves with people: what was read, why rows were not, and the commands that come next."""

from collections.abc import Iterator

from rich.text import Text

from bulkcert.language import tr
from bulkcert.output.steps import steps_left
from bulkcert.runs.verify import Verifier
from bulkcert.store.schema import Verification
from bulkcert.store.status import RunStatus
from bulkcert.views.console import say, say_step, warn
from bulkcert.views.ending import failed_lines, show_stop
from bulkcert.views.layout import rehearsal_line, show
from bulkcert.views.verified import REASON_WIDTH, UNREAD, label_of, meaning_read
from bulkcert.words import counted, printable


def show_verified(
    verifier: Verifier, verification: Verification, status: RunStatus, *, as_json: bool, quiet: bool
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


def _read_back(verifier: Verifier, verification: Verification) -> Iterator[tuple[str, str | Text]]:
    opened, progress = verifier.opened, verifier.progress
    wanted = str(opened.action.desired_status)
    yield from rehearsal_line(rehearsal=opened.asked.rehearsal)
    yield (
        label_of(verification),
        tr(
            "{results}: {rows}, desired state {state}",
            results=opened.files.results,
            rows=counted(opened.asked.rows, "row"),
            state=tr(opened.action.desired),
        ),
    )
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
    yield from failed_lines(verifier.failed)
    yield tr("exit status"), f"{verification.exit_status}{tr(': ')}{meaning_read(verification)}"
