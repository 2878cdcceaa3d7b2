"""The status of a run, read from its files by somebody else: nothing is written, nothing is locked."""

import os
import sqlite3
import time
from collections import Counter
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

import msgspec

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.actions import ACTIONS
from bulkcert.store import evidence, lock, queries
from bulkcert.store.database import Contradiction, reading
from bulkcert.store.lock import Holder
from bulkcert.store.outcome import Outcome
from bulkcert.store.paths import SUFFIX, RunFiles
from bulkcert.store.sessions import Asked, Control, Session, Verification

STALLED_S = 5.0
"""A session that has given no sign of life for so long may hang, or is stopped."""


class State(StrEnum):
    """The status of a run."""

    STARTING = "starting"
    """A process holds it and has not begun a session: it checks the list, reads states, or waits for a yes."""
    RUNNING = "running"
    """A session is running."""
    STALLED = "stalled"
    """A process holds it, but has given no sign of life for a while."""
    ENDED = "ended"
    """It ended in order."""
    INTERRUPTED = "interrupted"
    """It was killed, or its machine went down, or its end could not be written; ``bulkcert resume`` resumes it."""


class RunStatus(msgspec.Struct, frozen=True):
    """The status of a run.

    Attributes:
        asked: What it is of; None while its first session has not begun.
        sessions: Its sessions, the newest last.
        outcomes: All rows of the list by outcome, as far as the disk knows.
        left_alone: Those that a next session would not call, likewise.
        to_call: Rows that a next session would call.
        maybe_undone: Rows that an undo may have changed back without a trace.
        drifted: Rows that were in the desired state and read back in another; what has failed is not among them.
        not_desired: Rows that are not in the desired state, or may not be, as far as anybody knows; no duplicates.
        in_doubt: Rows without an outcome that a killed session may have called.
        unknown_before: Rows that a call may have changed and of which nobody knows what they were before; 0 while
            somebody holds it.
        holder: Who holds it; None unless somebody does.
        controls: What operators have asked of its sessions, the newest last.
    """

    files: RunFiles
    state: State
    asked: Asked | None = None
    sessions: tuple[Session, ...] = ()
    outcomes: Counter[Outcome] = msgspec.field(default_factory=Counter)
    left_alone: Counter[Outcome] = msgspec.field(default_factory=Counter)
    to_call: int = 0
    maybe_undone: int = 0
    drifted: int = 0
    not_desired: int = 0
    in_doubt: int = 0
    unknown_before: int = 0
    holder: Holder | None = None
    controls: tuple[Control, ...] = ()

    @property
    def pause(self) -> Control | None:
        """Who was the first to pause the session that is running; None if it is not paused."""
        paused = None
        for each in self.controls if self.state in (State.RUNNING, State.STALLED) else ():
            if self.session is not None and each.session == self.session.id and each.taken_at:
                paused = (paused or each) if each.request == "pause" else paused
                paused = None if each.request == "continue" else paused
        return paused

    @property
    def is_held(self) -> bool:
        """Whether a process holds the run."""
        return self.holder is not None

    @property
    def session(self) -> Session | None:
        """The newest session."""
        return self.sessions[-1] if self.sessions else None

    @property
    def doing(self) -> Session | None:
        """The newest session that ran or undid: what a verification does leaves its ending as it is."""
        return next((each for each in reversed(self.sessions) if each.kind != "verify"), None)

    @property
    def verification(self) -> Verification | None:
        """What the newest verification has read, unless the run has called rows since."""
        for each in reversed(self.sessions):
            if each.kind != "verify":
                return None
            if each.verification is not None:
                return each.verification
        return None

    @property
    def done(self) -> int:
        """Rows that have an outcome; those that the run has not reached have none."""
        return self.outcomes.total() - self.outcomes[Outcome.NOT_ATTEMPTED]

    @property
    def undone(self) -> int:
        """Rows that an undo has changed back."""
        return self.outcomes[Outcome.UNDONE]

    @property
    def is_undone(self) -> bool:
        """Whether any row was changed back by an undo, or may have been, and not done again since."""
        return self.undone + self.maybe_undone > 0

    @property
    def failed(self) -> Path | None:
        """The file of the rows that are not; None where there is none, or it may be older than the store."""
        newest = self.session
        is_over = newest is not None and newest.ended_at is not None and not self.is_held
        return self.files.failed if is_over and self.not_desired and os.path.exists(self.files.failed) else None

    @property
    def came_to(self) -> int:
        """What the run has come to by now, as its own command ends that has nothing left to call."""
        doing = self.doing
        if doing is None or doing.exit_status is None:
            return ExitStatus.STOPPED_EARLY
        if doing.exit_status not in (ExitStatus.OK, ExitStatus.INCOMPLETE):
            return doing.exit_status
        return ExitStatus.INCOMPLETE if self.not_desired else ExitStatus.OK

    @property
    def exit_status(self) -> int:
        """0 while a session runs, else what the run has come to, and if that is 0 its newest verification."""
        if self.is_held:
            return ExitStatus.OK
        return self.came_to or (self.verification.exit_status if self.verification else ExitStatus.OK)


