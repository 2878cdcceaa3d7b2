"""What a run has come to, in words, and what to do next: the commands, the most urgent first."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec

from bulkcert.errors import ExitStatus
from bulkcert.output.advice import Advice, Step
from bulkcert.service.actions import ACTIONS
from bulkcert.service.codes import WRONG_INSTANCE
from bulkcert.store.outcome import NEVER_READ, Outcome, Retried
from bulkcert.store.sessions import Session, Verification
from bulkcert.store.status import RunStatus, State
from bulkcert.words import counted, later, printable, spaced, tr, trn

_STALLED = later("look at process {pid} on {host}; if it has to be killed, to resume")
_MENDED_FIRST = frozenset(
    {ExitStatus.UNAVAILABLE, ExitStatus.CANNOT_WRITE, ExitStatus.DENIED, ExitStatus.MISCONFIGURED}
)
"""What stops a run that would stop again unless something is put right before."""

_STEPS_OF_THEIR_OWN = (Outcome.NOT_REGISTERED, Outcome.UNDONE)
"""Outcomes of rows that are not called again without a thought."""

_TO_THE_END = (ExitStatus.OK, ExitStatus.INCOMPLETE)

_BY_EXIT_STATUS = {
    ExitStatus.OK: later("every row is in the desired state"),
    ExitStatus.INCOMPLETE: later("finished, and some rows are not in the desired state"),
    ExitStatus.STOPPED_EARLY: later("stopped early on purpose; it can be resumed"),
}

REASON_WIDTH = 200
"""Characters of a reason that are shown."""

UNREAD = {
    **{outcome.value: outcome.value for outcome in NEVER_READ},
    "refused": later("refused by the service"),
    "called_again": later("called again since"),
    "not_reached": later("not reached"),
}
"""Why rows were not read, in words."""


def meaning(exit_status: int, rows: int = 1) -> str:
    """Returns an exit status of a run over so many rows in words."""
    if not rows and exit_status == ExitStatus.OK:
        return tr("nothing to do: the list was empty")
    said = _BY_EXIT_STATUS.get(ExitStatus(exit_status))
    return tr(said) if said else tr("stopped before all rows were called")


def why_ended(status: RunStatus) -> str:
    """Returns why a run that no session holds has ended as it did."""
    read, doing = status.verification, status.doing
    by_reading = read.stopped if read and read.exit_status == status.exit_status else ""
    rows = status.asked.rows if status.asked else 0
    return (doing.stopped if doing else "") or by_reading or meaning(status.exit_status, rows)


def meaning_read(verification: Verification) -> str:
    """Returns the exit status of a verification in words."""
    match verification.exit_status:
        case ExitStatus.OK:
            return tr("every row is in the desired state")
        case ExitStatus.INCOMPLETE if verification.not_desired:
            also = tr(", some were not read") if verification.unread else ""
            return tr("finished, and some rows are not in the desired state") + also
        case ExitStatus.INCOMPLETE:
            return tr("finished, and some rows were not read")
        case _ if verification.unread:
            return tr("stopped before all rows were read")
        case _:
            return tr("stopped")


def label_of(verification: Verification) -> str:
    """Returns ``verified``, unless nothing came of it or not all that it was to read."""
    return tr("verified") if verification.is_proof else tr("not verified")


def read_words(verification: Verification) -> str:
    """Returns on one line what a verification has read, what not, and why it ended early if it did."""
    return tr("; ").join(_parts(verification)) or tr("no rows")


def _parts(verification: Verification) -> Iterator[str]:
    if verification.stopped:
        reason = printable(verification.stopped.removesuffix("."), REASON_WIDTH)
        yield tr("ended with {status}: {why}", status=verification.exit_status, why=reason)
    if verification.statuses:
        yield tr(", ").join(f"{count:,} {spaced(status)}" for status, count in verification.statuses.items())
        yield tr("{count:,} not in the desired state", count=verification.not_desired)
    if verification.unread:
        because = [f"{count:,} {tr(UNREAD[reason])}" for reason, count in verification.unread_because.items()]
        yield tr("{count:,} not read ({reasons})", count=verification.unread, reasons=tr(", ").join(because))


def left_words(file: str | Path, rows: int) -> str:
    """Returns what is in the file of the rows that are not in the desired state, tried or not, in words."""
    return tr("{file}: {rows} not in the desired state", file=file, rows=counted(rows, "row"))


def undone_words(status: RunStatus) -> str:
    """Returns how many certificates an undo has changed back, in words: they are in the opposite state again."""
    inverse = ACTIONS[status.asked.action].inverse if status.asked else None
    opposite = tr("{state} again", state=tr(ACTIONS[inverse].desired)) if inverse else tr("as they were")
    changed = status.undone + status.outcomes[Outcome.SUCCEEDED] + status.outcomes[Outcome.UNKNOWN]
    parts, own = [], {"of": counted(changed, "certificate"), "state": opposite}
    if status.undone:
        some = later("{count:,} of {of} is {state}"), later("{count:,} of {of} are {state}")
        every = later("{of} is {state}"), later("{of} are {state}")
        parts = [trn(*(some if changed > status.undone else every), status.undone, **own)]
    if status.maybe_undone:
        perhaps = later("{count:,} more perhaps") if parts else later("perhaps {count:,} {state}")
        parts.append(tr(perhaps, count=status.maybe_undone, state=opposite))
    return tr(", ").join(parts)


def is_undoing(status: RunStatus) -> bool:
    """Returns whether an undo has not reached its end."""
    doing = status.doing
    return doing is not None and doing.kind == "undo" and doing.exit_status not in _TO_THE_END


def steps_left(status: RunStatus) -> Iterator[Step]:
    """Yields what is left to do about a run, the most urgent first; nothing while all goes well."""
    if status.pause is not None and status.state is State.RUNNING:
        yield Step(tr("to continue"), status.files.command("control", "--continue"))
    if status.asked is None or status.state in (State.STARTING, State.RUNNING) or status.asked.rehearsal:
        return
    resume, session = status.files.command("resume"), status.session
    if status.state is State.STALLED and session is not None:
        yield Step(tr(_STALLED, pid=session.pid, host=session.host), resume)
        return
    if is_undoing(status):
        yield Step(tr("to resume the undo"), resume)
        if status.is_undone:
            yield Step(tr("to do it again instead"), status.files.command("resume", "--retry", "undone"))
    elif status.state is State.INTERRUPTED:
        yield Step(_before_resuming("", status.came_to), resume)
    else:
        yield from _after_the_end(status)
    if session is not None and session.kind == "verify":
        yield from _after_reading(status, session)


def _after_the_end(status: RunStatus) -> Iterator[Step]:
    files, outcomes, doing = status.files, status.outcomes, status.doing
    if status.is_undone:
        yield Step(tr("to do it again"), files.command("resume", "--retry", "undone"))
        is_left = status.maybe_undone or status.unknown_before
        if is_left or (doing is not None and doing.kind == "undo" and doing.exit_status):
            yield Step(tr("to undo the rest"), files.command("undo", *_blindly(status)))
        return
    if status.to_call and doing is not None and doing.exit_status != ExitStatus.INPUT_INVALID:
        yield Step(_before_resuming(doing.stop_code, doing.exit_status), files.command("resume"))
    left = {outcome.value: rows for outcome, rows in status.left_alone.items()} | {"drifted": status.drifted}
    again = {kind: left[kind] for kind in get_args(Retried) if left.get(kind) and kind not in _STEPS_OF_THEIR_OWN}
    if again:
        rows = tr(", ").join(f"{count:,} {kind}" for kind, count in again.items())
        yield Step(tr("to call again ({rows})", rows=rows), files.command("resume", "--retry", ",".join(again)))
    if (count := outcomes[Outcome.NOT_REGISTERED]) and status.asked is not None:
        step = Advice(files, status.asked).on_unregistered()
        yield msgspec.structs.replace(
            step, purpose=tr("{count:,} not registered; {what}", count=count, what=step.purpose)
        )


def _before_resuming(stop_code: str, exit_status: int | None) -> str:
    if stop_code == WRONG_INSTANCE:
        return tr("with the right --instance and --region, to resume")
    return tr("after that, to resume") if exit_status in _MENDED_FIRST else tr("to resume")


def _after_reading(status: RunStatus, newest: Session) -> Iterator[Step]:
    read = status.verification
    if newest.ended_at is None and newest.options.get("watch"):
        yield Step(tr("to resume the watch"), status.files.command("resume"))
    elif newest.ended_at is None or (read and (read.stopped or "refused" in read.unread_because)):
        yield Step(tr("to read what was not read"), status.files.command("verify"))


def to_verify(status: RunStatus) -> Iterator[Step]:
    """Yields how to read back what a run that has come to its end has done; nothing if it was read since."""
    asked, newest = status.asked, status.session
    if asked is None or newest is None or status.state is not State.ENDED or not asked.rows or asked.rehearsal:
        return
    if newest.kind != "verify" and not status.is_undone and status.came_to in _TO_THE_END:
        yield Step(tr("to verify"), status.files.command("verify"))


def steps_after(status: RunStatus) -> Iterator[Step]:
    """Yields what may be done with a run that has ended, though nothing is left to do: verify, undo, report."""
    files, asked, outcomes = status.files, status.asked, status.outcomes
    if asked is None or status.state is not State.ENDED or not asked.rows:
        return
    yield from to_verify(status)
    changed = outcomes[Outcome.SUCCEEDED] + outcomes[Outcome.UNKNOWN] + status.in_doubt
    if not asked.rehearsal and changed and not status.is_undone and ACTIONS[asked.action].inverse is not None:
        unknown = status.unknown_before
        purpose = tr("to undo")
        if unknown:
            purpose = tr("to undo ({rows}: what they were before is not known)", rows=counted(unknown, "row"))
        yield Step(purpose, files.command("undo", *_blindly(status)))
    yield Step(tr("to report"), files.command("report"))


def _blindly(status: RunStatus) -> list[str]:
    """Returns the word without which an undo would ask for one."""
    return ["--include-unknown"] if status.unknown_before else []
