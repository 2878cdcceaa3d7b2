"""The pinned list: the rows of an input as they were read, in one Parquet file; and every later pass over it."""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Full, Queue
from typing import Any

import msgspec
import polars as pl
from polars.io.plugins import register_io_source

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.files import unreadable
from bulkcert.service.actions import JOINT

OWN_PREFIX = "__bulkcert_"
"""What the names of our own columns begin with; an input that has such a column is refused."""
ROW = f"{OWN_PREFIX}row"
"""Number of the row, UInt32, from 1; header and blank lines do not count."""
DEVICE_SN = f"{OWN_PREFIX}device_sn"
"""Serial of the device certificate as text; not there for an action on CAs."""
CA_SN = f"{OWN_PREFIX}ca_sn"
"""Serial of the CA certificate as text."""
INSTANCE = f"{OWN_PREFIX}instance"
"""ID of the instance as text; not there where all rows are of one."""

BATCH_ROWS = 32_768
"""Rows of a row group at most, and so of a batch: each group is read once."""
BATCH_CELLS = 1024 * 1024
"""Cells of a row group at most, of which several are in memory at a time: a thousand columns must not fill it."""
# Measured: the level of zstd that costs no more than lz4 or none; statistics would cost as much as the file.
_FORMAT: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "statistics": False}


