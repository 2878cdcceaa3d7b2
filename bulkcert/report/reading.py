"""Reading the results: a lazy table with our columns under their names, whatever the format, and what is kept of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bulkcert.batch.outcome import Outcome
from bulkcert.batch.results import COLUMNS, RENAMED_PREFIX, SUFFIXES, VERIFIED_COLUMNS
from bulkcert.batch.source.columns import find_column
from bulkcert.batch.source.reading import unreadable
from bulkcert.errors import BulkcertError, ExitStatus

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.3fZ"
_OUTCOMES = pl.Enum([outcome.value for outcome in Outcome])
_TEXT = pl.Categorical()


@dataclass(frozen=True, slots=True)
class Results:
    """Opened results.

    Attributes:
        path: The file.
        verified: Whether statuses were read back.
        rows: All rows with the columns ``row``, ``device``, ``ca`` and those of ``COLUMNS`` and ``VERIFIED_COLUMNS``;
            times in Unix milliseconds.
    """

    path: Path
    verified: bool
    rows: pl.LazyFrame

    def kept(self) -> pl.DataFrame:
        """Returns, in order, what every row comes to, without its texts: about 60 bytes a row.

        Raises:
            BulkcertError: INPUT_INVALID: not results; INPUT_UNREADABLE.
        """
        columns = self.rows.select(
            "row",
            "outcome",
            "attempts",
            "sent_at",
            "finished_at",
            "latency_ms",
            "verified_at",
            pl.col("code", "ca", "verified_status").cast(_TEXT),
        )
        with _readable(self.path):
            kept = columns.collect(engine="streaming")
        if kept["outcome"].null_count() or kept["row"].null_count():
            raise not_results(self.path, "some rows have no outcome")
        return kept

    def texts(self, rows: Sequence[int]) -> dict[int, dict[str, object]]:
        """Returns some rows with all of their columns, by number.

        Raises:
            BulkcertError: INPUT_INVALID, INPUT_UNREADABLE.
        """
        wanted = list(rows)
        with _readable(self.path):
            # A row's number is its place, so nothing behind the last one need be read; unless somebody has sorted them.
            found = self.rows.head(max(wanted)).filter(pl.col("row").is_in(wanted)).collect(engine="streaming")
            if found.height < len(wanted):
                found = self.rows.filter(pl.col("row").is_in(wanted)).collect(engine="streaming")
        return {row["row"]: row for row in found.iter_rows(named=True)}


def open_results(path: Path, *, by_device: bool, keys: Sequence[str]) -> Results:
    """Opens the results of a run.

    Args:
        path: The file.
        by_device: Whether a row means a device certificate.
        keys: Names of the key columns in the results; empty if they have to be looked for.

    Raises:
        BulkcertError: INPUT_UNREADABLE: missing or unreadable; INPUT_INVALID: not results.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise not_results(path, f"its name does not end in {', '.join(SUFFIXES)}")
    with unreadable(path), path.open("rb"):
        pass
    with _readable(path):
        columns = _columns(path)
    # An empty list was run: NDJSON has no names without rows.
    columns = columns or [*(keys or (("DeviceSn",) * by_device + ("CaSn",))), *COLUMNS]
    if missing := [name for name in COLUMNS if name not in columns]:
        raise not_results(path, f"it has no column {missing[0]}")
    own = [name for name in columns if name not in (*COLUMNS, *VERIFIED_COLUMNS)]
    device, ca = _keys(path, own, keys, by_device=by_device)
    verified = set(VERIFIED_COLUMNS) <= set(columns)
    ours = [*COLUMNS, *(VERIFIED_COLUMNS if verified else ())]
    with _readable(path):
        lazy = _scan(path, [*ours, *([device] if device else []), ca])
    return Results(path, verified, lazy.select(_selected(device, ca, verified=verified, kind=path.suffix.lower())))


def _selected(device: str | None, ca: str, *, verified: bool, kind: str) -> list[pl.Expr]:
    text = kind != ".parquet"
    nothing = pl.lit(None, dtype=pl.String)
    return [
        pl.col("row").cast(pl.UInt32),
        pl.col("outcome").cast(_OUTCOMES),
        pl.col("code", "message", "request_id").cast(pl.String),
        pl.col("http_status").cast(pl.UInt16),
        pl.col("attempts").cast(pl.UInt32),
        pl.col("latency_ms").cast(pl.Float64),
        _milliseconds("sent_at", text=text),
        _milliseconds("finished_at", text=text),
        (pl.col("verified_status").cast(pl.String) if verified else nothing).alias("verified_status"),
        _milliseconds("verified_at", text=text) if verified else nothing.cast(pl.Int64).alias("verified_at"),
        (pl.col(device).cast(pl.String) if device else nothing).alias("device"),
        pl.col(ca).cast(pl.String).alias("ca"),
    ]


def _columns(path: Path) -> list[str]:
    kind = path.suffix.lower()
    if kind == ".parquet":
        return pl.scan_parquet(path, glob=False).collect_schema().names()
    if kind == ".csv":
        return pl.scan_csv(path, infer_schema=False, glob=False).collect_schema().names()
    return pl.scan_ndjson(path, infer_schema_length=1).collect_schema().names() if path.stat().st_size else []


def _scan(path: Path, columns: Sequence[str]) -> pl.LazyFrame:
    """Returns the rows; where the format has no types, or fewer, everything is text until it is cast."""
    kind = path.suffix.lower()
    if kind == ".parquet":
        return pl.scan_parquet(path, glob=False)
    if kind == ".csv":
        return pl.scan_csv(path, infer_schema=False, glob=False)
    schema = dict.fromkeys(columns, pl.String())
    return pl.scan_ndjson(path, schema=schema) if path.stat().st_size else pl.LazyFrame(schema=schema)


def _milliseconds(name: str, *, text: bool) -> pl.Expr:
    at = pl.col(name).cast(pl.String).str.to_datetime(_TIME_FORMAT, time_unit="ms") if text else pl.col(name)
    return at.cast(pl.Datetime("ms")).cast(pl.Int64).alias(name)


def _keys(path: Path, own: Sequence[str], keys: Sequence[str], *, by_device: bool) -> tuple[str | None, str]:
    """Returns the columns of the device's serial, if there is one, and of the CA's."""
    named = [name if name in own else RENAMED_PREFIX + name for name in keys]
    if named and all(name in own for name in named):
        return (named[0] if by_device else None), named[-1]
    place = str(path)
    device = find_column(place, own, ("DeviceSn",), "the journal beside it") if by_device else None
    return device, find_column(place, own, ("CaSn",) if by_device else ("CaSn", "Sn"), "the journal beside it")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what reading a file as results can raise into an error for the user."""
    try:
        with unreadable(path):
            yield
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().partition("\n")[0]
        raise not_results(path, reason[:200]) from None


def not_results(path: Path, reason: str) -> BulkcertError:
    """Returns what to tell the user about a file that no run has written."""
    return BulkcertError(
        ExitStatus.INPUT_INVALID,
        f"{path} is not the results of a run: {reason}",
        "Name the file that run, undo or rehearse has written (its -o).",
    )
