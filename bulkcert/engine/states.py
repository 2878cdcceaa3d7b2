"""What to read to know the state of every row: by pages where they cost fewer calls than rows, else one by one."""

from collections.abc import Iterator, Mapping

import anyio.to_thread
import msgspec

from bulkcert.engine.calling import each_row
from bulkcert.engine.failures import unreadable
from bulkcert.engine.lanes import Lane, Lanes
from bulkcert.engine.listing import Listing, read_listings
from bulkcert.engine.sightings import NUMBER_OF, Sightings
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.actions import Action, Operation, Status
from bulkcert.service.classification import Page
from bulkcert.store.outcome import Row

SMALL = 50
"""A CA with fewer rows than this is small: a page that settles none of them costs more than 2 % of its rows."""

SMALL_PAGED = 64
"""Small CAs that are paged through at most, those with most rows."""

SWAPS_TRIED = 5
"""Rows that are tried the other way round; more than one, since some may not be registered."""


class Scanned(msgspec.Struct):
    """What came of a scan.

    Attributes:
        failure: Why it was given up, or None; a row or a CA that cannot be read is left unseen.
        incomplete: Why rows are left unseen though it was not given up: that of the first CA, or None.
        may_list: Whether certificates may be listed; None where no page was read, or was refused for something else.
        refused: Rows that the service would not answer for, when they were asked for one by one.
        refusal: The newest of these answers, or an empty text.
        counted: Device certificates that each CA was seen to have, by its key, and whether these are all.
    """

    failure: BulkcertError | None = None
    incomplete: BulkcertError | None = None
    may_list: bool | None = None
    refused: int = 0
    refusal: str = ""
    counted: Mapping[str, tuple[int, bool]] = msgspec.field(default_factory=dict)


