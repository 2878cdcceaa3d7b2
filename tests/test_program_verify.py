"""``verify``: what is read back, what it costs, what it says, and what is called again while it watches."""

import pytest
from program import (
    INSTANCE,
    PATIENCE_S,
    UNHURRIED,
    bulkcert,
    here,
    read_results,
    start,
    summary_of,
    wait_for,
    write_devices,
)
from watching import watch

READS = {"ListDeviceCertificateByCaSn", "GetDeviceCertificate"}


@pytest.fixture
def made(tmp_path, service):
    """Returns a function that makes a run over so many devices and returns them and its results."""

    def make(count=200, cas=2, unregistered=()):
        devices = write_devices(tmp_path / "devices.csv", count, cas=cas)
        for _, ca in devices[:cas]:
            service.tell("delete", instance=INSTANCE, ca_sn=ca, device_sn="")
        service.tell("seed", instance=INSTANCE, rows=[(ca, "") for _, ca in devices[:cas]])
        service.seed([pair for number, pair in enumerate(devices) if number not in unregistered])
        run = ("run", "inactivate-device", tmp_path / "devices.csv", "-o", tmp_path / "r.csv")
        here(*run, *service.where, "-q").ended(1 if unregistered else 0)
        return devices, tmp_path / "r.csv"

    return make


def connect(service, pair):
    device, ca = pair
    return service.tell("connect", instance=INSTANCE, ca_sn=ca, device_sn=device)


def test_all_as_wanted(service, made):
    """0 and a status with its time in every row; the run's own columns stay; the summary tells of it."""
    _, results = made()
    before = read_results(results)
    bulkcert("verify", results, *UNHURRIED).ended(0)

    after = read_results(results)
    assert {row["verified_status"] for row in after} == {"inactive"}
    assert all(row["verified_at"] >= row["finished_at"] for row in after)
    assert [{name: row[name] for name in before[0]} for row in after] == before
    assert summary_of(results)["verification"]["wanted"] == 200


def test_every_change_is_found_in_few_calls(service, made):
    """Reactivated, registered, deleted in between, among 10,000 rows: found, in 1 % calls and one for each absent."""
    devices, results = made(10_000, cas=1, unregistered={7, 8})
    service.seed([devices[3]], "1")
    connect(service, devices[7])
    service.tell("delete", instance=INSTANCE, ca_sn=devices[5][1], device_sn=devices[5][0])
    calls = service.report().arrivals
    here("verify", results, *UNHURRIED).ended(1)

    rows = read_results(results)
    found = {number: row["verified_status"] for number, row in enumerate(rows) if row["verified_status"] != "inactive"}
    assert found == {3: "active", 7: "active", 5: "not_registered", 8: "not_registered"}
    assert service.report().arrivals - calls <= 100 + 2
    assert {call["operation"] for call in service.calls()[calls:]} <= READS, "verify reads only"


def test_a_later_run_keeps_what_was_verified(tmp_path, service, made):
    """The same run command on the finished run writes the same results, verified columns included."""
    _, results = made()
    here("verify", results, *UNHURRIED).ended(0)
    before = read_results(results)
    here("run", "inactivate-device", tmp_path / "devices.csv", *service.where, "-o", results).ended(0)

    assert read_results(results) == before


def test_watch_calls_again(service, made):
    """What turns active while it is watched is switched off again, and that is in the results."""
    devices, results = made(50, unregistered={9})
    calls = service.report().arrivals

    def change():
        wait_for(None, lambda: service.report().arrivals > calls)
        service.seed([devices[4]], "1")
        connect(service, devices[9])
        wait_for(None, lambda: service.states(devices) == ["0"] * 50)

    watch(results, change).ended(0)
    rows = read_results(results)
    assert rows[9]["outcome"] == "succeeded"
    assert {row["verified_status"] for row in rows} == {"inactive"}
    assert summary_of(results)["verification"]["called_again"] == 2


def test_watch_asks(service, made):
    """2: watching may change certificates; without a terminal and --yes nothing is called."""
    _, results = made(5)
    calls = service.report().arrivals
    refused = here("verify", results, *UNHURRIED, "--watch", "5s").ended(2)

    assert "--yes" in refused.stderr
    assert service.report().arrivals == calls


def test_interrupted_watch(service, made):
    """130 on Ctrl-C: what was seen so far is in the results."""
    _, results = made(20)
    with start("verify", results, *UNHURRIED, "--watch", "1h", "--every", "1s", "--yes") as child:
        wait_for(child, lambda: b'"seen"' in results.with_name("r.csv.journal").read_bytes())
        child.send_signal(2)
        child.communicate(timeout=PATIENCE_S)

    assert child.returncode == 130
    assert {row["verified_status"] for row in read_results(results)} == {"inactive"}


@pytest.mark.parametrize("denied", [["mq:ListDeviceCertificateByCaSn"], ["mq:GetDeviceCertificate"]])
def test_one_permission_is_enough(service, made, denied):
    """Without permission to list it reads one by one; without permission to read one, pages do where they suffice."""
    _, results = made(120)
    service.tell("access-key", id="testAccessKeyId", denied=denied)
    try:
        here("verify", results, *UNHURRIED).ended(0)
    finally:
        service.tell("access-key", id="testAccessKeyId", denied=[])


def test_77_no_permission(service, made):
    """77 names what to grant, and leaves the results as they were."""
    _, results = made(120)
    before = results.read_bytes()
    denied = ["mq:ListDeviceCertificateByCaSn", "mq:GetDeviceCertificate"]
    service.tell("access-key", id="testAccessKeyId", denied=denied)
    try:
        refused = here("verify", results, *UNHURRIED).ended(77)
    finally:
        service.tell("access-key", id="testAccessKeyId", denied=[])

    assert "mq:GetDeviceCertificate" in refused.stderr
    assert results.read_bytes() == before


def test_wrong_results(tmp_path, service, made):
    """Files that are no results of a run are refused with what to do; nothing is called."""
    _, results = made(5)
    (tmp_path / "none.csv").write_text("DeviceSn,CaSn\n1,2\n")
    assert "none.csv.journal" in here("verify", tmp_path / "none.csv").ended(66).stderr
    text = results.read_text()
    results.write_text("".join(text.splitlines(keepends=True)[:3]))
    assert "--limit-rows 0" in here("verify", results).ended(65).stderr
    results.unlink()
    assert "--limit-rows 0" in here("verify", results).ended(66).stderr
    results.write_text(text)
    here("verify", results, "--instance", "post-cn-other").ended(65)
    here("verify", results, "--watch", "soon").ended(2)
