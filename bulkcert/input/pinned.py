"""The pinned list, an input's own columns; and every later pass over it, which says which rows may be called."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.checked import PROTECTED_DEVICE
from bulkcert.input.pinning import rows_at_once
from bulkcert.input.reading import unreadable
from bulkcert.input.serials import FAULTS, REASONS

OWN_PREFIX = "__bulkcert_"
"""What the names of our own columns begin with; an input that has such a column is refused."""
ROW = f"{OWN_PREFIX}row"
"""Number of the row, UInt32, from 1; header and blank lines do not count."""
DEVICE_SN = f"{OWN_PREFIX}device_sn"
"""Serial of the device certificate as text; not there for an action on CAs."""
CA_SN = f"{OWN_PREFIX}ca_sn"
"""Serial of the CA certificate as text."""
OUTCOME = f"{OWN_PREFIX}outcome"
"""``invalid``, ``protected``, ``duplicate``, or null where the row may be called."""
MESSAGE = f"{OWN_PREFIX}message"
"""Why the row is not called, or null."""
FIRST_ROW = f"{OWN_PREFIX}first_row"
"""For a duplicate the row that it repeats, else null."""

NONE_SETTLED = pl.DataFrame(schema={"row": pl.UInt32, "first_row": pl.UInt32, "fault": pl.UInt8})

BATCH_ROWS = 32_768
"""Rows of an annotated batch at most."""


@dataclass(frozen=True, slots=True)
class PinnedList:
    """An input that was read.

    Attributes:
        path: The Parquet file with its own columns.
        rows: Number of its rows.
        columns: Names of its columns, in order.
        device_column: The column of the device serials; None for an action on CAs.
        ca_column: The column of the CA serials.
        files: For each file of the input, in order, what messages call it and the number of its first row.
    """

    path: Path
    rows: int
    columns: tuple[str, ...]
    device_column: str | None
    ca_column: str
    files: tuple[tuple[str, int], ...]

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that together say which certificate is meant."""
        return (self.ca_column,) if self.device_column is None else (self.device_column, self.ca_column)

    def place(self, row: int, line: int | None = None) -> str:
        """Returns where a row is, as ``list.csv:12``.

        Args:
            row: Its number, from 1.
            line: Its line in its file if that is known; else the number of the row in its file is named.
        """
        name, first = self.files[bisect_right(self.files, row, key=lambda file: file[1]) - 1]
        return f"{name}:{line or row - first + 1}"

    def frames(self, first_row: int = 1, last_row: int | None = None, *, own: bool = True) -> Iterator[pl.DataFrame]:
        """Yields rows in order, in at least one frame.

        Args:
            first_row: Number of the first row.
            last_row: Number of the last row; None for all.
            own: Whether all columns are wanted, or those of the serials alone.

        Raises:
            BulkcertError: INPUT_UNREADABLE.
        """
        wanted = self.columns if own else self.key_columns
        step, end = rows_at_once(len(self.columns)), self.rows if last_row is None else min(last_row, self.rows)
        done = first_row - 1
        try:
            with unreadable(self.path):
                scan = pl.scan_parquet(self.path, glob=False).select(wanted)
                while done < end or done == first_row - 1:
                    # To the end of its row group, so that each is read once.
                    height = min(step - done % step, max(end - done, 0))
                    frame = scan.slice(done, height).collect(engine="streaming")
                    if frame.height != height:
                        raise self._damaged(f"it ends after row {done + frame.height:,} of {self.rows:,}")
                    yield frame
                    done += max(height, 1)
        except pl.exceptions.PolarsError as error:
            raise self._damaged(str(error).partition("\n")[0]) from None

    def _damaged(self, reason: str) -> BulkcertError:
        message = f"{self.path}: the pinned list cannot be read: {reason}"
        return BulkcertError(ExitStatus.INPUT_UNREADABLE, message, "Run over the list again, with other results.")


