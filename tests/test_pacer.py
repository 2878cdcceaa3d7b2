"""Pacing: the arithmetic by property, the bucket on a real clock."""

import asyncio
import time
from functools import partial

import anyio
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from program import PATIENCE_S

from bulkcert.engine.pacer import Pacer, SendWindow, Ticker, bucket_rate, burst_for, lane_cap
from bulkcert.engine.slow_down import SlowDown

caps = st.integers(1, 200_000)


@given(account=caps, address=caps, lanes=st.integers(1, 64))
def test_lanes_never_exceed_either_cap(account, address, lanes):
    """The lanes together stay within the account's cap, and each within 90 % of its address's."""
    cap = lane_cap(account, address, lanes)

    assert cap * lanes <= account
    assert cap <= 0.9 * address + 1e-9


@given(cap=caps)
def test_a_full_bucket_and_its_drain_fit_into_the_cap(cap):
    """In any second a bucket lets at most its size and one second's drain through: together the cap at most."""
    burst, rate = burst_for(cap), bucket_rate(cap)

    assert rate > 0
    assert burst >= 1
    assert (rate + burst <= cap) or (burst == 1 and rate <= cap)


def test_defaults_use_nearly_the_whole_quota():
    """The documented rates: 268/s from one address, 494/s from two."""
    assert bucket_rate(lane_cap(500, 300, 1)) == 268
    assert 2 * bucket_rate(lane_cap(500, 300, 2)) == 494


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_worst_window_is_the_most_in_any_half_open_second(gaps):
    """The running maximum equals the one found by looking at every window that starts with a send."""
    times, now = [], 0.0
    window = SendWindow()
    for gap in gaps:
        now += gap
        times.append(now)
        window.sent(now)

    assert window.worst == max(sum(1 for at in times if 0 <= at - start < 1.0) for start in times)
    assert window.sends == len(gaps)


async def _sends(pacer, workers, wanted):
    times = []

    async def worker():
        while len(times) < wanted and await pacer.acquire():
            times.append(asyncio.get_running_loop().time())

    async with anyio.create_task_group() as group:
        for _ in range(workers):
            group.start_soon(worker)
    return times


async def test_a_pause_holds_everybody():
    """After a throttle with a retry time nobody is admitted before it is over."""
    slow_down = SlowDown()
    pacer = Pacer(1000, Ticker(slow_down))
    until = time.monotonic() + 0.3
    slow_down.throttled(time.monotonic(), 0.3)

    times = await _sends(pacer, workers=5, wanted=5)

    assert min(times) >= until - 0.01


async def test_stopping_ends_every_wait():
    """A stop lets nobody through any more, however long the pause."""
    slow_down = SlowDown()
    ticker = Ticker(slow_down)
    pacer = Pacer(1, ticker)
    slow_down.throttled(time.monotonic(), 3600)
    admitted = []

    async def worker():
        admitted.append(await pacer.acquire())

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(worker)
            await anyio.wait_all_tasks_blocked()
            ticker.stop()

    assert admitted == [False, False, False]


async def test_what_goes_ahead():
    """It passes all that wait, whatever their number, and takes a token as they do."""
    ticker = Ticker(SlowDown())
    pacer = Pacer(1000, ticker)
    passed = []

    async def worker(name, **how):
        assert await pacer.acquire(**how)
        passed.append(name)

    ticker.is_paused = True
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(worker, "in turn")
        await anyio.wait_all_tasks_blocked()
        group.start_soon(partial(worker, "ahead", ahead=True))
        await anyio.wait_all_tasks_blocked()
        ticker.is_paused = False
        ticker.wake()

    assert passed == ["ahead", *["in turn"] * 20]


class Simulated(asyncio.SelectorEventLoop):
    """A loop whose time is that of its timers: nobody waits, and no machine is too slow."""

    _now = 0.0

    def time(self):
        return self._now

    def _run_once(self):
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0].when())
        super()._run_once()


@pytest.mark.parametrize(("cap", "lanes", "wanted"), [(15, 1, 12), (249, 2, 250), (1000, 2, 1000)])
@pytest.mark.parametrize("factory", [None, uvloop.new_event_loop, Simulated], ids=["asyncio", "uvloop", "simulated"])
def test_all_lanes_pass_on_one_timer(cap, lanes, wanted, factory):
    """Lanes reach their rate, and none passes it; the timer wakes a few times for each send, and never in circles."""
    ticks = []

    class Counting(Ticker):
        def _tick(self):
            ticks.append(self.loop.time())
            super()._tick()

    async def measure():
        ticker = Counting(SlowDown())
        return await asyncio.gather(*(_sends(Pacer(cap, ticker), cap // 5, wanted) for _ in range(lanes)))

    times = anyio.run(measure, backend_options={"loop_factory": factory})
    for sent in times:
        window = SendWindow()
        for at in sent:
            window.sent(at)
        assert window.worst <= cap
        if factory is Simulated:
            assert (len(sent) - burst_for(cap)) / (sent[-1] - sent[0]) > 0.97 * bucket_rate(cap)
    assert len(ticks) < 3 * len(times[0]) + 50


class Deferred:
    """Sockets that know who is to read them, and how often they were."""

    def __init__(self):
        self.deferred, self.reads = False, 0

    def read(self):
        self.reads += 1

    def defer(self, deferred):
        self.deferred = deferred


@pytest.mark.parametrize("end", ["nobody waits", "a pause", "a stop", "a throttle", "few calls"])
def test_the_timer_reads_while_it_fires_often(end):
    """What has come waits for the next release that is near; where there is none it wakes the loop by itself."""
    sockets, slow_down = Deferred(), SlowDown()

    async def measure():
        ticker = Ticker(slow_down, sockets)
        pacer = Pacer(10 if end == "few calls" else 100, ticker)
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(pacer.acquire)
            await asyncio.sleep(0.03)
            assert sockets.deferred is (end != "few calls")
            if end == "a pause":
                ticker.is_paused = True
            elif end == "a stop":
                ticker.stop()
            elif end == "a throttle":
                slow_down.pause(time.monotonic() + 0.2)
            await asyncio.sleep(0.04 if end != "nobody waits" else 1.0)
            assert not sockets.deferred
            assert sockets.reads
            ticker.stop()

    anyio.run(measure, backend_options={"loop_factory": None if end == "a throttle" else Simulated})
