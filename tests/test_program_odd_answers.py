"""Answers that concern one certificate or one CA only: the others are looked at, verified and listed all the same."""

import pytest
from hostile_answers import hurried, torment
from program import UNHURRIED, emulator, here, outcomes, read_results, write_devices

BY_CA = "ListDeviceCertificateByCaSn"
ODD = "ParameterFieldCheckFailed"


@pytest.fixture
def service():
    with emulator() as running:
        yield running


def test_a_ca_that_cannot_be_paged(tmp_path, service):
    """Its rows are called, unseen; the other CAs are looked at to their ends."""
    devices = write_devices(tmp_path / "d.csv", 2000, cas=20)
    service.seed(devices, "0")
    run = ("run", "inactivate-device", "d.csv", *service.looking, "-o", "r.csv")
    with service.faulty(seed=5, **{ODD: 0.2}):
        here(*run, "--limit-rows", "1", "--max-errors", "100%", cwd=tmp_path)

    unseen = {row["CaSn"] for row in read_results(tmp_path / "r.csv") if row["outcome"] != "unchanged"}
    assert 0 < len(unseen) < 10
    assert service.report().operations[BY_CA] >= 20
    here(*run, "--retry", "failed,not_registered", cwd=tmp_path).ended(0)


def test_a_certificate_that_cannot_be_read(tmp_path, service):
    """Verifying goes on: what could not be read does not count in the desired state (1), the others do."""
    devices = write_devices(tmp_path / "d.csv", 40, cas=40)
    service.seed(devices, "1")
    here("run", "inactivate-device", "d.csv", *service.looking, "-o", "r.csv", cwd=tmp_path).ended(0)
    service.tell("faults", shares={ODD: 0.2}, seed=3)
    told = here("verify", "r.csv", *UNHURRIED, cwd=tmp_path).ended(1)
    read = [row["verified_status"] for row in read_results(tmp_path / "r.csv")]

    assert 20 < read.count("inactive") < 40
    assert set(read) == {"inactive", ""}
    assert "not read" in told.stdout


def test_an_inventory_needs_every_page(tmp_path, service):
    """A page that cannot be had leaves no file (69), and the message names what the service said."""
    service.seed([(f"{number}", "ca") for number in range(250)])
    service.tell("faults", shares={ODD: 1.0}, seed=1)
    where = ("--endpoint", service.url, "--instance", "post-cn-emulator", *UNHURRIED)
    refused = here("inventory", *where, "-o", "all.csv", cwd=tmp_path).ended(69)

    assert ODD in refused.stderr
    assert "offer" not in refused.stderr
    assert not (tmp_path / "all.csv").exists()


def test_an_inventory_that_finds_nothing_is_an_input(tmp_path, service):
    """Whatever its format, it is a list without rows: a run over it has nothing to do, and that is a success."""
    service.seed([("1", "ca")], "1")
    where = ("--endpoint", service.url, "--instance", "post-cn-emulator", *UNHURRIED)
    for suffix in ("csv", "parquet", "ndjson"):
        here("inventory", *where, "--status", "inactive", "-o", f"all.{suffix}", cwd=tmp_path).ended(0)
        run = ("run", "activate-device", f"all.{suffix}", *service.looking, "-o", f"r.{suffix}")
        here(*run, cwd=tmp_path).ended(0)
    assert outcomes(tmp_path / "r.csv") == {}


def test_a_service_that_answers_as_it_likes():
    """Devices, CAs, deletions: no outcome, no undo contradicts what was done; what is known done is not called.

    By both status tables.
    """
    with hurried():
        *_, (service, outcomes, contradictions, _) = torment(seed=3, rows=40, numbers=(0, 7, 4), timeout_s=0.08)

    assert not contradictions
    assert {"succeeded", "unknown"} <= {outcome for *_, outcome in outcomes}
    assert len(service.kinds) > 20
