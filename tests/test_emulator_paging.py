"""The three lists, page by page (reference, section 1.2)."""

from contextlib import closing
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_emulator_calls import CA, DEVICE, INSTANCE, InProcess

from bulkcert.emulator.service import PAGE_NO
from bulkcert.emulator.settings import Settings
from bulkcert.emulator.state import CaCertificate, Registry


async def pages(call, action, field, size, **parameters):
    """All pages of a list, and the serials on each."""
    found, number = [], 1
    while True:
        page = await call.ok(action, PageNo=str(number), PageSize=str(size), **parameters)
        assert (page["PageNo"], page["PageSize"]) == (number, size)
        found.append((page["Total"], [shown.get("DeviceSn", shown.get("Sn")) for shown in page[field]]))
        if len(page[field]) < size:
            return found
        number += 1


async def test_paging_by_ca():
    """Pages of a CA's devices are full up to the last, and ``Total`` is the number of devices."""
    async with InProcess() as call:
        call.state.seed(INSTANCE, [("ca", f"{number:03}") for number in range(7)])

        found = await pages(call, "ListDeviceCertificateByCaSn", "DeviceCertificateVOS", 3, CaSn="ca")

        assert found == [(7, ["000", "001", "002"]), (7, ["003", "004", "005"]), (7, ["006"])]


async def test_paging_of_instance():
    """Elsewhere ``Total`` is the number of pages, and a full last page is followed by an empty one."""
    async with InProcess() as call:
        call.state.seed(INSTANCE, [("other", "1"), ("other", "2"), ("other", "3")])
        call.state.put_instance("another")
        call.state.seed("another", [("other", "4")])

        devices = await pages(call, "ListDeviceCertificate", "DeviceCertificateVOS", 2)
        cas = await pages(call, "ListCaCertificate", "CaCertificateVOS", 100)

        assert devices == [(2, [DEVICE, "1"]), (2, ["2", "3"]), (2, [])]
        assert cas == [(1, [CA, "other"])]


@pytest.mark.parametrize(
    ("number", "size"), [("0", "1"), ("-1", "1"), ("1", "0"), ("1", "101"), ("x", "1"), ("1", "1.5"), ("9" * 40, "1")]
)
@pytest.mark.parametrize("action", ["ListCaCertificate", "ListDeviceCertificate"])
async def test_pages_out_of_range(action, number, size):
    """Pages count from 1 and hold 1 to 100 certificates."""
    async with InProcess() as call:
        answer = await call(action, PageNo=number, PageSize=size)
        assert answer.json()["Code"] == "ParameterFieldCheckFailed"


async def test_totals_follow_changes():
    """A list is up to date after deletions and first connections."""
    async with InProcess() as call:
        totals = []
        for change in (
            None,
            call.admin("connect", instance=INSTANCE, ca_sn=CA, device_sn="new"),
            call("DeleteDeviceCertificate", CaSn=CA, DeviceSn=DEVICE),
            call("DeleteDeviceCertificate", CaSn=CA, DeviceSn="new"),
        ):
            if change:
                await change
            page = await call.ok("ListDeviceCertificateByCaSn", CaSn=CA, PageNo="1", PageSize="1")
            totals.append(page["Total"])

        assert totals == [1, 2, 1, 0]


@pytest.mark.parametrize(
    ("list_total", "cas", "devices", "of_ca"),
    [("documented", 1, 3, 5), ("results", 2, 6, 5), ("pages", 1, 3, 3), ("zero", 0, 0, 0)],
)
async def test_total_as_asked_for(list_total, cas, devices, of_ca):
    """``Total`` is what each list documents, or whatever else it might turn out to be, the same everywhere."""
    async with InProcess(Settings(list_total=list_total)) as call:
        call.state.seed(INSTANCE, [("ca", f"{number}") for number in range(5)])
        page = {"PageNo": "2", "PageSize": "2"}

        assert (await call.ok("ListCaCertificate", **page))["Total"] == cas
        assert (await call.ok("ListDeviceCertificate", **page))["Total"] == devices
        of_one = await call.ok("ListDeviceCertificateByCaSn", CaSn="ca", **page)
        assert of_one["Total"] == of_ca
        assert [shown["DeviceSn"] for shown in of_one["DeviceCertificateVOS"]] == ["2", "3"]


SERIALS = st.text("0aé\U0001f600", min_size=1, max_size=3)
CAS = st.sampled_from(["a", "b", "ba", "é"])
STEPS = st.one_of(
    st.tuples(st.just("add"), CAS, SERIALS),
    st.tuples(st.just("delete"), CAS, SERIALS),
    st.tuples(st.just("delete ca"), CAS),
    st.tuples(st.just("page"), st.integers(1, 12), st.integers(1, 7)),
    st.tuples(st.just("page of"), CAS, st.integers(1, 12), st.integers(1, 7)),
    st.tuples(st.just("cas"), st.integers(1, 3), st.integers(1, 3)),
)


