"""The formats of results and inventories: how each is written and what it can hold. The suffix of a name decides."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import polars as pl

from bulkcert.input.pinned import rows_at_once


class Format(NamedTuple):
    """One format.

    Attributes:
        write: Streams a table into an open file.
        for_people: Whether spreadsheets open it, which run what looks like a formula.
        typed: Whether it holds times and what the input has as they are.
        nested: Whether it holds structs and lists, where it is not typed.
    """

    write: Callable[[pl.LazyFrame, BinaryIO], object]
    for_people: bool = False
    typed: bool = False
    nested: bool = False


def _sink_parquet(table: pl.LazyFrame, target: BinaryIO) -> None:
    # A row group is in memory until it is written, and would be of 262,144 rows however many columns they have.
    table.sink_parquet(target, row_group_size=rows_at_once(len(table.collect_schema())))


FORMATS = {
    ".csv": Format(pl.LazyFrame.sink_csv, for_people=True),
    ".csv.gz": Format(partial(pl.LazyFrame.sink_csv, compression="gzip"), for_people=True),
    ".csv.zst": Format(partial(pl.LazyFrame.sink_csv, compression="zstd"), for_people=True),
    ".parquet": Format(_sink_parquet, typed=True),
    ".ndjson": Format(pl.LazyFrame.sink_ndjson, nested=True),
}
"""Every format by its suffix."""


def suffix_of(path: Path) -> str:
    """Returns which suffix of ``FORMATS`` a name ends with, in any case; empty if with none."""
    return next((suffix for suffix in FORMATS if path.name.lower().endswith(suffix)), "")
