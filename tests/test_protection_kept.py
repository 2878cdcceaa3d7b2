"""What a list protects is never called: not when a run is resumed, not by a watch, not through its CA."""

import random
import re

import pytest
from program import INSTANCE, UNHURRIED, here, outcomes, read_results, wait_for, write_devices
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


@pytest.mark.parametrize(("name", "head"), [("p.txt", ""), ("p.csv", "Sn\n")])
def test_a_serial_by_itself_means_whatever_has_it(place, name, head):
    """A CA with all its rows, or a device; what is in no row is told, so that a typing error shows."""
    (device, _), (_, ca) = place.devices[:2]
    (place.directory / name).write_text(f"{head}{ca}\n{device}\n")
    told = place.plan("--protect", name, "--skip-protected").ended(0)

    assert f"{name}: 2 serials; 11 rows protected\n" in told.stdout
    place.write(name, *head.splitlines(), ca, "nowhere")
    told = place.plan("--protect", name, "--skip-protected").ended(0)
    assert f"{name}: 2 serials; 10 rows protected; 1 serial is in no row\n" in told.stdout
    place.run("--protect", name, "--skip-protected").ended(1)
    assert {found for _, found in place.changed()} == {place.devices[0][1]} - {ca}


def test_a_protected_device_protects_its_ca(place):
    """An action on CAs would hit it: no row of that CA is called."""
    device, ca = place.devices[-1]
    place.write("p.csv", "DeviceSn,CaSn", f"{device},{ca}")
    finished = place.run(*SKIP, action="inactivate-ca").ended(1)

    assert "10 rows protected" in finished.stderr
    assert ca not in {found for _, found in place.changed()}
    assert len(place.changed()) == 1
    results = read_results(place.directory / "r.csv")
    assert {row["CaSn"] for row in results if row["outcome"] == "protected"} == {ca}


@pytest.mark.parametrize("content", ["DeviceSn,CaSn\nd1,\nd2,\nd3,00ca000000\n", "DeviceSn\nd1\nd2\n", "Sn\nd1\nd2\n"])
def test_a_device_whose_ca_nobody_knows(place, content):
    """It may be under one of the CAs that are to be called, so nothing is; the plan says the same."""
    place.write("cas.csv", "CaSn", "00ca000000", "00ca000001")
    (place.directory / "p.csv").write_text(content)
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
    if not by_device:
        place.write("p.csv", "CaSn", *({ca for _, ca in kept}))
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
