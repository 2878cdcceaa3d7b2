"""Calls and latency over time: stretches with calls, cut into bins of equal width."""

import polars as pl

from bulkcert.output.summary import utc
from bulkcert.report.timing import Latency, Stretch

MOST_PARTS = 4
"""Stretches that are shown; the busiest ones."""
MOST_BINS = 300
"""Bins of all stretches together."""
SHORTEST_GAP_S = 60
"""Shortest time without a call that may end a stretch: an outage that the run sat out is part of it."""
GAP_SHARE = 0.25
"""Share of the seconds with calls that a gap must exceed as well, so that a long run is not cut into pieces."""
_WIDTHS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)


def parts_of(called: pl.DataFrame) -> tuple[list[Stretch], int]:
    """Returns the busiest stretches in order of time, and how many calls lie in the others.

    Args:
        called: Rows with a call: ``sent_at`` in Unix milliseconds and ``latency_ms``.
    """
    if called.is_empty():
        return [], 0
    second = called.with_columns(second=pl.col("sent_at") // 1000).sort("second")
    seconds = second["second"].unique(maintain_order=True)
    gap = max(SHORTEST_GAP_S, GAP_SHARE * len(seconds))
    stretch = (seconds.diff().fill_null(0) > gap).cum_sum().alias("stretch")
    placed = second.join(pl.DataFrame([seconds, stretch]), on="second", maintain_order="left")
    stretches = placed.group_by("stretch", maintain_order=True).agg(
        calls=pl.len(), first=pl.col("second").min(), last=pl.col("second").max()
    )
    shown = stretches.top_k(MOST_PARTS, by="calls").sort("stretch")
    width = _width(shown)
    parts = [_part(placed.filter(stretch=number), first, last, width) for number, _, first, last in shown.rows()]
    return parts, called.height - sum(part.calls for part in parts)


def _width(shown: pl.DataFrame) -> int:
    """Returns the smallest width of a bin, in seconds, that keeps to the number of bins."""
    lengths: list[int] = (shown["last"] - shown["first"] + 1).to_list()
    for width in _WIDTHS_S:
        if sum(-(-length // width) for length in lengths) <= MOST_BINS:
            return width
    return -(-sum(lengths) // (MOST_BINS - MOST_PARTS))


def _part(placed: pl.DataFrame, first: int, last: int, width: int) -> Stretch:
    bin_of = (pl.col("second") - first) // width
    by_second = placed.group_by("second").agg(pl.len())
    busiest = by_second.group_by(bin_of.alias("bin")).agg(worst=pl.col("len").max())
    binned = placed.group_by(bin_of.alias("bin")).agg(
        calls=pl.len(), p50=pl.col("latency_ms").quantile(0.5), p99=pl.col("latency_ms").quantile(0.99)
    )
    bins = pl.DataFrame({"bin": range((last - first) // width + 1)}, schema={"bin": pl.Int64})
    table = bins.join(binned.join(busiest, on="bin"), on="bin", how="left", maintain_order="left")
    # The last bin is seldom full: its mean is over the seconds that it has.
    spans = [min(width, last - first + 1 - number * width) for number in range(bins.height)]
    return Stretch(
        started=utc(first),
        bin_s=width,
        calls=placed.height,
        mean=[round(calls / span, 4) for calls, span in zip(table["calls"].fill_null(0), spans, strict=True)],
        worst=table["worst"].fill_null(0).to_list(),
        p50_ms=table["p50"].to_list(),
        p99_ms=table["p99"].to_list(),
    )


def latency_of(called: pl.DataFrame) -> Latency:
    """Returns the quantiles of the latencies of some rows."""
    latencies = called["latency_ms"].drop_nulls()
    return Latency(*(latencies.quantile(share) for share in (0, 0.5, 0.9, 0.99, 1)))
