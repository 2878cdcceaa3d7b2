"""Looking first, as users meet it: what it costs, what it saves, its limits, and what is left when it is stopped."""

import random
from collections import Counter

import place
import pytest
from program import INSTANCE, emulator, here, outcomes, read_results, start, summary_of, wait_for, write_devices
from stored import change, kill

BY_CA, LIST_CAS, CALL = "ListDeviceCertificateByCaSn", "ListCaCertificate", "InactivateDeviceCertificate"
ACTIVE, INACTIVE, MISSING = MIXED = ("active", "inactive", "not_registered")
STATUS = {ACTIVE: "1", INACTIVE: "0"}


class Place(place.Place):
    """A list of devices, and what the emulator knows of each.

    Args:
        directory: Where files are.
        service: The emulator.
        count: Devices of the list.
        cas: CAs that they are spread over.
        state: Gives the state of each from its place in the list, from 0.
    """

    def __init__(self, directory, service, count, *, cas=1, state=lambda _: ACTIVE):
        self.before = [state(number) for number in range(count)]
        super().__init__(directory, service, count, cas=cas)

    def fill(self, rows, *, cas):
        self.devices = write_devices(self.list, rows, cas=cas)
        for kind, status in STATUS.items():
            self.service.seed(self.of_state(kind), status)

    def of_state(self, *kinds):
        return [device for device, state in zip(self.devices, self.before, strict=True) if state in kinds]

    def command(self, *more, where=None, **options):
        return super().command(*more, where=where or self.service.looking, **options)

    def prior(self):
        return [row["prior_status"] for row in read_results(self.results)]

    def called(self):
        """Returns the pairs that were called to be changed, in order."""
        return [(call["device_sn"], call["ca_sn"]) for call in self.service.calls() if call["operation"] == CALL]

    def judge(self, *, prior=None):
        """Checks outcome and prior status of every row against what the emulator knew before, and knows now."""
        expected = {ACTIVE: "succeeded", INACTIVE: "unchanged", MISSING: MISSING}
        rows = read_results(self.results)
        assert [row["outcome"] for row in rows] == [expected[state] for state in self.before]
        assert [row["prior_status"] for row in rows] == (self.before if prior is None else prior)
        assert [(row["DeviceSn"], row["CaSn"]) for row in rows] == self.devices
        found = self.service.counts()["devices"]
        assert found == {"0": len(self.of_state(ACTIVE, INACTIVE))}


@pytest.fixture
def service():
    with emulator() as running:
        yield running


def test_a_list_that_is_mostly_done(tmp_path, service):
    """2,000 rows of which 1 % are active: 20 pages and 20 calls, for exactly the active ones."""
    active = set(random.Random(7).sample(range(2000), 20))
    place = Place(tmp_path, service, 2000, cas=4, state=lambda number: ACTIVE if number in active else INACTIVE)
    finished = place.run().ended(0)

    assert service.report().operations == {BY_CA: 20, CALL: 20}
    assert sorted(place.called()) == sorted(place.of_state(ACTIVE))
    assert outcomes(place.results) == {"succeeded": 20, "unchanged": 1980}
    assert "no preflight" not in finished.stderr
    place.judge()
    columns = list(read_results(place.results)[0])
    assert columns[-1] == "prior_status"
    for row in read_results(place.results):
        assert (row["attempts"] in ("", "0")) == (row["outcome"] == "unchanged")
    place.run().ended(0)
    assert service.report().arrivals == 40, "what is done is not looked at again"


def test_a_page_without_data(tmp_path, service):
    """It is asked for again, so that no row is called whose state could be read."""
    place = Place(tmp_path, service, 1000, cas=2, state=lambda number: INACTIVE if number % 2 else ACTIVE)
    service.tell("faults", shares={f"{BY_CA}:no-echo": 0.3}, seed=5)
    place.run("--attempts", "12").ended(0)

    place.judge()
    assert service.report().operations[BY_CA] > 10


def test_pages_that_never_have_data(tmp_path, service):
    """A CA that cannot be listed is said to be, with the reason; its rows are called, and the others are listed."""
    place = Place(tmp_path, service, 100, state=lambda _: INACTIVE)
    service.tell("faults", shares={f"{BY_CA}:no-echo": 1.0}, seed=5)
    reason = "ListDeviceCertificateByCaSn: Client.NoData: HTTP 200 without the Data that was asked for"
    finished = place.run("--attempts", "1").ended(0)

    assert reason in " ".join(finished.stderr.split())
    assert outcomes(place.results) == {"succeeded": 100}


