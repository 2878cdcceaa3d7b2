"""The journal: the append-only durable record of a run, as NDJSON beside the results file.

A header line, then a line for each session, for each finished row and, where a call must not be repeated blindly, for
each intent to send. A row is done when its line is on disk: lines are written and synced in groups, off the event
loop. There is one writer at a time, kept so by an exclusive lock on the file.
"""

import os
import socket
from array import array
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from bulkcert.batch.outcome import Outcome, Record
from bulkcert.errors import BulkcertError, ExitStatus

SYNC_AFTER_S = 0.2
"""Longest time that a finished row waits for its sync, besides the sync itself."""

SYNC_AFTER_ROWS = 256
"""Rows that are synced together at most before a sync is started."""

MOST_PENDING = 4096
"""Finished rows that may wait for a slow disk before the workers wait too."""


class Header(msgspec.Struct, frozen=True, tag="run"):
    """First line: what the journal is the record of. A resume must match all of it but the version."""

    action: str
    instance: str
    endpoint: str
    sha256: str
    rows: int
    keys: tuple[str, ...]
    version: str


class Session(msgspec.Struct, frozen=True, tag="session"):
    """One start of the command: who holds the journal, and since when (Unix time in milliseconds)."""

    pid: int
    host: str
    started_at: int
    version: str


class Intent(msgspec.Struct, frozen=True, tag="intent"):
    """Written and synced before a call that may not be repeated blindly."""

    row: int


Line = Header | Session | Record | Intent

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode
_NUMBER_OF = {outcome: number for number, outcome in enumerate(Outcome, start=1)}
_AGAIN = 128


class Index:
    """Where each row's last line is, and what it says: nine bytes a row, whatever the number of rows.

    Args:
        rows: Number of rows in the input.
    """

    def __init__(self, rows: int) -> None:
        self.offsets = array("Q", bytes(8 * (rows + 1)))
        """Byte offset of the last line of each row; meaningless where the row has none."""
        self._state = bytearray(rows + 1)
        self.intents: set[int] = set()
        """Rows with a call that may have been made and whose outcome is not known."""

    def note(self, record: Record, offset: int) -> None:
        """Takes note of a row's newest line."""
        self.offsets[record.row] = offset
        self._state[record.row] = _NUMBER_OF[record.outcome] | (_AGAIN if record.again else 0)
        if record.outcome is not Outcome.UNKNOWN:
            self.intents.discard(record.row)

    def is_final(self, row: int) -> bool:
        """Returns whether the next run leaves this row alone."""
        return 0 < self._state[row] < _AGAIN

    def rows_with_lines(self, first: int, last: int) -> Iterator[int]:
        """Yields the rows from ``first`` to ``last``, both included, that have a line."""
        return (row for row in range(first, last + 1) if self._state[row])

    @property
    def again(self) -> int:
        """Number of rows that have a line and are taken up again nevertheless."""
        return sum(self._state.count(number | _AGAIN) for number in _NUMBER_OF.values())

    @property
    def final(self) -> int:
        """Number of rows that the next run leaves alone."""
        return sum(self._state.count(number) for number in _NUMBER_OF.values())

    def reopen(self, outcomes: Collection[Outcome]) -> None:
        """Takes up again the rows that have one of these outcomes."""
        reopened = {_NUMBER_OF[outcome] for outcome in outcomes}
        table = bytes(number | _AGAIN if number in reopened else number for number in range(256))
        self._state = self._state.translate(table)