class Model:
    """Certificates in sorted lists beside the same in a state."""

    def __init__(self, state) -> None:
        self.state = state
        self.devices, self.cas = set(), {"a", "b", "ba", "é"}
        state.seed(INSTANCE, [(ca, "") for ca in self.cas])

    def add(self, ca, device):
        if (ca, device) not in self.devices:
            self.state.add_device(INSTANCE, ca, device)
            self.devices.add((ca, device))

    def delete(self, ca, device):
        assert self.state.delete_device(INSTANCE, ca, device) == ((ca, device) in self.devices)
        self.devices.discard((ca, device))

    def delete_ca(self, ca):
        assert self.state.delete_ca(INSTANCE, ca) == (ca in self.cas)
        self.cas.discard(ca)
        self.devices = {pair for pair in self.devices if pair[0] != ca}

    def page(self, number, size):
        self._compare(self.state.devices(INSTANCE, number, size), self.devices, number, size)

    def page_of(self, ca, number, size):
        devices = {pair for pair in self.devices if pair[0] == ca}
        self._compare(self.state.devices_of(INSTANCE, ca, number, size), devices, number, size)

    def list_cas(self, number, size):
        total, shown = self.state.cas(INSTANCE, number, size)
        assert (total, [ca["Sn"] for ca in shown]) == self._expected(self.cas, number, size)

    def _compare(self, page, devices, number, size):
        total, shown = page
        assert (total, [(device["CaSn"], device["DeviceSn"]) for device in shown]) == self._expected(
            devices, number, size
        )

    @staticmethod
    def _expected(rows, number, size):
        return len(rows), sorted(rows)[(number - 1) * size : number * size]


@given(st.sets(st.tuples(CAS, SERIALS), max_size=60), st.lists(STEPS, max_size=40))
def test_pages_are_those_of_offset(seeded, steps):
    """Whatever comes and goes in between, each page is the slice of the sorted list, in whatever order it is asked."""
    with closing(Registry()) as state:
        model = Model(state)
        state.seed(INSTANCE, seeded)
        model.devices |= seeded
        take = {
            "add": model.add,
            "delete": model.delete,
            "delete ca": model.delete_ca,
            "page": model.page,
            "page of": model.page_of,
            "cas": model.list_cas,
        }
        for name, *arguments in steps:
            take[name](*arguments)
        model.page(2, 7)


def test_lists_follow_seeds_and_registrations():
    """A list that was asked for before shows what a seed adds, and a CA that is registered."""
    with closing(Registry()) as state:
        state.seed(INSTANCE, [("a", "1"), ("c", "1")])
        lists = [
            partial(state.cas, INSTANCE),
            partial(state.devices, INSTANCE),
            partial(state.devices_of, INSTANCE, "c"),
        ]
        assert [ask(1, 100)[0] for ask in lists] == [2, 2, 1]

        state.add_ca(CaCertificate(INSTANCE, "b", "", "", "", "", "1", "2"))
        assert state.cas(INSTANCE, 1, 100)[0] == 3
        assert [ca["Sn"] for ca in state.cas(INSTANCE, 1, 100)[1]] == ["a", "b", "c"]

        state.seed(INSTANCE, [("c", "2")])
        assert [ask(1, 100)[0] for ask in lists] == [3, 3, 2]


def effort(state, ask, *page):
    """Instructions of SQLite's machine that a page takes, in hundreds."""
    counted = []
    state._db.set_progress_handler(lambda: counted.append(1), 100)
    ask(*page)
    state._db.set_progress_handler(None, 0)
    return len(counted)


def test_a_deep_page_costs_no_more_than_a_shallow_one():
    """Whoever reads a list page by page gets its last page as cheaply as its first."""
    with closing(Registry()) as state:
        state.seed(INSTANCE, [("ca", f"{number:06}") for number in range(20_000)])
        for ask in (partial(state.devices, INSTANCE), partial(state.devices_of, INSTANCE, "ca")):
            efforts = [effort(state, ask, number, 100) for number in range(1, 200)]
            assert max(efforts[1:]) < 4 * efforts[1]


def test_a_page_behind_the_end_is_empty():
    """The highest page number of all is answered at once, with nothing on it."""
    with closing(Registry()) as state:
        state.seed(INSTANCE, [("ca", "1")])

        assert state.devices(INSTANCE, PAGE_NO, 100) == (1, [])