def test_a_ca_much_bigger_than_the_list(tmp_path, service):
    """A few rows of a CA with 5,000 devices cost one page at most, and what that shows is used."""
    place = Place(tmp_path, service, 8, state=lambda number: INACTIVE if number == 0 else ACTIVE)
    service.seed([(f"00{number:010d}", "00ca000000") for number in range(1000, 6000)])
    place.list.write_text(
        "DeviceSn,CaSn\n"
        + "".join(f"{device},{ca}\n" for device, ca in [*place.devices, ("000000005999", "00ca000000")])
    )
    place.run().ended(0)

    assert service.report().operations == {BY_CA: 1, CALL: 8}
    assert place.prior() == [*place.before, ""], "the last row is not on the first page"
    assert outcomes(place.results) == {"succeeded": 8, "unchanged": 1}


def test_a_row_of_its_own_ca(tmp_path, service):
    """Where each row has a CA of its own, a page could save no more than it costs: only swapped columns are tried."""
    place = Place(tmp_path, service, 20, cas=20)
    place.run().ended(0)

    assert service.report().operations == {CALL: 20, "GetDeviceCertificate": 5}
    assert place.prior() == [""] * 20


def test_swapped_columns(tmp_path, service):
    """Whatever the list and whoever answers, a list whose columns are swapped changes nothing: 65, with the remedy."""
    place = Place(tmp_path, service, 20, cas=2)
    rows = [line.split(",")[::-1] for line in place.list.read_text().splitlines()[1:]]
    place.list.write_text("\n".join(["DeviceSn,CaSn", *map(",".join, rows), ""]))
    old = service.report().operations
    for _ in range(2):
        stopped = place.run().ended(65)
        assert "columns are swapped: devices of the list are registered the other way round" in stopped.stderr
        assert "give --device-column CaSn --ca-column DeviceSn" in stopped.stderr
        assert outcomes(place.results) == {"not_attempted": 20}
        assert "bulkcert resume" not in stopped.stderr
    assert service.report().operations.get(CALL, 0) == old.get(CALL, 0)
    place.run("--device-column", "CaSn", "--ca-column", "DeviceSn", "--overwrite").ended(0)


def test_always(tmp_path, service):
    """With always the state of every row is known before the first call; what pages cannot tell is read one by one."""
    place = Place(tmp_path, service, 30, cas=15, state=lambda number: MIXED[number % 3])
    service.seed([(f"99{number:08d}", "00ca000003") for number in range(5000)])
    place.run("--preflight", "always").ended(1)

    operations = service.report().operations
    assert operations[CALL] == 20, "the active ones, and those that are not registered"
    assert sum(operations.values()) - operations[CALL] <= 15 + 30
    order = [call["operation"] for call in service.calls()]
    assert CALL not in order[: len(order) - 20], "first all is read, then all is called"
    assert place.prior() == place.before
    assert outcomes(place.results) == {"succeeded": 10, "unchanged": 10, MISSING: 10}


def write_cas(place, states, service):
    """Writes a list of CAs in these states, each with a device; returns their serials."""
    cas = [f"00ca{number:06d}" for number in range(len(states))]
    for ca, state in zip(cas, states, strict=True):
        if state != MISSING:
            service.tell("seed", instance=INSTANCE, rows=[(ca, ""), (ca, "1")])
    inactive = [ca for ca, state in zip(cas, states, strict=True) if state == INACTIVE]
    place.list.write_text("\n".join(["Sn", *inactive, ""]))
    before = place.list.with_name("before.csv")
    here("run", "inactivate-ca", place.list, "-o", before, *service.where).ended(0)
    place.list.write_text("\n".join(["Sn", *cas, ""]))
    return cas


@pytest.mark.parametrize(
    ("action", "operation", "outcome_of"),
    [
        ("inactivate-ca", "InactivateCaCertificate", {ACTIVE: "succeeded", INACTIVE: "unchanged"}),
        ("activate-ca", "ActiveCaCertificate", {ACTIVE: "unchanged", INACTIVE: "succeeded"}),
        ("delete-ca", "DeleteCaCertificate", {ACTIVE: "succeeded", INACTIVE: "succeeded"}),
    ],
)
def test_cas(tmp_path, service, action, operation, outcome_of):
    """CAs are looked at page by page, too; deleting leaves out none, for what is switched off is not yet gone."""
    states = [MIXED[number % 3] for number in range(150)]
    place = Place(tmp_path, service, 1)
    cas = write_cas(place, states, service)
    old = service.report().operations
    sure = ("--confirm-devices", 101) if action == "delete-ca" else ()
    here(*place.command(*sure, action=action)).ended(1)

    rows = read_results(place.results)
    assert [row["Sn"] for row in rows] == cas
    assert [row["prior_status"] for row in rows] == states
    assert [row["outcome"] for row in rows] == [{**outcome_of, MISSING: MISSING}[state] for state in states]
    new = service.report().operations
    assert new[LIST_CAS] - old.get(LIST_CAS, 0) == 2, "100 CAs and the one of the fixture: a full page and a short one"
    to_call = sum(outcome != "unchanged" for outcome in (row["outcome"] for row in rows))
    assert new[operation] - old.get(operation, 0) == to_call
    registered = [outcome_of.get(state) for state in states if state != MISSING]
    # The devices under each CA that is called, and that there is, are counted.
    assert new[BY_CA] - old.get(BY_CA, 0) == len(registered) - registered.count("unchanged")


