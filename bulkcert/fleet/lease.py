"""What lets the calls of one lane through: its share of the limits, for as long as its lease lasts."""

import time
from collections.abc import Callable

from bulkcert.engine.backoff import SlowDown
from bulkcert.engine.pacer import Pacer, Ticker
from bulkcert.fleet.shares import LEASE_S

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Returns the seconds of a clock that is never set, and that runs while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class LeasedTicker(Ticker):
    """Lets nothing through while there is no lease."""

    until = 0.0
    """When the lease ends, by ``clock``."""
    _held = False

    @property
    def is_paused(self) -> bool:
        """Whether nothing may be sent now."""
        return self._held or clock() >= self.until

    @is_paused.setter
    def is_paused(self, paused: bool) -> None:
        self._held = paused


class LeasedPacer(Pacer):
    """The bucket of a lane whose share changes."""

    def __init__(self, ticker: LeasedTicker) -> None:
        super().__init__(1, ticker)
        self._lease, self._share = ticker, 0

    async def acquire(self, *, ahead: bool = False) -> bool:
        """Waits until one call may be sent; returns False if the lane stops."""
        # The process may have been frozen between the wait and here.
        while await super().acquire(ahead=ahead):
            if not self._lease.is_paused:
                return True
        return False

    async def lease(self, share: int, stamp: float) -> None:
        """Takes what was granted: calls per second, from the stamp of the report that asked for it."""
        if share < 1:
            self._lease.until = 0.0
            return
        if share != self._share:
            self._share = share
            await self.change(share)
        self._lease.until = stamp + LEASE_S
        self._lease.wake()


class RelayedSlowDown(SlowDown):
    """How much of its share a lane uses: it slows down by itself, and with all others by what the coordinator says.

    Args:
        urgent: Called on a throttle: the coordinator must hear of it at once.
    """

    def __init__(self, urgent: Callable[[], None]) -> None:
        super().__init__()
        self._urgent = urgent
        self.throttles: list[float] = []
        """What throttles that were not reported yet asked to wait, in seconds."""
        self.answers = 0
        """Answers that were not reported yet."""

    def answered(self) -> None:
        """Takes note of an answer that is no throttle."""
        super().answered()
        self.answers += 1

    def throttled(self, now: float, retry_after_s: float) -> None:
        """Takes note of a throttle verdict."""
        super().throttled(now, retry_after_s)
        self.throttles.append(retry_after_s)
        self._urgent()

    def follow(self, now: float, factor: float, pause_s: float) -> None:
        """Slows down as all lanes do."""
        if pause_s > 0:
            self.pause(now + pause_s)
        if factor < self.factor(now):
            self._lower(now, factor)
