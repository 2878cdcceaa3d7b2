"""Going on with a run whose journal was damaged, whose look is old, or whose options have changed meanwhile."""

import json
import re

import pytest
from program import UNHURRIED, here, outcomes, read_results, write_devices

from bulkcert.batch.look.first import KEPT_S

BY_CA, CALL = "ListDeviceCertificateByCaSn", "InactivateDeviceCertificate"


class Place:
    """A list of active devices of this test alone, and its run."""

    def __init__(self, directory, service, name, count):
        self.directory, self.service = directory, service
        plain = write_devices(directory / "d.csv", count)
        self.devices = [(f"{name}{device}", f"{name}{ca}") for device, ca in plain]
        self.write("d.csv", self.devices)
        service.seed(self.devices, "1")
        self.results, self.journal = directory / "r.csv", directory / "r.csv.journal"

    def write(self, name, devices):
        (self.directory / name).write_text("DeviceSn,CaSn\n" + "".join(f"{one},{ca}\n" for one, ca in devices))

    def run(self, *more, action="inactivate-device"):
        return here("run", action, "d.csv", *self.service.looking, "-o", "r.csv", *more, cwd=self.directory)

    def undo(self):
        return here("undo", "r.csv", "--yes", *UNHURRIED, cwd=self.directory)

    def column(self, name):
        return [row[name] for row in read_results(self.results)]

    def change(self, pattern, replacement):
        text, changed = re.subn(pattern, replacement, self.journal.read_bytes())
        assert changed
        self.journal.write_bytes(text)

    def calls(self, since):
        """Returns the operations since a number of arrivals, and the devices that were called."""
        calls = self.service.calls()[since:]
        return [call["operation"] for call in calls], [call["device_sn"] for call in calls if call["operation"] == CALL]

    def make_look_old(self):
        def older(matched):
            return b'"looked","at":%d' % (int(matched[1]) - KEPT_S * 1000 - 1)

        self.change(rb'"looked","at":(\d+)', older)


@pytest.fixture
def place(tmp_path, service, request):
    return Place(tmp_path, service, re.sub(r"\W", "", request.node.name)[-20:], 20)


def test_a_row_that_was_called_keeps_its_outcome_though_it_is_protected_now(place):
    """--protect added on the way: what was called says so and is taken back; the rest is protected; the run ends."""
    place.run("--limit-rows", "5").ended(75)
    place.write("p.csv", place.devices[3:8])
    finished = place.run("--protect", "p.csv", "--skip-protected").ended(1)

    assert "7 by earlier" not in finished.stderr
    assert place.column("outcome") == ["succeeded"] * 5 + ["protected"] * 3 + ["succeeded"] * 12
    assert "is protected by" not in "".join(place.column("message")[:5])
    assert "12 device certificates" in finished.stderr
    again = place.run("--protect", "p.csv", "--skip-protected").ended(1)
    assert "nothing to call" in again.stderr
    place.undo().ended(0)
    assert place.service.states(place.devices) == ["1"] * 20


def test_a_row_that_is_to_be_taken_up_again_but_is_protected_now(place):
    """A row that no call may have changed is protected, whatever stands in the journal; the run is finished (1)."""
    place.service.tell("faults", shares={"Forbidden.RAM": 1.0}, seed=1)
    place.run("--limit-rows", "3", "--max-in-flight", "1").ended(77)
    place.service.tell("faults", shares={}, seed=1)
    assert set(place.column("code")) == {"", "Forbidden.RAM"}
    place.write("p.csv", place.devices[:2])
    place.run("--protect", "p.csv", "--skip-protected").ended(1)

    assert place.column("outcome") == ["protected"] * 2 + ["succeeded"] * 18
    assert place.column("code") == [""] * 20


def test_protection_dropped(place):
    """Rows that were protected before are called once a list that is given says that they are not."""
    place.write("p.csv", place.devices[:4])
    place.run("--protect", "p.csv", "--skip-protected").ended(1)
    place.write("p.csv", [])
    place.run("--protect", "p.csv").ended(0)

    assert place.column("outcome") == ["succeeded"] * 20


def test_a_journal_that_does_not_say_that_looking_was_over(place):
    """Where a call was made the look stands, though the line of its end is damaged: undo restores what was before."""
    place.run("--limit-rows", "6").ended(75)
    place.change(rb'"type":"looked"', b'"type":"loo_ed"')
    place.run().ended(0)

    assert place.column("outcome") == ["succeeded"] * 20
    assert place.column("prior_status") == ["active"] * 20
    place.undo().ended(0)
    assert place.service.states(place.devices) == ["1"] * 20