class PinnedList(msgspec.Struct, frozen=True):
    """An input that was read.

    Attributes:
        path: The Parquet file with its own columns.
        rows: Number of its rows.
        columns: Names of its columns, in order.
        device_column: The column of the device serials; None for an action on CAs.
        ca_column: The column of the CA serials.
        instance_column: The column of the instances; None where all rows are of one.
    """

    path: Path
    rows: int
    columns: tuple[str, ...]
    device_column: str | None
    ca_column: str
    instance_column: str | None = None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turns what reading the file can raise into one error for the user.

        Raises:
            BulkcertError: INPUT_UNREADABLE.
        """
        try:
            with unreadable(self.path):
                yield
        except pl.exceptions.PolarsError as error:
            raise self.damaged(str(error).partition("\n")[0]) from None

    def damaged(self, reason: str) -> BulkcertError:
        """Returns what to show the user about a list that cannot be believed."""
        message = f"{self.path}: the pinned list cannot be read: {reason}"
        advice = "Put it back from a copy, or run over the list again, with other results."
        return BulkcertError(ExitStatus.INPUT_UNREADABLE, message, advice)


def annotated(
    pinned: PinnedList, *, first_row: int = 1, last_row: int | None = None, own: bool = True
) -> Iterator[pl.DataFrame]:
    """Yields the rows of a pinned list in order: their own columns as they are, and ours with them.

    There is at least one batch; where there are no rows it is empty. An empty CSV field is null, a quoted empty
    one an empty text; an NDJSON key that is missing is null. The iterator may be advanced by any thread, one at
    a time, and closed early.

    Args:
        pinned: The list.
        first_row: Number of the first row that is wanted.
        last_row: Number of the last one; None for all.
        own: Whether the list's own columns are wanted, or those of the serials alone.

    Raises:
        BulkcertError: INPUT_UNREADABLE.
    """
    named = ((pinned.device_column, DEVICE_SN), (pinned.ca_column, CA_SN), (pinned.instance_column, INSTANCE))
    ours = [pl.col(column).cast(pl.String).alias(name) for column, name in named if column is not None]
    step, end = rows_at_once(len(pinned.columns)), pinned.rows if last_row is None else min(last_row, pinned.rows)
    done = first_row - 1
    with pinned.reading():
        if not stat.S_ISREG(os.lstat(pinned.path).st_mode):
            raise pinned.damaged("it is not a regular file")
        scan = pl.scan_parquet(pinned.path, glob=False)
        while done < end or done == first_row - 1:
            height = min(step - done % step, max(end - done, 0))  # to the end of its row group
            rows = scan.slice(done, height).with_row_index(ROW, done + 1)
            frame = rows.select(*(pinned.columns if own else ()), ROW, *ours).collect(engine="streaming")
            if frame.height != height:
                raise pinned.damaged(f"it ends after row {done + frame.height:,} of {pinned.rows:,}")
            yield frame
            done += max(height, 1)


def ca_keys(frame: pl.DataFrame) -> pl.Series:
    """Returns the key of the CA of each annotated row, as ``ca_key`` makes it; null where the CA is."""
    if INSTANCE not in frame.columns:
        return frame[CA_SN]
    return frame.select(pl.concat_str(CA_SN, pl.col(INSTANCE).fill_null(""), separator=JOINT).alias(CA_SN)).to_series()


class Pinning:
    """A pinned list that is being written; whoever gives it up says so, and nothing is left of it.

    Columns may be added on the way: then the file is written in pieces, which are joined.

    Args:
        path: The file, which must not exist; mode 0600.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces: list[_Piece] = []

    def abandon(self) -> None:
        """Removes what was written."""
        for piece in self._pieces:
            piece.abandon()

    def write(self, frame: pl.DataFrame) -> None:
        """Takes in the next rows, with all columns so far.

        Raises:
            BulkcertError: CANNOT_WRITE.
        """
        if not self._pieces or self._pieces[-1].schema != frame.schema:
            if self._pieces:
                self._pieces[-1].close()
            number = len(self._pieces)
            path = self._path.with_name(f"{self._path.name}.{number}") if number else self._path
            self._pieces.append(_Piece(path, frame.schema))
            self._pieces[-1].thread.start()
        if self._pieces[-1].failure is None:
            self._pieces[-1].frames.put(frame)

    def finish(self) -> None:
        """Completes the file; not yet durable.

        Raises:
            BulkcertError: CANNOT_WRITE.
        """
        self._pieces[-1].close()
        if len(self._pieces) == 1:
            return
        scans = [pl.scan_parquet(piece.path, glob=False) for piece in self._pieces]
        whole = _Piece(self._path.with_name(f"{self._path.name}.whole"), self._pieces[-1].schema)
        self._pieces.append(whole)
        try:
            whole.write(pl.concat(scans, how="diagonal"))
            whole.path.replace(self._path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _cannot_pin(self._path, error) from error
        for piece in self._pieces[1:-1]:
            with suppress(OSError):  # of no use, and the next session takes it away
                piece.path.unlink()


class _Piece:
    """A Parquet file that a thread of its own writes, so that signals are handled while the rows are read."""

    def __init__(self, path: Path, schema: pl.Schema) -> None:
        self.path, self.schema = path, schema
        self.failure: BaseException | None = None
        self._ended = False
        self.frames: Queue[pl.DataFrame | None] = Queue(2)
        try:
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")
        except OSError as error:
            raise _cannot_pin(path, error) from error
        self.thread = threading.Thread(target=self._run, name=path.name)

    def close(self) -> None:
        self.frames.put(None)
        self.thread.join()
        if self.failure is not None:
            raise _cannot_pin(self.path, self.failure) from self.failure

    def abandon(self) -> None:
        if self.thread.is_alive():
            self.frames.put(None)
            self.thread.join()
        else:  # it has ended, or a signal came while it was started
            with suppress(Full):
                self.frames.put_nowait(None)
        with suppress(OSError):
            self.path.unlink()

    def write(self, table: pl.LazyFrame) -> None:
        with self._file:
            table.sink_parquet(self._file, row_group_size=rows_at_once(len(self.schema)), **_FORMAT)

    def _run(self) -> None:
        try:
            self.write(register_io_source(self._generate, schema=self.schema))
        except BaseException as error:  # noqa: BLE001 - a panic of polars is one; close() raises it
            self.failure = error
            while not self._ended:  # nobody must wait for room
                self._ended = self.frames.get() is None

    def _generate(
        self, columns: list[str] | None, _predicate: pl.Expr | None, _rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        while (frame := self.frames.get()) is not None:
            yield frame if columns is None else frame.select(columns)
        self._ended = True


def rows_at_once(columns: int) -> int:
    """Returns the most rows of a row group of so many columns."""
    return max(min(BATCH_ROWS, BATCH_CELLS // max(columns, 1)), 1)


def _cannot_pin(path: Path, error: BaseException) -> BulkcertError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
    return BulkcertError(ExitStatus.CANNOT_WRITE, f"cannot write {path}: {reason}", "Make room there.", again=True)
