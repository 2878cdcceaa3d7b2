"""Pacing: how many calls a second each source address may send, and how that gives way when the service objects.

The arithmetic (``lane_cap``, ``burst_for``) reads no clock and does no I/O.

Why no one-second window ever holds more than the cap: a bucket of size *burst* that drains at *cap - burst* lets at
most ``(cap - burst) * 1 + burst = cap`` sends through in any second, and the lanes' caps add up to the account's cap
at most. Slowing down makes a send cost more of the bucket, never less, so the bound holds while the rate changes. A cap
that changes brings a new bucket, which is empty: a second across the change holds at most the greater of both caps, and
one that begins after it the new cap.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from aiolimiter import AsyncLimiter

from bulkcert.engine.slow_down import SlowDown
from bulkcert.service.connection import Sockets

ADDRESS_SHARE = 0.9
"""Share of the address cap that is used: jitter on the way may squeeze sends together, and the penalty is a block."""

ACCOUNT_ROOM = 0.004
"""Share of the account cap that is left free: at 500/s, two calls a second for jitter; the penalty is a delay."""

WAKE_UPS_PER_S = 250
"""Timer wake-ups a second that can be relied on at a fraction of their one-millisecond grain."""

SMALLEST_BURST = 2
"""A burst of 1 at 500/s loses 8 % of the rate to late timers; 2 loses 1 to 2 %."""

SLOW_CAP = 20
"""Below this many calls a second a late timer costs next to nothing, and a burst of 2 would cost a tenth."""

EVEN_SHARE = 0.95
"""Share of a slow cap that is used."""

NEAR_S = 0.0015
"""Lanes whose next sends are no further apart than this share a wake: the bucket of each has room for it."""

RETRY_S = 0.001
"""The grain of the loop's timers: what a bucket lacks is not to be asked for in circles."""

SOON_S = 0.02
"""What comes before a release that is no further off waits for it, to be read in the same wake."""

_ROUNDING = 1e-6
"""Part of a call: sums of times are not exact, and the bucket has the last word."""


def lane_cap(account_cap: float, address_cap: float, lanes: int) -> int:
    """Returns the cap of each lane in whole calls per second (reference, section 2, gives both limits)."""
    return math.floor(min((account_cap - round(ACCOUNT_ROOM * account_cap)) / lanes, ADDRESS_SHARE * address_cap))


def burst_for(cap: int) -> int:
    """Returns the bucket size for a cap: 2 at the default rates, more where a timer cannot wake often enough."""
    return 1 if cap < SLOW_CAP else max(SMALLEST_BURST, round(cap / WAKE_UPS_PER_S))


def bucket_rate(cap: int) -> float:
    """Returns the rate at which a lane's bucket drains, in calls per second.

    A bucket of 1 spaces its sends evenly, so it may drain at nearly the whole cap.
    """
    burst = burst_for(cap)
    return cap - burst if burst > 1 else cap * EVEN_SHARE