class StateReader:
    """Reads the states of the rows of one list.

    Args:
        lanes: Where calls go through.
        action: What is, or was, asked for each row.
        sightings: Where they go; knows the rows.
        count_to: CAs that are read on when all their rows are seen, by their keys, with how many of their devices are
            counted at most.
    """

    def __init__(
        self, lanes: Lanes, action: Action, sightings: Sightings, count_to: Mapping[str, float] | None = None
    ) -> None:
        self._lanes = lanes
        self._action = action
        self._sightings = sightings
        self._count_to = count_to or {}
        self._scanned = Scanned()

    async def read(self, *, one_by_one: Iterator[list[Row]] | None, misses: bool = True) -> Scanned:
        """Reads states by page, and what no page has shown one by one, where that is asked for.

        Where listing is not permitted, rows are read one by one all the same: each needs a permission of its own.

        Args:
            one_by_one: The rows that may be called, in order; None leaves unseen what no page has shown.
            misses: Whether a row that a listing read to its end does not show is not registered. If not, it is read
                for itself, since pages shift when certificates are deleted meanwhile.
        """
        begun: list[_Paging] = []
        failure = await read_listings(self._lanes, self._worthwhile(begun, then_one_by_one=one_by_one is not None))
        self._lanes.progress.to_read = 0
        if misses:
            whole = [paging.ca for paging in begun if paging.whole]
            await anyio.to_thread.run_sync(self._sightings.miss, whole, max([each.at for each in begun], default=0))
        denied = failure is not None and failure.status is ExitStatus.DENIED
        listed = [each for each in begun if self._action.by_device and (each.devices or each.whole)]
        counted = {each.ca: (each.devices, each.whole) for each in listed}
        self._scanned = scanned = Scanned(failure, counted=counted)
        if denied or self._lanes.progress.pages:
            scanned.may_list = self._lanes.progress.pages > 0
        if one_by_one is not None and (failure is None or denied):
            scanned.failure = await self.read_unseen(one_by_one)
        if self._sightings.unseen:
            scanned.incomplete = next((each.failure for each in begun if each.failure is not None), None)
        if scanned.failure is None and not self._lanes.stopping.is_set():
            self._lanes.progress.scans += 1
        return scanned

    def _worthwhile(self, begun: list["_Paging"], *, then_one_by_one: bool) -> Iterator["_Paging"]:
        """Yields what is worth a first page, most rows first; after the last it is known how many rows are left."""
        sightings, progress, action = self._sightings, self._lanes.progress, self._action
        unseen, small = sightings.unseen, 0
        rows_by_ca = sightings.rows_by_ca() if action.by_device else sightings.rows_by_instance()
        for ca, rows in rows_by_ca.most_common():
            small += rows < SMALL
            if rows > 1 and small <= SMALL_PAGED:
                query = self._lanes.service.listed(ca)
                begun.append(_Paging(action.listing, query, ca, rows, sightings, count_to=self._count_to.get(ca, 0)))
                yield begun[-1]
        if then_one_by_one:
            progress.to_read = progress.reads + max(0, unseen - sum(each.rows for each in begun))

    async def read_unseen(self, batches: Iterator[list[Row]]) -> BulkcertError | None:
        """Reads each of these rows that was not seen; returns why that was given up, or None."""
        if not self._sightings.unseen:
            return None
        failures: list[BulkcertError] = []
        statuses = self._sightings.statuses
        unseen = ([row for row in batch if not statuses[row.number]] for batch in batches)

        async def read(lane: Lane, row: Row) -> None:
            if not failures and (failure := await self._read(lane, row)) is not None:
                failures.append(failure)

        progress = self._lanes.progress
        progress.to_read = progress.reads + self._sightings.unseen
        await each_row(self._lanes, unseen, read)
        progress.to_read = 0
        return failures[0] if failures else None

    async def _read(self, lane: Lane, row: Row) -> BulkcertError | None:
        operation = self._action.reading
        query = self._lanes.service.parameters(self._action, row)
        settled = await self._lanes.settle(lane, operation, query)
        if settled is None:
            return None
        answer = settled.answer
        if answer.status is not None:
            self._sightings.see_row(row.number, answer.status, answer.sent_at)
            self._lanes.progress.reads += 1
        elif settled.concerns_one:
            self._scanned.refused += 1
            self._scanned.refusal = f"{answer.code} (request {answer.request_id or 'unknown'}): {answer.message}"
        elif not self._lanes.stopping.is_set():
            return unreadable(answer, operation)
        return None

    async def are_swapped(self, batches: Iterator[list[Row]]) -> bool:
        """Returns whether the columns of a list of devices are swapped: a few rows are tried where none was seen."""
        registered = (NUMBER_OF[each] for each in (Status.ACTIVE, Status.INACTIVE))
        if not self._action.by_device or any(map(self._sightings.statuses.count, registered)):
            return False
        first = await anyio.to_thread.run_sync(next, batches, ())
        for row in first[:SWAPS_TRIED]:
            swapped = self._lanes.service.parameters(self._action, row) | {"CaSn": row.device_sn, "DeviceSn": row.ca_sn}
            settled = await self._lanes.settle(self._lanes.lanes[0], self._action.reading, swapped)
            if settled is None or settled.answer.page is not None:
                return settled is not None
        return False


class _Paging(Listing):
    """The paging through one CA, or through the CAs: as long as it may cost fewer calls than there are rows, or counts.

    Args:
        ca: Key of the CA; without a serial for the CAs themselves.
        rows: Rows that it may settle.
        count_to: Certificates that are counted in any case.
    """

    def __init__(
        self, operation: Operation, query: dict[str, str], ca: str, rows: int, sightings: Sightings, *, count_to: float
    ) -> None:
        super().__init__(operation, query, self._deliver)
        self.ca = ca
        self.at = 0
        self.devices = 0
        """Certificates that it has held so far."""
        self.rows = rows
        self._count_to = count_to
        self._settled = 0
        self._sightings = sightings

    def _deliver(self, page: Page, at: int) -> bool:
        self._settled += self._sightings.see(page.certificates, self.ca, at)
        self.at = max(self.at, at)
        pages = max(self.expected or 0, self.pages + 1)
        self.devices += len(page.certificates)
        return (self._settled < self.rows and pages < self.rows) or self.devices <= self._count_to
