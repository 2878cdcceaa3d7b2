"""Writing the pinned list: the rows of an input, as they are read, into one Parquet file."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Any, Self

import polars as pl
from polars.io.plugins import register_io_source

from bulkcert.errors import BulkcertError, ExitStatus

ROW_GROUP_ROWS = 100_000
"""Rows of a row group, which is what is read at a time."""
ROW_GROUP_CELLS = 4 * 1024 * 1024
"""Cells of a row group at most, so that a thousand columns do not fill the memory."""
# Measured: the level of zstd that costs no more than lz4 or none; statistics would cost as much as the file.
_FORMAT: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "statistics": False}


def rows_at_once(columns: int) -> int:
    """Returns the rows of a row group of so many columns."""
    return max(min(ROW_GROUP_ROWS, ROW_GROUP_CELLS // max(columns, 1)), 1)


def cannot_pin(path: Path, error: BaseException) -> BulkcertError:
    """Returns the error of a pinned list that cannot be written."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
    return BulkcertError(ExitStatus.CANNOT_WRITE, f"cannot write {path}: {reason}", "Make room there.", again=True)


class Pinning:
    """A pinned list that is being written; on leaving with an error nothing is left of it.

    Columns may be added on the way, and their types may differ: then the file is written in pieces, which are joined.

    Args:
        path: The file, which must not exist; mode 0600.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces: list[_Piece] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
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
        self._pieces[-1].put(frame)

    def finish(self) -> None:
        """Completes the file; not yet durable.

        Raises:
            BulkcertError: CANNOT_WRITE.
        """
        self._pieces[-1].close()
        if len(self._pieces) > 1:
            self._join()

    def _join(self) -> None:
        whole = self._path.with_name(f"{self._path.name}.whole")
        types = common_types([piece.schema for piece in self._pieces])
        scans = [
            pl.scan_parquet(piece.path, glob=False).select(
                pl.col(name).cast(types[name]) if name in piece.schema else pl.lit(None, types[name]).alias(name)
                for name in types
            )
            for piece in self._pieces
        ]
        try:
            with _create(whole) as file:
                _sink(pl.concat(scans), file, len(types))
            whole.replace(self._path)
        except (OSError, pl.exceptions.PolarsError) as error:
            with suppress(OSError):
                whole.unlink()
            raise cannot_pin(self._path, error) from error
        for piece in self._pieces[1:]:
            piece.path.unlink()


def common_types(schemas: list[pl.Schema]) -> dict[str, pl.DataType]:
    """Returns the columns of all of some tables; those whose types differ become text.

    Raises:
        ValueError: The types of a column differ, and one is nested or binary; its text is the column.
    """
    types: dict[str, pl.DataType] = {}
    for schema in schemas:
        for name, kind in schema.items():
            known = types.setdefault(name, kind)
            if known == pl.Null:
                types[name] = kind
            elif kind not in (known, pl.Null):
                if any(each.is_nested() or each == pl.Binary for each in (known, kind)):
                    raise ValueError(name)
                types[name] = pl.String()
    return types


class _Piece:
    """A Parquet file that a thread of its own writes, so that signals are handled while the rows are read."""

    def __init__(self, path: Path, schema: pl.Schema) -> None:
        self.path, self.schema = path, schema
        self._failure: BaseException | None = None
        self._ended = False
        self._frames: Queue[pl.DataFrame | None] = Queue(2)
        try:
            self._file = _create(path)
        except OSError as error:
            raise cannot_pin(path, error) from error
        self._thread = threading.Thread(target=self._write, name=path.name)
        self._thread.start()

    def put(self, frame: pl.DataFrame) -> None:
        if self._failure is None:
            self._frames.put(frame)

    def close(self) -> None:
        self._frames.put(None)
        self._thread.join()
        if self._failure is not None:
            raise cannot_pin(self.path, self._failure) from self._failure

    def abandon(self) -> None:
        if self._thread.is_alive():
            self._frames.put(None)
            self._thread.join()
        with suppress(OSError):
            self.path.unlink()

    def _write(self) -> None:
        try:
            with self._file:
                _sink(register_io_source(self._generate, schema=self.schema), self._file, len(self.schema))
        except BaseException as error:  # noqa: BLE001 - a panic of polars is one; close() raises it
            self._failure = error
            while not self._ended:  # nobody must wait for room
                self._ended = self._frames.get() is None

    def _generate(
        self, columns: list[str] | None, _predicate: pl.Expr | None, _rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        while (frame := self._frames.get()) is not None:
            yield frame if columns is None else frame.select(columns)
        self._ended = True


def _create(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")


def _sink(table: pl.LazyFrame, file: Any, columns: int) -> None:
    table.sink_parquet(file, row_group_size=rows_at_once(columns), **_FORMAT)
