"""The rows of a list that may be called: how every command opens its list, and how it reads it again."""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from bulkcert.actions import Action
from bulkcert.batch.outcome import Row
from bulkcert.batch.source import (
    CA_SN,
    DEVICE_SN,
    OUTCOME,
    ROW,
    Check,
    Source,
    check,
    open_protection,
    open_source,
)


def open_list(
    path: Path,
    action: Action,
    *,
    columns: tuple[str, str] = ("", ""),
    trust_serials: bool = False,
    protect: Path | None = None,
    lifts: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Source, Check]:
    """Reads a whole list once and checks every row.

    Args:
        path: The file.
        action: What is, or would be, asked for each row.
        columns: Those of the device's and the CA's serial, if they must not be looked for by their names.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.
        protect: List of what must not be touched, or None.
        lifts: Whether that list may be empty: nothing is protected any more.
        on_progress: Told the number of rows checked so far.

    Raises:
        BulkcertError: One of the files cannot be used. Invalid and protected rows are counted only.
    """
    protection = None
    if protect is not None:
        protection = open_protection(
            protect, by_device=action.by_device, trust_serials=trust_serials, may_be_empty=lifts
        )
    device_column, ca_column = columns
    source = open_source(
        path, by_device=action.by_device, device_column=device_column or None, ca_column=ca_column or None
    )
    checked = check(
        source,
        trust_serials=trust_serials,
        protection=protection,
        device_column=device_column or None,
        on_progress=on_progress,
    )
    return source, checked


def only_callable(batches: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yields of annotated batches the rows that may be called, in order."""
    return (batch.filter(pl.col(OUTCOME).is_null()) for batch in batches)


def as_rows(frames: Iterator[pl.DataFrame], action: Action) -> Iterator[list[Row]]:
    """Yields annotated rows as they are called, in order."""
    device = DEVICE_SN if action.by_device else pl.lit("").alias(DEVICE_SN)
    for frame in frames:
        yield [Row(*row) for row in frame.select(ROW, device, CA_SN).iter_rows()]
