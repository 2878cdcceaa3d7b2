"""A list of protected serials says what it holds and what it hits, so that one that protects nothing is seen."""

import json

import pytest
from program import INSTANCE, UNHURRIED, bulkcert, here, write_devices


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("DeviceSn\n000000000001\n000000000009\n", "2 devices and 0 CAs; 1 row protected; 1 serial is in no row"),
        ("DeviceSn,CaSn\nnowhere,\n,nobody\n", "1 device and 1 CA; 0 rows protected; 2 serials are in no row"),
    ],
)
def test_what_is_protected_is_told(tmp_path, service, content, told):
    """Before a run and in its plan, and also where no row is hit."""
    service.seed(write_devices(tmp_path / "d.csv", 5), "1")
    (tmp_path / "p.csv").write_text(content)
    protect = ("--protect", "p.csv", "--skip-protected")
    run = bulkcert("run", "inactivate-device", "d.csv", *service.where, *protect, "-o", "r.csv", cwd=tmp_path)
    where = ("--endpoint", service.url, "--instance", INSTANCE, *UNHURRIED)
    plan = bulkcert("plan", "inactivate-device", "d.csv", *where, *protect, cwd=tmp_path).ended(0)
    shown = bulkcert("plan", "inactivate-device", "d.csv", *where, *protect, "--json", cwd=tmp_path).ended(0)

    assert f"p.csv: {told}" in run.stderr
    assert f"p.csv: {told}" in plan.stdout
    assert json.loads(shown.stdout)["protection"] == f"p.csv: {told}"


def test_what_was_meant_otherwise_is_warned_of(tmp_path, service):
    """However quiet a run is, it warns of a serial that a row differs from in case or zeros; a plan does as well."""
    service.seed(write_devices(tmp_path / "d.csv", 5), "1")
    (tmp_path / "p.csv").write_text("DeviceSn\n1\n02\n99\n")
    protect = ("--protect", "p.csv")
    told = "p.csv: the 2 serials, the first '02', are in no row exactly, but rows differ from them only in letter"
    run = here("run", "inactivate-device", "d.csv", *service.where, "-q", *protect, "-o", "r.csv", cwd=tmp_path)
    where = ("--endpoint", service.url, "--instance", INSTANCE, *UNHURRIED)
    plan = here("plan", "inactivate-device", "d.csv", *where, "-q", *protect, "--json", cwd=tmp_path).ended(0)

    assert run.ended(0).stderr.startswith(f"warning: {told}")
    assert any(advice.startswith(told) for advice in json.loads(plan.stdout)["advice"])


def test_a_standing_list_is_no_cause_for_mail(tmp_path, service):
    """A list none of whose serials are in this night's rows is no mistake: a quiet run says nothing of it."""
    service.seed(write_devices(tmp_path / "d.csv", 5), "1")
    (tmp_path / "p.csv").write_text("DeviceSn\n000000000099\n")
    quiet = ("-q", "--protect", "p.csv", "-o", "r.csv")

    assert not here("run", "inactivate-device", "d.csv", *service.where, *quiet, cwd=tmp_path).ended(0).stderr


def test_a_column_that_may_be_of_either_means_both(tmp_path, service):
    """For devices a list of Sn says neither device nor CA, so it protects whatever has the serial."""
    write_devices(tmp_path / "d.csv", 5)
    (tmp_path / "p.csv").write_text("Sn\n000000000001\n")
    refused = bulkcert("run", "inactivate-device", "d.csv", *service.where, "--protect", "p.csv", cwd=tmp_path)

    assert "1 of 5 rows are protected" in refused.ended(65).stderr


def test_for_cas_sn_is_a_ca(tmp_path, service):
    """An action on CAs takes the column as its input does."""
    write_devices(tmp_path / "d.csv", 5, cas=5)
    (tmp_path / "p.csv").write_text("Sn\n00ca000001\n")
    refused = bulkcert("run", "inactivate-ca", "d.csv", *service.where, "--protect", "p.csv", cwd=tmp_path).ended(65)

    assert "1 of 5 rows are protected" in refused.stderr