def test_errors_among_called_rows_only(tmp_path):
    """A share in --max-errors is one of the rows called: those that needed no call do not hide errors."""
    with emulator(fault=(f"{CALL}:ParameterFieldCheckFailed=1",)) as service:
        place = Place(tmp_path, service, 3000, state=lambda number: INACTIVE if number % 10 else ACTIVE)
        refused = place.run("--max-errors", "50%", "--max-in-flight", "4")

    found = outcomes(place.results)
    assert "of 100 rows called" in refused.ended(3).stderr
    assert found["unchanged"] == 2700
    assert found["failed"] <= 100 + 4
    assert found["not_attempted"] >= 150


@pytest.mark.parametrize(("look", "addresses"), [("auto", 1), ("always", 2)])
def test_caps(tmp_path, look, addresses):
    """With looking and calling together no second holds more sends than the cap of account or address.

    The caps are a fifth of the service's. What was sent evenly may arrive in bunches on a busy machine: the emulator
    has twice as much.
    """
    with emulator(latency_ms=(5, 60), caps={"account_cap": 200, "address_cap": 120}) as service:
        place = Place(tmp_path, service, 120, cas=40 if look == "always" else 3)
        if look == "always":
            # CAs too big to page through, so that rows are read one by one.
            big = [(f"77{number:08d}", f"00ca{ca:06d}") for ca in range(40) for number in range(101)]
            service.seed(big, "0")
        lanes = [part for number in range(addresses) for part in ("--source-address", f"127.0.0.{number + 2}")]
        where = ("--endpoint", service.url, "--instance", INSTANCE, "--yes", "--preflight", look)
        caps = ("--rate", "100", "--per-address-rate", "60")
        here(*place.command(*lanes, *caps, where=where)).ended(0)

        report = service.report()
        assert summary_of(place.results)["peak_window"] <= (100 if addresses == 2 else 60)
        assert (report.throttled, report.blocks) == (0, 0)
        reads = Counter(call["address"] for call in service.calls() if call["operation"] == BY_CA)
        assert len(reads) == addresses, "a few CAs are read through all lanes"
        assert report.operations[CALL] == 120
        assert report.operations[BY_CA] >= 3
        assert set(place.prior()) == {ACTIVE}


def test_killed_while_what_was_seen_is_kept(tmp_path, service):
    """A look whose end is not on disk counts for nothing: what was switched on since is called."""
    place = Place(tmp_path, service, 200, state=lambda number: INACTIVE if number < 100 else ACTIVE)
    place.run("--limit-rows", "1").ended(75)
    change(place.results, "UPDATE session SET preflight_at = NULL")
    nothing = "newest = NULL, attempts = 0, changed = 0, http_status = NULL, request_id = NULL, sent_at = NULL"
    change(place.results, f"UPDATE certificate SET {nothing}, finished_at = NULL WHERE newest <> 'unchanged'")
    kill(place.results)
    service.seed(place.devices[:5], "1")
    place.run().ended(0)

    assert service.states(place.devices[:5]) == ["0"] * 5
    assert [row["outcome"] for row in read_results(place.results)[:6]] == ["succeeded"] * 5 + ["unchanged"]


def test_a_signal_while_looking(tmp_path):
    """A signal while it looks ends the run in order; no calls were made, and the next run looks from the start."""
    with emulator(latency_ms=(150, 250)) as service:
        place = Place(tmp_path, service, 1000, state=lambda number: ACTIVE if number % 100 == 0 else INACTIVE)
        with start(*place.command("--max-in-flight", "1")) as child:
            wait_for(child, lambda: service.report().operations.get(BY_CA, 0) >= 2)
            child.terminate()
            _, said = child.communicate(timeout=30)
        assert child.returncode == 143, said.decode()
        assert outcomes(place.results) == {"not_attempted": 1000}
        assert service.report().changes == 0
        place.run().ended(0)
        place.judge()