def annotated(
    pinned: PinnedList,
    settled: pl.DataFrame = NONE_SETTLED,
    protected_by: str = "",
    *,
    first_row: int = 1,
    last_row: int | None = None,
    own: bool = True,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pl.DataFrame]:
    """Yields the rows of a pinned list in order: their own columns as they are, and ours with them.

    There is at least one batch; where there are no rows it is empty. An empty CSV field is null, a quoted empty
    one an empty text; an NDJSON key that is missing is null. The iterator may be advanced by any thread, one at
    a time, and closed early.

    Args:
        pinned: The list.
        settled: Its rows that are not called (see ``Check.settled``), those of other rows may be missing.
        protected_by: Name of the list that protects rows.
        first_row: Number of the first row that is wanted.
        last_row: Number of the last one; None for all.
        own: Whether the list's own columns are wanted, or those of the serials alone.
        batch_rows: Rows of a batch at most.

    Raises:
        BulkcertError: INPUT_UNREADABLE.
    """
    done = first_row - 1
    for frame in pinned.frames(first_row, last_row, own=own):
        for batch in frame.iter_slices(batch_rows) if frame.height else (frame,):
            notes = _notes(pinned, settled, protected_by, batch, done)
            yield _annotate(pinned, batch, done, notes, own=own)
            done += batch.height


def _annotate(pinned: PinnedList, frame: pl.DataFrame, done: int, notes: pl.DataFrame, *, own: bool) -> pl.DataFrame:
    rows = pl.int_range(done + 1, done + frame.height + 1, dtype=pl.UInt32, eager=True).alias(ROW)
    named = {pinned.device_column: DEVICE_SN, pinned.ca_column: CA_SN}
    keys = frame.select(pl.col(column).cast(pl.String).alias(named[column]) for column in pinned.key_columns)
    ours = [rows, *keys]
    whole = frame.hstack(ours) if own else pl.DataFrame(ours)
    return whole.join(notes, on=ROW, how="left", maintain_order="left")


def _notes(
    pinned: PinnedList, settled: pl.DataFrame, protected_by: str, frame: pl.DataFrame, done: int
) -> pl.DataFrame:
    """Returns what is to be said of those of some rows that are not called."""
    bounds = settled["row"].search_sorted(pl.Series([done + 1, done + frame.height + 1], dtype=pl.UInt32))
    found = reasons(pinned, settled[bounds[0] : bounds[1]], protected_by)
    return found.select(
        pl.col("row").alias(ROW),
        pl.col("outcome").alias(OUTCOME),
        pl.col("why").alias(MESSAGE),
        pl.col("first_row").alias(FIRST_ROW),
    )


def reasons(pinned: PinnedList, settled: pl.DataFrame, protected_by: str) -> pl.DataFrame:
    """Returns why rows are not called: ``row``, ``outcome``, ``first_row`` and ``why``, in words.

    Args:
        pinned: The list.
        settled: The rows (see ``Check.settled``).
        protected_by: Name of the list that protects rows.
    """
    return settled.select(
        "row",
        pl.when(pl.col("fault") == 0)
        .then(pl.lit("duplicate"))
        .when(pl.col("fault") >= PROTECTED_DEVICE)
        .then(pl.lit("protected"))
        .otherwise(pl.lit("invalid"))
        .alias("outcome"),
        "first_row",
        _message(pinned, protected_by).alias("why"),
    )


def _message(pinned: PinnedList, protected_by: str) -> pl.Expr:
    """Returns what to report of a settled row, from its ``fault`` and ``first_row``."""
    device, ca = pl.col("fault").floordiv(FAULTS), pl.col("fault") % FAULTS
    words = {int(fault): reason for fault, reason in REASONS.items()}
    reasons = [
        pl.format("{} {}", pl.lit(column), fault.replace_strict(words, default=None, return_dtype=pl.String))
        for column, fault in ((pinned.device_column, device), (pinned.ca_column, ca))
        if column is not None
    ]
    what = "CA" if pinned.device_column is None else "pair"
    same = pl.format(f"same {what} as row {{}}", pl.col("first_row"))
    by_device = pl.col("fault") == PROTECTED_DEVICE
    column = pl.when(by_device).then(pl.lit(pinned.device_column)).otherwise(pl.lit(pinned.ca_column))
    return (
        pl.when(pl.col("fault") == 0)
        .then(same)
        .when(pl.col("fault") >= PROTECTED_DEVICE)
        .then(pl.format("{} is protected by {}", column, pl.lit(protected_by)))
        .otherwise(pl.concat_str(reasons, separator="; ", ignore_nulls=True))
    )
