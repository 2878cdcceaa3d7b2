"""The journal: the append-only durable record of a run, as NDJSON beside the results file.

A header line, then a line for each session, for each finished row and, where a call must not be repeated blindly, for
each intent to send. A row is done when its line is on disk: lines are written and synced in groups, off the event
loop. There is one writer at a time, kept so by an exclusive lock on the file.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread

from bulkcert.batch.durable import sync_directory
from bulkcert.batch.index import Index
from bulkcert.batch.lines import End, Line, encode_lines
from bulkcert.batch.outcome import Record
from bulkcert.errors import BulkcertError, ExitStatus

SYNC_AFTER_S = 0.2
"""Longest time that a finished row waits for its sync, besides the sync itself."""

SYNC_AFTER_ROWS = 256
"""Rows that are synced together at most before a sync is started."""

MOST_PENDING = 4096
"""Finished rows that may wait for a slow disk before the workers wait too."""


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

    def begin(self, *beside: Line) -> None:
        """Cuts off what does not count, and writes the opening lines; durable before it returns. Once only.

        Args:
            beside: Lines that are to stand behind them.

        Raises:
            BulkcertError: The disk refuses.
        """
        if not self._opening:
            return
        self._opening += encode_lines(*beside)
        try:
            os.ftruncate(self._file, self._size)
            self._write(self._opening)
            sync_directory(self.path.parent)
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._size += len(self._opening)
        self._opening = b""

    async def append(self, line: Line) -> None:
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
            lines = [encode_lines(line) for line in group]
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
            self.index.take(line, self._size)
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

    def end(self) -> None:
        """Notes that no call of this session is without a line; what cannot be written is left out."""
        if self.failure is None and not self._opening and not self._pending:
            line = encode_lines(End(round(time.time() * 1000)))
            with suppress(OSError):
                self._write(line)
                self._size += len(line)

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
