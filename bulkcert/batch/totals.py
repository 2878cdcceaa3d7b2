"""What results add up to, counted while they are written."""

from collections import Counter
from dataclasses import dataclass, field

import msgspec
import polars as pl

from bulkcert.batch.outcome import WANTED, Outcome
from bulkcert.batch.summary import Kind


@dataclass(slots=True)
class Totals:
    """What the results add up to, over all sessions of the run.

    Attributes:
        rows: Rows in the file.
        outcomes: Rows by outcome.
        codes: Rows by the code of their last answer.
        kinds: Rows by both, with one of each, in order of first appearance.
        attempts: Calls that the newest outcomes took.
        latencies: Latency of the last attempt of each called row, in milliseconds.
        back: Tells of a row whether an undo has taken it back and it was not done again; None without an undo.
        standing: Rows of which it tells so.
    """

    rows: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    kinds: dict[tuple[str, str], Kind] = field(default_factory=dict)
    attempts: int = 0
    latencies: list[pl.Series] = field(default_factory=list)
    back: pl.Expr | None = None
    standing: int = 0

    def add(self, batch: pl.DataFrame, serials: pl.Series) -> None:
        """Takes in the outcome columns of a batch, before its times are made readable.

        Args:
            batch: The columns, as in ``results.COLUMNS``, and ``results.VERIFIED_COLUMNS`` if anything was seen.
            serials: Of each row, what the action calls.
        """
        self.rows += batch.height
        self.outcomes.update(dict(batch["outcome"].value_counts().rows()))
        self.codes.update(dict(batch["code"].drop_nulls().value_counts().rows()))
        self._add_kinds(batch.with_columns(serials.alias("serial")))
        called = batch.filter(pl.col("attempts") > 0)
        if called.height:
            self.attempts += int(called["attempts"].sum())
            self.latencies.append(called["latency_ms"].cast(pl.Float32))
        if self.back is not None:
            self.standing += int(batch.select(self.back.sum()).item())

    def _add_kinds(self, batch: pl.DataFrame) -> None:
        texts = pl.col("serial", "message", "request_id").first().fill_null("")
        kinds = batch.group_by("outcome", pl.col("code").fill_null(""), maintain_order=True)
        for kind in kinds.agg(pl.len(), pl.col("row").first(), texts).iter_rows():
            found = Kind(*kind)
            earlier = self.kinds.get((found.outcome, found.code))
            if earlier is not None:
                found = msgspec.structs.replace(earlier, rows=earlier.rows + found.rows)
            self.kinds[found.outcome, found.code] = found

    def latency_quantiles(self) -> dict[str, float | None]:
        """Returns the median and the 90th and 99th percentile of the latencies, in milliseconds; None without calls."""
        latencies = pl.concat(self.latencies) if self.latencies else pl.Series([], dtype=pl.Float32)
        found = {name: latencies.quantile(share) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))}
        return {name: None if value is None else round(value, 1) for name, value in found.items()}

    @property
    def all_wanted(self) -> bool:
        """Whether every row is in the wanted state, itself or as the duplicate of one that is."""
        # A duplicate's original is in the same file: where nothing else is left over, it is in the wanted state too.
        return sum(self.outcomes[outcome] for outcome in (*WANTED, Outcome.DUPLICATE)) == self.rows
