"""The results file: the input, row by row and in order, with what became of each row.

It is made from the input and the journal, streamed; it appears whole under its name or not at all.
"""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec
import polars as pl
import polars.selectors as cs
from polars.exceptions import PanicException

from bulkcert.batch.durable import make_durable, reason_of
from bulkcert.batch.index import Index
from bulkcert.batch.journal import Journal
from bulkcert.batch.lines import STATUSES
from bulkcert.batch.outcome import Outcome, Record
from bulkcert.batch.output import sink, write_table
from bulkcert.batch.source import CA_SN, DEVICE_SN, FIRST_ROW, MESSAGE, OUTCOME, OWN_PREFIX, ROW
from bulkcert.batch.totals import Totals
from bulkcert.errors import BulkcertError, ExitStatus

SUFFIXES = (".csv", ".parquet", ".ndjson")
"""Formats of a results file."""

RENAMED_PREFIX = "input_"
"""Put before the name of an input's own column that has the name of one of ours."""

_TIME = pl.Datetime("ms", "UTC")
_SCHEMA: dict[str, pl.DataType] = {
    "row": pl.UInt32(),
    "outcome": pl.String(),
    "code": pl.String(),
    "message": pl.String(),
    "http_status": pl.UInt16(),
    "request_id": pl.String(),
    "attempts": pl.UInt32(),
    "sent_at": pl.Int64(),
    "finished_at": pl.Int64(),
    "latency_ms": pl.Float64(),
}

COLUMNS = (*_SCHEMA, "prior_status")
"""What stands behind the input's own columns, in this order."""

VERIFIED_COLUMNS = ("verified_status", "verified_at")
"""What stands behind them once the results were verified."""


def write_results(
    path: Path, batches: Iterator[pl.DataFrame], journal: Journal, *, back: pl.Expr | None = None
) -> Totals:
    """Writes the results file, durable before it appears under its name.

    Args:
        path: Where; the suffix decides on the format.
        batches: The annotated input, in order (see ``source.annotated``).
        journal: Knows what became of the rows.
        back: Tells which rows an undo has taken back (see ``batch.taken_back``); None without an undo.

    Raises:
        BulkcertError: It cannot be written, or the input has changed.
    """
    totals = Totals(back=back)
    temporary = path.with_name(f".{path.name}.part")
    first = next(batches, None)
    if first is None:
        raise BulkcertError(ExitStatus.INTERNAL, "the input ended before its first batch")
    failure: list[BulkcertError] = []
    suffix = path.suffix.lower()

    def frames() -> Iterator[pl.DataFrame]:
        batch: pl.DataFrame | None = first
        try:
            while batch is not None:
                yield _with_outcomes(batch, journal, totals, suffix)
                batch = next(batches, None)
        except BulkcertError as error:
            failure.append(error)
            raise

    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        sink(frames(), _with_outcomes(first.clear(), journal, Totals(), suffix).schema, temporary)
        make_durable(temporary, path)
    except BaseException as error:
        # Whatever it is, a signal included: no half of a file is left.
        with suppress(OSError):
            temporary.unlink()
        if failure:
            raise failure[0] from error
        if not isinstance(error, (OSError, pl.exceptions.PolarsError)):
            raise
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"cannot write {path}: {reason_of(error)}",
            "Nothing is lost: the journal holds every outcome. Make room, then run the same command again.",
        ) from error
    return totals


def prove_columns(path: Path, batches: Iterator[pl.DataFrame], journal: Journal) -> None:
    """Proves before the first call that a file of these columns can be made; writes nothing.

    Args:
        path: The results file.
        batches: The annotated input; only the first row is used.
        journal: Knows what became of it.

    Raises:
        BulkcertError: It cannot.
    """
    suffix = path.suffix.lower()
    try:
        for batch in islice(batches, 1):
            write_table(_with_outcomes(batch.head(1), journal, Totals(), suffix).lazy(), suffix, io.BytesIO())
    except (pl.exceptions.PolarsError, PanicException) as error:
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"cannot write {path} with the columns of the input: {reason_of(error)}",
            "Nothing was called. Name results of another format with -o, or take what is nested out of the input.",
        ) from error


