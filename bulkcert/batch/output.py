"""A file that a command writes anew: whether it may, its format, and what to do where it cannot be written."""

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from bulkcert.batch.beside import journal_of
from bulkcert.batch.durable import reason_of
from bulkcert.errors import BulkcertError, ExitStatus

_NO_DIRECTORY = "Create the directory, or name a file elsewhere with -o."
_ADVICE = {
    errno.ENOENT: _NO_DIRECTORY,
    errno.ENOTDIR: _NO_DIRECTORY,
    errno.EROFS: "The file system is mounted read-only: name a file elsewhere with -o.",
    errno.EACCES: "You may not write there: name a file elsewhere with -o.",
    errno.EPERM: "You may not write there: name a file elsewhere with -o.",
    errno.ENAMETOOLONG: "Name a file with a shorter name with -o.",
}
"""What to do by the number of the system's error."""


def refuse_taken(output: Path, *, overwrite: bool) -> None:
    """Refuses a file that is there and may not be replaced; the results of a run never may.

    Args:
        output: The file.
        overwrite: Whether it may replace another.

    Raises:
        BulkcertError: It may not be written.
    """
    advice = "Name another file with -o. Nothing was called."
    journal = journal_of(output)
    message = ""
    if os.path.lexists(journal):
        message = f"{output} is the results of a run: its journal is {journal}"
    elif os.path.isdir(output):  # noqa: PTH112 - Path raises where it may not look
        message = f"{output} is a directory"
    elif os.path.lexists(output) and not os.path.isfile(output):
        message = f"{output} is not a file"
    elif os.path.lexists(output) and not overwrite:
        message = f"{output} exists"
        advice = "Name another file with -o, or replace this one with --overwrite. Nothing was called."
    if message:
        raise BulkcertError(ExitStatus.CANNOT_WRITE, message, advice)


def cannot_write(output: Path, error: Exception) -> BulkcertError:
    """Returns the error of a file that cannot be written.

    Args:
        output: The file.
        error: Why.
    """
    advice = _ADVICE.get(getattr(error, "errno", None) or 0, "Make room, or name a file elsewhere with -o.")
    told = f"{advice} Then run the same command again."
    return BulkcertError(ExitStatus.CANNOT_WRITE, f"cannot write {output}: {reason_of(error)}", told)


def sink(frames: Iterator[pl.DataFrame], schema: pl.Schema, path: Path) -> None:
    """Streams frames into a temporary file; the suffix before its last decides on the format.

    Raises:
        OSError: The disk refuses.
        polars.exceptions.PolarsError: The frames do not fit together, or the disk refuses.
    """

    def generate(
        columns: list[str] | None, _predicate: pl.Expr | None, _rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        for frame in frames:
            yield frame if columns is None else frame.select(columns)

    write_table(register_io_source(generate, schema=schema), Path(path.stem).suffix.lower(), path)


def write_table(table: pl.LazyFrame, suffix: str, target: Path | io.BytesIO) -> None:
    """Writes a table in the format that a suffix stands for: CSV, Parquet or NDJSON.

    Raises:
        OSError: The disk refuses.
        polars.exceptions.PolarsError: The format cannot hold it, or the disk refuses.
    """
    if suffix == ".csv":
        table.sink_csv(target)
    elif suffix == ".parquet":
        table.sink_parquet(target)
    else:
        table.sink_ndjson(target)
