"""Cells that a spreadsheet would run: quoted in CSV files for people, unless they are the list's own."""

from collections.abc import Sequence

import msgspec
import polars as pl

_BEGINS = r"^[=+\-@\t\r]"
"""What the text of such a cell begins with."""
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
