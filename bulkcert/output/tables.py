"""Tables in the format of a suffix: CSV, Parquet or NDJSON."""

from collections.abc import Iterator
from typing import BinaryIO

import polars as pl
from polars.io.plugins import register_io_source


def sink(frames: Iterator[pl.DataFrame], schema: pl.Schema, suffix: str, target: BinaryIO) -> None:
    """Streams frames into a file.

    Args:
        frames: What to write.
        schema: That of each frame.
        suffix: Decides on the format, as ``.csv``.
        target: An open file; an open one cannot be exchanged for another, as a name can.

    Raises:
        OSError: The disk refuses.
        polars.exceptions.PolarsError: The frames do not fit together, or the disk refuses.
    """

    def generate(
        columns: list[str] | None, _predicate: pl.Expr | None, _rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        for frame in frames:
            yield frame if columns is None else frame.select(columns)

    write_table(register_io_source(generate, schema=schema), suffix, target)


def write_table(table: pl.LazyFrame, suffix: str, target: BinaryIO) -> None:
    """Writes a table in the format of a suffix.

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
