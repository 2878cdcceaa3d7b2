"""How far a run is: counted by the engine, read by whoever shows it."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from bulkcert.engine.figures import LATENCY_BOUNDS_S, Counts, LaneState, LastError
from bulkcert.engine.listing import Listing
from bulkcert.engine.outage import Outage
from bulkcert.engine.pacer import SendWindow
from bulkcert.engine.slow_down import SlowDown
from bulkcert.errors import ExitStatus
from bulkcert.service.client import Response
from bulkcert.store.outcome import Outcome


class Stop(msgspec.Struct, frozen=True):
    """Why a run ends before all its rows are called.

    Attributes:
        status: The exit status.
        message: What happened.
        advice: What to do next.
        code: The service's code that ends it, as in ``codes``; empty for any other reason.
    """

    status: ExitStatus
    message: str
    advice: str = ""
    code: str = ""


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
    paging: Sequence[Listing] = ()
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
            count, row = (before.count, before.row) if before else (0, 0)
            self.errors[code] = LastError(code, answer.message, at, answer.request_id, count + 1, row)
