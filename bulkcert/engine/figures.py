"""The live figures of a session as they are kept and shown; made in ``engine.stats``, and light to import."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec

Phase = Literal["reading states", "calling", "undoing", "verifying", "stopping"]


class LaneState(msgspec.Struct, frozen=True):
    """What one source address does: calls per second just now, and calls that wait for an answer."""

    address: str
    rate: float
    in_flight: int


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


class Stats(msgspec.Struct, frozen=True):
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
        factor: Share of the limit that may be used after throttling, from 0 to 1.
        paused_s: For how long nothing is sent, in seconds.
        in_flight: Calls that wait for an answer.
        lanes: Each source address.
        reading: Whether states are being read.
        pages: Pages of certificates read.
        reads: Certificates read one by one.
        retries: Calls beyond the first of a row.
        throttles: Answers that said to slow down.
        outage_s: For how long the service has been silent, in seconds; 0 without an outage.
        outages: How often it was.
        codes: Answers by code.
        latency_counts: Answers in each class of ``progress.LATENCY_BOUNDS_S``, and behind them those that took longer.
        latency_sum_s: Seconds that all of them took together.
        waiting_for: What keeps the session from going faster.
        elapsed_s: Seconds since it began.
        left_s: Time left, in seconds; null where it is not known.
        errors: The newest errors, one for each code, the latest first.
        last_error: The newest of all.
        throttle_code: Code of the last answer that said to slow down.
        retry_after_s: What it asked to wait, in seconds.
        scans: Times that all states that were to be read have been read, or the run continued without.
        unread_because: Why states could not be read, or not all of them.
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
    factor: float
    paused_s: float
    in_flight: int
    lanes: list[LaneState]
    reading: bool
    pages: int
    reads: int
    retries: int
    throttles: int
    outage_s: float
    outages: int
    codes: dict[str, int]
    latency_counts: list[int]
    latency_sum_s: float
    waiting_for: str
    elapsed_s: float
    left_s: float | None
    errors: list[LastError]
    last_error: str
    throttle_code: str
    retry_after_s: float
    scans: int
    unread_because: str
    stop: str
    stop_status: int | None


Take = Callable[[], Stats]
"""Returns what a session does now."""