class NoRunError(BulkcertError):
    """No run has written there, or none has yet."""


def status_of(files: RunFiles, *, brief: bool = False) -> RunStatus:
    """Returns the status of a run, whose results need not be there yet; see ``status_in``.

    Raises:
        NoRunError: There is no run.
        BulkcertError: Its files cannot be read.
    """
    try:
        holder = lock.current_holder(files.lock)
        with reading(files.store) as db:
            return status_in(files, db, holder, brief=brief)
    except FileNotFoundError:
        if holder is not None:
            return RunStatus(files, State.STARTING, holder=holder)
        raise no_run(files) from None
    except OSError as error:
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE,
            f"cannot read {files.folder}: {error.strerror or error}",
            "A run's files can be read by their owner only: ask as the user who started it.",
        ) from error


def status_in(
    files: RunFiles, db: sqlite3.Connection, holder: Holder | None = None, *, brief: bool = False
) -> RunStatus:
    """Returns the status of a run, as its store says, for a ``holder`` who is not the one who asks.

    A ``brief`` one leaves ``unknown_before`` 0 unless an undo has ended: finding it reads every row.
    """
    evidence.confirm_mirrors(db)
    asked = queries.asked(db)
    if not (sessions := tuple(queries.sessions(db))):
        raise Contradiction
    outcomes, left_alone, to_call = queries.counts(db, asked.rows)
    desired = ACTIONS[asked.action].desired_status
    drifted, maybe_undone = queries.drifted(db, desired), queries.count(db, queries.MAYBE_UNDONE)
    state = _state(sessions, holder)
    about_undo = state is State.ENDED and (outcomes[Outcome.UNDONE] or maybe_undone) if brief else holder is None
    return RunStatus(
        files,
        state,
        asked,
        sessions,
        outcomes,
        left_alone,
        to_call,
        maybe_undone,
        drifted,
        queries.not_desired(db, outcomes, desired, drifted=drifted, maybe_undone=maybe_undone),
        queries.in_doubt(db),
        queries.unknown_before(db) if about_undo else 0,
        holder,
        tuple(queries.controls(db)),
    )


def _state(sessions: tuple[Session, ...], holder: Holder | None) -> State:
    newest = sessions[-1]
    if holder is not None:
        # What holds the run may have come after a session that was killed, and has not begun its own yet.
        is_another = holder.pid > 0 and (newest.pid, newest.host) != (holder.pid, holder.host)
        if newest.ended_at is not None or (is_another and newest.started_at < holder.since * 1000):
            return State.STARTING
        silent_s = time.time() - (newest.beat_at or newest.started_at) / 1000
        return State.STALLED if silent_s > STALLED_S else State.RUNNING
    # A verification that was killed leaves the ending of the run as it is.
    doing = [each for each in sessions if each.kind != "verify"]
    return State.INTERRUPTED if doing and doing[-1].ended_at is None else State.ENDED


def no_run(files: RunFiles) -> NoRunError:
    """Returns that there is no run, and which runs there are in the same directory."""
    known: list[str] = []
    with suppress(OSError):
        known = sorted(path.stem for path in files.folder.parent.iterdir() if path.suffix == SUFFIX and path.is_dir())
    known = [name for name in known if name != files.results.name]
    others = f" Runs there: {', '.join(known[:5])}{', …' if len(known) > 5 else ''}." if known else ""  # noqa: PLR2004
    return NoRunError(
        ExitStatus.INPUT_UNREADABLE,
        f"{files.results}: no run has written there",
        f"Name the results file of a run: its -o, or LIST.ACTION.results.csv by default.{others}",
    )
