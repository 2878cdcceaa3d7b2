"""What is said of certificates that are not registered, wherever it is said."""

import json

import pytest
from program import INSTANCE, UNHURRIED, here, read_results, write_devices

from bulkcert.output.advice import on_unregistered
from bulkcert.service.actions import ACTIONS


@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_each_action(action, protected):
    """Only what is to be off is not safe; a CA is not to be switched off where it may be that of a protected one."""
    told = on_unregistered(action, protected=protected)

    assert ("NOT safe" in told) == (action.name == "inactivate-device")
    assert ("inactivate-ca" in told) == (action.name == "inactivate-device" and not protected)


@pytest.mark.parametrize("listed", ["row", "CA of a row", "other"])
def test_wherever_it_is_said(tmp_path, service, inside, listed):
    """All say the same in the same words, and none would have the CA of a protected device switched off."""
    protected, devices = listed != "other", write_devices("d.csv", 4, name=tmp_path.name[-30:])
    service.seed(devices[:2])
    kept = {"row": devices[0], "CA of a row": ("other", devices[0][1]), "other": ("other", "of-another-ca")}[listed]
    (tmp_path / "p.csv").write_text("DeviceSn,CaSn\n" + ",".join(kept) + "\n")
    where = ("--endpoint", service.url, "--instance", INSTANCE, *UNHURRIED, "--protect", "p.csv", "--skip-protected")

    plan = json.loads(here("plan", "inactivate-device", "d.csv", *where, "--json").ended(0).stdout)
    run = here("run", "inactivate-device", "d.csv", *where, "--yes", "-o", "r.csv").ended(1)
    status = here("status", "r.csv").ended(1)
    report = json.loads(here("report", "r.csv", "--format", "json").ended(0).stdout)

    (told,) = [line for line in plan["advice"] if "not registered" in line]
    (found,) = [finding["advice"] for finding in report["findings"] if finding["outcome"] == "not_registered"]
    (failed,) = {each["what_to_do"] for each in read_results("r.csv.failed.csv") if each["outcome"] != "protected"}
    said = on_unregistered(ACTIONS["inactivate-device"], protected=protected)
    assert ("inactivate-ca" in said) != protected
    assert all(said in " ".join(each.split()) for each in (told, run.stderr, status.stdout, found, failed))
