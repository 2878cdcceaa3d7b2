"""Looking first, as users meet it: what it costs, what it saves, and that the state before the run is kept."""

import random
import time

import pytest
from program import INSTANCE, KEY_ID, bulkcert, emulator, outcomes, read_results, start, write_devices

BY_CA, LIST_CAS, GET, CALL = (
    "ListDeviceCertificateByCaSn",
    "ListCaCertificate",
    "GetDeviceCertificate",
    "InactivateDeviceCertificate",
)
ACTIVE, INACTIVE, MISSING = "active", "inactive", "not_registered"
STATUS = {ACTIVE: "1", INACTIVE: "0"}
CLOSE_TOGETHER = ("--max-in-flight", "8")


@pytest.fixture
def service(tmp_path):
    with emulator(tmp_path) as running:
        yield running


class Place:
    """A list of devices, and what the emulator knows of each.

    Args:
        directory: Where files are.
        service: The emulator.
        count: Devices of the list.
        cas: CAs that they are spread over.
        state: Gives the state of each from its place in the list, from 0.
    """

    def __init__(self, directory, service, count, *, cas=1, state=lambda _: ACTIVE):
        self.list, self.results, self.service = directory / "devices.csv", directory / "results.csv", service
        self.devices = write_devices(self.list, count, cas=cas)
        self.before = [state(number) for number in range(count)]
        for kind, status in STATUS.items():
            service.seed(self.of_state(kind), status)

    def of_state(self, *kinds):
        return [device for device, state in zip(self.devices, self.before, strict=True) if state in kinds]

    def arguments(self, *more, where=None, action="inactivate-device"):
        where = self.service.looking if where is None else where
        return ("run", action, self.list, "-o", self.results, *where, *more)

    def run(self, *more, where=None, **options):
        return bulkcert(*self.arguments(*more, where=where), **options)

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


def wait_for(child, condition):
    """Waits for something to be so while a command runs."""
    until = time.monotonic() + 30
    while not condition():
        assert child.poll() is None, "it ended first"
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_list_that_is_mostly_done(tmp_path, service):
    """10,000 rows of which 1 % are active: 100 pages and 100 calls, for exactly the active ones."""
    active = set(random.Random(7).sample(range(10_000), 100))
    place = Place(tmp_path, service, 10_000, cas=4, state=lambda number: ACTIVE if number in active else INACTIVE)
    finished = place.run().ended(0)

    assert service.report().operations == {BY_CA: 100, CALL: 100}
    assert sorted(place.called()) == sorted(place.of_state(ACTIVE))
    assert outcomes(place.results) == {"succeeded": 100, "unchanged": 9900}
    assert "not looked at" not in finished.stderr
    place.judge()
    columns = list(read_results(place.results)[0])
    assert columns[-1] == "prior_status"
    for row in read_results(place.results):
        assert (row["attempts"] in ("", "0")) == (row["outcome"] == "unchanged")
    place.run().ended(0)
    assert service.report().arrivals == 200, "what is done is not looked at again"


def test_all_done_already(tmp_path, service):
    """Where all rows are as they should be, nothing is called, and that is a success."""
    place = Place(tmp_path, service, 300, state=lambda _: INACTIVE)
    place.run().ended(0)

    assert service.report().operations == {BY_CA: 3}
    assert service.report().changes == 0
    place.judge()


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
    """Where each row has a CA of its own, a page could save no more than it costs: nothing is read."""
    place = Place(tmp_path, service, 20, cas=20)
    place.run().ended(0)

    assert service.report().operations == {CALL: 20}
    assert place.prior() == [""] * 20


MIXED = (ACTIVE, INACTIVE, MISSING)


def test_never(tmp_path, service):
    """With never nothing is read and everything is called."""
    place = Place(tmp_path, service, 150, cas=2, state=lambda number: MIXED[number % 3])
    place.run("--look-first", "never").ended(1)

    assert service.report().operations == {CALL: 150}
    assert outcomes(place.results) == {"succeeded": 100, MISSING: 50}
    assert place.prior() == [""] * 150


