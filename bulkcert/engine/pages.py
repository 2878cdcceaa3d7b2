"""Many listings at a time, through all lanes."""

from collections.abc import Callable
from itertools import islice

import anyio

from bulkcert.engine.lanes import CallResult, Lane, Lanes
from bulkcert.engine.listing import Listing
from bulkcert.engine.refusals import refusal
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.certificates import Page
from bulkcert.service.client import Response
from bulkcert.service.codes import NO_DATA, WRONG_ECHO, rule_for
from bulkcert.service.operations import Operation
from bulkcert.service.verdicts import Verdict

_NOTHING = Page([])


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
    """What the workers share.

    Args:
        lanes: Where calls go through.
        more: Gives the next listing, or None after the last one.
        employ: Starts one more worker, if there may be more.
    """

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
            listing.take(number, _NOTHING, answer.sent_at)
        elif answer.page is not None:
            self._lanes.progress.pages += 1
            listing.take(number, answer.page, answer.sent_at)
        elif concerns_one(settled):
            listing.give_up(unreadable(answer, listing.operation))
        elif not self._lanes.stopping.is_set():
            self.failure = self.failure or unreadable(answer, listing.operation)
        if listing.done:
            self._open.remove(listing)
        self._report()

    def _report(self) -> None:
        self._news.set()
        self._news = anyio.Event()


def concerns_one(settled: CallResult) -> bool:
    """Returns whether a call is refused for what it asks, which says nothing about others.

    Or, as often as it was asked, holds something else.
    """
    if settled.final:
        return settled.answer.verdict is not Verdict.STOP
    return not settled.again and settled.answer.code in (NO_DATA, WRONG_ECHO)


def unreadable(answer: Response, operation: Operation) -> BulkcertError:
    """Returns what to show the user when an answer cannot be had."""
    if answer.verdict is Verdict.STOP and rule_for(answer.code).exit_status is not None:
        stop = refusal(answer, operation)
        return BulkcertError(stop.status, f"{operation.name}: {stop.message}", stop.advice)
    asks = f"ask the service's support about {answer.code}"
    advice = f"If it stays so, {asks if answer.is_from_service else 'see what is between here and the service'}."
    message = f"{operation.name}: {answer.code}: {answer.message}"
    return BulkcertError(ExitStatus.UNAVAILABLE, message, advice, again=True)
