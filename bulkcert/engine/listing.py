"""Listings, page by page until they end, many pages at a time."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from bulkcert.engine.failures import unreadable
from bulkcert.engine.lanes import CallResult, Lane, Lanes
from bulkcert.errors import BulkcertError
from bulkcert.service.actions import PAGE_SIZE, Operation
from bulkcert.service.classification import Page
from bulkcert.service.codes import Verdict

AHEAD = 1024
"""Pages that may be asked for beyond the first one that has not come: they wait in memory."""

MOST_AT_ONCE = 64
"""Pages asked for at a time where nothing says how many there are."""

Deliver = Callable[[Page, int], bool]
"""Takes the next page and the Unix time in milliseconds at which it was asked for; False where that is enough."""


class Listing:
    """How far the reading of one listing is, and which page to ask for next; makes no calls.

    It ends with a page that holds fewer certificates than fit, and no later one that holds any (reference, section
    1.2). ``Total`` is a hint and no more: it may count certificates or pages, or be wrong. Pages are asked for up to
    where it points if it counts certificates; beyond, in steps that grow from one. Where it counts more than a first
    page that is not full, the service may put fewer on a page than were asked for: then so many fit.

    Args:
        operation: A List operation.
        parameters: Its query, without ``PageNo`` and ``PageSize``.
        deliver: Given each page, in order.
    """

    def __init__(
        self, operation: Operation, parameters: Mapping[str, str], deliver: Deliver = lambda _page, _at: True
    ) -> None:
        self.operation = operation
        self.parameters = dict(parameters)
        self.deliver = deliver
        self.pages = 0
        """Pages delivered."""
        self.asked = 0
        """Pages asked for."""
        self.enough = False
        """Whether whoever takes the pages wants no more."""
        self.cut = False
        """Whether it held more than whoever takes the pages has taken."""
        self.refused = False
        """Whether the service knows no such CA."""
        self.failure: BulkcertError | None = None
        """Why a page of it cannot be had, though others can; nothing more comes of it then."""
        self.expected: int | None = None
        """Number of pages if ``Total`` counts certificates; None where it says nothing or is in doubt."""
        self._taken = 0
        self._waiting: dict[int, tuple[Page, int]] = {}
        self._short = self._last = 0
        self._fit = PAGE_SIZE
        self._bound = self._step = 1

    @property
    def whole(self) -> bool:
        """Whether its end was seen, and all that it holds was delivered."""
        return self.failure is None and not self.cut and self._short > 0 and self._short >= self._last

    @property
    def done(self) -> bool:
        """Whether nothing more comes of it."""
        return (self.whole or self.enough) and self._taken == self.asked

    @property
    def left(self) -> int | None:
        """Pages that are still to come, at most; None where that is not known."""
        if self.whole or self.enough:
            return self.asked - self._taken
        return None if self.expected is None or self.asked > self.expected else self.expected - self._taken

    def next(self) -> int | None:
        """Returns the number of a page to ask for now, from 1, or None where one must wait for others."""
        if self.whole or self.enough or self.asked >= min(self._bound, self.pages + AHEAD):
            return None
        self.asked += 1
        return self.asked

    def take(self, number: int, page: Page, at: int) -> None:
        """Takes a page, asked for at this Unix time in milliseconds; pages may come in any order."""
        self._taken += 1
        size = len(page.certificates)
        if size:
            self._last = max(self._last, number)
        if number == 1:
            self._fit = size if 0 < size < page.total else PAGE_SIZE
            self.expected = -(-page.total // PAGE_SIZE) or None if self._fit == PAGE_SIZE else None
        if size < self._fit:
            self._short = max(self._short, number)
        self._waiting[number] = page, at
        while (found := self._waiting.pop(self.pages + 1, None)) is not None:
            self.pages += 1
            if self.enough:
                self.cut = self.cut or bool(found[0].certificates)
            else:
                self.enough = not self.deliver(*found)
        if self._taken == self._bound:
            if self._bound == 1 and self.expected is not None and self.expected > 1:
                self._bound = self.expected
            else:
                self._bound += self._step
                self._step = min(2 * self._step, MOST_AT_ONCE)

    def give_up(self, failure: BulkcertError) -> None:
        """Takes note that a page that was asked for cannot be had."""
        self._taken += 1
        self.failure = self.failure or failure
        self.enough = True


async def read_listings(lanes: Lanes, listings: Iterator[Listing]) -> BulkcertError | None:
    """Reads listings to their ends, or until a stop.

    Args:
        lanes: Where calls go through.
        listings: Asked for the next one when no other has a page to ask for.

    Returns:
        Why reading was given up, or None. A CA that the service does not know is an empty listing; where an answer
        concerns one listing only, that one holds the failure, and the others are read on.
    """
    # In turn, so that a few listings go through all lanes.
    free = deque(lanes.lanes * lanes.service.workers)
    begun: list[Listing] = []
    failures: list[BulkcertError] = []
    news = asyncio.Event()

    async def read(lane: Lane, listing: Listing, number: int) -> None:
        query = listing.parameters | {"PageNo": str(number), "PageSize": str(PAGE_SIZE)}
        settled = await lanes.settle(lane, listing.operation, query)
        if settled is not None and (failure := _take(lanes, listing, number, settled)) is not None:
            failures.append(failure)
        if listing.done:
            begun.remove(listing)
        free.append(lane)
        news.set()

    async with asyncio.TaskGroup() as group:
        while not failures and not lanes.stopping.is_set():
            if free and (page := _next_page(lanes, begun, listings)) is not None:
                group.create_task(read(free.popleft(), *page))
                await asyncio.sleep(0)
            elif begun:
                news.clear()
                await news.wait()
            else:
                break
    lanes.progress.paging = ()
    return failures[0] if failures else None


def _next_page(lanes: Lanes, begun: list[Listing], listings: Iterator[Listing]) -> tuple[Listing, int] | None:
    for listing in begun:
        if (number := listing.next()) is not None:
            return listing, number
    if (fresh := next(listings, None)) is not None:
        begun.append(fresh)
        return fresh, fresh.next() or 1
    lanes.progress.paging = begun
    return None


def _take(lanes: Lanes, listing: Listing, number: int, settled: CallResult) -> BulkcertError | None:
    """Gives a listing what came of asking for a page; returns why all reading is to be given up, or None."""
    answer = settled.answer
    if answer.verdict is Verdict.NOT_FOUND:
        listing.refused = True
        listing.take(number, Page([]), answer.sent_at)
    elif answer.page is not None:
        lanes.progress.pages += 1
        listing.take(number, answer.page, answer.sent_at)
    elif settled.concerns_one:
        listing.give_up(unreadable(answer, listing.operation))
    elif not lanes.stopping.is_set():
        return unreadable(answer, listing.operation)
    return None
