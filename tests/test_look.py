"""Looking, without a network: how a listing is paged through, and what is seen of the rows of a list."""

import random
from collections import Counter
from types import SimpleNamespace
from unittest.mock import patch

import anyio
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from program import PATIENCE_S

from bulkcert.engine.listing import AHEAD, MOST_AT_ONCE, Listing, read_listings
from bulkcert.engine.progress import Progress
from bulkcert.engine.sightings import Sightings
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import CA_SN, DEVICE_SN, ROW
from bulkcert.service.actions import OPERATIONS, PAGE_SIZE, Status
from bulkcert.service.classification import Certificate, Page
from bulkcert.service.codes import Verdict

BY_CA = OPERATIONS["ListDeviceCertificateByCaSn"]


class Reader:
    """Reads a made-up listing of so many certificates; answers come in random order.

    Args:
        size: Certificates that there are.
        total: What every page says of them.
        at_once: Pages that are asked for at a time, at most.
        chance: Decides on the order.
        wanted: Pages after which it is enough, or None.
        fit: Certificates that the service puts on a page.
    """

    def __init__(self, size, total, *, at_once=1, chance=None, wanted=None, fit=PAGE_SIZE):
        self.size, self.total, self.at_once, self.wanted, self.fit = size, total, at_once, wanted, fit
        self.chance = chance or random.Random(0)
        self.delivered, self.asked, self.most_ahead = [], [], 0
        self.listing = Listing(BY_CA, {"MqttInstanceId": "i", "CaSn": "00ca"}, self._deliver)

    def _deliver(self, page, at):
        self.delivered.append((at, page.certificates))
        return self.wanted is None or len(self.delivered) < self.wanted

    def page(self, number):
        return list(range(self.size)[(number - 1) * self.fit : number * self.fit])

    def read(self):
        flying = []
        while not self.listing.done:
            while len(flying) < self.at_once and (number := self.listing.next()) is not None:
                flying.append(number)
                self.asked.append(number)
                self.most_ahead = max(self.most_ahead, number - self.listing.pages)
            assert flying, "it waits for nothing"
            assert len(self.asked) <= 2 * self.needed + 2 * self.at_once, "it does not end"
            number = flying.pop(self.chance.randrange(len(flying)))
            self.listing.take(number, Page(self.page(number), self.total), at=number)
        assert not flying
        return self

    @property
    def needed(self):
        """Pages up to the first that is not full."""
        return self.size // self.fit + 1


