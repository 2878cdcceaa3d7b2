"""Rows and listings to workers: whichever lane has one free takes the next, until done or stopped."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice

import anyio
import anyio.to_thread

from bulkcert.engine.lanes import CallResult, Lane, Lanes
from bulkcert.engine.listing import Listing
from bulkcert.engine.progress import Stop
from bulkcert.engine.refusals import unreadable
from bulkcert.errors import BulkcertError
from bulkcert.service.certificates import Page
from bulkcert.service.codes import Verdict
from bulkcert.store.outcome import Row

BUFFERED_ROWS = 128
"""Rows that wait for a worker: enough for the time that the next ones take to be read."""

Work = Callable[[Lane, Row], Awaitable[None]]
"""What is done with one row."""


async def each_row(lanes: Lanes, batches: Iterator[list[Row]], work: Work) -> None:
    """Does something with each row, many at a time; returns after the last, or on a stop.

    Args:
        lanes: What the rows are shared out to; an input that cannot be read stops them.
        batches: The rows, in order; read in a worker thread.
        work: What is done.
    """
    rows = _Rows(lanes, batches)
    # In turn, so that a few rows go through all lanes.
    in_turn = (lane for _ in range(lanes.service.workers) for lane in lanes.lanes)
    # asyncio's, since there may be thousands of workers: starting one in a group of anyio's costs six times as much.
    async with asyncio.TaskGroup() as group:

        def employ(most: int) -> None:
            for lane in islice(in_turn, most):
                group.create_task(rows.work(lane, work))

        group.create_task(rows.feed(employ))


class _Rows:
    """The rows that wait for a worker: a few only, and no hand-over costs a turn of the loop."""

    def __init__(self, lanes: Lanes, batches: Iterator[list[Row]]) -> None:
        self._lanes = lanes
        self._batches = batches
        self._waiting: deque[Row] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        """Workers without a row: each row wakes one of them, since there may be thousands."""
        self._room = asyncio.Event()
        self._is_over = False

    async def feed(self, employ: Callable[[int], None]) -> None:
        while (batch := await self._next()) is not None:
            self._waiting.extend(batch)
            employ(len(batch) - self._wake(len(batch)))
            while len(self._waiting) >= BUFFERED_ROWS and not self._lanes.stopping.is_set():
                self._room.clear()
                await self._room.wait()
        self._is_over = True
        self._wake(len(self._idle))

    def _wake(self, most: int) -> int:
        """Wakes workers that have no row; returns how many."""
        woken = min(most, len(self._idle))
        for _ in range(woken):
            if not (turn := self._idle.popleft()).done():
                turn.set_result(None)
        return woken

    async def _next(self) -> list[Row] | None:
        """Returns the next batch; None after the last one, on a stop, or if the input fails, which stops the run."""
        if self._lanes.stopping.is_set():
            return None
        try:
            return await anyio.to_thread.run_sync(next, self._batches, None)
        except BulkcertError as error:
            self._lanes.stop(Stop(error.status, error.message, error.advice))
            return None

    async def work(self, lane: Lane, work: Work) -> None:
        while not self._lanes.stopping.is_set():
            if self._waiting:
                row = self._waiting.popleft()
                if len(self._waiting) < BUFFERED_ROWS:
                    self._room.set()
                await work(lane, row)
            elif self._is_over:
                return
            else:
                self._idle.append(turn := asyncio.get_running_loop().create_future())
                await turn
        self._room.set()


async def read_listings(lanes: Lanes, more: Callable[[], Listing | None]) -> BulkcertError | None:
    """Reads listings to their ends, or until a stop.

    Args:
        lanes: Where calls go through.
        more: Gives the next listing, or None after the last one; asked when a worker has nothing else to do.

    Returns:
        Why reading was given up, or None. A CA that the service does not know is an empty listing; where an answer
        concerns one listing only, that one holds the failure, and the others are read on.
    """
    # In turn, so that a few listings go through all lanes.
    in_turn = (lane for _ in range(lanes.service.workers) for lane in lanes.lanes)
    async with anyio.create_task_group() as group:

        def employ() -> None:
            for lane in islice(in_turn, 1):
                group.start_soon(reading.work, lane)

        reading = _Reading(lanes, more, employ)
        employ()
    lanes.progress.paging = ()
    return reading.failure


class _Reading:
    """What the workers share; ``employ`` starts one more, if there may be more."""

    def __init__(self, lanes: Lanes, more: Callable[[], Listing | None], employ: Callable[[], None]) -> None:
        self.failure: BulkcertError | None = None
        self._lanes = lanes
        self._more = more
        self._employ = employ
        self._open: list[Listing] = []
        self._news = anyio.Event()

    async def work(self, lane: Lane) -> None:
        while self.failure is None and not self._lanes.stopping.is_set():
            listing, number = self._pick()
            if listing is None:
                if not self._open:
                    break
                await self._news.wait()
                continue
            self._employ()
            settled = await self._lanes.settle(lane, listing.operation, listing.query(number))
            if settled is not None:
                self._take(listing, number, settled)
        self._report()

    def _pick(self) -> tuple[Listing | None, int]:
        for listing in self._open:
            if (number := listing.next()) is not None:
                return listing, number
        if (fresh := self._more()) is not None:
            self._open.append(fresh)
            return fresh, fresh.next() or 1
        self._lanes.progress.paging = self._open
        return None, 0

    def _take(self, listing: Listing, number: int, settled: CallResult) -> None:
        answer = settled.answer
        if answer.verdict is Verdict.NOT_FOUND:
            listing.refused = True
            listing.take(number, Page([]), answer.sent_at)
        elif answer.page is not None:
            self._lanes.progress.pages += 1
            listing.take(number, answer.page, answer.sent_at)
        elif settled.concerns_one:
            listing.give_up(unreadable(answer, listing.operation))
        elif not self._lanes.stopping.is_set():
            self.failure = self.failure or unreadable(answer, listing.operation)
        if listing.done:
            self._open.remove(listing)
        self._report()

    def _report(self) -> None:
        self._news.set()
        self._news = anyio.Event()
