"""``bulkcert plan``: what it says is so, the run does as it says, and nothing is changed by it."""

import json
from collections import Counter

import pytest
from program import (
    INSTANCE,
    KEY_ID,
    NO_KEY,
    PATIENCE_S,
    STS,
    STS_KEY,
    UNHURRIED,
    bulkcert,
    emulator,
    here,
    summary_of,
    write_list,
)

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs import found as counting
from bulkcert.runs.found import Found, Registered
from bulkcert.service.actions import ACTIONS, OPERATIONS
from bulkcert.views.plan_advice import on_devices

READING = {"GetDeviceCertificate", "GetCaCertificate", "ListDeviceCertificateByCaSn", "ListCaCertificate"}
LISTING = OPERATIONS["ListDeviceCertificateByCaSn"].ram_action
KEY = {"id": KEY_ID}


@pytest.fixture
def service():
    with emulator() as running:
        yield running
        assert {call["operation"] for call in running.calls()} <= READING | running.allowed


@pytest.fixture(autouse=True)
def only_reads(service):
    """After each test the log of arrivals must hold no operation that changes, unless the test ran one on purpose."""
    service.allowed = set()


MIXED = (("00aa", 30, 350, 20), ("00bb", 5, 145, 0), ("00cc", 0, 0, 50))
"""CAs, and how many of their devices are active, inactive and not registered."""


@pytest.fixture
def path(service, tmp_path):
    """Returns a list of these devices, and a duplicate."""
    lines = []
    for ca, active, inactive, absent in MIXED:
        devices = [(f"{ca}{number:06d}", ca) for number in range(active + inactive + absent)]
        service.seed(devices[:active])
        service.seed(devices[active : active + inactive], "0")
        lines += devices
    write_list(tmp_path / "devices.csv", [*lines, lines[0]])
    return tmp_path / "devices.csv"


def plan(service, path, *more, action="inactivate-device", instance=INSTANCE, endpoint="", caps=UNHURRIED, env=None):
    where = ("--endpoint", endpoint or service.url, "--instance", instance, *caps)
    planning = ("plan", action, path, *where, "--quiet", *more)
    return bulkcert(*planning, env=env) if env else here(*planning)


def planned(service, path, *more, status=0, **options):
    return json.loads(plan(service, path, *more, "--json", **options).ended(status).stdout)


def test_the_numbers_of_each_ca_and_of_the_run_that_follows(service, tmp_path, path):
    """States are told by CA and in all, JSON and table agree, nothing is written, and the run makes those calls."""
    names = ("rows", "already", "not_registered", "to_change")
    expected = {ca: dict(zip(names, (on + off + none, off, none, on), strict=True)) for ca, on, off, none in MIXED}
    before = service.counts()
    files = set(tmp_path.iterdir())
    told = planned(service, path)

    found = {ca["ca_sn"]: {name: ca[name] for name in names} for ca in told["cas"]}
    assert found == expected
    assert list(found) == ["00aa", "00bb", "00cc"]
    assert told["totals"] == {
        "rows": 600,
        "already": 495,
        "not_registered": 70,
        "to_change": 35,
        "not_read": 0,
    }
    assert (told["rows"], told["invalid"], told["duplicates"], told["protected"]) == (601, 0, 1, 0)
    assert told["calls"] == {"changing": 105, "reading": told["calls"]["reading"], "total": 105 + 7}
    assert (told["instance_ok"], told["permissions"]["read_one"], told["permissions"]["read_pages"]) == (True,) * 3
    assert abs(told["clock_ahead_s"]) < PATIENCE_S
    assert told["time"]["source_addresses"] == 1

    table = plan(service, path).ended(0).stdout
    for ca in [*told["cas"], {"ca_sn": "all CAs", **told["totals"]}]:
        row = next(line for line in table.splitlines() if line.startswith(ca["ca_sn"]))
        figures = [ca[name] for name in ("rows", "already", "not_registered", "to_change")]
        assert [int(figure) for figure in row.removeprefix(ca["ca_sn"]).split()[:4]] == figures
    assert all(f"→ {advice}" in table for advice in told["advice"])
    assert "112: 105 writes, 7 reads" in table
    assert service.counts() == before
    assert set(tmp_path.iterdir()) == files
    assert {call["operation"] for call in service.calls()} <= READING

    service.allowed = {"InactivateDeviceCertificate"}
    calls = service.report().arrivals
    here("run", "inactivate-device", path, *service.looking, "-o", tmp_path / "results.csv").ended(1)
    assert service.report().arrivals - calls == told["calls"]["total"]
    assert summary_of(tmp_path / "results.csv")["outcomes"]["unchanged"] == told["totals"]["already"]


