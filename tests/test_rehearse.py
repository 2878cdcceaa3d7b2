"""``rehearse --and-then``: what follows a rehearsed run is a part of it, and says no more than a rehearsal may."""

import json

import pytest
from program import here, write_devices

from bulkcert.runs import rehearsal

REHEARSE = ("rehearse", "inactivate-device", "d.csv", "--latency-ms", "0", "0")
BOTH = ("--and-then", "verify", "--and-then", "undo")


@pytest.fixture(autouse=True)
def devices(tmp_path, inside):
    """Returns three devices, listed in ``d.csv``."""
    return write_devices(tmp_path / "d.csv", 3)


def test_one_json_object():
    """With --json standard output holds one object, and that holds every part."""
    told = json.loads(here(*REHEARSE, "--json", "-q", *BOTH).ended(0).stdout)

    assert list(told) == ["summary", "verification", "undo", "emulator"]
    assert (told["verification"]["wanted"], told["undo"]["rows"]) == (3, 3)


def test_nothing_is_proposed_that_needs_the_emulator():
    """Neither the run nor its undo can be verified, undone, resumed or done again: the emulator is gone by then."""
    shown = here(*REHEARSE, *BOTH).ended(0)

    assert "to undo: 3 rows" in shown.stderr
    report = "to report: bulkcert report d.inactivate-device.results.rehearsal.csv\n"
    assert [line for line in shown.stderr.splitlines(keepends=True) if ": bulkcert " in line] == [report] * 2


def test_what_cannot_be_undone_is_refused_first(tmp_path):
    """delete-ca has no undo: that is said before anything is done."""
    refused = here("rehearse", "delete-ca", "d.csv", "--and-then", "undo").ended(2)

    assert "--and-then undo cannot follow delete-ca: no operation undoes it" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["d.csv"]


def test_no_option_is_named_that_was_not_given():
    """Where nobody has looked, nothing can be undone, and no option of undo is to blame."""
    shown = here(*REHEARSE, "--preflight", "never", "--and-then", "undo").ended(0)

    assert "are 3 rows whose state before is not known, left alone\n" in shown.stderr
    assert "include-unknown" not in shown.stderr


UNREAD = "GetDeviceCertificate:ParameterFieldCheckFailed"
NOT_UNDONE = "ActiveDeviceCertificate:NoPermission"
CASES = {
    "verify": ("never", 0.0, [UNREAD], (0, 1, 0), 1),
    "undo": ("always", 0.0, [NOT_UNDONE], (0, 0, 77), 77),
    "run, verify and undo": ("always", 0.5, [NOT_UNDONE], (1, 1, 77), 1),
}
STAGE = ("--fault-seed", 1, "--latency-ms", 0, 0, *BOTH)


@pytest.mark.parametrize("case", CASES)
def test_the_first_that_went_wrong(tmp_path, monkeypatch, case):
    """A run that went well makes no success of a verification or an undo that did not."""
    look, unregistered, faults, parts, status = CASES[case]
    write_devices(tmp_path / "d.csv", 20, cas=20)
    monkeypatch.setattr(rehearsal, "DEFAULT_FAULTS", dict.fromkeys(faults, 1))
    options = ("--preflight", look, "--unregistered", unregistered, *STAGE, "-q", "--json")
    said = here("rehearse", "inactivate-device", "d.csv", *options, cwd=tmp_path).ended(status).stdout
    told = json.loads(said.splitlines()[-1])

    undone = told["undo"].get("sessions", [told["undo"]])[-1]
    ended = [part["exit_status"] for part in (told["summary"], told["verification"], undone)]
    assert tuple(ended) == parts
