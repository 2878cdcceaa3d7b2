"""Many listings at a time, through all lanes."""

from collections.abc import Callable

import anyio

from bulkcert.api.certificates import Page
from bulkcert.api.client import Answer, Client
from bulkcert.api.codes import READING_REFUSED, rule_for
from bulkcert.api.operations import Operation
from bulkcert.api.verdicts import Verdict
from bulkcert.batch.lanes import Lane, Lanes, refusal
from bulkcert.batch.look.listing import Listing
from bulkcert.errors import BulkcertError, ExitStatus

_NOTHING = Page([])


async def read_listings(lanes: Lanes, workers: int, more: Callable[[], Listing | None]) -> BulkcertError | None:
    """Reads listings to their ends, or until a stop.

    Args:
        lanes: Where calls go through.
        workers: Pages that each lane asks for at a time.
        more: Gives the next listing, or None while there is none; asked when a worker has nothing else to do. It ends
            when there is none and all others are read.

    Returns:
        Why reading was given up, or None. A CA that the service does not know is an empty listing.
    """
    reading = _Reading(lanes, more)
    async with anyio.create_task_group() as group:
        for lane in lanes.lanes:
            for _ in range(workers):
                group.start_soon(reading.work, lane)
    return reading.failure


class _Reading:
    """What the workers share.

    Args:
        lanes: Where calls go through.
        more: Gives the next listing, or None.
    """

    def __init__(self, lanes: Lanes, more: Callable[[], Listing | None]) -> None:
        self.failure: BulkcertError | None = None
        self._lanes = lanes
        self._more = more
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
            answer = await self._read(lane, listing, number)
            if answer is not None:
                self._take(listing, number, answer)
        self._tell()

    def _pick(self) -> tuple[Listing | None, int]:
        for listing in self._open:
            if (number := listing.next()) is not None:
                return listing, number
        if (fresh := self._more()) is not None:
            self._open.append(fresh)
            return fresh, fresh.next() or 1
        return None, 0

    async def _read(self, lane: Lane, listing: Listing, number: int) -> Answer | None:
        query = listing.query(number)

        async def send(client: Client) -> Answer:
            return await client.read(listing.operation, query)

        settled = await self._lanes.settle(lane, listing.operation, send, tolerated=READING_REFUSED)
        return None if settled is None else settled.answer

    def _take(self, listing: Listing, number: int, answer: Answer) -> None:
        if answer.verdict is Verdict.NOT_FOUND:
            listing.refused = True
            listing.take(number, _NOTHING, answer.sent_at)
        elif answer.page is not None:
            self._lanes.progress.pages += 1
            listing.take(number, answer.page, answer.sent_at)
        elif not self._lanes.stopping.is_set():
            self.failure = self.failure or unreadable(answer, listing.operation)
        if listing.done:
            self._open.remove(listing)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


def unreadable(answer: Answer, operation: Operation) -> BulkcertError:
    """Returns what to tell the user when an answer cannot be had."""
    if answer.verdict is Verdict.STOP and rule_for(answer.code).exit_status is not None:
        stop = refusal(answer, operation)
        return BulkcertError(stop.status, f"{operation.name}: {stop.message}", stop.advice)
    return BulkcertError(
        ExitStatus.UNAVAILABLE,
        f"{operation.name}: {answer.code}: {answer.message}",
        "Run the same command again; if it stays like this, the service does not offer the operation here.",
    )