def test_a_dry_run_is_a_plan(service, tmp_path, path):
    """``run --dry-run`` is what ``plan`` is, asks nothing and leaves nothing; what a run refuses it refuses."""
    results = tmp_path / "r.csv"
    where = ("--endpoint", service.url, "--instance", INSTANCE, *UNHURRIED, "--quiet")
    run = ("run", "inactivate-device", path, *where, "-o", results, "--dry-run")
    assert here(*run).ended(0).stdout == plan(service, path).ended(0).stdout
    assert json.loads(here(*run, "--json").ended(0).stdout)["totals"] == planned(service, path)["totals"]
    assert "must end in" in here(*run[:-2], tmp_path / "r.xlsx", "--dry-run").ended(2).stderr
    assert "--ticket is missing" in here(*run, "--require", "ticket").ended(2).stderr
    assert [*tmp_path.iterdir()] == [path]
    plan(service, path, "-o", tmp_path / "x.plan.json").ended(0)
    assert "exclude each other" in here(*run, "--plan", tmp_path / "x.plan.json").ended(2).stderr


@pytest.mark.parametrize("look", ["always", "never"])
def test_the_run_makes_the_calls_that_were_planned(service, tmp_path, path, look):
    """Also where each certificate is looked at, or none; then one reading call checks all that can be checked."""
    told = planned(service, path, "--preflight", look)
    if look == "never":
        assert (told["totals"]["not_read"], told["calls"]["total"]) == (0, 600)
        assert Counter(call["operation"] for call in service.calls()) == {"GetDeviceCertificate": 601}
    service.allowed = {"InactivateDeviceCertificate"}
    calls = service.report().arrivals
    results = tmp_path / "results.csv"
    here("run", "inactivate-device", path, *service.looking, "--preflight", look, "-o", results).ended(1)
    assert service.report().arrivals - calls == told["calls"]["total"]


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_every_action(service, path, action):
    """Each action is planned with its own reading operations, and needs its own RAM actions."""
    told = planned(service, path, action=action)

    assert told["permissions"]["needed"][0] == ACTIONS[action].operation.ram_action
    states = told["totals"]
    assert states["rows"] == sum(states[name] for name in states if name != "rows")
    if action == "delete-ca":
        registered = [ca["registered"] for ca in told["cas"]]
        assert registered == [380, 150, 0]
        assert any("delete-ca deletes 530 device certificates; nothing" in advice for advice in told["advice"])
    if action == "activate-device":
        assert states["already"] == 35
        assert any("nothing can switch it on before" in advice for advice in told["advice"])


def test_advice_on_a_shared_ca_and_on_the_unregistered(service, path):
    """A CA with most rows is named with its other devices; so are serials that nobody has registered."""
    service.seed([(f"other{number}", "00aa") for number in range(7)])
    shared, unregistered = planned(service, path)["advice"][0], planned(service, path)["advice"][-1]

    assert shared.startswith(
        "66 % of the rows share CA 00aa: one inactivate-ca would refuse all of its devices at once"
    )
    assert shared.endswith("; devices that are not listed: 7 registered devices")
    assert unregistered.startswith("70 serials are not registered; NOT safe")


LARGE = 14_386


