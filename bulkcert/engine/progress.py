"""How far a session is: counted by the engine, and taken whole, as ``Stats``, by all who show it."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Sequence
from copy import copy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import msgspec

from bulkcert.engine.failures import Outage, Stop
from bulkcert.engine.figures import LATENCY_BOUNDS_S, Counts, LaneState, LastError, Phase, Stats
from bulkcert.engine.pacer import SendWindow
from bulkcert.engine.slow_down import SlowDown
from bulkcert.engine.target import Target
from bulkcert.service.client import Response
from bulkcert.store.outcome import Outcome
from bulkcert.words import about, in_utc

if TYPE_CHECKING:
    from bulkcert.engine.listing import Listing


MOST_CODES = 200
"""Codes that are counted each for itself: whoever answers may think of any number, and each is a label of a metric."""

OTHER_CODES = "other"


def counted_as(code: str, codes: Collection[str]) -> str:
    """Returns the name under which an answer with a code is counted next to those that have been."""
    return code if not code or code in codes or len(codes) < MOST_CODES else OTHER_CODES


class LaneProgress(msgspec.Struct):
    """What one lane has done so far in this session.

    Attributes:
        address: Its source address, or ``any``.
        in_flight: Calls that wait for an answer.
        window: When requests were sent.
    """

    address: str = "any"
    in_flight: int = 0
    window: SendWindow = msgspec.field(default_factory=SendWindow)

    def state(self, now: float) -> LaneState:
        """Returns what it does just now."""
        return LaneState(self.address, self.window.recent_rate(now), self.in_flight)


class LaneActivity(Protocol):
    """What one lane does, here or on another machine."""

    def state(self, now: float) -> LaneState:
        """Returns what it does just now; ``now`` is in monotonic seconds."""


class Progress(Counts, kw_only=True):
    """What has happened so far in this session.

    Attributes:
        outcomes: Rows that it has done, by outcome.
        replaced: Outcomes that an undo has put others in the place of.
        errors: The newest error of each code, the latest last.
        lanes: Each lane, in the order of the source addresses.
        waiting_for: What keeps all lanes from calling; empty unless something does.
        sends: When requests were sent.
        slow_down: How much of the limits may be used.
        outages: Whether the service answers, at each of its endpoints.
        paused_by: Who has paused it, and since when, in words; empty unless it is paused.
        preflight_over: Whether states were read before the first call, or the run continues without; from then on calls
            may be made.
        paging: Listings that are being read, once all are begun; else none.
        next_scan_at: Until when a watch sleeps between two scans, monotonic time in seconds; 0 while it does not sleep.
        watched_until: When that watch is over, Unix time in seconds.
        stop: Why nothing more is sent, or None.
    """

    outcomes: Counter[Outcome] = msgspec.field(default_factory=Counter)
    replaced: Counter[Outcome] = msgspec.field(default_factory=Counter)
    errors: dict[str, LastError] = msgspec.field(default_factory=dict)
    lanes: list[LaneActivity] = msgspec.field(default_factory=list)
    sends: SendWindow = msgspec.field(default_factory=SendWindow)
    slow_down: SlowDown = msgspec.field(default_factory=SlowDown)
    outages: list[Outage] = msgspec.field(default_factory=lambda: [Outage(time.monotonic())])
    paused_by: str = ""
    waiting_for: str = ""
    preflight_over: bool = False
    paging: "Sequence[Listing]" = ()
    next_scan_at: float = 0.0
    watched_until: float = 0.0
    stop: Stop | None = None

    @property
    def outage(self) -> Outage:
        """Whether it answers: of several endpoints one that seems to be silent, if one does."""
        return next((each for each in self.outages if each.ongoing), self.outages[0])

    def count(self, answer: Response) -> None:
        """Takes note of the answer to one attempt, or that there was none."""
        self.latency_counts[bisect_left(LATENCY_BOUNDS_S, answer.latency_ms / 1000)] += 1
        self.latency_sum_s += answer.latency_ms / 1000
        if answer.code:
            code = counted_as(answer.code, self.codes)
            self.codes[code] += 1
            self.last_error = f"{answer.code}: {answer.message}"
            # Taken out and put back, so that the newest is the last.
            before, at = self.errors.pop(code, None), datetime.fromtimestamp(answer.finished_at / 1000, UTC)
            row = before.row if before else 0
            self.errors[code] = LastError(code, answer.message, at, answer.request_id, self.codes[code], row)


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
        unchanged = progress.outcomes[Outcome.UNCHANGED] if self._limited else 0
        done_now, phase = progress.outcomes.total() - unchanged, self._phase()
        outcomes, done = self._done(done_now)
        return Stats(
            **{name: copy(getattr(progress, name)) for name in Counts.__struct_fields__},
            phase=phase,
            rows=self._rows,
            done=done,
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
            left_s=self._left_s(now, phase, done_now),
            errors=list(reversed(progress.errors.values()))[:ERRORS_KEPT],
            stop=progress.stop.message if progress.stop else "",
            stop_status=progress.stop.status if progress.stop else None,
            to_page=progress.pages + pages_left if progress.paging and (pages_left := self._pages_left()) else 0,
        )

    def _done(self, done_now: int) -> tuple[Counter[Outcome], int]:
        """Returns the rows done in all sessions, by outcome and how many; a verification has no outcomes."""
        if self._kind == "verifying":
            return Counter(), done_now
        now = self.progress.outcomes
        if self._kind == "undoing":
            # What could not be changed back keeps the outcome that it has.
            now = Counter({Outcome.UNDONE: now[Outcome.UNDONE]})
            return self._settled + now - self.progress.replaced, self._settled[Outcome.UNDONE] + done_now
        outcomes = self._settled + now - self.progress.replaced
        return outcomes, min(outcomes.total(), self._rows)

    def _phase(self) -> Phase:
        if self.progress.stop is not None:
            return "stopping"
        if self.progress.paused_by:
            return "paused"
        return "reading states" if self._kind == "calling" and not self.progress.preflight_over else self._kind

    def _left_s(self, now: float, phase: Phase, done_now: int) -> float | None:
        """Returns how long the calls that are left will take, or the reads if it reads, in seconds."""
        progress = self.progress
        if phase in ("reading states", "paused"):
            self._calling_since = None
        is_foreseen = progress.to_read or progress.paging
        if phase in ("reading states", "verifying") and is_foreseen and not progress.outage.ongoing:
            pages = self._pages_left()
            return None if pages is None else (pages + max(0, progress.to_read - progress.reads)) / self._service.rate
        if phase != self._kind or phase == "verifying" or progress.outage.ongoing:
            return None
        called, limit = progress.outcomes.total() - progress.outcomes[Outcome.UNCHANGED], self._service.rate
        if self._calling_since is None:
            self._calling_since, self._called_before = now, called
        left, elapsed = max(0, self._to_call - done_now), now - self._calling_since
        if elapsed < RATE_AFTER_S:
            return left / limit
        return left / (min(limit, (called - self._called_before) / elapsed) or limit)

    def _pages_left(self) -> int | None:
        """Returns how many pages are still to come, at most; None where that is not known."""
        left = [listing.left for listing in self.progress.paging]
        return None if None in left else sum(each or 0 for each in left)

    def _waiting_for(self, now: float) -> str:
        """Returns what keeps the session from going faster."""
        progress, outage, slow_down = self.progress, self.progress.outage, self.progress.slow_down
        if progress.stop is not None:
            return f"stopping ({progress.stop.message}): waiting for {progress.in_flight} calls in flight"
        if progress.paused_by or progress.waiting_for:
            return f"PAUSED by {progress.paused_by}" if progress.paused_by else progress.waiting_for
        if outage.ongoing:
            return f"no answer for {now - outage.since:.0f} s: waiting for the service ({progress.last_error})"
        if (sleeps := progress.next_scan_at - now) > 0:
            return f"next check in {about(sleeps)}, until {in_utc(progress.watched_until)}"
        if (pause := slow_down.paused_until - now) > 0:
            return f"throttled: pausing {pause:.1f} s as the service asks"
        if (factor := slow_down.factor(now)) < 1:
            reason = "throttled" if progress.throttles else "after an outage"
            limited = f"{reason}: at {factor:.0%} of the limit, rising"
        elif progress.in_flight >= self._service.workers * len(self._service.addresses):
            limited = f"all {progress.in_flight} workers wait for answers"
        else:
            limited = f"limited to {self._service.rate:.0f}/s"
        return limited


def _named(outcomes: Counter[Outcome]) -> dict[str, int]:
    return {outcome.value: outcomes[outcome] for outcome in Outcome if outcomes[outcome]}
