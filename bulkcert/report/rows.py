"""The rows of a run: what the store knows of each, with its CA from the pinned list; texts only of single rows."""

import sqlite3
from collections.abc import Sequence
from itertools import groupby

import polars as pl

from bulkcert.input import PinnedList
from bulkcert.output.summary import utc
from bulkcert.report.figures import Sample
from bulkcert.store import queries
from bulkcert.store.outcome import NEVER_CALLED, Outcome

_OUTCOMES = pl.Enum([outcome.value for outcome in Outcome])
_FIGURES = pl.Schema(
    {
        "row": pl.UInt32(),
        "outcome": _OUTCOMES,
        "code": pl.Categorical(),
        "attempts": pl.UInt32(),
        "sent_at": pl.Int64(),
        "finished_at": pl.Int64(),
        "latency_ms": pl.Float64(),
        "verified": pl.Categorical(),
        "verified_at": pl.Int64(),
    }
)
"""The columns of ``queries.figures``; times in Unix milliseconds."""


def rows_of(db: sqlite3.Connection, pinned: PinnedList) -> pl.DataFrame:
    """Returns all rows in order, about 60 bytes each.

    They have the columns of ``queries.figures``, ``ca``, and ``undo_at``: when an undo began that may have changed the
    row back without a trace; else null.

    Raises:
        BulkcertError: The pinned list cannot be read.
    """
    batches, last = [], 0
    for serials in pinned.frames(own=False):
        first, last = last + 1, last + serials.height
        found = pl.DataFrame(queries.figures(db, first, last), schema=_FIGURES, orient="row")
        row = pl.int_range(first, last + 1, dtype=pl.UInt32).alias("row")
        listed = serials.select(row, pl.col(pinned.ca_column).cast(pl.String).cast(pl.Categorical).alias("ca"))
        batches.append(listed.join(found, on="row", how="left", maintain_order="left"))
    undos = pl.DataFrame(queries.undos_in_doubt(db), schema={"row": pl.UInt32, "undo_at": pl.Int64}, orient="row")
    return (
        pl.concat(batches)
        .with_columns(
            pl.col("outcome").fill_null(pl.lit(Outcome.NOT_ATTEMPTED.value, _OUTCOMES)), pl.col("attempts").fill_null(0)
        )
        .join(undos, on="row", how="left", maintain_order="left")
    )


def samples_of(db: sqlite3.Connection, pinned: PinnedList, rows: Sequence[int]) -> dict[int, Sample]:
    """Returns some rows with their texts, by number.

    Raises:
        BulkcertError: The pinned list cannot be read.
    """
    samples = {}
    # Those that stand close together are read at once: a slice of the list costs as much as the group that it is in.
    for _, group in groupby(sorted(rows), key=lambda row: row // _CLOSE):
        numbers = list(group)
        first, last = numbers[0], numbers[-1]
        serials = pl.concat(pinned.frames(first, last, own=False)).cast(pl.String)
        for row in numbers:
            samples[row] = _sample(db, row, serials.row(row - first, named=True), pinned)
    return samples


_CLOSE = 100_000


def _sample(db: sqlite3.Connection, row: int, serials: dict[str, str | None], pinned: PinnedList) -> Sample:
    known = dict(zip(queries.WINDOW, next(iter(queries.window(db, row, row)), ()), strict=False))
    at, text = known.get("finished_at"), "why" if known.get("outcome") in NEVER_CALLED else "message"
    return Sample(
        row=row,
        device_sn=serials[pinned.device_column] or "" if pinned.device_column else "",
        ca_sn=serials[pinned.ca_column] or "",
        http_status=known.get("http_status"),  # type: ignore[arg-type]
        request_id=str(known.get("request_id") or ""),
        message=str(known.get(text) or ""),
        at=utc(at / 1000) if isinstance(at, int) else None,
    )
