"""What a session does right now: every figure of it, made in one place and taken whole by all who show it."""

import time
from collections import Counter
from copy import copy
from datetime import UTC, datetime

from bulkcert.engine.figures import Counts, Phase, Stats
from bulkcert.engine.limits import Target
from bulkcert.engine.progress import Progress
from bulkcert.store.outcome import Outcome
from bulkcert.words import about

ERRORS_KEPT = 5
"""Codes whose newest error is kept."""

RATE_AFTER_S = 5.0
"""Before that, the rows done so far say nothing about how long the others will take."""


class StatsMaker:
    """Makes the figures of one session.

    Args:
        progress: What it does.
        kind: Phase in which it calls.
        service: How it is called.
        rows: Rows of the list, if there is one; of an undo, those that the run has changed.
        settled: Rows that earlier sessions have done, by outcome; none where it verifies.
        to_call: Rows that it calls at most.
        limited: Whether it makes no more than so many calls, so that what needs none does not count.
    """

    def __init__(
        self,
        progress: Progress,
        kind: Phase,
        service: Target,
        *,
        rows: int = 0,
        settled: Counter[Outcome] | None = None,
        to_call: int = 0,
        limited: bool = False,
    ) -> None:
        self.progress = progress
        self._kind = kind
        self._service = service
        self._rows = rows
        self._settled = settled or Counter()
        self._to_call = to_call
        self._limited = limited
        self._began = time.monotonic()
        self._calling_since: float | None = None
        self._called_before = 0

    def change(self, service: Target) -> None:
        """Takes note that the service is called at another rate from now on."""
        self._service, self._calling_since = service, None

    def take(self) -> Stats:
        """Returns what the session does now."""
        progress, service, now = self.progress, self._service, time.monotonic()
        outcomes, done_now = self._outcomes(), self._done_now()
        return Stats(
            **{name: copy(getattr(progress, name)) for name in Counts.__struct_fields__},
            phase=self._phase(),
            rows=self._rows,
            done=self._done(outcomes, done_now),
            outcomes=_named(outcomes),
            to_call=self._to_call,
            done_now=done_now,
            outcomes_now=_named(progress.outcomes),
            calls=progress.sends.sends,
            rate=progress.sends.recent_rate(now),
            achieved_rate=round(progress.sends.rate(), 1),
            peak_window=progress.sends.worst,
            limit=round(service.rate, 1),
            caps={"account": service.account_cap, "address": service.address_cap, "lane": service.lane_cap},
            factor=round(progress.slow_down.factor(now), 3),
            paused_s=round(max(0.0, progress.slow_down.paused_until - now), 1),
            lanes=[lane.state(now) for lane in progress.lanes],
            outage_s=round(now - progress.outage.since, 1) if progress.outage.ongoing else 0.0,
            outages=sum(each.count for each in progress.outages),
            waiting_for=self._waiting_for(now),
            elapsed_s=round(now - self._began, 1),
            left_s=self._left_s(now),
            errors=list(reversed(progress.errors.values()))[:ERRORS_KEPT],
            stop=progress.stop.message if progress.stop else "",
            stop_status=progress.stop.status if progress.stop else None,
            to_page=progress.pages + pages_left if progress.paging and (pages_left := self._pages_left()) else 0,
        )

    def _outcomes(self) -> Counter[Outcome]:
        """Returns the rows that are done by outcome, over all sessions; a verification has none."""
        if self._kind == "verifying":
            return Counter()
        now = self.progress.outcomes
        if self._kind == "undoing":
            # What could not be changed back keeps the outcome that it has.
            now = Counter({Outcome.UNDONE: now[Outcome.UNDONE]})
        return self._settled + now - self.progress.replaced

    def _done(self, outcomes: Counter[Outcome], done_now: int) -> int:
        if self._kind == "verifying":
            return done_now
        if self._kind == "undoing":
            return self._settled[Outcome.UNDONE] + done_now
        return min(outcomes.total(), self._rows)

    def _done_now(self) -> int:
        unchanged = self.progress.outcomes[Outcome.UNCHANGED] if self._limited else 0
        return self.progress.outcomes.total() - unchanged

    def _phase(self) -> Phase:
        if self.progress.stop is not None:
            return "stopping"
        if self.progress.paused_by:
            return "paused"
        reading = self._kind == "calling" and (self.progress.reading or not self.progress.preflight_over)
        return "reading states" if reading else self._kind

    def _left_s(self, now: float) -> float | None:
        """Returns how long the calls that are left will take, or the reads if it reads, in seconds."""
        phase, progress = self._phase(), self.progress
        if phase in ("reading states", "paused"):
            self._calling_since = None
        is_foreseen = progress.to_read or progress.paging
        if phase in ("reading states", "verifying") and is_foreseen and not progress.outage.ongoing:
            pages = self._pages_left()
            return None if pages is None else (pages + max(0, progress.to_read - progress.reads)) / self._service.rate
        if phase != self._kind or phase == "verifying" or progress.outage.ongoing:
            return None
        called, limit = self.progress.outcomes.total() - self.progress.outcomes[Outcome.UNCHANGED], self._service.rate
        if self._calling_since is None:
            self._calling_since, self._called_before = now, called
        left, elapsed = max(0, self._to_call - self._done_now()), now - self._calling_since
        if elapsed < RATE_AFTER_S:
            return left / limit
        return left / (min(limit, (called - self._called_before) / elapsed) or limit)

    def _pages_left(self) -> int | None:
        """Returns how many pages are still to come, at most; None where that is not known."""
        left = [listing.left for listing in self.progress.paging]
        return None if None in left else sum(each or 0 for each in left)

    def _waiting_for(self, now: float) -> str:
        """Returns what keeps the session from going faster."""
        progress, outage = self.progress, self.progress.outage
        if progress.stop is not None:
            return f"stopping ({progress.stop.message}): waiting for {progress.in_flight} calls in flight"
        if progress.paused_by or progress.waiting_for:
            return f"PAUSED by {progress.paused_by}" if progress.paused_by else progress.waiting_for
        if outage.ongoing:
            return f"no answer for {now - outage.since:.0f} s: waiting for the service ({progress.last_error})"
        if (sleeps := progress.next_scan_at - now) > 0:
            until = datetime.fromtimestamp(progress.watched_until, UTC)
            return f"next check in {about(sleeps)}, until {until:%Y-%m-%dT%H:%M:%SZ}"
        if slowed := self._slowed(now):
            return slowed
        waits = progress.in_flight >= self._service.workers * len(self._service.addresses)
        return (
            f"all {progress.in_flight} workers wait for answers" if waits else f"limited to {self._service.rate:.0f}/s"
        )

    def _slowed(self, now: float) -> str:
        """Returns why less than the limit may be used; empty where all of it may."""
        slow_down = self.progress.slow_down
        if (pause := slow_down.paused_until - now) > 0:
            return f"throttled: pausing {pause:.1f} s as the service asks"
        if (factor := slow_down.factor(now)) < 1:
            reason = "throttled" if self.progress.throttles else "after an outage"
            return f"{reason}: at {factor:.0%} of the limit, rising"
        return ""


def _named(outcomes: Counter[Outcome]) -> dict[str, int]:
    return {outcome.value: outcomes[outcome] for outcome in Outcome if outcomes[outcome]}