def test_always(tmp_path, service):
    """With always the state of every row is known before the first call; what pages cannot tell is read one by one."""
    place = Place(tmp_path, service, 30, cas=15, state=lambda number: MIXED[number % 3])
    service.seed([(f"99{number:08d}", "00ca000003") for number in range(5000)])
    place.run("--look-first", "always").ended(1)

    operations = service.report().operations
    assert operations[CALL] == 20, "the active ones, and those that are not registered"
    assert sum(operations.values()) - operations[CALL] <= 15 + 30
    order = [call["operation"] for call in service.calls()]
    assert CALL not in order[: len(order) - 20], "first all is read, then all is called"
    assert place.prior() == place.before
    assert outcomes(place.results) == {"succeeded": 10, "unchanged": 10, MISSING: 10}


def test_always_without_permission_to_list(tmp_path, service):
    """Who may not list but may read reads one by one: every state is known, nothing is called in vain."""
    place = Place(tmp_path, service, 40, cas=2, state=lambda number: MIXED[number % 2])
    service.tell("access-key", id=KEY_ID, denied=[f"mq:{BY_CA}"])
    place.run("--look-first", "always", *CLOSE_TOGETHER).ended(0)

    assert outcomes(place.results) == {"succeeded": 20, "unchanged": 20}
    assert {row["prior_status"] for row in read_results(place.results)} == {"active", "inactive"}


def test_without_permission_to_list(tmp_path, service):
    """Who may not list is told so; the run goes on and calls every row."""
    place = Place(tmp_path, service, 200, cas=2, state=lambda number: MIXED[number % 2])
    service.tell("access-key", id=KEY_ID, denied=[f"mq:{BY_CA}"])
    finished = place.run("--look-first", "auto", *CLOSE_TOGETHER).ended(0)

    (line,) = [line for line in finished.stderr.splitlines() if line.startswith("not looked at first:")]
    assert BY_CA in line
    assert "NoPermission" in line
    operations = service.report().operations
    assert operations[CALL] == 200
    assert 1 <= operations[BY_CA] <= 8
    assert outcomes(place.results) == {"succeeded": 200}


def test_a_limit_and_on(tmp_path, service):
    """A run that goes on does not look again: the state before the first call stands, whatever happened since."""
    place = Place(tmp_path, service, 300, state=lambda number: INACTIVE if number % 5 == 0 else ACTIVE)
    place.run("--limit-rows", "0").ended(75)
    assert service.report().operations == {}, "what calls nothing looks at nothing"
    assert outcomes(place.results) == {"not_attempted": 300}
    place.run("--limit-rows", "40").ended(75)
    assert service.report().operations == {BY_CA: 3, CALL: 40}
    assert outcomes(place.results) == {"unchanged": 60, "succeeded": 40, "not_attempted": 200}
    assert place.prior() == place.before
    service.seed(place.of_state(ACTIVE)[-10:], "0")
    place.run().ended(0)

    assert service.report().operations == {BY_CA: 3, CALL: 240}
    place.judge()


