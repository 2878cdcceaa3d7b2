"""What a report says of calls and of time: pace, latency, how long until the desired state."""

import msgspec


class Stretch(msgspec.Struct, frozen=True):
    """A stretch of time with calls, in bins of equal width; what lies between two stretches is left out.

    Attributes:
        started: Beginning of the first bin.
        bin_s: Width of a bin, in whole seconds.
        calls: Last attempts sent, over all bins.
        mean: Calls per second in each bin.
        worst: Calls in the busiest second of each bin.
        p50_ms: Median latency in each bin, in milliseconds; null where nothing was sent.
        p99_ms: The 99th percentile.
    """

    started: str
    bin_s: int
    calls: int
    mean: list[float]
    worst: list[int]
    p50_ms: list[float | None]
    p99_ms: list[float | None]


class Calls(msgspec.Struct, frozen=True):
    """Calls, and how they are spread over time.

    Attributes:
        run: Requests of all sessions that ran or undid, as far as they have said.
        at_least: Whether there may be more, since one of them has not ended.
        verification: Requests of the last verification; null without one.
        shown: Rows with a call: the last attempt of each is what the parts are made from.
        not_shown: Earlier attempts, reads and pages.
        left_out: Of those shown, calls in stretches that the parts leave out.
        retries: Calls beyond the first of a row.
        throttles: Answers that said to slow down.
        worst_window: Most sends in any one-second window.
        parts: The busiest stretches, in order.
    """

    run: int
    at_least: bool
    verification: int | None
    shown: int
    not_shown: int
    left_out: int
    retries: int
    throttles: int
    worst_window: int
    parts: list[Stretch]


class Latency(msgspec.Struct, frozen=True):
    """Latency of the last attempt of each called row, in milliseconds; null without calls."""

    least: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    most: float | None


class Milestone(msgspec.Struct, frozen=True):
    """When so many certificates were in the desired state; ``at`` and ``after_s`` are null if that was not reached."""

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
