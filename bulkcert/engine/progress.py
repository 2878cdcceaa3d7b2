"""How far a run is: counted by the engine, read by whoever shows it."""

import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bulkcert.engine.figures import LastError
from bulkcert.engine.outage import Outage
from bulkcert.engine.pacer import SendWindow, SlowDown
from bulkcert.errors import ExitStatus
from bulkcert.store.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Stop:
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


LATENCY_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the classes that latencies are counted in, in seconds."""


@dataclass(slots=True)
class Latencies:
    """How long answers took, counted in classes.

    Attributes:
        counts: Answers in each class of ``LATENCY_BOUNDS_S``, and behind them those that took longer.
        sum_s: Seconds that all took together.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Counts an answer."""
        self.counts[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class LastErrors:
    """Keeps for each code how often it came, and its newest answer."""

    def __init__(self) -> None:
        self._by_code: dict[str, LastError] = {}

    def note(self, code: str, message: str, request_id: str, at_ms: int) -> None:
        """Takes note of one answer, which came at a Unix time in milliseconds."""
        # Taken out and put back, so that the newest is the last.
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        error = self._by_code.pop(code, None) or LastError(code, message, at)
        error.message, error.request_id, error.at = message, request_id, at
        error.count += 1
        self._by_code[code] = error

    def ended(self, code: str, row: int) -> None:
        """Takes note that a row's outcome is due to a code."""
        if (error := self._by_code.get(code)) is not None:
            error.row = row

    def newest(self, most: int) -> list[LastError]:
        """Returns the newest, one for each code, the latest first."""
        return list(reversed(self._by_code.values()))[:most]


@dataclass(slots=True)
class LaneProgress:
    """What one lane has done so far in this session.

    Attributes:
        in_flight: Calls that wait for an answer.
        window: When requests were sent.
    """

    in_flight: int = 0
    window: SendWindow = field(default_factory=SendWindow)


@dataclass(slots=True)
class Progress:
    """What has happened so far in this session; what it shares with ``figures.Stats`` is explained there."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    replaced: Counter[Outcome] = field(default_factory=Counter)
    """Outcomes that an undo has put others in the place of."""
    codes: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    lanes: list[LaneProgress] = field(default_factory=list)
    """Each lane, in the order of the source addresses."""
    preflight_over: bool = False
    """Whether states were read before the first call, or the run continues without; from then on calls may be made."""
    reading: bool = False
    """Whether states are being read, before or after the calls that change them."""
    next_scan_at: float = 0.0
    """Until when a watch sleeps between two scans, monotonic time in seconds; 0 while it does not sleep."""
    watched_until: float = 0.0
    """When that watch is over, Unix time in seconds."""
    scans: int = 0
    pages: int = 0
    reads: int = 0
    retries: int = 0
    throttles: int = 0
    throttle_code: str = ""
    retry_after_s: float = 0.0
    latencies: Latencies = field(default_factory=Latencies)
    """Of all attempts, those without an answer included."""
    sends: SendWindow = field(default_factory=SendWindow)
    slow_down: SlowDown = field(default_factory=SlowDown)
    outage: Outage = field(default_factory=lambda: Outage(time.monotonic()))
    unread_because: str = ""
    last_error: str = ""
    errors: LastErrors = field(default_factory=LastErrors)
    stop: Stop | None = None