class Journal:
    """An open, locked journal, made by ``recovery.open_journal``.

    The file stays as it was found until ``begin``. While rows are called, ``commit_groups`` must run beside the
    workers.

    Args:
        path: Where it is.
        file: Descriptor, open for reading and appending, that holds the lock.
        index: What the lines up to ``size`` say.
        size: Bytes of the file that are kept: whole lines, or none if it is started anew.
        opening: What ``begin`` puts behind them.
        damaged_lines: Numbers of the lines that could not be read; their rows are called again.
    """

    def __init__(
        self, path: Path, file: int, index: Index, size: int, *, opening: bytes, damaged_lines: tuple[int, ...] = ()
    ) -> None:
        self.path = path
        self.index = index
        self.damaged_lines = damaged_lines
        self.is_new = size == 0
        """Whether no earlier session counts."""
        self.failure: OSError | None = None
        """Why nothing can be written any more."""
        self._file = file
        self._size = size
        self._opening = opening
        self._pending: list[Line] = []
        self._written = 0
        self._wanted = anyio.Event()
        self._hurry = anyio.Event()
        self._synced = anyio.Event()

    def begin(self) -> None:
        """Cuts off what does not count, and writes the opening lines; durable before it returns. Once only.

        Raises:
            BulkcertError: The disk refuses.
        """
        if not self._opening:
            return
        try:
            os.ftruncate(self._file, self._size)
            self._write(self._opening)
            _sync_directory(self.path.parent)
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._size += len(self._opening)
        self._opening = b""

    async def append(self, line: Record | Intent) -> None:
        """Adds a line to the next group; waits only while the disk is far behind."""
        if self._opening:
            raise RuntimeError("a journal must be begun before lines are added to it")
        while len(self._pending) >= MOST_PENDING and self.failure is None:
            await self._synced.wait()
        self._pending.append(line)
        if len(self._pending) == 1:
            self._wanted.set()
        elif len(self._pending) == SYNC_AFTER_ROWS:
            self._hurry.set()

    async def sync(self) -> None:
        """Waits until all that was appended so far is on disk, or cannot be written (see ``failure``)."""
        wanted = self._written + len(self._pending)
        while self._written < wanted and self.failure is None:
            self._hurry.set()
            await self._synced.wait()

    async def commit_groups(self, on_failure: Callable[[OSError], None]) -> None:
        """Writes and syncs what is appended, group by group, until cancelled.

        Args:
            on_failure: Called once if the disk refuses; from then on nothing is written.
        """
        while self.failure is None:
            await self._wanted.wait()
            with anyio.move_on_after(SYNC_AFTER_S):
                await self._hurry.wait()
            self._wanted, self._hurry = anyio.Event(), anyio.Event()
            group = tuple(self._pending)
            lines = [_encode(line) + b"\n" for line in group]
            try:
                await anyio.to_thread.run_sync(self._write, b"".join(lines))
            except OSError as error:
                self.failure = error
                on_failure(error)
            else:
                self._note(group, lines)
                del self._pending[: len(group)]
                self._written += len(group)
                if self._pending:
                    self._wanted.set()
                if len(self._pending) >= SYNC_AFTER_ROWS:
                    self._hurry.set()
            self._synced.set()
            self._synced = anyio.Event()

    def _note(self, group: tuple[Line, ...], lines: list[bytes]) -> None:
        for line, text in zip(group, lines, strict=True):
            if isinstance(line, Record):
                self.index.note(line, self._size)
            elif isinstance(line, Intent):
                self.index.intents.add(line.row)
            self._size += len(text)

    def _write(self, blob: bytes) -> None:
        written = 0
        try:
            while written < len(blob):
                written += os.write(self._file, blob[written:])
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise

    def lines(self, first: int, last: int) -> bytes:
        """Returns the newest line of each row from ``first`` to ``last``, both included, that has one, by offset."""
        offsets = self.index.offsets
        # What a full disk has kept out of the file is known all the same; the next run calls these rows again.
        unwritten = {line.row: line for line in self._pending if isinstance(line, Record) and first <= line.row <= last}
        wanted = sorted([offsets[row] for row in self.index.rows_with_lines(first, last) if row not in unwritten])
        found = [encode_lines(*unwritten.values())]
        with os.fdopen(os.dup(self._file), "rb") as reader:
            # Neighbouring rows were finished at about the same time, so nearly all of this comes from the buffer.
            for offset in wanted:
                reader.seek(offset)
                found.append(reader.readline())
        return b"".join(found)

    def close(self) -> None:
        """Closes the file and with it gives up the lock; a file that nothing was written to goes."""
        with suppress(OSError):
            if not os.fstat(self._file).st_size:
                self.path.unlink()
        os.close(self._file)


def unwritable(path: Path, error: OSError) -> BulkcertError:
    """Returns what to tell the user when a journal cannot be written before the first call."""
    return BulkcertError(
        ExitStatus.CANNOT_WRITE,
        f"cannot write {path}: {error.strerror or error}",
        "Nothing was called. Name a results file with -o, in a directory that has room and can be written.",
    )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def encode_lines(*lines: Line) -> bytes:
    """Returns lines as they stand in the file."""
    return b"".join([_encode(line) + b"\n" for line in lines])


def decode_line(text: bytes) -> Line | None:
    """Returns the line that stands in the file, or None if it is torn or damaged."""
    if not text.endswith(b"\n"):
        return None
    try:
        line: Line = _decode(text)
    except msgspec.DecodeError:
        return None
    return line


def session_line(started_at: int, version: str) -> Session:
    """Returns the session line of this process."""
    return Session(os.getpid(), socket.gethostname(), started_at, version)
