"""What is said of certificates that are not registered, wherever it is said."""

import json

import pytest
from program import INSTANCE, UNHURRIED, here

from bulkcert.output.advice import on_unregistered
from bulkcert.service.actions import ACTIONS


@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_each_action(action, protected):
    """Only what is to be off is not safe; a CA is not to be switched off where it may be that of a protected one."""
    told = on_unregistered(action, protected=protected)

    assert ("NOT safe" in told) == (action.name == "inactivate-device")
    assert ("inactivate-ca" in told) == (action.name == "inactivate-device" and not protected)


@pytest.mark.parametrize("protected", [True, False])
def test_wherever_it_is_said(tmp_path, service, inside, protected):
    """Plan, run, status and report say the same, and none would have the CA of a protected device switched off."""
    name = f"{tmp_path.name[:20]}{protected}"
    devices = [(f"{name}{number}", f"{name}ca") for number in range(4)]
    (tmp_path / "d.csv").write_text("DeviceSn,CaSn\n" + "".join(f"{device},{ca}\n" for device, ca in devices))
    service.seed(devices[:2])
    listed = devices[0] if protected else ("other", "of-another-ca")
    (tmp_path / "p.csv").write_text("DeviceSn,CaSn\n" + ",".join(listed) + "\n")
    where = ("--endpoint", service.url, "--instance", INSTANCE, *UNHURRIED, "--protect", "p.csv", "--skip-protected")

    plan = json.loads(here("plan", "inactivate-device", "d.csv", *where, "--json").ended(0).stdout)
    run = here("run", "inactivate-device", "d.csv", *where, "--yes", "-o", "r.csv").ended(1)
    status = here("status", "r.csv").ended(1)
    report = json.loads(here("report", "r.csv", "--format", "json").ended(0).stdout)

    (told,) = [line for line in plan["advice"] if "not registered" in line]
    (found,) = [finding["advice"] for finding in report["findings"] if finding["outcome"] == "not_registered"]
    for said in (told, run.stderr, status.stdout, found):
        assert "NOT safe" in " ".join(said.split())
        assert ("inactivate-ca" in said) != protected
