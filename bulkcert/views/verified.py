"""What a verification came to, in words, wherever it is shown."""

from collections.abc import Iterator

from rich.text import Text

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs.verify import Verifier
from bulkcert.store.schema import Verification
from bulkcert.store.status import RunStatus
from bulkcert.views.advice import steps_after_reading
from bulkcert.views.console import say, say_step, show_error, warn
from bulkcert.views.layout import show
from bulkcert.words import counted, printable

MESSAGE_WIDTH = 200
"""Characters of a reason that are shown."""

UNREAD = {
    "invalid": "invalid",
    "protected": "protected",
    "refused": "refused by the service",
    "called_again": "called again since",
    "not_reached": "not reached",
}
"""Why rows were not read, in words."""


def meaning_read(verification: Verification) -> str:
    """Returns the exit status of a verification in words."""
    match verification.exit_status:
        case ExitStatus.OK:
            return "every row is in the desired state"
        case ExitStatus.INCOMPLETE if verification.not_desired:
            also = ", some were not read" if verification.unread else ""
            return f"finished, and some rows are not in the desired state{also}"
        case ExitStatus.INCOMPLETE:
            return "finished, and some rows were not read"
        case _ if verification.unread:
            return "stopped before all rows were read"
        case _:
            return "stopped"


def label_of(verification: Verification) -> str:
    """Returns ``verified``, unless nothing came of it or not all that it was to read."""
    return "verified" if verification.is_proof else "not verified"


def read_words(verification: Verification) -> str:
    """Returns on one line what a verification has read, what not, and why it ended early if it did."""
    return "; ".join(_parts(verification)) or "no rows"


def _parts(verification: Verification) -> Iterator[str]:
    if verification.stopped:
        reason = printable(verification.stopped.removesuffix("."), MESSAGE_WIDTH)
        yield f"ended with {verification.exit_status}: {reason}"
    if verification.statuses:
        yield ", ".join(f"{count:,} {status}" for status, count in verification.statuses.items())
        yield f"{verification.not_desired:,} not in the desired state"
    if verification.unread:
        because = [f"{count:,} {UNREAD[reason]}" for reason, count in verification.unread_because.items()]
        yield f"{verification.unread:,} not read ({', '.join(because)})"


def show_verified(
    verifier: Verifier, verification: Verification, status: RunStatus, *, as_json: bool, quiet: bool
) -> None:
    """Prints what a verification came to, on stdout, and on stderr what to do next.

    Args:
        verifier: What has read.
        verification: What came of it.
        status: Of the run.
        as_json: Whether stdout is for machines.
        quiet: Whether only what is amiss is wanted.
    """
    if not as_json:
        show(_text(verifier, verification))
    if (stop := verifier.stop) is not None:
        show_error(BulkcertError(stop.status, f"stopped: {stop.message}", stop.advice))
    elif quiet and verification.exit_status:
        amiss = {"not in the desired state": verification.not_desired, "not read": verification.unread}
        text = ", ".join(f"{counted(count, 'row')} {what}" for what, count in amiss.items() if count)
        warn(f"{text}; see {status.files.results}")
    speaks = not (quiet or as_json)
    if speaks and status.is_undone:
        say("the run was undone, wholly or in part", style="yellow")
    may_watch = speaks and not verifier.watch_s and verifier.would_call
    refused, left = len(verifier.refused), verification.not_attempted
    for step in steps_after_reading(status, not_attempted=left, refused=refused, may_watch=may_watch):
        say_step(step.purpose, step.command)


def _text(verifier: Verifier, verification: Verification) -> Iterator[tuple[str, str | Text]]:
    opened, progress = verifier.opened, verifier.progress
    wanted = str(opened.action.desired_status)
    yield (
        label_of(verification),
        f"{opened.files.results}: {counted(opened.asked.rows, 'row')}, desired state {opened.action.desired}",
    )
    for status, count in verification.statuses.items():
        yield "", Text(f"{count:>9,} {status}", style="green" if status == wanted else "red")
    for reason, count in verification.unread_because.items():
        last = f"; last {printable(verification.refusal, MESSAGE_WIDTH)}" if reason == "refused" else ""
        yield "", Text(f"{count:>9,} not read: {UNREAD[reason]}{last}", style="red")
    if duplicates := opened.asked.rows - verifier.rows:
        yield "", f"{duplicates:>9,} duplicate, as the row that it repeats"
    if verification.called_again:
        yield "called again", counted(verification.called_again, "certificate")
    pages = f"{counted(progress.pages, 'page')}, {counted(progress.reads, 'certificate')} one by one"
    yield "calls", f"{verification.calls:,}: {pages}"
    kept = "with verified_status and verified_at" if verifier.has_read else "unchanged: nothing was read"
    yield "results", f"{opened.files.results}, {kept}"
    yield "exit status", f"{verification.exit_status}: {meaning_read(verification)}"
