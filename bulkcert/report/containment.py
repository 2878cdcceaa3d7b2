"""Time to containment: when so many certificates were in the desired state, from the start of the run."""

import math

import polars as pl

from bulkcert.output.summary import utc
from bulkcert.report.timing import Containment, Milestone
from bulkcert.store.outcome import DESIRED, Outcome

_POINTS = 300
_SHARES = (("half", 0.5), ("99 %", 0.99))


def containment_of(rows: pl.DataFrame, since: int) -> Containment:
    """Returns when how many certificates of the list were in the desired state.

    Args:
        rows: All rows, with ``outcome`` and ``finished_at`` in Unix milliseconds.
        since: Start of the run, Unix milliseconds.
    """
    certificates = int((rows["outcome"] != Outcome.DUPLICATE.value).sum())
    done = rows["outcome"].is_in([outcome.value for outcome in DESIRED])
    times = rows["finished_at"].filter(done).drop_nulls().sort()
    reached = int(done.sum())

    def milestone(name: str, count: int) -> Milestone:
        # Rows without a time, as none should be, were not later than the last one with a time.
        at = times[min(count, len(times)) - 1] if 0 < count <= reached and len(times) else None
        return Milestone(
            name,
            count,
            None if at is None else utc(at / 1000),
            None if at is None else max(0, at - since) / 1000,
        )

    milestones = [milestone("first", 1)] if certificates else []
    milestones += [milestone(name, math.ceil(share * certificates)) for name, share in _SHARES if certificates]
    milestones += [milestone("last", reached)] if reached else []
    return Containment(
        since=utc(since / 1000),
        certificates=certificates,
        reached=reached,
        milestones=milestones,
        steps=_steps(times, since),
    )


def _steps(times: pl.Series, since: int) -> list[tuple[float, int]]:
    """Returns points of the curve: evenly many certificates apart, the first and the last one included."""
    if times.is_empty():
        return []
    count = len(times)
    ranks = sorted({1, count, *(round(number * count / _POINTS) for number in range(1, _POINTS))} - {0})
    return [(max(0, times[rank - 1] - since) / 1000, rank) for rank in ranks]