@pytest.mark.parametrize("damage", [b'"request_id":"\xff', b'"request_id":"\xed\xa0\x80'])
def test_bytes_that_are_not_text(place, damage):
    """A journal with a byte that is not UTF-8 costs a row that is called again, and no traceback."""
    place.run("--limit-rows", "6").ended(75)
    text = place.journal.read_bytes()
    place.journal.write_bytes(text.replace(b'"request_id":"', damage, 1))
    finished = place.run().ended(0)

    assert "1 damaged lines" in finished.stderr
    assert outcomes(place.results) == {"succeeded": 20}


def test_a_session_that_was_killed_before_its_first_outcome_binds(place):
    """Calls may have been made: another action on the same results is refused, and what was seen before is kept."""
    place.run().ended(0)
    place.change(rb'\{"type":"(row|end)"[^\n]*\n', b"")
    kept = place.journal.read_bytes()
    refused = place.run(action="activate-device").ended(65)

    assert "the journal of another run" in refused.stderr
    assert place.journal.read_bytes() == kept


def test_sessions_that_called_nothing_bind_nobody(place):
    """A run that was refused as a whole has changed nothing, looked or not: another may have its place."""
    place.service.tell("faults", shares={"Forbidden.RAM": 1.0}, seed=1)
    place.run("--max-in-flight", "1").ended(77)
    place.service.tell("faults", shares={}, seed=1)
    assert b'"looked"' in place.journal.read_bytes()
    place.run(action="activate-device").ended(0)

    assert json.loads(place.journal.read_bytes().splitlines()[0])["action"] == "activate-device"


@pytest.fixture
def canary(tmp_path, service, request):
    """A run of 300 rows of which three were active, stopped after the first; then ten others were switched on."""
    place = Place(tmp_path, service, re.sub(r"\W", "", request.node.name)[-20:], 300)
    service.seed(place.devices[3:], "0")
    place.run("--limit-rows", "1").ended(75)
    service.seed(place.devices[100:110], "1")
    return place


def test_a_young_look_is_believed(canary):
    """Within a quarter of an hour nothing is read again."""
    since = canary.service.report().arrivals
    canary.run().ended(0)

    operations, called = canary.calls(since)
    assert (operations, sorted(called)) == ([CALL] * 2, [device for device, _ in canary.devices[1:3]])


def test_an_old_look_is_made_again(canary):
    """What was left alone and is not as wanted any more is called; 0 means that all are as wanted now."""
    canary.make_look_old()
    since = canary.service.report().arrivals
    finished = canary.run().ended(0)

    operations, called = canary.calls(since)
    assert operations.count(BY_CA) == 3
    assert sorted(called) == [device for device, _ in [*canary.devices[1:3], *canary.devices[100:110]]]
    assert "299 device certificates at most: what a look finds inactive already is left alone" in finished.stderr
    assert canary.service.states(canary.devices) == ["0"] * 300
    assert outcomes(canary.results) == {"succeeded": 13, "unchanged": 287}
    seen = ["active"] * 3 + ["inactive"] * 97 + ["active"] * 10 + ["inactive"] * 190
    assert canary.column("prior_status") == seen
    since = canary.service.report().arrivals
    canary.make_look_old()
    canary.run().ended(0)
    assert canary.service.report().arrivals == since, "a finished run is finished"
    canary.undo().ended(0)
    assert canary.service.states(canary.devices) == [{"active": "1", "inactive": "0"}[one] for one in seen]


def test_an_old_look_that_cannot_be_made_again(canary):
    """Without permission to list, what was left alone is called like any row; what it was before is not known."""
    canary.make_look_old()
    canary.service.tell("faults", shares={"NoPermission": 1.0}, seed=1)
    canary.run("--limit-rows", "0").ended(75)
    canary.service.tell("faults", shares={}, seed=1)
    canary.run("--look-first", "never").ended(0)

    assert outcomes(canary.results) == {"succeeded": 300}
    assert canary.column("prior_status") == ["active"] * 3 + [""] * 297


def test_killed_after_looking_again(canary):
    """A kill behind any line of the later look: what it has opened stays open, what is left is looked at again."""
    canary.make_look_old()
    canary.run().ended(0)
    canary.service.seed(canary.devices[100:110], "1")
    text = canary.journal.read_bytes()
    newer = text.rindex(b'{"type":"look","first"')
    end = text.index(b"\n", newer) + 1
    canary.journal.write_bytes(text[:end])
    canary.run().ended(0)

    assert canary.service.states(canary.devices) == ["0"] * 300
    assert canary.column("prior_status")[100:110] == ["active"] * 10
    assert outcomes(canary.results) == {"succeeded": 13, "unchanged": 287}