def totals_of(size):
    """What Total may say: the certificates, the pages, nothing, or anything."""
    pages = -(-size // PAGE_SIZE)
    lies = st.integers(0, 10**9) | st.integers(max(0, pages - 3), pages + 3) | st.integers(0, 2 * size + 1)
    return st.sampled_from([size, pages, 0]) | lies


SIZES = (
    st.sampled_from([0, 99, 100, 101])
    | st.integers(0, 2500)
    | st.integers(0, 40).map(lambda pages: pages * PAGE_SIZE)
    | st.integers(0, 30_000)
)


@pytest.mark.parametrize(("total", "is_known"), [(1234, True), (13, False), (0, False)])
def test_how_many_pages_are_left(total, is_known):
    """It is known from the first page on where ``Total`` counts certificates, and never is below what is missing."""
    left, reader = [], Reader(1234, total)
    deliver = reader.listing.deliver
    reader.listing.deliver = lambda page, at: left.append(reader.listing.left) or deliver(page, at)
    listing = reader.read().listing

    assert listing.left == 0
    assert (None in left[1:]) != is_known
    if is_known:
        assert left == [12 - number for number in range(13)]


@given(st.data(), SIZES, st.integers(1, 96), st.randoms(use_true_random=False))
def test_every_page_once_and_in_order(data, size, at_once, chance):
    """Whatever Total says, and in whatever order pages come: each is asked for once and delivered in order."""
    reader = Reader(size, data.draw(totals_of(size)), at_once=at_once, chance=chance).read()

    assert reader.listing.whole
    assert reader.asked == list(range(1, len(reader.asked) + 1))
    assert [number for number, _ in reader.delivered] == reader.asked
    assert [found for _, page in reader.delivered for found in page] == list(range(size))
    assert reader.listing.pages == reader.listing.asked == len(reader.asked)
    assert len(reader.asked) <= reader.needed + at_once
    assert reader.most_ahead <= AHEAD


@given(SIZES, st.integers(1, 96), st.randoms(use_true_random=False))
def test_no_page_in_vain_where_total_is_true(size, at_once, chance):
    """Where Total counts certificates, none is asked for beyond the end but the one after a full last page."""
    reader = Reader(size, size, at_once=at_once, chance=chance).read()

    assert len(reader.asked) == reader.needed


@given(SIZES, st.integers(1, 500), st.randoms(use_true_random=False))
def test_few_pages_in_vain_where_total_says_nothing(size, at_once, chance):
    """Without a hint the steps grow from one: fewer pages beyond the end than before it, and never many."""
    reader = Reader(size, 0, at_once=at_once, chance=chance).read()

    assert len(reader.asked) - reader.needed < min(reader.needed, MOST_AT_ONCE)


@given(SIZES, st.integers(1, 96), st.integers(1, 20), st.randoms(use_true_random=False))
def test_enough(size, at_once, wanted, chance):
    """Whoever has enough gets no more; what is in flight is waited for."""
    reader = Reader(size, size, at_once=at_once, chance=chance, wanted=wanted).read()

    assert len(reader.delivered) == min(wanted, reader.needed)
    assert reader.listing.done
    assert reader.listing.next() is None
    assert len(reader.asked) <= reader.needed
    assert not reader.listing.whole or sum(len(found) for _, found in reader.delivered) == size


def test_a_page_that_holds_some_after_one_that_is_short():
    """A listing that shrinks while it is read leaves a short page; those after it are asked for all the same."""
    listing = Listing(BY_CA, {})
    listing.take(listing.next(), Page([0] * PAGE_SIZE, 3 * PAGE_SIZE), 1)
    two, three = listing.next(), listing.next()
    listing.take(three, Page([0] * PAGE_SIZE, 3 * PAGE_SIZE), 3)
    listing.take(two, Page([0] * (PAGE_SIZE - 1), 3 * PAGE_SIZE), 2)

    assert not listing.whole
    assert not listing.done
    assert listing.next() == 4
    listing.take(4, Page([]), 4)
    assert (listing.whole, listing.done, listing.pages) == (True, True, 4)


@pytest.mark.parametrize("fit", [1, 10, 50, 99])
@pytest.mark.parametrize("size", [1, 9, 10, 50, 51, 99])
def test_every_certificate_though_fewer_fit(size, fit):
    """A service that puts fewer on a page than were asked for does not end a listing early."""
    reader = Reader(size, size, fit=fit).read()

    assert [found for _, page in reader.delivered for found in page] == list(range(size))
    assert len(reader.asked) <= size // fit + 2


def test_a_page_that_cannot_be_had():
    """What is left of a listing that was given up is waited for, and it is not whole: nothing is missing from it."""
    listing = Listing(BY_CA, {})
    listing.take(listing.next(), Page([0] * 100, 300), 1)
    numbers = [listing.next() for _ in range(2)]
    listing.give_up(BulkcertError(ExitStatus.UNAVAILABLE, "no"))

    assert (listing.next(), listing.done) == (None, False)
    listing.take(numbers[1], Page([]), 1)
    assert (listing.done, listing.whole) == (True, False)


@pytest.mark.parametrize("stops", [False, True])
async def test_pages_go_to_lanes_that_are_free(stops):
    """A lane that waits for an answer gets no other page, and the rest read on; on a stop nothing more is asked for."""
    lanes = SimpleNamespace(stopping=anyio.Event(), lanes=["slow", "fast"], service=SimpleNamespace(workers=1))
    lanes.progress, asked, answers = Progress(), [], anyio.Event()

    async def settle(lane, _operation, parameters):
        asked.append(lane)
        if lane == "slow":
            await answers.wait()
        elif asked.count("fast") == 5:
            assert asked.count("slow") == 1
            answers.set()
            if stops:
                lanes.stopping.set()
                return None
        page = Page([0] * PAGE_SIZE if int(parameters["PageNo"]) < 8 else [], 7 * PAGE_SIZE)
        return SimpleNamespace(answer=SimpleNamespace(verdict=Verdict.DONE, page=page, sent_at=1))

    lanes.settle = settle
    listings = [Listing(BY_CA, {}) for _ in range(2)]
    with anyio.fail_after(PATIENCE_S):
        assert await read_listings(lanes, iter(listings)) is None
    assert (len(asked) == 6) if stops else all(each.whole for each in listings)
    assert lanes.progress.paging == ()


# Sightings.

NEAR = st.text("0aA", min_size=1, max_size=3)
"""Serials of which many differ in leading zeros or in case only."""

PAIRS = st.tuples(NEAR, NEAR)
RAW = {"1": Status.ACTIVE, "0": Status.INACTIVE, "7": Status.UNRECOGNIZED}


def expecting(rows, *, by_device=True, cas=None, rows_of_a_batch=3, gaps=1):
    """Returns sightings that expect rows, pairs of device and CA; their numbers are apart by ``gaps``."""
    cas = sorted({ca for _, ca in rows}) if cas is None else cas
    sightings = Sightings(len(rows) * gaps, cas, by_device=by_device)
    sightings._since = 1000
    frame = pl.DataFrame(
        {
            ROW: [number * gaps for number in range(1, len(rows) + 1)],
            DEVICE_SN: [device for device, _ in rows],
            CA_SN: [ca for _, ca in rows],
        },
        schema={ROW: pl.UInt32, DEVICE_SN: pl.String, CA_SN: pl.String},
    )
    sightings.expect(frame.iter_slices(rows_of_a_batch))
    return sightings


def shown(device, ca, raw, *, says_ca=True):
    return Certificate(device_sn=device, ca_sn=ca if says_ca else "", raw_status=raw)


@given(
    st.lists(PAIRS, unique=True, max_size=30),
    st.lists(st.lists(st.tuples(NEAR, NEAR, st.sampled_from([*RAW])), max_size=12), max_size=6),
    st.integers(1, 3),
    st.sampled_from([5, 1000]),
)
def test_what_is_seen_is_what_was_in_the_pages(rows, pages, gaps, long):
    """Each row has the status that the last page with it showed; foreign certificates change nothing."""
    with patch("bulkcert.engine.sightings.LONG", long):
        sightings = expecting(rows, gaps=gaps)
    truth, at_of, fresh = {}, {}, 0
    for at, page in enumerate(pages, 2000):
        before = set(truth)
        found = sightings.see([shown(*one) for one in page], "", at)
        for device, ca, raw in page:
            if (device, ca) in rows:
                truth[device, ca], at_of[device, ca] = RAW[raw], at
        assert found == len(set(truth) - before)
        fresh += found

    for number, row in enumerate(rows, 1):
        assert sightings.status(number * gaps) is truth.get(row)
        assert row not in truth or sightings.seen_at(number * gaps) == at_of[row]
    assert sightings.unseen == len(rows) - len(truth) == len(rows) - fresh
    assert sum(map(bool, sightings.statuses)) == len(truth), "nothing between the rows"


@given(st.lists(PAIRS, unique=True, min_size=1, max_size=20), st.lists(PAIRS, max_size=20), NEAR)
def test_what_was_missed_is_not_registered(rows, page, ca_sn):
    """Rows of a CA that was read to its end and were not seen are not registered; those of others stay unseen."""
    sightings = expecting(rows)
    sightings.see([shown(*one, "1") for one in page], "", 2000)
    known = {ca for _, ca in rows} & {ca_sn}
    sightings.miss(known, 3000)

    for number, row in enumerate(rows, 1):
        missed = Status.NOT_REGISTERED if row[1] in known else None
        assert sightings.status(number) is (Status.ACTIVE if row in page else missed)


@given(st.lists(PAIRS, unique=True, max_size=40), st.data())
def test_rows_are_counted_by_ca(rows, data):
    """Rows are counted by CA, exactly; those of CAs that are not counted for themselves are left out."""
    counted = data.draw(st.lists(st.sampled_from(sorted({ca for _, ca in rows}) or ["x"]), unique=True))
    sightings = expecting(rows, cas=counted)

    assert sightings.rows_by_ca() == Counter(ca for _, ca in rows if ca in counted)


def test_the_ca_of_devices_that_do_not_say():
    """Devices without a CA are those of the CA that was paged through; where they say another, that counts."""
    sightings = expecting([("1", "a"), ("1", "b")])

    assert sightings.see([shown("1", "b", "0", says_ca=False)], "b", 2000) == 1
    assert [sightings.status(row) for row in (1, 2)] == [None, Status.INACTIVE]
    assert sightings.see([shown("1", "a", "1")], "b", 2000) == 1
    assert sightings.status(1) is Status.ACTIVE


def test_cas():
    """CAs are found by their own serial, whatever a list holds beside."""
    sightings = expecting([("", "00ca"), ("", "00cb")], by_device=False, cas=[])

    assert sightings.see([Certificate(sn="00cb", raw_status="0"), Certificate(sn="ca", raw_status="1")], "", 2000) == 1
    sightings.miss([""], 3000)
    assert [sightings.status(row) for row in (1, 2)] == [Status.NOT_REGISTERED, Status.INACTIVE]
