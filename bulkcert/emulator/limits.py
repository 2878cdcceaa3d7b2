"""Limits and arrival statistics as arithmetic (reference, section 2): time is an argument, in seconds, and rises."""

from collections import defaultdict, deque

WINDOW_S = 1.0
"""The limits are stated per second; a window is half-open, so two times a full second apart are in different ones."""


class Window:
    """The times of the last second, exactly."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def count(self, at: float) -> int:
        """Returns how many times lie in the window that ends with ``at``."""
        times = self._times
        while times and at - times[0] >= WINDOW_S:
            times.popleft()
        return len(times)

    def add(self, at: float) -> int:
        """Adds a time and returns how many the window that ends with it holds."""
        self._times.append(at)
        return self.count(at)


class Arrivals:
    """How many calls came and how dense; memory is bounded by the calls of one second.

    Attributes:
        count: Calls so far.
        first_at: Time of the first call, or None.
        last_at: Time of the last call, or None.
        peak_window: Most calls that any half-open second held.
    """

    __slots__ = ("_window", "count", "first_at", "last_at", "peak_window")

    def __init__(self) -> None:
        self._window = Window()
        self.count = 0
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.peak_window = 0

    def add(self, at: float) -> int:
        """Adds a call and returns how many came within the second that ends with it."""
        recent = self._window.add(at)
        if self.first_at is None:
            self.first_at = at
        self.last_at = at
        self.count += 1
        self.peak_window = max(self.peak_window, recent)
        return recent

    def rate(self) -> float:
        """Returns the mean calls per second between the first and the last one; 0 where there is no span."""
        if self.first_at is None or self.last_at is None or self.last_at <= self.first_at:
            return 0.0
        return (self.count - 1) / (self.last_at - self.first_at)


class AccountCap:
    """Calls a second of one account and operation: what is over the cap is throttled and does not count.

    Args:
        cap: Most calls let through in any half-open second.
    """

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._windows: defaultdict[tuple[str, str], Window] = defaultdict(Window)

    def acquire(self, account: str, operation: str, at: float) -> bool:
        """Returns whether a call is let through, and counts it if so."""
        window = self._windows[account, operation]
        if window.count(at) >= self._cap:
            return False
        window.add(at)
        return True


class Source:
    """One source address.

    Attributes:
        arrivals: Its calls, those dropped included.
        blocks: How often it was blocked.
        blocked_until: Time at which the last block ends.
    """

    __slots__ = ("arrivals", "blocked_until", "blocks")

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self.blocks = 0
        self.blocked_until = float("-inf")


class AddressCap:
    """Calls a second of one source address: the first call over the cap blocks the address for a while.

    Args:
        cap: Most calls in any half-open second that do not block.
        block_seconds: How long a block lasts.

    Attributes:
        sources: Every address that ever called.
    """

    def __init__(self, cap: int, block_seconds: float) -> None:
        self._cap = cap
        self._block_seconds = block_seconds
        self.sources: defaultdict[str, Source] = defaultdict(Source)

    def acquire(self, address: str, at: float) -> bool:
        """Counts a call and returns whether it is heard; a blocked address is not answered at all."""
        source = self.sources[address]
        recent = source.arrivals.add(at)
        if at < source.blocked_until:
            return False
        if recent <= self._cap:
            return True
        source.blocks += 1
        source.blocked_until = at + self._block_seconds
        return False
