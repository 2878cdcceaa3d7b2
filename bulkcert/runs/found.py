"""What is found out about a list before anything is changed, by reading alone.

How many of its rows are in which state, by CA, how many devices its CAs have, and whether each instance answers.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice

import anyio
import msgspec
import polars as pl

from bulkcert.engine.failures import Stop
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.listing import Listing, read_listings
from bulkcert.engine.sightings import STATUSES
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import ROW, PinnedList, ca_keys
from bulkcert.output.advice import Remedy
from bulkcert.runs.policy import COUNTING
from bulkcert.service.actions import OPERATIONS, PAGE_SIZE, Action, Status, of_ca_key
from bulkcert.service.classification import Page
from bulkcert.words import tr

CAS_COUNTED = 20
"""CAs of a list of devices whose registered device certificates are counted, most rows first."""

MANY_ROWS = 100
"""Rows above which one call for their CA is worth naming."""

NEARLY_ALL = 0.9
"""Share of a CA's registered device certificates that are nearly all of them."""

MOST_SHARE = 0.5
"""Share of the rows from which a CA is worth one call, whatever else is registered under it."""

MOST_COUNTED = 100_000
"""Device certificates of such a CA that are counted, a thousand pages; of others as many as show whether the rows are
nearly all of them."""

MOST_PAGES = 10_000
"""Pages that are read to count what an action on CAs hits, all CAs together: a million device certificates."""

_LISTING = OPERATIONS["ListCaCertificate"]
"""What an instance is asked: it needs no serial."""


class States(msgspec.Struct, frozen=True):
    """How many rows that may be called are in each state; ``rows`` is their sum."""

    rows: int
    already: int
    not_registered: int
    to_change: int
    not_read: int

    @property
    def may_change(self) -> int:
        """Rows that a call changes, or may change for all that is known."""
        return self.to_change + self.not_read


def states_of(action: Action, counted: Counter[Status | None]) -> States:
    """Returns what an action makes of rows in these states; None is that of rows whose state was not read."""
    wanted, rows = action.desired_status, counted.total()
    absent, unseen = counted[Status.NOT_REGISTERED], counted[None]
    # What is not registered is deleted all the same: the call costs little, and "not found" is an outcome of its own.
    already = counted[wanted] if wanted is not Status.NOT_REGISTERED else 0
    return States(rows, already, absent, rows - already - unseen - absent, unseen)


class Registered(msgspec.Struct, frozen=True):
    """How many device certificates of a CA are registered; at least so many where its listing was not read to its end.

    Attributes:
        devices: Device certificates.
        whole: Whether these are all.
    """

    devices: int
    whole: bool


class Found(msgspec.Struct):
    """What was found.

    Attributes:
        by_ca: How many rows that may be called are in each status, by the key of their CA; those of CAs that are not
            counted for themselves are under None. The status None is that of rows whose state was not read.
        by_instance: The same by instance, where a list names several.
        registered: Device certificates of CAs by their keys, where they were counted.
        uncounted: Why they could not be counted, where they were to be.
    """

    by_ca: dict[str | None, Counter[Status | None]] = msgspec.field(default_factory=dict)
    by_instance: dict[str, Counter[Status | None]] = msgspec.field(default_factory=dict)
    registered: dict[str, Registered] = msgspec.field(default_factory=dict)
    uncounted: BulkcertError | None = None

    def count(self, frames: Iterable[pl.DataFrame], statuses: bytearray, kept: Mapping[str, int]) -> None:
        """Counts rows by their status.

        Args:
            frames: The rows.
            statuses: The status of each row by its number, as in ``STATUSES``.
            kept: CAs that are counted for themselves.
        """
        self.by_ca, self.by_instance = {}, {}
        for frame in frames:
            seen = pl.Series("seen", [statuses[row] for row in frame[ROW]], dtype=pl.UInt8)
            for ca, number, rows in (
                pl.DataFrame([ca_keys(frame).alias("ca"), seen]).group_by("ca", "seen").len().iter_rows()
            ):
                status = STATUSES[number]
                self.by_ca.setdefault(ca if ca in kept else None, Counter())[status] += rows
                if instance := of_ca_key(ca)[1]:
                    self.by_instance.setdefault(instance, Counter())[status] += rows

    def states(self, action: Action) -> States:
        """Returns what an action makes of all rows."""
        return states_of(action, sum(self.by_ca.values(), Counter()))

    @property
    def devices(self) -> Registered | None:
        """The device certificates of all CAs; None where none were counted."""
        if not self.registered:
            return None
        counts = self.registered.values()
        whole = all(each.whole for each in counts) and self.uncounted is None
        return Registered(sum(each.devices for each in counts), whole)


