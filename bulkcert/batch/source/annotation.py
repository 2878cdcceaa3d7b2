"""Every pass after the check: the input again, in batches that say which rows may be called."""

from collections.abc import Iterator

import polars as pl

from bulkcert.batch.source.checked import PROTECTED_DEVICE, Check
from bulkcert.batch.source.parts import read_parts
from bulkcert.batch.source.serials import FAULTS, REASONS
from bulkcert.batch.source.table import OWN_PREFIX, Source
from bulkcert.errors import BulkcertError

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

BATCH_ROWS = 32_768
"""Rows of an annotated batch at most."""


def annotated(source: Source, check: Check, *, batch_rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
    """Reads the input again, in order: its own columns as they are, and ours beside them.

    There is at least one batch; where the input has no rows it is empty. An empty CSV field is null, a quoted empty
    one an empty text; an NDJSON key that is missing is null. The iterator may be advanced by any thread, one at
    a time, and closed early.

    Args:
        source: The input.
        check: What the check of this very input found.
        batch_rows: Rows of a batch at most.

    Raises:
        BulkcertError: INPUT_INVALID: the file is not the one that was checked; INPUT_UNREADABLE.
    """
    source.confirm_unchanged()
    done = 0
    try:
        for part in read_parts(source):
            for frame in part.frame.iter_slices(batch_rows) if part.frame.height else (part.frame,):
                yield _annotate(source, check, frame, done)
                done += frame.height
    except BulkcertError:
        source.confirm_unchanged()
        raise
    source.confirm_unchanged()
    if done != check.rows:
        raise source.changed()


def _annotate(source: Source, check: Check, frame: pl.DataFrame, done: int) -> pl.DataFrame:
    rows = pl.int_range(done + 1, done + frame.height + 1, dtype=pl.UInt32, eager=True).alias(ROW)
    bounds = check.settled["row"].search_sorted(pl.Series([done + 1, done + frame.height + 1], dtype=pl.UInt32))
    settled = check.settled[bounds[0] : bounds[1]].select(
        pl.col("row").alias(ROW),
        pl.when(pl.col("fault") == 0)
        .then(pl.lit("duplicate"))
        .when(pl.col("fault") >= PROTECTED_DEVICE)
        .then(pl.lit("protected"))
        .otherwise(pl.lit("invalid"))
        .alias(OUTCOME),
        _message(source, check.protected_by).alias(MESSAGE),
        pl.col("first_row").alias(FIRST_ROW),
    )
    named = {source.device_column: DEVICE_SN, source.ca_column: CA_SN}
    own = source.keys(frame).select(pl.col(column).alias(named[column]) for column in source.key_columns)
    return frame.hstack([rows, *own]).join(settled, on=ROW, how="left", maintain_order="left")


def _message(source: Source, protected_by: str) -> pl.Expr:
    """Returns what to tell of a settled row, from its ``fault`` and ``first_row``."""
    device, ca = pl.col("fault").floordiv(FAULTS), pl.col("fault") % FAULTS
    words = {int(fault): reason for fault, reason in REASONS.items()}
    told = [
        pl.format("{} {}", pl.lit(column), fault.replace_strict(words, default=None, return_dtype=pl.String))
        for column, fault in ((source.device_column, device), (source.ca_column, ca))
        if column is not None
    ]
    what = "CA" if source.device_column is None else "pair"
    same = pl.format(f"same {what} as row {{}}", pl.col("first_row"))
    by_device = pl.col("fault") == PROTECTED_DEVICE
    column = pl.when(by_device).then(pl.lit(source.device_column)).otherwise(pl.lit(source.ca_column))
    return (
        pl.when(pl.col("fault") == 0)
        .then(same)
        .when(pl.col("fault") >= PROTECTED_DEVICE)
        .then(pl.format("{} is protected by {}", column, pl.lit(protected_by)))
        .otherwise(pl.concat_str(told, separator="; ", ignore_nulls=True))
    )
