"""The formats of results and inventories: how each is written and what it can hold. The suffix of a name decides.

Cells that a spreadsheet would run are quoted in CSV files for people, unless they are the list's own.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
import polars as pl

from bulkcert.input.pinned import rows_at_once


class Format(NamedTuple):
    """One format.

    Attributes:
        write: Streams a table into an open file, which cannot be exchanged for another, as a name can.
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


_BEGINS = r"^[=+\-@\t\r]"
"""What the text of a cell begins with that a spreadsheet would run."""
_NUMBER = r"^[+-]?[0-9.,]*[0-9]$"
"""What begins like that and is only a number."""


class FormulaRows(msgspec.Struct, frozen=True):
    """Rows of a CSV file of which a cell that must stay as it is would be run.

    Attributes:
        rows: How many; 0 as well where the file is not for people.
        first: The number of the first; 0 without one.
    """

    rows: int = 0
    first: int = 0

    def and_then(self, frame: pl.DataFrame, columns: Sequence[str], row: str) -> "FormulaRows":
        """Returns these with those of the next frame that is written, of whose columns some stay as they are."""
        texts = [name for name in columns if frame.schema[name] == pl.String]
        if not texts:
            return self
        is_run = pl.any_horizontal(pl.col(texts).str.contains(_BEGINS) & ~pl.col(texts).str.contains(_NUMBER))
        found = frame.select(pl.col(row).filter(is_run.fill_null(value=False))).to_series()
        return FormulaRows(self.rows + found.len(), self.first or (int(found[0]) if found.len() else 0))


def guarded(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Returns a frame whose cells in some columns no spreadsheet runs: those that it would begin with ``'``."""
    cell = pl.col(columns)
    return frame.with_columns(pl.when(cell.str.contains(_BEGINS)).then("'" + cell).otherwise(cell).name.keep())