class SendWindow:
    """Counts sends, and the most that any half-open one-second window held. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.sends = 0
        self.worst = 0
        self.first_s = 0.0
        self.last_s = 0.0
        self._recent: deque[float] = deque()

    def sent(self, now: float) -> None:
        """Takes note of one send."""
        if not self.sends:
            self.first_s = now
        self.sends += 1
        self.last_s = now
        recent = self._recent
        recent.append(now)
        while now - recent[0] >= 1.0:
            recent.popleft()
        if len(recent) > self.worst:  # noqa: PLR1730 - a call less for each call
            self.worst = len(recent)

    def rate(self) -> float:
        """Returns the achieved rate in calls per second from the first send to the last; over a second at least."""
        span = self.last_s - self.first_s
        return (self.sends - 1) / span if span >= 1 else float(self.sends)

    def resume(self, now: float) -> None:
        """Leaves out of the rate a time in which nothing was to be sent; what was sent before still counts."""
        if self.sends:
            self.first_s += now - self.last_s
            self.last_s = now

    def recent_rate(self, now: float) -> float:
        """Returns the number of sends in the second before ``now``."""
        return float(sum(1 for at in self._recent if now - at < 1.0))


class Ticker:
    """Lets waiting calls through, those of all lanes on one timer.

    Between two calls the process sleeps, and how often it wakes is most of what a call costs.

    Args:
        slow_down: Shared by all lanes of a run.
        sockets: Those of all lanes, read by that timer while it fires often.
    """

    def __init__(self, slow_down: SlowDown, sockets: Sockets | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_stopped = False
        self.is_paused = False
        """Whether nothing is let through for now; whoever ends that wakes it."""
        self.pacers: list[Pacer] = []
        self._slow_down = slow_down
        self._sockets = sockets or Sockets()
        self._timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Lets nothing more through; who waits hears of it at once."""
        self.is_stopped = True
        for pacer in self.pacers:
            pacer.release(0.0)

    def cost(self) -> float:
        """Returns what a call takes out of its bucket now; 0 during a pause."""
        now = time.monotonic()
        return 0.0 if self.is_paused or self._slow_down.paused_until > now else 1.0 / self._slow_down.factor(now)

    def wake(self) -> None:
        """Takes note that somebody waits."""
        if self._timer is None:
            self._timer = self.loop.call_later(RETRY_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._sockets.read()
        wait_s = self._release()
        if wait_s < math.inf:
            self._timer = self.loop.call_later(wait_s, self._tick)
        self._sockets.defer(wait_s <= SOON_S)

    def _release(self) -> float:
        """Releases what may be sent now; returns how long to wait until the next release, in seconds."""
        if self.is_stopped or self.is_paused:
            return math.inf
        if not (cost := self.cost()):
            return self._slow_down.paused_until - time.monotonic()
        # There is none where all lanes are on other machines, or pace themselves.
        waits = [pacer.release(cost) for pacer in self.pacers]
        if (soonest_s := min(waits, default=math.inf)) == math.inf:
            return math.inf
        wait_s = max([wait_s for wait_s in waits if wait_s <= soonest_s + NEAR_S])
        # Rounded up to that grain: a timer that comes too early has nothing to release.
        return max(RETRY_S, wait_s + RETRY_S / 2)


class Pacer:
    """The token bucket of one lane, for so many calls per second, at least 1.

    Calls pass in the order in which they came, but for those that go ahead.
    """

    def __init__(self, cap: int, ticker: Ticker) -> None:
        self.waiting: deque[asyncio.Future[float]] = deque()
        self._fill(cap)
        self._ticker, self._loop = ticker, ticker.loop
        ticker.pacers.append(self)

    def _fill(self, cap: int) -> None:
        self._burst, self._rate = burst_for(cap), bucket_rate(cap)
        self._part = max(1.0, self._burst / 2)
        """What is released at a time, at most, so that a timer may be late and no token is lost."""
        self._bucket = AsyncLimiter(self._burst, self._burst / self._rate)
        self._empty_at = 0.0
        """When the bucket will have drained; it says itself only whether it has room for so much, and at a price."""

    async def change(self, cap: int) -> None:
        """Changes the cap, in calls per second, at least 1: the new bucket is empty."""
        self._fill(cap)
        await self._bucket.acquire(self._burst)
        self._taken(self._burst)
        self._ticker.wake()

    async def acquire(self, *, ahead: bool = False) -> bool:
        """Waits until one call may be sent, ahead of all that wait or in turn; False if the run is stopping."""
        cost = 0.0 if self.waiting else self._ticker.cost()
        if not cost or self._room() < cost:
            cost = await self._turn(deque.appendleft if ahead else deque.append)
        while cost > self._burst:
            # More than the bucket holds: in parts, and nobody passes meanwhile.
            await self._bucket.acquire(self._burst)
            self._taken(self._burst)
            cost = (cost - self._burst) * bool(await self._turn(deque.appendleft))
        if cost:
            await self._bucket.acquire(cost)
            self._taken(cost)
        return cost > 0 and not self._ticker.is_stopped

    def _turn(
        self, join: Callable[[deque[asyncio.Future[float]], asyncio.Future[float]], None]
    ) -> asyncio.Future[float]:
        """Returns what becomes, on release, the cost of the call; 0 if the run is stopping."""
        turn: asyncio.Future[float] = self._loop.create_future()
        if self._ticker.is_stopped:
            turn.set_result(0.0)
        else:
            join(self.waiting, turn)
            self._ticker.wake()
        return turn

    def release(self, cost: float) -> float:
        """Releases as many as the bucket has room for at this cost each; all if it is 0.

        Returns:
            How long to wait until the next release, in seconds.
        """
        each, room = min(cost, self._burst), self._room()
        while self.waiting and (self.waiting[0].done() or each <= room):
            # Whoever was cancelled waits no longer.
            if not (turn := self.waiting.popleft()).done():
                turn.set_result(cost)
                room -= each
        return (max(self._part, each) - room) / self._rate if self.waiting else math.inf

    def _room(self) -> float:
        """Returns what the bucket has room for."""
        left_s = self._empty_at - self._loop.time()
        return self._burst - max(0.0, left_s) * self._rate + _ROUNDING

    def _taken(self, cost: float) -> None:
        """Takes note of what the bucket has just given."""
        self._empty_at = max(self._empty_at, self._loop.time()) + cost / self._rate
