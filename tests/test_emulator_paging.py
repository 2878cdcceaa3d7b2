"""The three lists, page by page (reference, section 1.2)."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_emulator_calls import CA, DEVICE, INSTANCE, InProcess

from bulkcert.emulator.operations import PAGE_NO
from bulkcert.emulator.registry import CAS, DEVICES, Registry, SeededCertificate
from bulkcert.emulator.settings import Settings


@pytest.mark.parametrize(
    ("number", "size"), [("0", "1"), ("-1", "1"), ("1", "0"), ("1", "101"), ("x", "1"), ("1", "1.5"), ("9" * 40, "1")]
)
@pytest.mark.parametrize("action", ["ListCaCertificate", "ListDeviceCertificate"])
async def test_pages_out_of_range(action, number, size):
    """Pages count from 1 and hold 1 to 100 certificates."""
    async with InProcess() as call:
        assert await call.code(action, PageNo=number, PageSize=size) == "ParameterFieldCheckFailed"


@pytest.mark.parametrize(
    ("list_total", "cas", "devices", "of_ca"),
    [("documented", 1, 3, 5), ("results", 2, 6, 5), ("pages", 1, 3, 3), ("zero", 0, 0, 0)],
)
async def test_total_as_asked_for(list_total, cas, devices, of_ca):
    """``Total`` is what each list documents, or whatever else it might turn out to be, the same everywhere.

    Nothing of another instance is in it; a full last page is followed by an empty one.
    """
    async with InProcess(Settings(list_total=list_total)) as call:
        call.seed(*(("ca", f"{number}") for number in range(5)))
        call.seed(("ca", "9"), ("another", "9"), instance="another")
        for number, shown_cas, shown, of_one in (
            (1, [CA, "ca"], [DEVICE, "0"], ["0", "1"]),
            (2, [], ["1", "2"], ["2", "3"]),
            (4, [], [], []),
        ):
            page = {"PageNo": str(number), "PageSize": "2"}
            for action, total, serials in (
                ("ListCaCertificate", cas, shown_cas),
                ("ListDeviceCertificate", devices, shown),
                ("ListDeviceCertificateByCaSn", of_ca, of_one),
            ):
                found = await call.ok(action, **page, **({"CaSn": "ca"} if action.endswith("Sn") else {}))
                assert (found["Total"], found["PageNo"], found["PageSize"]) == (total, number, 2)
                listed = found["CaCertificateVOS" if action == "ListCaCertificate" else "DeviceCertificateVOS"]
                assert [each.get("DeviceSn", each.get("Sn")) for each in listed] == serials


SERIALS = st.text("0aé\U0001f600", min_size=1, max_size=3)
CAS_SEEN = st.sampled_from(["a", "b", "ba", "é"])


class Model:
    """Certificates in a set beside the same in a registry."""

    def __init__(self, registry, devices) -> None:
        self.registry = registry
        self.devices, self.cas = set(devices), {"a", "b", "ba", "é"}
        registry.fill(INSTANCE, [SeededCertificate(*pair) for pair in [*((ca, "") for ca in self.cas), *devices]])

    def connect(self, ca, device):
        new = ca in self.cas and (ca, device) not in self.devices
        assert self.registry.connect(INSTANCE, ca, device) == new
        self.devices |= {(ca, device)} if new else set()

    def seed(self, ca, device):
        self.registry.fill(INSTANCE, [SeededCertificate(ca, device)])
        self.devices.add((ca, device))
        self.cas.add(ca)

    def delete(self, ca, device):
        assert self.registry.delete(INSTANCE, ca, device) == ((ca, device) in self.devices)
        self.devices.discard((ca, device))

    def delete_ca(self, ca):
        assert self.registry.delete(INSTANCE, ca) == (ca in self.cas)
        self.cas.discard(ca)
        self.devices = {pair for pair in self.devices if pair[0] != ca}

    def page(self, number, size, ca=None):
        devices = {pair for pair in self.devices if ca in (None, pair[0])}
        total, shown = self.registry.page(DEVICES, (INSTANCE, ca) if ca else (INSTANCE,), number, size)
        pairs = [(device["CaSn"], device["DeviceSn"]) for device in shown]
        assert (total, pairs) == (len(devices), sorted(devices)[(number - 1) * size : number * size])

    def list_cas(self, number, size):
        total, shown = self.registry.page(CAS, (INSTANCE,), number, size)
        expected = sorted(self.cas)[(number - 1) * size : number * size]
        assert (total, [ca["Sn"] for ca in shown]) == (len(self.cas), expected)


STEPS = st.one_of(
    *(st.tuples(st.just(change), CAS_SEEN, SERIALS) for change in (Model.connect, Model.seed, Model.delete)),
    st.tuples(st.just(Model.delete_ca), CAS_SEEN),
    st.tuples(st.just(Model.page), st.integers(1, 12) | st.just(PAGE_NO), st.integers(1, 7), st.none() | CAS_SEEN),
    st.tuples(st.just(Model.list_cas), st.integers(1, 3), st.integers(1, 3)),
)


@given(st.sets(st.tuples(CAS_SEEN, SERIALS), max_size=60), st.lists(STEPS, max_size=40))
def test_pages_are_those_of_offset(seeded, steps):
    """Whatever comes and goes in between, each page is the slice of the sorted list, in whatever order it is asked."""
    with closing(Registry()) as registry:
        model = Model(registry, seeded)
        for step, *arguments in [(Model.page, 2, 7), *steps]:
            step(model, *arguments)
            for number in (1, 2, 3):
                model.page(number, 2)


def test_a_deep_page_costs_no_more_than_a_shallow_one():
    """Whoever reads a list page by page gets its last page as cheaply as its first."""
    with closing(Registry()) as registry:
        registry.fill(INSTANCE, [SeededCertificate("ca", f"{number:06}") for number in range(20_000)])

        def effort(*page):
            """Instructions of SQLite's machine that a page takes, in hundreds."""
            counted = []
            registry._db.set_progress_handler(lambda: counted.append(1), 100)
            registry.page(DEVICES, *page, 100)
            registry._db.set_progress_handler(None, 0)
            return len(counted)

        for scope in ((INSTANCE,), (INSTANCE, "ca")):
            efforts = [effort(scope, number) for number in range(1, 200)]
            assert max(efforts[1:]) < 4 * efforts[1]
