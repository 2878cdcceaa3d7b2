"""What a list protects is never called, and a list that protects nothing is seen."""

import json
import random
import re

import pytest
from program import INSTANCE, UNHURRIED, here, outcomes, wait_for, write_devices
from stored import change, kill
from watching import watch

from bulkcert.store.database import reading

SKIP = ("--protect", "p.csv", "--skip-protected")


class Place:
    """A list of active devices under a few CAs, and what is done with it."""

    def __init__(self, directory, service, count, cas=2):
        self.directory, self.service = directory, service
        self.devices = write_devices(directory / "d.csv", count, cas=cas)
        service.seed(self.devices, "1")
        self.since = service.report().arrivals

    def write(self, name, *lines):
        (self.directory / name).write_text("".join(f"{line}\n" for line in lines))

    def do(self, *more):
        return here(*more, "--yes", *UNHURRIED, cwd=self.directory)

    def run(self, *more, action="inactivate-device", path="d.csv"):
        return here("run", action, path, *self.service.where, "-o", "r.csv", *more, cwd=self.directory)

    def plan(self, *more, action="inactivate-device", path="d.csv"):
        where = ("--endpoint", self.service.url, "--instance", INSTANCE, *UNHURRIED)
        return here("plan", action, path, *where, *more, cwd=self.directory)

    def changed(self):
        """Returns the device and CA serials of the changing calls so far."""
        calls = self.service.calls()[self.since :]
        return [(c["device_sn"], c["ca_sn"]) for c in calls if not c["operation"].startswith(("Get", "List"))]

    def kept(self):
        """Returns what the store holds, and the results."""
        with reading(self.directory / "r.csv.run/store.sqlite") as db:
            return [*db.iterdump()], (self.directory / "r.csv").read_bytes()

    def outcomes(self):
        return outcomes(self.directory / "r.csv")


@pytest.fixture
def place(tmp_path, service):
    return Place(tmp_path, service, 20)


def test_a_run_does_not_forget_what_is_protected(place):
    """Without --protect the same command is refused before any call, and all stays; resume takes the stored option."""
    kept = place.devices[:6]
    place.write("p.csv", "DeviceSn", *(device for device, _ in kept))
    place.run(*SKIP, "--limit-rows", "5").ended(75)
    before = place.kept()
    for more in ((), ("--retry", "failed"), ("--limit-rows", "1")):
        refused = place.run(*more).ended(65)
        assert "6 rows of this run are protected by p.csv, and --protect is not given" in refused.stderr
        assert "name an empty list" in refused.stderr
    assert place.kept() == before
    assert place.outcomes() == {"protected": 6, "succeeded": 5, "not_attempted": 9}
    assert "6 protected" in place.do("resume", "r.csv").ended(1).stderr
    assert place.outcomes() == {"protected": 6, "succeeded": 14}
    place.run().ended(65)

    assert not {*place.changed()} & {*kept}
    place.run("--overwrite").ended(0)


@pytest.mark.parametrize("empty", ["", "DeviceSn\n", "# none\n"])
def test_a_list_that_is_given_lifts_the_protection(place, empty):
    """An empty one as well, though it is refused where nothing was protected; the plan says what is called now."""
    name = "p.txt" if empty.startswith("#") else "n.csv"
    (place.directory / name).write_text(empty)
    assert "no serials" in (refused := place.run("--protect", name).ended(65)).stderr or "is empty" in refused.stderr
    place.write("p.csv", "DeviceSn", *(device for device, _ in place.devices[:6]))
    place.run(*SKIP, "--limit-rows", "5").ended(75)
    place.write("q.csv", "DeviceSn", *(device for device, _ in place.devices[:2]))
    lifted = place.run("--protect", "q.csv", "--skip-protected", "--limit-rows", "1").ended(75)
    assert "4 rows that p.csv protected until now: to be called" in lifted.stderr
    assert "2 rows of this run are protected by q.csv" in place.run().ended(65).stderr
    lifted = place.run("--protect", name, "--limit-rows", "1").ended(75)
    assert "2 rows that q.csv protected until now: to be called" in lifted.stderr
    again = place.run("--protect", name).ended(0)

    assert "until now" not in again.stderr
    assert place.outcomes() == {"succeeded": 20}


def test_a_watch_calls_nothing_protected(place):
    """Neither a row that was never called nor one that was called before it was protected."""
    place.run("--limit-rows", "4").ended(75)
    kept = place.devices[2:8]
    place.write("p.csv", "DeviceSn", *(device for device, _ in kept))
    place.run(*SKIP).ended(1)
    assert place.outcomes() == {"succeeded": 16, "protected": 4}
    place.service.seed(place.devices, "1")
    since = len(place.changed())
    watch("r.csv", lambda: wait_for(None, lambda: len(place.changed()) >= since + 14), cwd=place.directory).ended(1)
    called = {*place.changed()[since:]}

    assert called == {*place.devices} - {*kept}


