"""Looking first, as users meet it: what it costs, and what it saves."""

import random

import pytest
from looking import ACTIVE, BY_CA, CALL, INACTIVE, LIST_CAS, MISSING, MIXED, Place
from program import INSTANCE, emulator, here, outcomes, read_results


@pytest.fixture
def service():
    with emulator() as running:
        yield running


def test_a_list_that_is_mostly_done(tmp_path, service):
    """10,000 rows of which 1 % are active: 100 pages and 100 calls, for exactly the active ones."""
    active = set(random.Random(7).sample(range(10_000), 100))
    place = Place(tmp_path, service, 10_000, cas=4, state=lambda number: ACTIVE if number in active else INACTIVE)
    finished = place.run().ended(0)

    assert service.report().operations == {BY_CA: 100, CALL: 100}
    assert sorted(place.called()) == sorted(place.of_state(ACTIVE))
    assert outcomes(place.results) == {"succeeded": 100, "unchanged": 9900}
    assert "no preflight" not in finished.stderr
    place.judge()
    columns = list(read_results(place.results)[0])
    assert columns[-1] == "prior_status"
    for row in read_results(place.results):
        assert (row["attempts"] in ("", "0")) == (row["outcome"] == "unchanged")
    place.run().ended(0)
    assert service.report().arrivals == 200, "what is done is not looked at again"


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
    here(*place.arguments(action=action)).ended(1)

    rows = read_results(place.results)
    assert [row["Sn"] for row in rows] == cas
    assert [row["prior_status"] for row in rows] == states
    assert [row["outcome"] for row in rows] == [{**outcome_of, MISSING: MISSING}[state] for state in states]
    new = service.report().operations
    assert new[LIST_CAS] - old.get(LIST_CAS, 0) == 2, "100 CAs and the one of the fixture: a full page and a short one"
    to_call = sum(outcome != "unchanged" for outcome in (row["outcome"] for row in rows))
    assert new[operation] - old.get(operation, 0) == to_call
    assert BY_CA not in new


@pytest.mark.parametrize("total", ["documented", "pages", "zero"])
def test_whatever_total_says(tmp_path, total):
    """Total may count certificates or pages, or be zero: the results are the same; the end of a list is found."""
    with emulator(list_total=total) as service:
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


def test_the_plan_says_that_it_looks(tmp_path, service):
    """The plan says what is left alone, unless it is not looked at, or was."""
    place = Place(tmp_path, service, 3)
    assert "what is inactive already gets no call" in place.run("--limit-rows", "1").ended(75).stderr
    assert "gets no call" not in place.run().ended(0).stderr
    never = place.run("--preflight", "never", "--overwrite").ended(0)
    assert "gets no call" not in never.stderr
