"""What a session is waiting for, in words, for all who show it."""

from datetime import UTC, datetime

from bulkcert.batch.outcome import Outcome
from bulkcert.batch.progress import Progress
from bulkcert.words import about

RATE_AFTER_S = 5.0
"""Before that, the rows done so far say nothing about how long the others will take."""


def waiting_for(progress: Progress, now: float, *, rate: float, workers: int) -> str:
    """Returns what keeps a session from going faster.

    Args:
        progress: What it does.
        now: Monotonic time in seconds.
        rate: Calls per second that all lanes make together, at most.
        workers: Workers of all lanes together.
    """
    if progress.stop is not None:
        return f"stopping ({progress.stop.message}): waiting for {progress.in_flight} calls in flight"
    if progress.outage.ongoing:
        return f"no answer for {now - progress.outage.since:.0f} s: waiting for the service ({progress.last_error})"
    if (sleeps := progress.next_look_at - now) > 0:
        until = datetime.fromtimestamp(progress.watched_until, UTC)
        return f"next look in {about(sleeps)}, until {until:%Y-%m-%dT%H:%M:%SZ}"
    if slowed := _slowed(progress, now):
        return slowed
    if progress.in_flight >= workers:
        return f"all {progress.in_flight} workers wait for answers"
    return f"paced at {rate:.0f}/s"


def _slowed(progress: Progress, now: float) -> str:
    if (pause := progress.slow_down.paused_until - now) > 0:
        return f"throttled: pausing {pause:.1f} s as the service asks"
    if (factor := progress.slow_down.factor(now)) < 1:
        reason = "throttled" if progress.throttles else "after an outage"
        return f"{reason}: at {factor:.0%} of the cap, rising"
    return ""


def rows_done(progress: Progress, *, limited: bool) -> int:
    """Returns how many rows a session has done; what needs no call does not count against a limit of calls."""
    unchanged = progress.outcomes[Outcome.UNCHANGED] if limited else 0
    return progress.outcomes.total() - unchanged


def left_s(progress: Progress, total: int, elapsed_s: float, rate: float, *, limited: bool) -> float:
    """Returns how long the calls that are left will take, in seconds.

    Args:
        progress: What the session does.
        total: Rows that it does in all.
        elapsed_s: Seconds since the first call that changes something.
        rate: Calls per second that all lanes make together, at most.
        limited: Whether the session makes no more than so many calls.
    """
    left = max(0, total - rows_done(progress, limited=limited))
    if elapsed_s < RATE_AFTER_S:
        return left / rate
    return left / (min(rate, rows_done(progress, limited=True) / elapsed_s) or rate)