def test_a_device_whose_ca_nobody_knows(place):
    """It may be under one of the CAs that are to be called, so nothing is; the plan says the same."""
    place.write("cas.csv", "CaSn", "00ca000000", "00ca000001")
    place.write("p.csv", "DeviceSn,CaSn", "d1,", "d2,", "d3,00ca000000")
    for refused in (place.plan, place.run):
        assert "2 serials, the first 'd1', may be devices under one of these CAs" in (
            refused(*SKIP, action="inactivate-ca", path="cas.csv").ended(65).stderr
        )
    assert not place.changed()


def advised(ended):
    """Returns the CAs that a plan advises to inactivate as a whole."""
    return re.findall(r"share CA (\S+): one inactivate-ca", ended.ended(0).stdout)


def test_no_advice_to_inactivate_a_ca_that_has_something_protected(tmp_path, service):
    """Neither where a row of it is protected, nor where the list names it, nor where nobody knows."""
    place = Place(tmp_path, service, 660, cas=5)
    assert advised(place.plan()) == ["00ca000000", "00ca000001", "00ca000002"], "as many as are named"
    device, ca = place.devices[0]
    place.write("p.csv", "DeviceSn,CaSn", f"{device},", "elsewhere,00ca000003")
    assert ca == "00ca000001"
    assert advised(place.plan(*SKIP)) == ["00ca000000", "00ca000002", "00ca000004"]
    place.write("p.csv", "DeviceSn", "nobody knows")
    assert "inactivate-ca" not in place.plan(*SKIP).ended(0).stdout
    place.write("p.csv", "DeviceSn", device)
    assert "1 row is protected by p.csv" in place.plan("--protect", "p.csv").ended(65).stdout


@pytest.mark.parametrize("seed", range(3))
def test_nothing_protected_is_ever_called(tmp_path, service, seed):
    """Random lists, over stops, kills and going on, with the options and without: not one changing call names it."""
    chance = random.Random(seed)
    place = Place(tmp_path, service, 40, cas=5)
    by_device = chance.random() < 0.6
    action = "inactivate-device" if by_device else "inactivate-ca"
    devices, cas = (chance.sample(sorted({pair[which] for pair in place.devices}), 3 - which) for which in (0, 1))
    cas = cas[:1]
    kept = {pair for pair in place.devices if pair[0] in devices or pair[1] in cas}
    if not by_device:  # a protected device protects its CA
        place.write("p.csv", "DeviceSn,CaSn", *map(",".join, kept))
    elif chance.random() < 0.5:
        place.write("p.csv", "DeviceSn,CaSn", *(f"{device}," for device in devices), *(f",{ca}" for ca in cas))
    else:
        place.write("p.csv", *chance.sample([*devices, *cas], 4))
    place.run(*SKIP, "--limit-rows", "1", action=action)
    results = place.directory / "r.csv"
    for _ in range(3):
        if chance.random() < 0.5:  # killed: the end was not written, nor the last outcome
            change(results, "UPDATE certificate SET newest = NULL WHERE row = (SELECT MAX(row) FROM certificate)")
            kill(results)
            results.unlink(missing_ok=True)
        limit = ("--limit-rows", str(chance.randint(1, 12)))
        if chance.random() < 0.5:
            place.do("resume", results, *limit)
        else:
            place.run(*chance.choice([(), SKIP, (*SKIP, "--retry", "failed")]), *limit, action=action)
    place.run(*SKIP, action=action).ended(1)
    place.service.seed(place.devices, "1")
    before = len(place.changed())
    watch("r.csv", lambda: wait_for(None, lambda: len(place.changed()) > before), cwd=place.directory)
    changed = place.changed()

    assert changed
    if by_device:
        assert not {*changed} & kept
    else:
        assert not {ca for _, ca in changed} & {ca for _, ca in kept}


def test_what_is_protected_is_shown(place):
    """Before a run and in its plan, so that a list which hits nothing is seen."""
    device, _ = place.devices[0]
    for lines, shown in (
        ((device, "nowhere", "99"), "3 devices and 0 CAs; 1 row protected; 2 serials are in no row"),
        (("nowhere,", ",nobody"), "1 device and 1 CA; 0 rows protected; 2 serials are in no row"),
    ):
        place.write("p.csv", "DeviceSn,CaSn" if "," in lines[0] else "DeviceSn", *lines)
        assert f"p.csv: {shown}" in place.run(*SKIP, "--overwrite").stderr
        assert f"p.csv: {shown}" in place.plan(*SKIP).ended(0).stdout
        assert json.loads(place.plan(*SKIP, "--json").ended(0).stdout)["protection"] == f"p.csv: {shown}"


def test_what_was_meant_otherwise_is_warned_of(place):
    """However quiet a run is, it warns of a serial that a row differs from in case or zeros; a plan does as well."""
    place.write("p.csv", "DeviceSn", "000000000099")
    assert not place.run("-q", "--protect", "p.csv").ended(0).stderr, "what is in no row at all is no mistake"
    place.write("p.csv", "DeviceSn", "1", "02", "99")
    said = "p.csv: the 2 serials, the first '02', are in no row exactly, but rows differ from them only in letter"
    plan = place.plan("-q", "--protect", "p.csv", "--json").ended(0)

    assert place.run("-q", "--protect", "p.csv", "--overwrite").ended(0).stderr.startswith(f"warning: {said}")
    assert any(advice.startswith(said) for advice in json.loads(plan.stdout)["advice"])
