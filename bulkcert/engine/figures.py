"""The live figures of a session as they are kept and shown; made in ``engine.progress``, and light to import."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec

Phase = Literal["reading states", "calling", "undoing", "verifying", "paused", "stopping"]


class LaneState(msgspec.Struct, frozen=True):
    """What one source address does.

    Attributes:
        address: The address, or ``any``.
        rate: Calls in the last second.
        in_flight: Calls that wait for an answer.
        name: Its name among the lanes of several machines; empty where there is one machine, and all below with it.
        egress: What the service sees its calls come from.
        share: What it may send now, in calls per second.
        doing: ``calling``, or what keeps it from that.
        key: Access key that it signs with.
        source: Where that comes from.
    """

    address: str
    rate: float
    in_flight: int
    name: str = ""
    egress: str = ""
    share: int = 0
    doing: str = ""
    key: str = ""
    source: str = ""


class LastError(msgspec.Struct):
    """Answers with one code.

    Attributes:
        code: The code.
        message: That of the newest.
        at: UTC, when the newest came.
        request_id: The service's id of the newest; empty where there was none.
        count: Answers so far in this session.
        row: Newest row that ended with it; 0 where none has.
    """

    code: str
    message: str
    at: datetime
    request_id: str = ""
    count: int = 0
    row: int = 0


LATENCY_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the classes that latencies are counted in, in seconds."""


class Counts(msgspec.Struct):
    """What a session has done so far, as the engine counts it.

    Attributes:
        in_flight: Calls that wait for an answer.
        pages: Pages of certificates read.
        reads: Certificates read one by one.
        to_read: What that number will be once the states are read that are being read; 0 while it is not known.
        scans: Times that all states that were to be read have been read, or the run continued without.
        unread_because: Why states could not be read, or not all of them.
        retries: Calls beyond the first of a row.
        throttles: Answers that said to slow down.
        throttle_code: Code of the last of these.
        retry_after_s: What it asked to wait, in seconds.
        codes: Answers by code.
        last_error: The newest of all errors.
        latency_counts: Attempts in each class of ``LATENCY_BOUNDS_S``, and behind them those that took longer.
        latency_sum_s: Seconds that all of them took together.
        handed_over: Calls taken from a lane on another machine that was silent or gone, and given to others: so many
            may be made twice.
    """

    in_flight: int = 0
    pages: int = 0
    reads: int = 0
    to_read: int = 0
    scans: int = 0
    unread_because: str = ""
    retries: int = 0
    throttles: int = 0
    throttle_code: str = ""
    retry_after_s: float = 0.0
    codes: dict[str, int] = msgspec.field(default_factory=Counter)
    last_error: str = ""
    latency_counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    latency_sum_s: float = 0.0
    handed_over: int = 0


class Stats(Counts, frozen=True, kw_only=True):  # type: ignore[misc]
    """What a session does.

    Attributes:
        phase: What it is at.
        rows: Rows of the list; of an undo, those that the run has changed.
        done: Rows whose outcome is there, or that are undone, those of earlier sessions included; of a verification,
            rows that were called again.
        outcomes: These rows by outcome.
        to_call: Rows that this session calls at most.
        done_now: Rows that this session has done, those that needed no call included.
        outcomes_now: These rows by outcome.
        calls: Requests sent by this session.
        rate: Sends in the last second.
        achieved_rate: Calls per second from the first to the last.
        peak_window: Most sends in any half-open second.
        limit: Calls per second that all lanes make together, at most.
        caps: The limits of the account and of an address, and what each lane uses of them.
        factor: Share of the limit that may be used after throttling, from 0 to 1.
        paused_s: For how long nothing is sent, in seconds.
        lanes: Each source address.
        outage_s: For how long the service has been silent, in seconds; 0 without an outage.
        outages: How often it was.
        to_page: What ``pages`` will be at most once the listings are read that are being read; 0 while it is not known.
        waiting_for: What keeps the session from going faster.
        elapsed_s: Seconds since it began.
        left_s: Time left, in seconds; null where it is not known.
        errors: The newest errors, one for each code, the latest first.
        stop: Why the session ends early, or an empty text.
        stop_status: Exit status that it ends with then.
    """

    phase: Phase
    rows: int
    done: int
    outcomes: dict[str, int]
    to_call: int
    done_now: int
    outcomes_now: dict[str, int]
    calls: int
    rate: float
    achieved_rate: float
    peak_window: int
    limit: float
    caps: dict[str, int]
    factor: float
    paused_s: float
    lanes: list[LaneState]
    outage_s: float
    outages: int
    waiting_for: str
    elapsed_s: float
    left_s: float | None
    errors: list[LastError]
    stop: str
    stop_status: int | None
    to_page: int = 0


Take = Callable[[], Stats]
"""Returns what a session does now."""
