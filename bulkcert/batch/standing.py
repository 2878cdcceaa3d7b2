"""How a run stands, told from its files by somebody else: nothing is written, nothing is locked."""

import os
import socket
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bulkcert.batch import snapshot
from bulkcert.batch.beside import journal_of, summary_of, undo_results_of
from bulkcert.batch.ended import own_end
from bulkcert.batch.holding import is_held
from bulkcert.batch.index import Index
from bulkcert.batch.last_errors import LastError, LastErrors
from bulkcert.batch.lines import End, Header, Line, Session, decode_line
from bulkcert.batch.outcome import ERRORS, Outcome, Record
from bulkcert.batch.snapshot import Snapshot
from bulkcert.batch.summary import Summary, earlier_summary, millis
from bulkcert.errors import BulkcertError, ExitStatus

SILENT_S = 5.0
"""A session that goes on and has written no snapshot for so long may hang."""

ERRORS_KEPT = 5
"""Codes whose newest error is told of a run that was cut off."""

_MOST_ROWS = 2**32

_CLOCK_GRAIN_MS = 2000
"""Times of files may be so much coarser than the clock."""


class State(StrEnum):
    """How a run stands."""

    STARTING = "starting"
    """Its journal is held; nothing is called yet, or there is nothing to call."""
    RUNNING = "running"
    """It goes on."""
    SILENT = "silent"
    """Its journal is held, but it has given no sign of life for a while."""
    UNDOING = "undoing"
    """An undo holds its journal, and takes it back."""
    ENDED = "ended"
    """It ended in order."""
    CUT_OFF = "cut_off"
    """It was killed, or its machine went down; the same command goes on."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the journal of a run tells that was cut off.

    Attributes:
        header: What it is the record of.
        session: Who began or went on with the run last, or None if nobody has come to begin.
        began_ms: When the run was started last, Unix time in milliseconds.
        ended: Whether that session has ended in order.
        outcomes: Rows that the next run leaves alone, by outcome.
        errors: The newest errors of rows, one for each code, the latest first.
    """

    header: Header
    session: Session | None
    began_ms: int
    ended: bool
    outcomes: Counter[Outcome]
    errors: list[LastError]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands.

    Attributes:
        results: Its results file, which need not be there yet.
        state: How it stands.
        snapshot: What the session does, or did before it was cut off; None where that is not known.
        recorded: What the journal of a run tells that was cut off; else None.
        ending: Its summary; None unless it ended in order.
        undo: The results file of the undo that takes it back; None unless one goes on.
    """

    results: Path
    state: State
    snapshot: Snapshot | None = None
    recorded: Recorded | None = None
    ending: Summary | None = None
    undo: Path | None = None

    @property
    def goes_on(self) -> bool:
        """Whether a process holds the run."""
        return self.state in (State.STARTING, State.RUNNING, State.SILENT, State.UNDOING)

    @property
    def exit_status(self) -> int:
        """0 while it goes on, else what the run ended with, or if that was 0 its last verification; 75 if cut off."""
        if self.goes_on:
            return ExitStatus.OK
        if (ending := self.ending) is None:
            return ExitStatus.STOPPED_EARLY
        # What an undo has taken back is not meant to be as the run wanted it.
        read_back = None if ending.standing_undo else ending.verification
        return ending.exit_status or (read_back.exit_status if read_back else ExitStatus.OK)


def results_of(path: Path) -> Path:
    """Returns the results file that is meant by it, by the journal, by the summary or by the snapshot."""
    for suffix in (".journal", ".summary.json", ".status.json"):
        if path.name.endswith(suffix) and path.name != suffix:
            return path.with_name(path.name.removesuffix(suffix))
    return path


def standing_of(results: Path) -> Standing:
    """Returns how a run stands.

    Args:
        results: Its results file, which need not be there yet.

    Raises:
        NoRunError: There is no run.
        BulkcertError: Its files cannot be read.
    """
    if not results.name:
        raise BulkcertError(ExitStatus.INPUT_UNREADABLE, f"{results} is a directory", "Name the results of a run.")
    journal = journal_of(results)
    try:
        while is_held(journal):
            taken = snapshot.read(results)
            if taken is not None and not _is_left_behind(taken):
                writing = taken.phase == snapshot.WRITING
                silent = taken.age_s > SILENT_S and not writing
                return Standing(results, State.SILENT if silent else State.RUNNING, taken)
            undo = _undo_going_on(results)
            if is_held(journal):  # else it has ended in between
                return Standing(results, State.UNDOING if undo else State.STARTING, undo=undo)
        return _at_rest(results, journal)
    except FileNotFoundError:
        if (ending := earlier_summary(summary_of(results))) is not None:
            return Standing(results, State.ENDED, ending=ending)
        raise _no_run(results) from None
    except OSError as error:
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE,
            f"cannot read {journal}: {error.strerror or error}",
            "A run's files can be read by their owner only: ask as the user who started it.",
        ) from error


def _undo_going_on(results: Path) -> Path | None:
    """Returns the results of the undo that takes a run back, or None; its journal is held as that of the run is."""
    ending = earlier_summary(summary_of(results))
    noted = [Path(ending.taken_back.results)] if ending and ending.taken_back else []
    for undo in (undo_results_of(results), *noted):
        with suppress(OSError):
            if is_held(journal_of(undo)):
                return undo
    return None


def _is_left_behind(taken: Snapshot) -> bool:
    """Returns whether a snapshot is that of a process that is gone, while another is about to go on with its run."""
    if taken.session.host != socket.gethostname():
        return False
    try:
        os.kill(taken.session.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's
        return False
    return False


def _at_rest(results: Path, journal: Path) -> Standing:
    """Returns how a run stands that nobody holds."""
    summary = summary_of(results)
    ending, end = earlier_summary(summary), own_end(journal)
    if ending is not None and end is not None and _is_newer(summary, end):
        return Standing(results, State.ENDED, ending=ending)
    recorded = _recorded(results, journal, ended=end is not None)
    # A session whose disk was full has written a summary and no end.
    if ending is not None and millis(ending.finished) >= recorded.began_ms:
        return Standing(results, State.ENDED, ending=ending)
    return Standing(results, State.CUT_OFF, snapshot.read(results), recorded)


def _is_newer(summary: Path, end: End) -> bool:
    """Returns whether a summary was written after a session ended: not killed between the two."""
    return summary.stat().st_mtime * 1000 + _CLOCK_GRAIN_MS >= end.at


def _recorded(results: Path, journal: Path, *, ended: bool) -> Recorded:
    """Reads a whole journal, line by line."""
    errors = LastErrors()
    session: Session | None = None
    with journal.open("rb") as lines:
        header = decode_line(lines.readline())
        if header is None and not os.fstat(lines.fileno()).st_size:
            raise _no_run(results)
        if not isinstance(header, Header) or not 0 <= header.rows < _MOST_ROWS:
            raise BulkcertError(
                ExitStatus.INPUT_UNREADABLE,
                f"{journal}: line 1 is not the header of a journal",
                "Name the results of a run; its journal stands beside them.",
            )
        index = Index(header.rows)
        for line in map(decode_line, lines):
            if line is None or not index.fits(line):
                continue
            index.take(line, 0)
            if isinstance(line, Session) and not line.verifies:
                session = line
            _note(line, errors)
    index.forget_look()
    return Recorded(header, session, index.sessions.began_ms, ended, +index.settled(), errors.newest(ERRORS_KEPT))


def _note(line: Line, errors: LastErrors) -> None:
    if isinstance(line, Record) and line.code and (line.outcome in ERRORS or line.again):
        errors.note(line.code, line.message, line.request_id, line.finished_at)
        errors.ended(line.code, line.row)


class NoRunError(BulkcertError):
    """No run has written there, or none has yet."""


def _no_run(results: Path) -> NoRunError:
    """Returns that there is no run, and which runs there are in the same directory."""
    known: list[str] = []
    with suppress(OSError):
        known = sorted(path.stem for path in results.parent.iterdir() if path.suffix == ".journal")
    # What is there is no run: an empty journal, as of one that was refused.
    known = [name for name in known if name != results.name]
    others = f" Runs there: {', '.join(known[:5])}{', …' if len(known) > 5 else ''}." if known else ""  # noqa: PLR2004
    return NoRunError(
        ExitStatus.INPUT_UNREADABLE,
        f"{results}: no run has written there",
        f"Name the results file of a run (its -o, or what its plan shows as results).{others}",
    )