@pytest.fixture(scope="module")
def large():
    """Returns an emulator with a large CA and a small one, and the devices of both."""
    with emulator() as running:
        devices = [(f"{number:08d}", "00large") for number in range(LARGE)]
        others = [(f"{number:08d}", "00other") for number in range(3000)]
        running.seed([*devices, *others])
        yield running, devices, others


@pytest.mark.parametrize("listed", [1000, 11_990])
def test_a_ca_of_which_a_part_is_listed(large, tmp_path, listed):
    """The devices of a CA that the advice is about are counted to the last one."""
    running, devices, _ = large
    path = tmp_path / "devices.csv"
    write_list(path, devices[:listed])
    told = planned(running, path)

    assert [(ca["registered"], ca["registered_at_least"]) for ca in told["cas"]] == [(LARGE, LARGE)]
    assert told["advice"][0].endswith(f"devices that are not listed: {LARGE - listed:,} registered devices")


def test_what_an_action_on_a_ca_would_hit(large, tmp_path):
    """Switching off a CA refuses all of its devices, and the plan says how many those are."""
    running, _, _ = large
    path = tmp_path / "cas.csv"
    path.write_text("CaSn\n00large\n00other\n")
    told = planned(running, path, action="inactivate-ca")

    assert [ca["registered"] for ca in told["cas"]] == [LARGE, 3000]
    assert "connections with 17,386 device certificates are refused from then on" in told["advice"]


@pytest.mark.parametrize(
    ("counts", "because", "hit"),
    [
        ([(5, True), (3, True)], "", "8 device certificates"),
        ([(5, True), (3, False)], "", "at least 8 device certificates"),
        ([(1, True)], "", "1 device certificate"),
        ([(0, True)], "", "0 device certificates"),
        ([], "", "device certificates that were not counted"),
        ([], "NoPermission.", "device certificates that were not counted: NoPermission"),
    ],
)
def test_what_was_not_counted_makes_a_lower_bound(counts, because, hit):
    """The number that somebody decides by is right, or says that it is a lower bound."""
    registered = {f"00{number}": Registered(*counted) for number, counted in enumerate(counts)}
    uncounted = BulkcertError(ExitStatus.DENIED, because) if because else None
    said = on_devices(ACTIONS["delete-ca"], Found(registered=registered, uncounted=uncounted))
    assert said == f"delete-ca deletes {hit}; nothing brings them back"


def test_cas_are_counted_up_to_so_many_pages(large, tmp_path, monkeypatch):
    """What is beyond a number of pages is no part of the number, which says so; a CA that was counted stays exact."""
    monkeypatch.setattr(counting, "MOST_PAGES", 60)
    running, _, _ = large
    path = tmp_path / "cas.csv"
    path.write_text("CaSn\n00other\n00large\n")
    told = planned(running, path, "--max-in-flight", "1", action="delete-ca")

    by_ca = {ca["ca_sn"]: (ca["registered"], ca["registered_at_least"]) for ca in told["cas"]}
    assert sorted(map(bool, (whole for whole, _ in by_ca.values()))) in ([False, True], [False, False])
    counted = sum(least for _, least in by_ca.values())
    assert counted == 6000
    assert "delete-ca deletes at least 6,000 device certificates; nothing brings them back" in told["advice"]


@pytest.mark.parametrize("look", ["auto", "never"])
def test_short_lists_are_read_whole(service, tmp_path, look):
    """Each row of a short list is read, though the run would not read it; the calls are those of the run."""
    path = tmp_path / "devices.csv"
    path.write_text("DeviceSn,CaSn\n0001,00aa\n0002,00bb\n0003,00cc\n")
    service.seed([("0001", "00aa")])
    service.seed([("0002", "00bb")], "0")
    told = planned(service, path, "--preflight", look)

    assert told["totals"] == {"rows": 3, "already": 1, "not_registered": 1, "to_change": 1, "not_read": 0}
    reading = 3 * (look == "auto")  # whether the columns are swapped, since no page has shown a device
    assert told["calls"] == {"changing": 3, "reading": reading, "total": 3 + reading}
    assert abs(told["clock_ahead_s"]) < PATIENCE_S, "that of any answer"


