"""Time to containment: when so many certificates were in the wanted state, from the start of the run."""

import math

import polars as pl

from bulkcert.batch.outcome import WANTED, Outcome
from bulkcert.batch.summary import utc
from bulkcert.report.figures import Containment, Milestone

_POINTS = 300
_SHARES = (("half", 0.5), ("99 %", 0.99))


def containment_of(rows: pl.DataFrame, began: int | None) -> Containment:
    """Returns when how many certificates of the list were in the wanted state.

    Args:
        rows: All rows, with ``outcome`` and ``finished_at`` in Unix milliseconds.
        began: Start of the run, Unix milliseconds; None if no file tells it, then the first time in the rows counts.
    """
    certificates = rows.filter(pl.col("outcome") != Outcome.DUPLICATE).height
    wanted = rows.filter(pl.col("outcome").is_in([str(outcome) for outcome in WANTED]))
    times = wanted["finished_at"].drop_nulls().sort()
    first = rows.select(pl.min_horizontal(pl.col("sent_at").min(), pl.col("finished_at").min())).item()
    since = first if began is None else began
    reached = wanted.height

    def milestone(name: str, count: int) -> Milestone:
        # Rows without a time, as none should be, were not later than the last one with a time.
        at = times[min(count, len(times)) - 1] if 0 < count <= reached and len(times) else None
        return Milestone(
            name,
            count,
            None if at is None else utc(at / 1000),
            None if at is None or since is None else max(0, at - since) / 1000,
        )

    milestones = [milestone("first", 1)] if certificates else []
    milestones += [milestone(name, math.ceil(share * certificates)) for name, share in _SHARES if certificates]
    milestones += [milestone("last", reached)] if reached else []
    return Containment(
        since=None if since is None else utc(since / 1000),
        certificates=certificates,
        reached=reached,
        milestones=milestones,
        steps=_steps(times, since),
    )


def _steps(times: pl.Series, since: int | None) -> list[tuple[float, int]]:
    """Returns points of the curve: evenly many certificates apart, the first and the last one included."""
    if since is None or times.is_empty():
        return []
    count = len(times)
    ranks = sorted({1, count, *(round(number * count / _POINTS) for number in range(1, _POINTS))} - {0})
    return [(max(0, times[rank - 1] - since) / 1000, rank) for rank in ranks]
