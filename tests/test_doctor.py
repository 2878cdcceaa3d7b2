"""``bulkcert doctor``: what a run would fail on is one check that fails, with the exit status of the run."""

import json
import socket
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from program import INSTANCE, KEY_ID, NO_KEY, STS, STS_KEY, bulkcert, emulator, here

from bulkcert.output.advice import Remedy
from bulkcert.runs import diagnosis
from bulkcert.service.actions import INSTANCE_ACCESS, OPERATIONS
from bulkcert.service.credentials import _checked

READING = {name for name, operation in OPERATIONS.items() if operation.reads}
GRANTS = {OPERATIONS[name].ram_action for name in READING}
CHECKS = ["credentials", "endpoint", "tls", "instance", "clock", "permissions", "addresses", "limits", "disk", "loop"]


@pytest.fixture
def service():
    with emulator() as running:
        running.seed([("0001", "00ca"), ("0002", "00ca")])
        yield running
        assert {call["operation"] for call in running.calls()} <= READING


def examined(service, *more, status=0, do=here, instance=INSTANCE, endpoint="", **options):
    """Returns the checks by name, as JSON has them."""
    where = ("--endpoint", endpoint or service.url, "--instance", instance)
    printed = do("doctor", *where, "--json", "-q", *more, **options).ended(status)
    found = json.loads(printed.stdout)
    assert found["exit_status"] == status
    assert [check["check"] for check in found["checks"]] == CHECKS
    return {check["check"]: check for check in found["checks"]}, found


def results(checks):
    return dict(Counter(check["result"] for check in checks.values()))


def test_all_is_well(service, tmp_path):
    """Every check is ok, each reading operation was called once, table and JSON agree, and nothing is left."""
    checks, found = examined(service, cwd=tmp_path)
    assert results(checks) == {"ok": len(CHECKS)}
    assert Counter(call["operation"] for call in service.calls()) == dict.fromkeys(READING, 1)
    assert found["permissions"] == dict.fromkeys(GRANTS, True)
    assert abs(found["clock_ahead_s"]) < 60
    assert {"bulkcert", "python", "loop", "polars"} <= found["versions"].keys()

    where = ("--endpoint", service.url, "--instance", INSTANCE)
    table = here("doctor", *where, cwd=tmp_path).ended(0).stdout.splitlines()
    assert [line.split()[:2] for line in table[: len(CHECKS)]] == [[check, "ok"] for check in CHECKS]
    assert table[-1] == "exit status   0: a run could start"
    assert list(tmp_path.iterdir()) == []
    # That there are no certificates shows the permission as well.
    service.tell("instance", id="post-cn-empty")
    assert examined(service, instance="post-cn-empty")[1]["permissions"] == dict.fromkeys(GRANTS, True)


@pytest.mark.parametrize(
    ("change", "check", "status", "step"),
    [
        ({"enabled": False}, "credentials", 77, "that it is enabled"),
        ({"account": "2000000000000002"}, "instance", 77, "belongs to the account"),
        ({"denied": frozenset({INSTANCE_ACCESS})}, "permissions", 77, "bulkcert policy ACTION"),
        ({"denied": frozenset(GRANTS)}, "permissions", 77, "Grant mq:ListCaCertificate and"),
    ],
    ids=["disabled key", "another account", "no access", "no reading"],
)
def test_a_key_that_may_not(service, change, check, status, step):
    """What the service refuses is one check that fails, with its own next step; what comes behind it is not claimed."""
    service.tell("access-key", id=KEY_ID, **change)
    checks, _ = examined(service, status=status)

    assert [name for name, each in checks.items() if each["result"] == "failed"] == [check]
    assert step in checks[check]["next"]
    assert checks["endpoint"]["result"] == "ok"
    assert checks["instance"]["result"] == ("failed" if check == "instance" else "skipped")


def test_some_reading_is_refused(service):
    """A run could start all the same: a warning names what is missing."""
    action = OPERATIONS["ListDeviceCertificateByCaSn"].ram_action
    service.tell("access-key", id=KEY_ID, denied=frozenset({action}))
    checks, found = examined(service)

    assert found["permissions"] == dict.fromkeys(GRANTS, True) | {action: False}
    assert results(checks) == {"ok": len(CHECKS) - 1, "warning": 1}
    assert f"Grant {action} on the instance" in checks["permissions"]["next"]