NONE_EXISTS = "none of these devices exists under these CAs; did you swap the columns, or is this another instance?"
SWAPPED = "the columns are swapped: devices of the list are registered the other way round"


def test_swapped_columns(service, tmp_path):
    """Columns that are swapped are said to be, with the options that read them right."""
    path = tmp_path / "devices.csv"
    path.write_text("serial,ca of it\n00aa,0001\n00aa,0002\n")
    service.seed([("0001", "00aa"), ("0002", "00aa")])
    told = planned(service, path, "--device-column", "serial", "--ca-column", "ca of it", status=65)
    said = [f"{SWAPPED}; to read them right, give --device-column 'ca of it' --ca-column serial"]
    assert (told["advice"], told["exit_status"]) == (said, 65)
    many = "".join(f"00aa,{number:04d}\n" for number in range(1, 1500))
    path.write_text(f"serial,ca of it\n{many}")
    told = planned(service, path, "--device-column", "serial", "--ca-column", "ca of it", status=65)
    assert (told["advice"], told["totals"]["not_read"]) == (said, 1499)
    path.write_text("serial,ca of it\n00aa,0001\n00aa,0002\n")

    assert planned(service, path, "--device-column", "ca of it", "--ca-column", "serial")["totals"]["to_change"] == 2
    path.write_text("serial,ca of it\n0009,00aa\n")
    assert NONE_EXISTS in planned(service, path, "--device-column", "serial", "--ca-column", "ca of it")["advice"]


def test_a_ca_that_is_not_counted_to_its_end(large, tmp_path, monkeypatch):
    """What was counted in part is told as at least so many, in the advice and to programs."""
    monkeypatch.setattr(counting, "MOST_COUNTED", 2000)
    running, devices, others = large
    path = tmp_path / "devices.csv"
    write_list(path, [*devices[:1500], *others[:1000]])
    told = planned(running, path)

    assert [ca["registered"] for ca in told["cas"]] == [None, None]
    most, fewer = (ca["registered_at_least"] for ca in told["cas"])
    assert 2000 < most < LARGE
    assert 1111 < fewer <= 3000
    (advice,) = told["advice"]
    assert advice.endswith(f"devices that are not listed: at least {most - 1500:,} registered devices")


def test_invalid_and_protected_rows(service, tmp_path):
    """65 with the whole plan where they keep the run from starting; 0 where the run would leave them out."""
    path, protected = tmp_path / "devices.csv", tmp_path / "protected.csv"
    path.write_text("DeviceSn,CaSn\n0001,00aa\n,00aa\n0002,00aa\n0003,00aa\n")
    protected.write_text("DeviceSn\n0002\n")
    service.seed([("0001", "00aa")])
    told = planned(service, path, "--protect", protected, status=65)

    assert (told["invalid"], told["protected"], told["totals"]["rows"], told["exit_status"]) == (1, 1, 2, 65)
    assert any(f"{path}:3: DeviceSn" in advice for advice in told["advice"])
    assert "the run would not start" in plan(service, path, "--protect", protected).ended(65).stdout
    told = planned(service, path, "--protect", protected, "--skip-invalid", "--skip-protected")["advice"]
    assert f"1 row is invalid; skipped (--skip-invalid)\n  {path}:3: DeviceSn is blank" in told
    assert "1 row is protected by protected.csv; skipped (--skip-protected)" in told
    assert "--skip-protected needs --protect" in plan(service, path, "--skip-protected").ended(2).stderr


