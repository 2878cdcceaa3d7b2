"""Answers that concern one certificate or one CA only: the others are looked at, verified and listed all the same."""

import re
from collections import defaultdict

import msgspec
import pytest
from hostile_answers import hurried, torment
from program import UNHURRIED, bulkcert, emulator, here, outcomes, read_results, write_devices

from bulkcert.emulator.messages import DROPPED, Answer

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
    service.tell("faults", shares={ODD: 0.2}, seed=5)
    run = ("run", "inactivate-device", "d.csv", *service.looking, "-o", "r.csv")
    here(*run, "--limit-rows", "1", "--max-errors", "100%", cwd=tmp_path)
    service.tell("faults", shares={}, seed=5)

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


def test_a_ca_that_is_not_there_is_named_once(tmp_path, service):
    """With several pages in flight, too."""
    where = ("--endpoint", service.url, "--instance", "post-cn-emulator", *UNHURRIED)
    refused = here("inventory", *where, "--ca-sn", "nope", "-o", "all.csv", cwd=tmp_path).ended(65)

    assert refused.stderr.count("nope") == 1


def test_an_inventory_that_finds_nothing_is_an_input(tmp_path, service):
    """Whatever its format, it is a list without rows: a run over it has nothing to do, and that is a success."""
    service.seed([("1", "ca")], "1")
    where = ("--endpoint", service.url, "--instance", "post-cn-emulator", *UNHURRIED)
    for suffix in ("csv", "parquet", "ndjson"):
        here("inventory", *where, "--status", "inactive", "-o", f"all.{suffix}", cwd=tmp_path).ended(0)
        run = ("run", "activate-device", f"all.{suffix}", *service.looking, "-o", f"r.{suffix}")
        here(*run, cwd=tmp_path).ended(0)
    assert outcomes(tmp_path / "r.csv") == {}


SWITCH_OFF, READ = "InactivateDeviceCertificate", "GetDeviceCertificate"


def hostile(service, rule):
    """Lets ``rule(operation, device, call)`` put another answer in the place of the one of a call that was done."""
    emulated, calls = service._emulator, defaultdict(int)
    answer = emulated.answer

    def answered(request):
        operation, device = request.headers.get("x-acs-action", ""), request.parameters().get("DeviceSn", "")
        calls[operation, device] += 1
        given, delay_s = answer(request)
        return rule(operation, device, calls[operation, device]) or given, delay_s

    emulated.answer = answered
    return calls


def body(status, **fields):
    return Answer(status, msgspec.json.encode({"RequestId": "R", **fields}))


def test_rows_that_never_get_an_answer(tmp_path, service):
    """Two devices whose answers are always lost end unknown, the others are called, and then there is nothing to do."""
    devices = write_devices(tmp_path / "d.csv", 12)
    service.seed(devices)
    lost = {devices[0][0], devices[1][0]}
    calls = hostile(service, lambda _, device, __: DROPPED if device in lost else None)
    run = ("run", "inactivate-device", "d.csv", *service.where, "-o", "r.csv", "--max-in-flight", "1")
    run += ("--attempts", "2", "--max-errors", "100%")
    here(*run, cwd=tmp_path).ended(1)
    assert outcomes(tmp_path / "r.csv") == {"unknown": 2, "succeeded": 10}
    made = dict(calls)
    here(*run, cwd=tmp_path).ended(1)
    assert dict(calls) == made

    told = here("resume", "r.csv", "--retry", "unknown", "--yes", cwd=tmp_path).ended(1)
    assert "never answered" not in told.stderr
    assert outcomes(tmp_path / "r.csv") == {"unknown": 2, "succeeded": 10}
    here("undo", "r.csv", "--include-unknown", "--yes", *UNHURRIED, cwd=tmp_path)
    assert {device for operation, device in calls if operation == "ActiveDeviceCertificate"} == {d for d, _ in devices}


CONTRADICTIONS = {
    "no code": lambda device: body(500),
    "an echo and a code": lambda device: body(200, DeviceSn=device, Code="ParameterFieldCheckFailed", Message="m"),
    "internal error": lambda device: body(500, Code="InternalError"),
    "unavailable": lambda device: body(503, Code="ServiceUnavailable"),
    "html 429": lambda device: Answer(429, b"<html>too many</html>", (("content-type", "text/html"),)),
}


@pytest.mark.parametrize("said", CONTRADICTIONS)
def test_what_was_done_and_is_said_not_to_be(tmp_path, service, said):
    """The first answer lies, the second says that there is no such device: it is read back, and was switched off."""
    devices = write_devices(tmp_path / "d.csv", 6)
    service.seed(devices)

    def lie(operation, device, call):
        if operation != SWITCH_OFF:
            return None
        return CONTRADICTIONS[said](device) if call == 1 else body(500, Code="FindDeviceBySnError", Message="m")

    calls = hostile(service, lie)
    here("run", "inactivate-device", "d.csv", *service.where, "-o", "r.csv", cwd=tmp_path).ended(0)

    assert set(service.states(devices)) == {"0"}
    assert outcomes(tmp_path / "r.csv") == {"succeeded": 6}
    assert all("read back inactive" in row["message"] for row in read_results(tmp_path / "r.csv"))
    assert {count for (operation, _), count in calls.items() if operation == READ} == {1}