def worth_counting(rows: Counter[str], cas: Iterable[str]) -> dict[str, float]:
    """Returns which CAs of a list of devices are worth counting, with how many of their devices at most.

    ``rows`` are those of the list by CA; ``cas`` has those with most of them first.
    """
    many = MOST_SHARE * rows.total()
    return {
        ca: max(rows[ca] / NEARLY_ALL + PAGE_SIZE, MOST_COUNTED * (rows[ca] >= many))
        for ca in islice(cas, CAS_COUNTED)
        if rows[ca] > MANY_ROWS
    }


async def count_devices(lanes: Lanes, found: Found, most: Mapping[str, float]) -> None:
    """Counts the device certificates that are registered under CAs, page by page.

    Args:
        lanes: Where calls go through.
        found: Where the numbers go; what was counted to its end before is not counted again.
        most: The CAs, with how many device certificates of each are counted at most.
    """
    for ca in most:
        if {*found.by_ca.get(ca, ())} == {Status.NOT_REGISTERED} and ca not in found.registered:
            found.registered[ca] = Registered(0, whole=True)  # there is no such CA
    left = [ca for ca in most if not (ca in found.registered and found.registered[ca].whole)]
    pages, counts, begun = 0, Counter[str](), dict[str, Listing]()

    def count(ca: str, page: Page, _at: int) -> bool:
        nonlocal pages
        pages += 1
        counts[ca] += len(page.certificates)
        return counts[ca] <= most[ca] and pages < MOST_PAGES

    def listings() -> Iterator[Listing]:
        for ca in left:
            if pages < MOST_PAGES:
                begun[ca] = Listing(COUNTING, lanes.service.listed(ca), partial(count, ca))
                yield begun[ca]

    found.uncounted = await read_listings(lanes, listings())
    if found.uncounted is None:
        found.registered |= {ca: Registered(counts[ca], ca in begun and begun[ca].whole) for ca in left}


async def ask_instances(lanes: Lanes) -> dict[str, bool | None]:
    """Asks for each instance; one that is refused, or does not answer, stops the lanes.

    Args:
        lanes: Where calls go through, to a service that has several instances; else there are no calls.

    Returns:
        Whether each is this account's; None where it may not be read.
    """
    service, known = lanes.service, dict[str, bool | None]()
    limiter = anyio.CapacityLimiter(service.workers)

    async def ask(number: int, instance: str) -> None:
        async with limiter:
            lane = lanes.lanes[number % len(lanes.lanes)]
            result = None if lanes.stopping.is_set() else await lanes.settle(lane, _LISTING, _first_of(instance))
        if result is not None:
            known[instance] = True if result.answer.page is not None else None
            if not result.final and not lanes.stopping.is_set():
                said = f"{instance} at {service.instances[instance]}: {result.answer.code}: {result.answer.message}"
                lanes.stop(Stop(ExitStatus.UNAVAILABLE, said, Remedy.UNANSWERED.value))

    async with anyio.create_task_group() as group:
        for number, instance in enumerate(service.instances):
            group.start_soon(ask, number, instance)
    return {instance: known.get(instance) for instance in service.instances}


async def ask_any(lanes: Lanes) -> None:
    """Asks for one CA: a key, an instance or an endpoint that is refused, or does not answer, stops the lanes."""
    instance = next(iter(lanes.service.instances), lanes.service.instance)
    await lanes.settle(lanes.lanes[0], _LISTING, _first_of(instance))


def _first_of(instance: str) -> dict[str, str]:
    return {"MqttInstanceId": instance, "PageNo": "1", "PageSize": "1"}


def on_swapped(pinned: PinnedList) -> Stop:
    """Returns why a list is not called whose columns are swapped, with the options that read it right."""
    right = shlex.join(["--device-column", pinned.ca_column, "--ca-column", pinned.device_column or ""])
    said = tr("the columns are swapped: devices of the list are registered the other way round")
    return Stop(ExitStatus.INPUT_INVALID, said, tr("to read them right, give {options}", options=right))
