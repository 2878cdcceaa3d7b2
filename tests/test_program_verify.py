"""``verify``: what is read back, what it costs, what it says, and what is called again while it watches."""

import json

import pytest
from program import INSTANCE, UNHURRIED, here, outcomes, read_results, summary_of, write_devices, write_list

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
    here("verify", results, *UNHURRIED).ended(0)

    after = read_results(results)
    assert {row["verified_status"] for row in after} == {"inactive"}
    assert all(row["verified_at"] >= row["finished_at"] for row in after)
    assert [{name: row[name] for name in before[0]} for row in after] == before
    assert summary_of(results)["verification"]["wanted"] == 200


def test_every_change_is_found_in_few_calls(service, made):
    """Reactivated, registered, deleted in between, among 1,000 rows: found, in 1 % calls and one for each absent."""
    devices, results = made(1000, cas=1, unregistered={7, 8})
    service.seed([devices[3]], "1")
    connect(service, devices[7])
    service.tell("delete", instance=INSTANCE, ca_sn=devices[5][1], device_sn=devices[5][0])
    calls = service.report().arrivals
    here("verify", results, *UNHURRIED).ended(1)

    rows = read_results(results)
    found = {number: row["verified_status"] for number, row in enumerate(rows) if row["verified_status"] != "inactive"}
    assert found == {3: "active", 7: "active", 5: "not_registered", 8: "not_registered"}
    assert service.report().arrivals - calls <= 10 + 2
    assert {call["operation"] for call in service.calls()[calls:]} <= READS, "verify reads only"


@pytest.mark.parametrize("denied", [["mq:ListDeviceCertificateByCaSn"], ["mq:GetDeviceCertificate"]])
def test_one_permission_is_enough(service, made, denied):
    """Without permission to list it reads one by one; without permission to read one, pages do where they suffice."""
    _, results = made(120)
    service.tell("access-key", id="testAccessKeyId", denied=denied)
    try:
        here("verify", results, *UNHURRIED).ended(0)
    finally:
        service.tell("access-key", id="testAccessKeyId", denied=[])


def test_wrong_results(tmp_path, made):
    """What no run has written is refused with what to do (66), another instance too (65); nothing is called."""
    _, results = made(5)
    (tmp_path / "none.csv").write_text("DeviceSn,CaSn\n1,2\n")
    refused = here("verify", tmp_path / "none.csv").ended(66).stderr
    assert "none.csv: no run has written there" in refused
    assert "Runs there: r.csv" in refused
    here("verify", results, "--instance", "post-cn-other").ended(65)
    here("verify", results, "--watch", "soon").ended(2)
    for directory in (".", "/", ".."):
        here("verify", directory, cwd=tmp_path).ended(66)


@pytest.mark.parametrize("edit", ["swapped", "gone"])
def test_results_are_not_read(service, made, edit):
    """Whatever became of the results since: the store says what was called, and they are written anew."""
    devices, results = made(5)
    header, *lines = results.read_text().splitlines(keepends=True)
    results.write_text("".join([header, *lines[::-1]]))
    if edit == "gone":
        results.unlink()
    service.seed(devices[:1], "1")
    here("verify", results, *UNHURRIED).ended(1)

    rows = read_results(results)
    assert [(row["DeviceSn"], row["outcome"], row["verified_status"]) for row in rows] == [
        (device, "succeeded", "inactive" if number else "active") for number, (device, _) in enumerate(devices)
    ]


def test_samples_of_each_kind(tmp_path, service):
    """After a run each outcome stands with its codes, a sample of each, and as many rows as the results have."""
    rows = [(f"sample{number}", "sampleca") for number in range(6)]
    service.seed(rows[:3])
    write_list(tmp_path / "d.csv", [*rows, rows[0], ("NULL", "sampleca")])
    told = here(
        *("run", "inactivate-device", "d.csv", "-o", "r.csv", "--skip-invalid", *service.where), cwd=tmp_path
    ).ended(1)
    kinds = summary_of(tmp_path / "r.csv")["kinds"]

    counted = {}
    for kind in kinds:
        counted[kind["outcome"]] = counted.get(kind["outcome"], 0) + kind["rows"]
    assert (
        counted == outcomes(tmp_path / "r.csv") == {"succeeded": 3, "not_registered": 3, "duplicate": 1, "invalid": 1}
    )
    [unknown] = [kind for kind in kinds if kind["outcome"] == "not_registered"]
    assert (unknown["code"], unknown["row"], unknown["serial"]) == ("FindDeviceBySnError", 4, rows[3][0])
    assert f"3 FindDeviceBySnError row 4 ({rows[3][0]}): " in told.stdout
    assert unknown["request_id"] in told.stdout
    for command in ("bulkcert verify r.csv", "bulkcert undo r.csv --include-unknown", "bulkcert report r.csv"):
        assert f": {command}\n" in told.stderr


@pytest.mark.parametrize("command", ["verify", "undo"])
def test_another_service(made, command):
    """65: what was done here is not read or undone elsewhere, however the endpoint was given."""
    _, results = made(5)
    there = {"BULKCERT_ENDPOINT": "http://127.0.0.1:9"}
    assert "http://127.0.0.1:9" in here(command, results, env=there).ended(65).stderr
    refused = here(command, results, "--region", "cn-hangzhou").ended(65)

    assert "onsmqtt.cn-hangzhou.aliyuncs.com" in refused.stderr


def test_a_key_column_with_a_name_of_ours(tmp_path, service):
    """The serials are found again though their column was renamed twice over, and those beside it are left alone."""
    rows = [f"k{number},z{number},kca" for number in range(3)]
    (tmp_path / "d.csv").write_text("\n".join(["code,input_code,CaSn", *rows, ""]))
    keys, others = ([(f"{mark}{number}", "kca") for number in range(3)] for mark in "kz")
    service.seed(keys, "1")
    service.seed(others, "0")
    options = ("--device-column", "code", *service.looking, "-q", "-o", "r.csv")
    here("run", "inactivate-device", "d.csv", *options, cwd=tmp_path).ended(0)
    here("verify", "r.csv", *UNHURRIED, cwd=tmp_path).ended(0)
    here("undo", "r.csv", "--yes", *UNHURRIED, cwd=tmp_path).ended(0)

    assert service.states(keys) == ["1"] * 3
    assert service.states(others) == ["0"] * 3


@pytest.mark.parametrize("suffix", ["csv", "ndjson"])
def test_an_empty_list(tmp_path, service, suffix):
    """0: a run without a row is one, in whatever format its results are."""
    (tmp_path / "d.csv").write_text("DeviceSn,CaSn\n")
    where = ("--endpoint", service.url, "--instance", INSTANCE, "--yes")
    here("run", "inactivate-device", "d.csv", *where, "-o", f"r.{suffix}", cwd=tmp_path).ended(0)
    told = here("verify", f"r.{suffix}", "--json", cwd=tmp_path).ended(0).stdout

    assert json.loads(told)["statuses"] == {}
    here("undo", f"r.{suffix}", cwd=tmp_path).ended(0)