@pytest.mark.parametrize(("offset_s", "status", "result"), [(-3600, 78, "failed"), (300, 0, "warning"), (2, 0, "ok")])
def test_the_clock(service, offset_s, status, result):
    """It is right, off but within what the service allows, or refused."""
    service.tell("clock", offset_s=offset_s)
    clock = examined(service, status=status)[0]["clock"]

    assert clock["result"] == result
    assert ("15 minutes" in clock["next"]) == (result != "ok")


@pytest.mark.parametrize(
    ("options", "check", "status"),
    [({"instance": "post-cn-another"}, "instance", 78), ({"endpoint": "http://127.0.0.1:9"}, "endpoint", 69)],
)
def test_a_wrong_place(service, options, check, status):
    """An unknown instance and a service that is not there end as a run does."""
    checks, _ = examined(service, "--attempts", 1, status=status, **options)

    assert [name for name, each in checks.items() if each["result"] == "failed"] == [check]
    assert checks[check]["next"]


def test_credentials(service):
    """Without any the rest is checked all the same; a token that nothing renews is a warning."""
    checks, _ = examined(service, status=77, do=bulkcert, env=NO_KEY)
    assert checks["credentials"]["result"] == "failed"
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" in checks["credentials"]["next"]
    assert (checks["endpoint"]["result"], checks["disk"]["result"]) == ("skipped", "ok")

    service.tell("access-key", **STS_KEY)
    checks, _ = examined(service, env=STS)
    assert results(checks) == {"ok": len(CHECKS) - 1, "warning": 1}
    assert checks["credentials"]["result"] == "warning"


@pytest.mark.parametrize(
    ("provider", "token", "is_renewed"),
    [
        ("env", "t", False),
        ("default/cli_profile/static_sts", "t", False),
        ("default/cli_profile/ram_role_arn", "t", True),
        ("default/ecs_ram_role", "t", True),
        ("default/cli_profile/static_ak", None, False),
    ],
)
def test_what_renews_a_token(provider, token, is_renewed):
    """A token that somebody has put there ends; one that its source has made is followed by another."""
    assert _checked("k", "s", token, provider).is_renewed == is_renewed


def test_source_addresses(service):
    """Each is called from; one that nothing comes back to fails, though others are answered."""
    both = ("--source-address", "127.0.0.1", "--source-address", "127.0.0.2")
    assert examined(service, *both)[0]["addresses"]["found"] == "127.0.0.1, 127.0.0.2"
    assert {call["address"] for call in service.calls()} == {"127.0.0.1", "127.0.0.2"}

    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        other = ("--source-address", "::1", *both[:2], "--attempts", 3)
        addresses = examined(service, *other, status=69)[0]["addresses"]
        assert addresses["found"].startswith("::1: cannot connect")


def test_this_machine(service, tmp_path):
    """Limits above the documented ones warn; where results cannot be written a run would end with 73."""
    assert examined(service, "--rate", 501, "--limits-raised")[0]["limits"]["result"] == "warning"
    disk = examined(service, "-o", tmp_path / "none" / "r.csv", status=73)[0]["disk"]
    assert "Create the directory" in disk["next"]


def test_a_full_disk_and_a_slow_loop(service, monkeypatch):
    """What makes a run stop late or slow is said before."""
    monkeypatch.setattr(diagnosis, "LEAST_FREE", 10**18)
    monkeypatch.setattr("bulkcert.engine.session.uvloop_or_none", lambda: None)
    checks, _ = examined(service)
    assert (checks["disk"]["result"], checks["loop"]["result"]) == ("warning", "warning")


def test_without_a_service(service, tmp_path):
    """This machine alone is checked, without a call; a job file names the rest."""
    said = here("doctor", cwd=tmp_path).ended(0).stdout
    assert said.count("skipped") == 6
    assert said.count("--job") == 1
    assert service.calls() == []

    job = tmp_path / "job.toml"
    job.write_text(
        f'action = "inactivate-device"\ninput = "d.csv"\ninstance = "{INSTANCE}"\nendpoint = "{service.url}"\n'
    )
    assert "skipped" not in here("doctor", "--job", job).ended(0).stdout


def test_every_remedy_is_for_something():
    """The table of what to do has no line that nothing leads to."""
    source = Path(diagnosis.__file__).read_text()
    assert [each.name for each in Remedy if f"Remedy.{each.name}" not in source] == []