def test_what_cannot_be_read_back_is_unknown_and_undone(tmp_path, service):
    """It may be changed: no exit status 0, and undo asks about it and changes it back."""
    devices = write_devices(tmp_path / "d.csv", 6)
    service.seed(devices)
    lies = {SWITCH_OFF: body(500, Code="InternalError"), READ: body(403, Code="NoPermission")}
    hostile(service, lambda operation, *_: lies.get(operation))
    run = ("run", "inactivate-device", "d.csv", *service.looking, "-o", "r.csv", "--attempts", "2")
    here(*run, "--max-errors", "100%", cwd=tmp_path).ended(1)

    assert outcomes(tmp_path / "r.csv") == {"unknown": 6}
    here("undo", "r.csv", "--yes", *UNHURRIED, cwd=tmp_path).ended(0)
    assert set(service.states(devices)) == {"1"}


def test_nothing_from_outside_is_obeyed_or_leaks(tmp_path, service):
    """Codes, messages, IDs and names are kept and shown without control characters, secrets, and more than fits."""
    devices = write_devices(tmp_path / "d.csv", 3)
    service.seed(devices)
    secret, evil = "testAccessKeySecret", "\x1b[31m\x07\r\n\u202e"

    def say(operation, device, call):
        if operation == SWITCH_OFF:
            rubbish = dict.fromkeys(("Code", "Message", "RequestId"), f"{evil}{secret}{'long ' * 1000}")
            return body(500, **rubbish | {"Message": f"x{secret[:17]}{evil}"})
        shown = {"DeviceSn": "1", "CaSn": "1", "Status": "1", "DeviceName": f"{evil}{secret}"}
        return body(200, Data={"Total": "9" * 5000, "DeviceCertificateVOS": [shown]})

    hostile(service, say)
    run = ("run", "inactivate-device", "d.csv", *service.looking, "--preflight", "never", "-o", "r.csv", "-v")
    told = bulkcert(*run, "--max-errors", "100%", "--metrics-file", "m.prom", cwd=tmp_path).ended(1)
    where = ("--endpoint", service.url, "--instance", "post-cn-emulator", *UNHURRIED)
    here("inventory", *where, "-o", "all.csv", cwd=tmp_path).ended(0)
    shown = [here(*command, cwd=tmp_path) for command in (("status", "r.csv"), ("report", "r.csv", "--format", "text"))]

    rows = read_results(tmp_path / "r.csv")
    assert {len(row["code"]) for row in rows} == {128}
    assert {len(row["request_id"]) for row in rows} == {64}
    kept = [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    for text in (*kept, *(each.stdout + each.stderr for each in (told, *shown))):
        assert secret[:16] not in text
        assert not re.search("[\x1b\x07\u202e]", text) or "SQLite" in text


def test_a_service_that_answers_as_it_likes():
    """Devices, CAs, deletions: no outcome, no undo contradicts what was done; what is known done is not called."""
    with hurried():
        *_, (service, outcomes, contradictions, _) = torment(seed=3, rows=40, numbers=(0, 2, 4), timeout_s=0.08)

    assert not contradictions
    assert {"succeeded", "unknown"} <= {outcome for *_, outcome in outcomes}
    assert len(service.kinds) > 20


@pytest.mark.parametrize(
    ("is_done", "is_read", "outcome"),
    [(True, True, "succeeded"), (False, True, "unknown"), (True, False, "succeeded")],
)
def test_a_deletion_that_is_said_not_to_be_found(tmp_path, service, is_done, is_read, outcome):
    """After an attempt that may have been carried out it was, unless reading shows that "not found" is false."""
    service.seed([(f"{number}", "00ca") for number in range(3)])
    (tmp_path / "c.csv").write_text("CaSn\n00ca\n")
    emulated, calls = service._emulator, []
    answer = emulated.answer

    def answered(request):
        if request.headers["x-acs-action"] == "DeleteCaCertificate":
            calls.append(is_done and not calls and answer(request))
            code = "FindCaBySnError" if len(calls) > 1 else "InternalError"
            return body(500, Code=code, Message="m"), 0.0
        if calls and not is_read:
            return body(403, Code="NoPermission", Message="m"), 0.0
        return answer(request)

    emulated.answer = answered
    run = ("run", "delete-ca", "c.csv", *service.where, "-o", "r.csv", "--confirm-devices", "3")
    here(*run, "--max-errors", "100%", cwd=tmp_path).ended(0 if outcome == "succeeded" else 1)

    assert outcomes(tmp_path / "r.csv") == {outcome: 1}
    assert len(calls) == 2