@pytest.mark.parametrize("calls", [1, 30, 90], ids="after {} calls".format)
def test_killed_while_calling(tmp_path, calls):
    """SIGKILL in the midst, twice: the run goes on, and the state of every row is still the one before the run."""
    with emulator(tmp_path, latency_ms=(5, 40)) as service:
        place = Place(
            tmp_path, service, 400, cas=2, state=lambda number: {0: INACTIVE, 1: MISSING}.get(number // 2 % 10, ACTIVE)
        )
        for most in (calls, calls + 40):
            with start(*place.arguments(*CLOSE_TOGETHER)) as child:
                wait_for(child, lambda most=most: service.report().changes >= most)
                child.kill()
        reads = service.report().operations[BY_CA]
        place.run().ended(1)

        assert service.report().operations[BY_CA] == reads == 4, "two pages of 180 for each CA, once"
        place.judge()


def test_killed_while_looking(tmp_path):
    """SIGKILL before looking is over: nothing was called, and the next run looks from the start."""
    with emulator(tmp_path, latency_ms=(150, 250)) as service:
        place = Place(tmp_path, service, 1500, state=lambda number: ACTIVE if number % 100 == 0 else INACTIVE)
        with start(*place.arguments("--max-in-flight", "1")) as child:
            wait_for(child, lambda: service.report().operations.get(BY_CA, 0) >= 3)
            child.kill()
        assert service.report().changes == 0
        seen = service.report().operations[BY_CA]
        place.run().ended(0)

        assert service.report().operations == {BY_CA: seen + 15, CALL: 15}
        place.judge()


def test_killed_while_what_was_seen_is_kept(tmp_path, service):
    """A look whose end is not on disk counts for nothing: what was switched on since is called."""
    place = Place(tmp_path, service, 200, state=lambda number: INACTIVE if number < 100 else ACTIVE)
    place.run("--limit-rows", "1").ended(75)
    journal = place.results.with_name("results.csv.journal")
    text = journal.read_bytes()
    journal.write_bytes(text[: text.index(b'{"type":"looked"')])
    service.seed(place.devices[:5], "1")
    place.run().ended(0)

    assert service.states(place.devices[:5]) == ["0"] * 5
    assert [row["outcome"] for row in read_results(place.results)[:6]] == ["succeeded"] * 5 + ["unchanged"]


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_signals_while_looking(tmp_path, number):
    """A signal while it looks ends the run in order; nothing was called, and the next run looks from the start."""
    status = {"SIGINT": 130, "SIGTERM": 143}[number]
    with emulator(tmp_path, latency_ms=(150, 250)) as service:
        place = Place(tmp_path, service, 1000, state=lambda number: ACTIVE if number % 100 == 0 else INACTIVE)
        with start(*place.arguments("--max-in-flight", "1")) as child:
            wait_for(child, lambda: service.report().operations.get(BY_CA, 0) >= 2)
            child.send_signal({"SIGINT": 2, "SIGTERM": 15}[number])
            _, said = child.communicate(timeout=30)
        assert child.returncode == status, said.decode()
        assert outcomes(place.results) == {"not_attempted": 1000}
        assert service.report().changes == 0
        place.run().ended(0)
        place.judge()


def write_cas(place, states, service):
    """Writes a list of CAs in these states, each with a device; returns their serials."""
    cas = [f"00ca{number:06d}" for number in range(len(states))]
    for ca, state in zip(cas, states, strict=True):
        if state != MISSING:
            service.tell("seed", instance=INSTANCE, rows=[(ca, ""), (ca, "1")])
    inactive = [ca for ca, state in zip(cas, states, strict=True) if state == INACTIVE]
    place.list.write_text("\n".join(["Sn", *inactive, ""]))
    before = place.list.with_name("before.csv")
    bulkcert("run", "inactivate-ca", place.list, "-o", before, *service.where, cwd=place.list.parent).ended(0)
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
    bulkcert(*place.arguments(action=action)).ended(1)

    rows = read_results(place.results)
    assert [row["Sn"] for row in rows] == cas
    assert [row["prior_status"] for row in rows] == states
    assert [row["outcome"] for row in rows] == [{**outcome_of, MISSING: MISSING}[state] for state in states]
    new = service.report().operations
    assert new[LIST_CAS] - old.get(LIST_CAS, 0) == 2, "100 CAs and the one of the fixture: a full page and a short one"
    to_call = sum(outcome != "unchanged" for outcome in (row["outcome"] for row in rows))
    assert new[operation] - old.get(operation, 0) == to_call
    assert BY_CA not in new


@pytest.mark.parametrize("total", ["documented", "results", "pages", "zero"])
def test_whatever_total_says(tmp_path, total):
    """Total may count certificates or pages, or be zero: the results are the same; the end of a list is found."""
    with emulator(tmp_path, list_total=total) as service:
        place = Place(tmp_path, service, 2000, cas=2, state=lambda number: MIXED[number // 2 % 3])
        # Under the second CA are others, up to a full last page.
        registered = sum(ca == "00ca000001" for _, ca in place.of_state(ACTIVE, INACTIVE))
        others = [(f"0009{number:08d}", "00ca000001") for number in range(1200 - registered)]
        service.seed(others, "0")
        place.run().ended(1)

        pages = service.report().operations[BY_CA]
        least = 667 // 100 + 1 + 13
        assert least <= pages <= least * (2 if total == "zero" else 1)
        rows = read_results(place.results)
        assert [row["prior_status"] for row in rows] == place.before
        expected = {ACTIVE: "succeeded", INACTIVE: "unchanged", MISSING: MISSING}
        assert [row["outcome"] for row in rows] == [expected[state] for state in place.before]


def test_errors_among_called_rows_only(tmp_path):
    """A share in --max-errors is one of the rows called: those that needed no call do not hide errors."""
    with emulator(tmp_path, latency_ms=(30, 40)) as service:
        place = Place(tmp_path, service, 3000, state=lambda number: ACTIVE if number % 10 == 0 else INACTIVE)
        with start(*place.arguments("--max-errors", "50%", "--max-in-flight", "4")) as child:
            wait_for(child, lambda: service.report().operations.get(CALL, 0) > 0)
            service.tell("faults", shares={"ParameterFieldCheckFailed": 1.0})
            _, said = child.communicate(timeout=60)

        assert child.returncode == 3, said.decode()
        assert b"of 100 rows called" in said
        found = outcomes(place.results)
        assert found["unchanged"] == 2700
        assert found["failed"] <= 100 + 4
        assert found["not_attempted"] >= 150


def test_few_calls_are_no_sample(tmp_path):
    """Rows that needed no call do not make up the sample that a share of errors wants."""
    with emulator(tmp_path, latency_ms=(30, 40)) as service:
        place = Place(tmp_path, service, 1000, state=lambda number: ACTIVE if number % 20 == 0 else INACTIVE)
        with start(*place.arguments("--max-errors", "1%", "--max-in-flight", "1")) as child:
            wait_for(child, lambda: service.report().operations.get(CALL, 0) > 0)
            service.tell("faults", shares={"ParameterFieldCheckFailed": 1.0})
            _, said = child.communicate(timeout=60)

        assert child.returncode == 1, said.decode()
        assert outcomes(place.results)["unchanged"] == 950
        assert "not_attempted" not in outcomes(place.results)


@pytest.mark.parametrize("addresses", [1, 2])
@pytest.mark.parametrize("look", ["auto", "always"])
def test_caps(tmp_path, addresses, look):
    """With looking and calling together no second exceeds the cap of account or address; nothing is refused.

    The caps are a fifth of the service's, so that a busy machine can time what arrives.
    """
    with emulator(tmp_path, latency_ms=(5, 60), caps={"account_cap": 100, "address_cap": 60}) as service:
        place = Place(tmp_path, service, 300, cas=100 if look == "always" else 3)
        if look == "always":
            # CAs too big to page through, so that rows are read one by one.
            big = [(f"77{number:08d}", f"00ca{ca:06d}") for ca in range(100) for number in range(101)]
            service.seed(big, "0")
        lanes = [part for number in range(addresses) for part in ("--source-address", f"127.0.0.{number + 2}")]
        where = ("--endpoint", service.url, "--instance", INSTANCE, "--yes", "--look-first", look)
        place.run(*lanes, "--rate", "100", "--per-address-rate", "60", where=where, timeout=90).ended(0)

        report = service.report()
        assert report.worst_window <= (100 if addresses == 2 else 60)
        assert all(address.worst_window <= 60 for address in report.addresses.values())
        assert (report.throttled, report.blocks) == (0, 0)
        assert len(report.addresses) == addresses
        assert report.operations[CALL] == 300
        assert report.operations[BY_CA] >= 3
        assert set(place.prior()) == {ACTIVE}


def test_the_plan_says_that_it_looks(tmp_path, service):
    """The plan says what is left alone, unless it is not looked at, or was."""
    place = Place(tmp_path, service, 3)
    assert "what a look finds inactive already is left alone" in place.run("--limit-rows", "1").ended(75).stderr
    assert "left alone" not in place.run().ended(0).stderr
    never = place.run("--look-first", "never", "--overwrite").ended(0)
    assert "left alone" not in never.stderr