def test_what_is_not_registered_is_deleted_all_the_same(service, tmp_path):
    """delete-ca leaves no row alone: plan and run say so, and the run calls as many as were planned."""
    path, results = tmp_path / "cas.csv", tmp_path / "results.csv"
    path.write_text("CaSn\n00aa\n00bb\n")
    service.seed([("", "00aa")])
    told = planned(service, path, action="delete-ca")
    states = {"rows": 2, "already": 0, "not_registered": 1, "to_change": 1, "not_read": 0}
    assert told["totals"] == states
    assert told["calls"] == {"changing": 2, "reading": 2, "total": 4}

    service.allowed = {"DeleteCaCertificate"}
    calls = service.report().arrivals
    run = here("run", "delete-ca", path, *service.looking, "-o", results, "--confirm-devices", 0).ended(1)
    assert service.report().arrivals - calls == 4
    assert "will change   1 CA certificate\n" in run.stderr
    assert "unregistered  1 called all the same" in run.stderr


@pytest.mark.parametrize("look", ["auto", "always"])
def test_without_permission_to_list(service, tmp_path, path, look):
    """It is told, and the rest is planned as the run does it: all rows are called, or read one by one, then fewer."""
    looking = ("--preflight", look, "--max-in-flight", "1")
    service.tell("access-key", **KEY, denied=[LISTING])
    told = planned(service, path, *looking)

    assert (told["permissions"]["read_one"], told["permissions"]["read_pages"]) == (True, False)
    assert LISTING in told["permissions"]["needed"]
    if look == "auto":
        assert (told["totals"]["not_read"], told["calls"]["changing"]) == (0, 600)
        assert told["unread_because"].startswith("ListDeviceCertificateByCaSn: NoPermission")
    else:
        assert told["calls"] == {"changing": 105, "reading": 601, "total": 706}
    assert any(advice.startswith("states cannot be read") for advice in told["advice"]) == (look == "auto")

    service.allowed = {"InactivateDeviceCertificate"}
    calls, results = service.report().arrivals, tmp_path / "results.csv"
    ran = here("run", "inactivate-device", path, *service.looking, *looking, "-o", results).ended(1)
    assert "at least 0" not in ran.stderr, "what was not counted has no number"
    assert service.report().arrivals - calls == told["calls"]["total"]
    service.tell("access-key", **KEY, denied=[LISTING, OPERATIONS["GetDeviceCertificate"].ram_action])
    assert planned(service, path, *looking)["permissions"]["read_one"] is False


def test_failures(service, tmp_path, path):
    """What would end the run ends the plan, with the same status."""
    assert "MqttInstanceNotFound" in plan(service, path, instance="nowhere").ended(78).stderr
    assert (
        "InvalidAccessKeyId.NotFound"
        in plan(service, path, env={"ALIBABA_CLOUD_ACCESS_KEY_ID": "nobody"}).ended(77).stderr
    )
    assert "no credentials" in plan(service, path, env=NO_KEY).ended(77).stderr
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert "DeviceSn" in plan(service, tmp_path / "other.csv").ended(65).stderr
    plan(service, tmp_path / "missing.csv").ended(66)
    plan(service, path, "--rate", "0").ended(2)
    plan(service, path, "--attempts", "1", endpoint="http://127.0.0.1:9").ended(69)
    service.tell("instance", id=INSTANCE, account="2")
    assert "MqttOwnerCheckError" in plan(service, path).ended(77).stderr
    service.tell("instance", id=INSTANCE)


def test_the_clock(service, path):
    """A clock that is off is told; one that is too far off ends the plan."""
    service.tell("clock", offset_s=600.0)
    assert -600 - PATIENCE_S < planned(service, path)["clock_ahead_s"] < -600 + PATIENCE_S
    assert "behind the service's (15 minutes are allowed)" in plan(service, path).ended(0).stdout
    service.tell("clock", offset_s=2000.0)
    assert "InvalidTimeStamp" in plan(service, path).ended(78).stderr


def test_a_token_set_by_hand(service, path):
    """Credentials are shown to be temporary, and their token is not."""
    service.tell("access-key", **STS_KEY)
    told = planned(service, path, env=STS)

    assert told["credentials"]["temporary"]
    assert "temporaryToken" not in json.dumps(told)
