"""Counting over time: when how many certificates were in the desired state, and calls in bins."""

import math

import msgspec
import polars as pl

from bulkcert.output.summary import utc
from bulkcert.store.outcome import DESIRED, Outcome

_POINTS = 300
MOST_BINS = 300
_WIDTHS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)


class CallsOverTime(msgspec.Struct, frozen=True):
    """Calls from the first to the last, in bins of equal width.

    Attributes:
        started: Beginning of the first bin.
        bin_s: Width of a bin, in whole seconds.
        mean: Calls per second in each bin.
        worst: Calls in the busiest second of each bin.
    """

    started: str
    bin_s: int
    mean: list[float]
    worst: list[int]


class Milestone(msgspec.Struct, frozen=True):
    """When so many certificates were in the desired state; ``at`` and ``after_s`` are null if that was not."""

    name: str
    certificates: int
    at: str | None
    after_s: float | None


class Containment(msgspec.Struct, frozen=True):
    """How long it took until certificates were in the desired state, as the outcomes of the run say.

    Attributes:
        since: Start of the run, from which it is measured.
        certificates: Certificates of the list: rows without duplicates.
        reached: Those that were in the desired state in the end.
        milestones: First, half, 99 % and last.
        steps: Points of the curve: seconds since the start, certificates.
    """

    since: str
    certificates: int
    reached: int
    milestones: list[Milestone]
    steps: list[tuple[float, int]]


class Exposure(msgspec.Struct, frozen=True):
    """How long certificates could be misused: from when a key has leaked until they were off, as far as is known now.

    Attributes:
        since: When it has leaked.
        certificates: Certificates of the list.
        off: Those that are off.
        milestones: Half of the list, 90 %, 99 % and all of it.
    """

    since: str
    certificates: int
    off: int
    milestones: list[Milestone]


def containment_of(rows: pl.DataFrame, since: int) -> Containment:
    """Returns when how many certificates of the list were in the desired state.

    Args:
        rows: All rows, with ``outcome`` and ``finished_at`` in Unix milliseconds.
        since: Start of the run, Unix milliseconds.
    """
    certificates = rows.filter(pl.col("outcome") != Outcome.DUPLICATE.value).height
    done = rows.filter(pl.col("outcome").is_in([outcome.value for outcome in DESIRED]))["finished_at"]
    reached, after = done.len(), (done.drop_nulls().sort() - since).clip(0)
    counts = {"first": 1, "half": math.ceil(certificates / 2), "99 %": math.ceil(0.99 * certificates), "last": reached}
    # Evenly many certificates apart, the first and the last one included.
    ranks = sorted({1, after.len(), *(round(number * after.len() / _POINTS) for number in range(1, _POINTS))} - {0})
    return Containment(
        since=utc(since / 1000),
        certificates=certificates,
        reached=reached,
        milestones=_milestones(counts if certificates else {}, reached, after, since),
        steps=[(after[rank - 1] / 1000, rank) for rank in ranks if after.len()],
    )


def exposure_of(rows: pl.DataFrame, since: int, desired: str) -> Exposure:
    """Returns how long certificates of the list could be misused.

    Args:
        rows: All rows, as for ``containment_of``, with ``verified`` and ``maybe_undone``.
        since: When their key has leaked, Unix milliseconds.
        desired: The status of a certificate that is off; what was read back otherwise, or perhaps undone, is not.
    """
    own = rows.filter(pl.col("outcome") != Outcome.DUPLICATE.value)
    is_off = pl.col("outcome").is_in([outcome.value for outcome in DESIRED]) & ~pl.col("maybe_undone")
    done = own.filter(is_off & (pl.col("verified").cast(pl.String).fill_null(desired) == desired))["finished_at"]
    counts = {f"{share} %": math.ceil(share * own.height / 100) for share in (50, 90, 99, 100)}
    after = done.drop_nulls().sort() - since
    return Exposure(utc(since / 1000), own.height, done.len(), _milestones(counts, done.len(), after, since))


def _milestones(counts: dict[str, int], reached: int, after: pl.Series, since: int) -> list[Milestone]:
    """Returns when so many certificates were reached, from how long after the start each was, in order."""

    def milestone(name: str, count: int) -> Milestone:
        # Rows without a time, as none should be, were not later than the last one with a time.
        if count > reached or after.is_empty():
            return Milestone(name, count, None, None)
        ms = after[min(count, after.len()) - 1]
        return Milestone(name, count, utc((since + ms) / 1000), ms / 1000)

    return [milestone(name, count) for name, count in counts.items() if count]


def over_time(called: pl.DataFrame) -> CallsOverTime:
    """Returns the rows with a call over time, by ``sent_at`` in Unix milliseconds; there must be some."""
    seconds = called.group_by(second=pl.col("sent_at") // 1000).agg(calls=pl.len()).sort("second")
    first, last = seconds["second"][0], seconds["second"][-1]
    width = next((each for each in _WIDTHS_S if last - first < each * MOST_BINS), _WIDTHS_S[-1])
    bins = pl.DataFrame({"bin": range((last - first) // width + 1)}, schema={"bin": pl.Int64})
    found = seconds.group_by(bin=(pl.col("second") - first) // width).agg(
        sent=pl.col("calls").sum(), worst=pl.col("calls").max()
    )
    # The last bin is seldom full: its mean is over the seconds that it has.
    span = pl.min_horizontal(pl.lit(width), last - first + 1 - pl.col("bin") * width)
    table = bins.join(found, on="bin", how="left", maintain_order="left").with_columns(
        pl.col("worst").fill_null(0), mean=(pl.col("sent").fill_null(0) / span).round(4)
    )
    return CallsOverTime(utc(first), width, table["mean"].to_list(), table["worst"].to_list())
