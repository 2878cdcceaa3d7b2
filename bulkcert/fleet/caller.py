"""A lane as it calls: it makes the calls that it is given, and reports what came of them.

What lets its calls through is its share of the limits, for as long as its lease lasts.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import replace

import httpx
import msgspec

from bulkcert.engine.failures import Stop
from bulkcert.engine.figures import Counts
from bulkcert.engine.lanes import CallResult, Lane, Lanes
from bulkcert.engine.pacer import Pacer, SendWindow, Ticker
from bulkcert.engine.progress import LaneProgress, Progress
from bulkcert.engine.session import client_from
from bulkcert.engine.slow_down import SlowDown
from bulkcert.engine.target import Target
from bulkcert.errors import ExitStatus
from bulkcert.fleet.messages import Call, Grant, LaneReport, Orders
from bulkcert.fleet.shares import LEASE_S
from bulkcert.service.actions import OPERATIONS
from bulkcert.service.connection import Sockets
from bulkcert.service.credentials import CredentialProvider

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

LINGER_S = 0.2
"""Time between two exchanges, unless something is urgent: each costs the coordinator most of a millisecond."""


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


class _ReportedWindow(SendWindow):
    """Keeps when requests were sent, by a clock that the coordinator can compare, until that is reported."""

    def __init__(self) -> None:
        super().__init__()
        self.unreported: list[float] = []

    def sent(self, now: float) -> None:
        super().sent(now)
        self.unreported.append(round(clock(), 6))


class Caller:
    """The calls of one lane in one session.

    Args:
        name: Of the lane.
        orders: What the session is.
        address: Source address; None is the system's choice.
        provider: What to sign with; has credentials.
        ends: Set for the lane to end: at once nothing more is sent, whether or not the coordinator answers.
    """

    def __init__(
        self, name: str, orders: Orders, address: str | None, provider: CredentialProvider, ends: asyncio.Event
    ) -> None:
        self._name, self._provider, self._ends = name, provider, ends
        self._urgent = asyncio.Event()
        self._window = _ReportedWindow()
        self._slow_down = RelayedSlowDown(self._urgent.set)
        self.progress = Progress(sends=self._window, slow_down=self._slow_down)
        service = Target(
            instance=orders.instance,
            endpoint=httpx.URL(orders.endpoint),
            addresses=(address,),
            account_cap=1,
            address_cap=1,
            workers=orders.workers,
            attempts=orders.attempts,
            timeout_s=orders.timeout_s,
            instances={name: httpx.URL(endpoint) for name, endpoint in orders.instances.items()},
        )
        sockets = Sockets()
        self._client = client_from(address, service, provider, {}, sockets)
        ticker = LeasedTicker(self._slow_down, sockets)
        self.lanes = Lanes([], provider, self.progress, service, ticker)
        self._pacer = LeasedPacer(ticker)
        self._lane = Lane(self._client, self._pacer, LaneProgress())
        self._calls: deque[Call] = deque()
        self._waiting = asyncio.Semaphore(0)
        self._results: list[tuple[int, CallResult | None]] = []
        self._number = self._held = 0
        self._tasks = {asyncio.ensure_future(self._work()) for _ in range(orders.workers)}
        self._tasks |= {asyncio.ensure_future(each) for each in (self.lanes.renewal.keep(), self._end())}

    def report(self) -> LaneReport:
        """Returns what has happened since the last report; of a lane that ends and has no calls left it is the last."""
        slow_down, progress = self._slow_down, self.progress
        for task in self._tasks:
            if task.done():  # never, unless it failed
                task.result()
        counts = Counts(**{name: copy(getattr(progress, name)) for name in Counts.__struct_fields__})
        made = LaneReport(
            self._name,
            self._number,
            clock(),
            results=self._results,
            sent=self._window.unreported,
            in_flight=progress.in_flight,
            counts=counts,
            errors=[*progress.errors.values()],
            throttles=slow_down.throttles,
            is_silent=progress.outage.ongoing,
            halt=progress.stop,
            key=(self._provider.current.access_key_id, self._provider.current.source),
            leaves=self._ends.is_set() and not (self._calls or self._results or self._held),
        )
        self._results, self._window.unreported, slow_down.throttles = [], [], []
        progress.errors = {}
        return made

    async def take(self, grant: Grant) -> None:
        """Does what the coordinator says."""
        self._number = grant.number
        self._slow_down.follow(time.monotonic(), grant.factor, grant.pause_s)
        if grant.is_paused:
            self.lanes.pause("the coordinator")
        else:
            self.lanes.resume()
        if grant.recalls:
            self._drop()
        if grant.stops:
            self._stop()
        await self._pacer.lease(grant.share, grant.stamp)
        self._calls.extend(grant.calls)
        for _ in grant.calls:
            self._waiting.release()

    async def _end(self) -> None:
        await self._ends.wait()
        self._stop()

    def _stop(self) -> None:
        """Lets nothing more be sent; calls in flight finish."""
        self.lanes.stop(Stop(ExitStatus.STOPPED_EARLY, "the session stops, or the lane ends"))
        self._drop()

    def _drop(self) -> None:
        self._results.extend((call.number, None) for call in self._calls)
        self._calls.clear()

    async def wait(self) -> None:
        """Waits until the next report is due."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._urgent.wait(), LINGER_S)
        self._urgent.clear()

    async def _work(self) -> None:
        while True:
            await self._waiting.acquire()
            if not self._calls:  # they were recalled
                continue
            call = self._calls.popleft()
            if self.lanes.stopping.is_set():
                self._results.append((call.number, None))
                continue
            operation = OPERATIONS[call.operation]
            parameters = dict(zip(("MqttInstanceId", *operation.parameters), call.values, strict=True))
            self._held += 1  # until it is known what became of it, whether it was sent yet or not
            settled = await self.lanes.settle(self._lane, operation, parameters, unanswered=call.unanswered)
            self._held -= 1
            self._results.append((call.number, None if settled is None else _without_secret(settled)))
            if self.lanes.stopping.is_set():
                self._urgent.set()

    async def aclose(self) -> int:
        """Ends it: what is in flight is given up; returns how many calls it has made."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()
        return self.progress.sends.sends


def _without_secret(settled: CallResult) -> CallResult:
    signed = replace(settled.answer.credentials, access_key_secret="", security_token=None)
    return msgspec.structs.replace(settled, answer=msgspec.structs.replace(settled.answer, credentials=signed))