def _with_outcomes(batch: pl.DataFrame, journal: Journal, totals: Totals, suffix: str) -> pl.DataFrame:
    """Returns the input's own columns of a batch and the outcome columns beside them."""
    own = batch.select(pl.exclude(f"^{OWN_PREFIX}.*$"))
    own = own.rename(renamed(own.columns))
    notes = batch.select(row=ROW, noted=OUTCOME, note=MESSAGE)
    first, last = (int(batch[ROW][0]), int(batch[ROW][-1])) if batch.height else (1, 0)
    record = _records(journal.lines(first, last) if batch.height else b"")
    protected = notes.filter(noted=Outcome.PROTECTED.value)["row"]
    if len(protected):
        # A row that was called keeps what came of it, though a list protects it now.
        called = (pl.col("attempts") > 0) & (pl.col("outcome") != Outcome.NOT_ATTEMPTED)
        record = record.filter(called | ~pl.col("row").is_in(protected.implode()))
        kept = pl.col("noted").is_null() | ~pl.col("row").is_in(record["row"].implode())
        notes = notes.with_columns(pl.when(kept).then(pl.col("noted", "note")))
    outcomes = notes.join(record, on="row", how="left", maintain_order="left").select(
        "row",
        outcome=pl.coalesce("noted", "outcome", pl.lit(Outcome.NOT_ATTEMPTED.value)),
        code="code",
        message=pl.coalesce("note", "message"),
        http_status="http_status",
        request_id="request_id",
        attempts=pl.col("attempts").fill_null(0),
        sent_at="sent_at",
        finished_at="finished_at",
        latency_ms="latency_ms",
    )
    outcomes = outcomes.hstack(_seen(journal.index, first, last, batch[FIRST_ROW]))
    totals.add(outcomes, batch[DEVICE_SN if DEVICE_SN in batch.columns else CA_SN])
    times = cs.by_name("sent_at", "finished_at", "verified_at", require_all=False).cast(_TIME)
    if suffix != ".parquet":
        times = times.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        own = own.select(_as_text(name, kind, nested=suffix == ".ndjson") for name, kind in own.schema.items())
    return own.hstack(outcomes.with_columns(times))


def _seen(index: Index, first: int, last: int, first_rows: pl.Series) -> list[pl.Series]:
    """Returns what was seen of some rows before they were called, and after; a duplicate is what its first row is."""
    rows = pl.int_range(first, last + 1, eager=True)
    rows = pl.select(pl.coalesce(first_rows.cast(pl.Int64), rows)).to_series() if first_rows.len() else rows
    columns = [_statuses("prior_status", [index.prior[row] for row in rows])]
    if index.seen is not None:
        statuses, at = index.seen.statuses, index.seen.at
        columns.append(_statuses("verified_status", [statuses[row] for row in rows]))
        columns.append(pl.Series("verified_at", [at[row] or None for row in rows], dtype=pl.Int64))
    return columns


def _statuses(name: str, numbers: list[int]) -> pl.Series:
    return pl.Series(name, [STATUSES[number] for number in numbers], dtype=pl.String)


def renamed(own: Sequence[str]) -> dict[str, str]:
    """Returns new names for the input's own columns that have the name of one of ours."""
    taken, names = {*own, *COLUMNS, *VERIFIED_COLUMNS}, {}
    for name in own:
        if name in (*COLUMNS, *VERIFIED_COLUMNS):
            names[name] = RENAMED_PREFIX + name
            while names[name] in taken:
                names[name] = RENAMED_PREFIX + names[name]
            taken.add(names[name])
    return names


def _records(lines: bytes) -> pl.DataFrame:
    """Returns journal lines as a table, without codes and messages that are empty."""
    records = _decode_lines(lines)
    columns = {name: [getattr(record, name) for record in records] for name in _SCHEMA}
    texts = [name for name, kind in _SCHEMA.items() if kind == pl.String]
    times = pl.col("http_status", "sent_at", "finished_at")
    latency = pl.when(pl.col("attempts") > 0).then("latency_ms")
    table = pl.DataFrame(columns, schema=_SCHEMA)
    return table.with_columns(pl.col(texts).replace("", None), times.replace(0, None), latency)


_decode_lines = msgspec.json.Decoder(Record).decode_lines


def _as_text(name: str, kind: pl.DataType, *, nested: bool) -> pl.Expr:
    """Returns a column in a form that a text format can hold: what is nested becomes JSON unless the format is."""
    column = pl.col(name)
    if isinstance(kind, pl.Struct):
        return column if nested else column.struct.json_encode()
    if isinstance(kind, (pl.List, pl.Array)):
        text = pl.struct(column.alias("v")).struct.json_encode().str.strip_prefix('{"v":').str.strip_suffix("}")
        return column if nested else text.alias(name)
    if isinstance(kind, pl.Binary):
        return column.bin.encode("base64")
    if isinstance(kind, pl.Object):
        return column.cast(pl.String)
    return column
