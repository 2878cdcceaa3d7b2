"""Limits and arrival statistics as arithmetic (reference, section 2): time is an argument, in seconds, and rises."""

from collections import defaultdict, deque

import msgspec

WINDOW_S = 1.0
"""The limits are stated per second; a window is half-open, so two times a full second apart are in different ones."""


class AddressReport(msgspec.Struct, frozen=True):
    """One source address.

    Attributes:
        arrivals: Its calls, those dropped while it was blocked included.
        peak_window: Most calls in any half-open second.
        blocks: How often it was blocked.
    """

    arrivals: int
    peak_window: int
    blocks: int


class Report(msgspec.Struct, frozen=True):
    """What an emulator counted since it started.

    Attributes:
        arrivals: Calls.
        first_at: Unix time in seconds of the first call, or None.
        last_at: Unix time in seconds of the last call, or None.
        rate: Mean calls per second between the two; 0 where there is no span.
        peak_window: Most calls in any half-open second.
        addresses: Calls by source address.
        throttled: Calls throttled for being over the cap of an account and operation; those of the fault not.
        blocks: How often any address was blocked.
        codes: Answers by ``Code``.
        changes: Operations carried out that change state, whether or not the answer came through.
        operations: Calls by operation, without those of blocked addresses.
        faults: Calls by the fault that they met.
        connected: Device certificates of the seed that were registered by a first connection while calls were coming.
    """

    arrivals: int
    first_at: float | None
    last_at: float | None
    rate: float
    peak_window: int
    addresses: dict[str, AddressReport]
    throttled: int
    blocks: int
    codes: dict[str, int]
    changes: int
    operations: dict[str, int]
    faults: dict[str, int]
    connected: int


class Arrivals:
    """How many calls came and how dense; memory is bounded by the calls of one second.

    Attributes:
        total: Calls so far.
        first_at: Time of the first call, or None.
        last_at: Time of the last call, or None.
        peak_window: Most calls that any half-open second held.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self.total = self.peak_window = 0
        self.first_at: float | None = None
        self.last_at: float | None = None

    def count(self, at: float) -> int:
        """Returns how many calls lie in the second that ends with ``at``."""
        times = self._times
        while times and at - times[0] >= WINDOW_S:
            times.popleft()
        return len(times)

    def add(self, at: float) -> int:
        """Adds a call and returns how many came within the second that ends with it."""
        if self.first_at is None:
            self.first_at = at
        self.last_at = at
        self.total += 1
        self._times.append(at)
        recent = self.count(at)
        self.peak_window = max(self.peak_window, recent)
        return recent

    def rate(self) -> float:
        """Returns the mean calls per second between the first and the last one; 0 where there is no span."""
        if self.first_at is None or self.last_at is None or self.last_at <= self.first_at:
            return 0.0
        return (self.total - 1) / (self.last_at - self.first_at)


class AccountCap:
    """Calls a second of one account and operation: what is over the cap is throttled and does not count.

    Args:
        cap: Most calls let through in any half-open second.
    """

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._windows: defaultdict[tuple[str, str], Arrivals] = defaultdict(Arrivals)

    def acquire(self, account: str, operation: str, at: float) -> bool:
        """Returns whether a call is let through, and counts it if so."""
        window = self._windows[account, operation]
        if window.count(at) >= self._cap:
            return False
        window.add(at)
        return True


class AddressCap(Arrivals):
    """Calls a second of one source address, those dropped included: the first over the cap blocks it for a while.

    Args:
        cap: Most calls in any half-open second that do not block.
        block_seconds: How long a block lasts.

    Attributes:
        blocks: How often it was blocked.
    """

    def __init__(self, cap: int, block_seconds: float) -> None:
        super().__init__()
        self._cap, self._block_seconds, self._blocked_until = cap, block_seconds, float("-inf")
        self.blocks = 0

    def acquire(self, at: float) -> bool:
        """Counts a call and returns whether it is heard; a blocked address is not answered at all."""
        recent = self.add(at)
        if at < self._blocked_until:
            return False
        if recent <= self._cap:
            return True
        self.blocks += 1
        self._blocked_until = at + self._block_seconds
        return False
