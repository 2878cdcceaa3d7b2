"""``rehearse``: its exit status is that of the first of its parts that went wrong."""

import json

import pytest
from program import here, write_devices

from bulkcert.runs import rehearsal

UNREAD = "GetDeviceCertificate:ParameterFieldCheckFailed"
NOT_UNDONE = "ActiveDeviceCertificate:NoPermission"
CASES = {
    "none": ("always", 0.0, [], (0, 0, 0), 0),
    "verify": ("never", 0.0, [UNREAD], (0, 1, 0), 1),
    "undo": ("always", 0.0, [NOT_UNDONE], (0, 0, 77), 77),
    "run, verify and undo": ("always", 0.5, [NOT_UNDONE], (1, 1, 77), 1),
}


STAGE = ("--fault-seed", 1, "--latency-ms", 0, 0, "--and-then", "verify", "--and-then", "undo")


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
