"""What to do next about a run, as commands."""

from collections.abc import Iterator

import msgspec

from bulkcert.errors import ExitStatus
from bulkcert.service.actions import ACTIONS
from bulkcert.store.outcome import Outcome
from bulkcert.store.status import RunStatus, State
from bulkcert.views.unregistered import on_unregistered
from bulkcert.words import counted


def unmade(status: RunStatus) -> str:
    """Returns how many certificates an undo has changed back, in words: they are in the opposite state again."""
    inverse = ACTIONS[status.asked.action].inverse if status.asked else None
    opposite = f"{ACTIONS[inverse].desired} again" if inverse else "as they were"
    there = "is" if status.undone == 1 else "are"
    parts = [f"{counted(status.undone, 'certificate')} {there} {opposite}"] if status.undone else []
    if status.maybe_undone:
        parts.append(
            f"{status.maybe_undone:,} more perhaps" if parts else f"perhaps {status.maybe_undone:,} {opposite}"
        )
    return ", ".join(parts)


def next_steps(status: RunStatus) -> Iterator[str]:
    """Yields what to do next, a sentence each; nothing while all goes well, or where nothing is left to do."""
    doing, resume = status.doing, status.files.command("resume")
    if status.state is State.STALLED and (session := status.session) is not None:
        yield f"Look at process {session.pid} on {session.host}; if it has to be killed, {resume} continues it."
    elif status.state is State.INTERRUPTED and doing is not None:
        if doing.kind == "undo":
            yield f"{resume} continues the undo."
        else:
            yield f"{resume} continues: it calls what has no outcome yet, and nothing twice that is known done."
    elif status.state is State.ENDED:
        yield from _after(status)
        yield from _after_a_watch(status)


def _after(status: RunStatus) -> Iterator[str]:
    """Yields what to do about a run that has ended."""
    files, doing, outcomes = status.files, status.doing, status.outcomes
    resume = files.command("resume")
    stopped = doing is not None and doing.exit_status not in (ExitStatus.OK, ExitStatus.INCOMPLETE)
    if stopped and doing is not None and doing.advice and not _on_purpose(doing.exit_status):
        yield doing.advice
    if stopped and doing is not None and doing.kind == "undo":
        yield f"{resume} continues the undo."
    elif status.is_undone:
        if status.maybe_undone:
            yield f"{files.command('undo')} makes sure of the {status.maybe_undone:,} that may be."
        yield f"{files.command('resume', '--retry', 'undone')} does it again."
        return
    elif status.to_call:
        yield f"{resume} calls the {counted(status.to_call, 'row')} that {_is_are(status.to_call)} left."
    if count := outcomes[Outcome.FAILED] + outcomes[Outcome.UNKNOWN]:
        again = files.command("resume", "--retry", "failed,unknown")
        yield f"{again} calls the {counted(count, 'row')} again that failed or got no answer."
    if (count := outcomes[Outcome.NOT_REGISTERED]) and status.asked is not None:
        protected = outcomes[Outcome.PROTECTED] > 0
        yield f"{count:,} not registered: {on_unregistered(ACTIONS[status.asked.action], protected=protected)}"
    yield from _after_reading(status)


def _after_reading(status: RunStatus) -> Iterator[str]:
    verify, read = status.files.command("verify"), status.verification
    if status.drifted:
        again = status.files.command("resume", "--retry", "drifted")
        yield f"{again} calls the {counted(status.drifted, 'row')} again that {_is_are(status.drifted)} otherwise now."
    if read is None and status.exit_status == ExitStatus.OK and status.asked is not None and status.asked.rows:
        yield f"{verify} verifies it."
    elif read is not None and (read.stopped or "refused" in read.unread_because):
        yield f"{verify} reads again what was not read."


def _after_a_watch(status: RunStatus) -> Iterator[str]:
    """Yields what to do about a verification that was killed, which leaves the ending of its run as it is."""
    newest = status.session
    if newest is not None and newest.kind == "verify" and newest.ended_at is None:
        if msgspec.json.decode(newest.options, type=_Reading).watch:
            yield f"{status.files.command('resume')} continues the watch, which was interrupted."
        elif status.verification is not None or status.exit_status:
            yield f"{status.files.command('verify')} reads again what an interrupted verification has not."


class _Reading(msgspec.Struct, frozen=True):
    """What is of interest in the options of a session that verifies."""

    watch: float = 0.0


def _on_purpose(exit_status: int | None) -> bool:
    """Returns whether somebody has stopped it, so that nothing is amiss that could be put right."""
    return exit_status is not None and (exit_status == ExitStatus.STOPPED_EARLY or exit_status >= 128)  # noqa: PLR2004 - signals


def _is_are(count: int) -> str:
    return "is" if count == 1 else "are"
