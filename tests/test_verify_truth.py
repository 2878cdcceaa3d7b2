"""``verify`` tells what this verification has read, and nothing else; ``status`` and ``report`` tell the same."""

import json
import re
import time
from pathlib import Path

import pytest
from program import (
    INSTANCE,
    UNHURRIED,
    bulkcert,
    here,
    read_results,
    start,
    summary_of,
    wait_for,
    write_devices,
    write_list,
)
from stored import change, kill, status

pytestmark = pytest.mark.usefixtures("inside")

LISTS, READS, CHANGES = "ListDeviceCertificateByCaSn", "GetDeviceCertificate", "InactivateDeviceCertificate"


@pytest.fixture
def made(tmp_path, service):
    """Returns a function that has a run switch off so many devices of a CA of their own; returns them."""

    def make(count):
        devices = write_devices("d.csv", count, name=tmp_path.name[-24:])
        service.seed(devices)
        here("run", "inactivate-device", "d.csv", *service.looking, "-q", "-o", "r.csv").ended(0)
        return devices

    yield make
    service.tell("faults", shares={}, seed=1)
    service.tell("access-key", id="testAccessKeyId", denied=[])
    service.tell("clock", offset_s=0)


def verify(*more, **options):
    return here("verify", "r.csv", *UNHURRIED, *more, **options)


def lines_of(text):
    """Returns what is printed, blanks run together, so that it can be compared."""
    return [" ".join(line.split()) for line in text.splitlines()]


def status_of(results="r.csv"):
    """Returns the exit status of ``status``, and what it says on one line."""
    told = here("status", results)
    return told.status, " ".join(told.stdout.split())


def report_of(results="r.csv"):
    return " ".join(here("report", results, "--format", "text").ended(0).stdout.split())


def verification(rows, duplicates=0):
    """Returns what the summary says of it; every row is told of once."""
    told = summary_of("r.csv")["verification"]
    assert told["unread"] == sum(told["unread_because"].values())
    assert told["wanted"] + told["not_desired"] == sum(told["statuses"].values())
    assert told["wanted"] + told["not_desired"] + told["unread"] + duplicates == rows
    return told


def test_what_could_not_be_read_is_not_as_it_was_read_before(service, made):
    """A row that is refused is unread, whatever an earlier verification has seen; its older sighting keeps its time."""
    devices = made(1)
    verify().ended(0)
    [before] = read_results("r.csv")
    service.seed(devices, "1")
    service.tell("faults", shares={f"{READS}:ParameterFieldCheckFailed": 1.0}, seed=1)
    told = verify().ended(1)

    assert "1 inactive" not in told.stdout
    assert "--watch" not in told.stderr, "without a sighting of this verification nothing is to be called again"
    refused = (
        r"^1 not read: refused by the service; last ParameterFieldCheckFailed \(request [0-9A-F-]{36}\): Failed to"
    )
    assert re.search(refused, "\n".join(lines_of(told.stdout)), re.MULTILINE)
    assert "r.csv, unchanged: nothing was read" in told.stdout
    assert read_results("r.csv") == [before]
    found = verification(1)
    assert (found["statuses"], found["unread_because"]) == ({}, {"refused": 1})
    status, said = status_of()
    assert status == 1
    assert "not verified" in said
    assert "to read what was not read: bulkcert verify r.csv" in said
    assert report_of().startswith("Not verified: 1 of 1 certificate is inactive; the last verification did not read 1.")


def failing(service, cause):
    """Lets every call from now on fail for a reason; returns the status that it ends a verification with."""
    if cause == "clock":
        service.tell("clock", offset_s=3600)
        return 78, {}
    if cause == "secret":
        return 77, {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "wrong"}
    service.tell("access-key", id="testAccessKeyId", denied=[f"mq:{LISTS}", f"mq:{READS}"])
    return 77, {}


@pytest.mark.parametrize("cause", ["secret", "permission", "clock"])
def test_a_verification_that_reads_nothing(service, made, cause):
    """Its status and reason are told by itself, the summary, ``status`` and ``report``; nobody calls it verified.

    The results are the same file.
    """
    made(51)
    verify().ended(0)
    kept = Path("r.csv").stat()
    status, env = failing(service, cause)
    run = bulkcert if env else here
    told = run("verify", "r.csv", *UNHURRIED, env=env).ended(status)

    assert "51 inactive" not in told.stdout
    assert "51 not read: not reached" in lines_of(told.stdout)
    assert f"exit status {status}: stopped before all rows were read" in lines_of(told.stdout)
    assert (Path("r.csv").stat().st_ino, Path("r.csv").stat().st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)
    found = json.loads(here("status", "r.csv", "--json").ended(status).stdout)["verification"]
    assert found == verification(51)
    assert (found["wanted"], found["not_desired"], found["unread"]) == (0, 0, 51)
    assert (found["statuses"], found["unread_because"]) == ({}, {"not_reached": 51})
    asked, said = status_of()
    assert asked == status
    assert f"ended with {status}: {found['stopped'][:40]}" in said
    assert "; 0 not in the desired state" not in said
    reported = report_of()
    assert reported.startswith("Not verified: 51 of 51 certificates are inactive; the last verification did not read 5")
    assert f"ended with {status}: {found['stopped'][:40]}" in reported
    assert "verified 20" not in reported

    service.tell("clock", offset_s=0)
    service.tell("access-key", id="testAccessKeyId", denied=[])
    verify().ended(0)
    assert status_of()[0] == 0
    assert report_of().startswith("All inactive: 51 of 51")


def test_interrupted_before_all_pages_came(service, made):
    """130: only what came before the signal counts; a later verification that ends makes ``status`` 0 again."""
    devices = made(800)
    verify().ended(0)
    service.seed(devices[-1:], "1")
    before = service.report().arrivals
    slow = ("--endpoint", service.url, "--rate", "4", "--per-address-rate", "4")
    with start("verify", "r.csv", *slow) as reading:
        wait_for(reading, lambda: service.report().arrivals >= before + 3)
        reading.send_signal(2)
        said, _ = reading.communicate(timeout=30)

    assert reading.returncode == 130
    found = verification(800)
    assert 0 < found["statuses"]["inactive"] < 800
    assert found["unread"] >= 300
    assert f"{found['unread']:,} not read: not reached".encode() in said
    status, told = status_of()
    assert status == 130
    assert "not verified" in told
    assert {row["verified_status"] for row in read_results("r.csv")} == {"inactive"}, "older sightings keep their times"
    verify().ended(1)
    assert summary_of("r.csv")["verification"]["not_desired"] == 1


def test_rows_that_are_not_read_by_their_outcome(tmp_path, service, made):
    """Invalid and protected rows are told apart, each with its number; all rows are told of once."""
    devices = made(4)
    write_list("d.csv", [*devices, ("NULL", "ca"), ("", "ca"), devices[3], devices[0]])
    (tmp_path / "p.txt").write_text(f"{devices[0][0]}\n")
    run = ("run", "inactivate-device", "d.csv", *service.looking, "-q", "-o", "r.csv", "--skip-invalid", "--overwrite")
    here(*run, "--protect", "p.txt", "--skip-protected").ended(1)
    told = verify().ended(1)

    found = verification(8, duplicates=1)
    assert found["unread_because"] == {"invalid": 2, "protected": 2}
    assert [line for line in lines_of(told.stdout) if "not read" in line] == [
        "2 not read: invalid",
        "2 not read: protected",
        "exit status 1: finished, and some rows were not read",
    ]
    status, said = status_of()
    assert status == 1
    assert "4 not read (2 invalid, 2 protected)" in said


def test_a_watch_that_may_not_change(service, made):
    """77: calls that were refused are not told as made, and their rows are as they were read."""
    devices = made(30)
    service.seed(devices, "1")
    service.tell("access-key", id="testAccessKeyId", denied=["mq:UnregisterDeviceCertificate"])
    told = verify("--watch", "5s", "--every", "1s", "--yes").ended(77)

    assert "called again" not in told.stdout
    assert "to resume: bulkcert resume r.csv\n" in told.stderr
    found = verification(30)
    assert (found["called_again"], found["not_desired"]) == (0, 30)
    assert {row["verified_status"] for row in read_results("r.csv")} == {"active"}


def test_what_was_called_after_the_last_look(service, made):
    """130: a watch that ends before it has looked again does not say what the rows are that it has called since."""
    devices = made(20)
    service.seed(devices[:2], "1")
    service.tell("faults", shares={f"{CHANGES}:ParameterFieldCheckFailed": 1.0}, seed=1)
    before = service.report().operations[CHANGES]
    with start("verify", "r.csv", "--yes", "--every", "60s", "--watch", "10m", *UNHURRIED) as watching:
        # Called twice in vain: it waits for the next round, and has looked in between.
        wait_for(watching, lambda: service.report().operations[CHANGES] >= before + 4)
        time.sleep(1)
        watching.send_signal(2)
        said, noted = watching.communicate(timeout=30)

    assert watching.returncode == 130
    assert b"warning: stopped: SIGINT received" in noted, "whoever stops it has wanted that"
    assert b"error:" not in noted
    found = verification(20)
    assert (found["statuses"], found["unread_because"]) == ({"inactive": 18}, {"called_again": 2})
    assert found["called_again"] == 2
    assert b"2 not read: called again since" in said
    assert [row["verified_status"] for row in read_results("r.csv")] == ["", "", *["inactive"] * 18]


def test_a_later_run_keeps_that_it_failed(service, made):
    """The run's own command on the finished run keeps a verification that failed, and says so."""
    made(51)
    verify().ended(0)
    status, _ = failing(service, "permission")
    verify().ended(status)
    service.tell("access-key", id="testAccessKeyId", denied=[])
    run = ("run", "inactivate-device", "d.csv", *service.looking, "-o", "r.csv")
    told = here(*run).ended(0)
    assert f"not verified {summary_of('r.csv')['verification']['finished']}: ended with 77" in " ".join(
        told.stdout.split()
    )
    assert "to read what was not read: bulkcert verify r.csv" in told.stderr
    assert status_of()[0] == status


def test_calls_after_a_verification_that_failed(service, made):
    """They take it out of the summary, though it has read nothing of what was called; until then its reason is told."""
    devices = made(51)
    service.seed(devices[:1], "1")
    assert "to call again (1 drifted): bulkcert resume r.csv --retry drifted\n" in verify().ended(1).stderr
    status, _ = failing(service, "permission")
    verify().ended(status)
    service.tell("access-key", id="testAccessKeyId", denied=[])
    run = ("run", "inactivate-device", "d.csv", *service.looking, "-q", "-o", "r.csv")
    assert here(*run).ended(1).stderr == (
        "warning: 1 row is not in the desired state: read back so; see r.csv.failed.csv\n"
        "to call again (1 drifted): bulkcert resume r.csv --retry drifted\n"
        "to read what was not read: bulkcert verify r.csv\n"
    )
    here("resume", "r.csv", "--retry", "drifted", "--yes", "-q", *UNHURRIED).ended(0)
    assert summary_of("r.csv")["verification"] is None
    assert status_of()[0] == 0


def test_calls_of_a_session_that_was_killed(service, made):
    """After a kill and a verification the summary still says that there may have been more calls.

    What the killed session has called is counted, and the run is interrupted as before.
    """
    made(20)
    kill("r.csv")
    verify("-q").ended(0)
    summary = summary_of("r.csv")

    assert summary["calls_at_least"]
    assert summary["calls"] >= 20
    assert status("r.csv").state == "interrupted"
    assert status_of()[0] == 75


def test_rows_that_a_kill_has_left_in_doubt(service, made):
    """A row without an outcome is what was read of it: by ``verify``, by the failed rows and by the report."""
    devices = made(5)
    change("r.csv", "DELETE FROM certificate WHERE row > 2")
    for row in (3, 4, 5):
        change("r.csv", "INSERT INTO claim (row, session) VALUES (?, 1)", row)
    kill("r.csv")
    service.seed(devices[3:])  # their calls were never made
    told = verify().ended(1).stdout

    assert lines_of(told)[1:3] == ["2 active", "3 inactive"]
    assert "rows left r.csv.failed.csv: 2 rows not in the desired state" in lines_of(told)
    assert f"2 active CA {devices[0][1]}" in lines_of(told)
    assert {(each["row"], each["message"]) for each in read_results("r.csv.failed.csv")} == {
        (row, "not attempted, then read back as active") for row in "45"
    }
    assert "2 not_attempted read back as active" in report_of()
    stands, said = status_of()
    assert stands == 75
    assert "2 rows not in the desired state to resume: bulkcert resume r.csv" in said


def events_of(told):
    lines = [json.loads(line) for line in told.stderr.splitlines()]
    return {name: [line for line in lines if line["event"] == name] for name in {line["event"] for line in lines}}


def test_events(service, made):
    """A verification tells what it came to in one event, and that states are read only where they were."""
    devices = made(120)
    told = events_of(bulkcert("verify", "r.csv", *UNHURRIED, "--log-format", "json").ended(0))
    [ended], [looked] = told["verify_finished"], told["preflight_finished"]
    figures = summary_of("r.csv")["verification"]
    assert ended["duration_s"] > 0
    assert (ended["level"], ended["stopped"], looked["pages"]) == ("INFO", "", 2)
    names = ("statuses", "wanted", "not_desired", "unread", "called_again", "calls", "exit_status")
    assert {name: ended[name] for name in names} == {name: figures[name] for name in names}

    # All pages come, and then what none of them has shown may not be read.
    device, ca = devices[0]
    service.tell("delete", instance=INSTANCE, ca_sn=ca, device_sn=device)
    service.tell("access-key", id="testAccessKeyId", denied=[f"mq:{READS}"])
    told = events_of(bulkcert("verify", "r.csv", *UNHURRIED, "--log-format", "json").ended(77))
    assert "preflight_finished" not in told
    [ended] = told["verify_finished"]
    assert (ended["level"], ended["exit_status"], ended["unread"]) == ("WARNING", 77, 1)
    assert ended["stopped"]


def test_an_inventory_is_looked_at_once(service, made):
    """However long it takes, a listing is told of once, when all of it was read."""
    devices = made(400)
    listing = ("--ca-sn", devices[0][1], "--endpoint", service.url, "--instance", INSTANCE, "--log-format", "json")
    slow = ("--rate", "4", "--per-address-rate", "4")
    told = events_of(bulkcert("inventory", "-o", "i.csv", *listing, *slow).ended(0))
    assert [line["pages"] for line in told["preflight_finished"]] == [5]

    told = events_of(bulkcert("inventory", "-o", "j.csv", "--ca-sn", "none", *listing).ended(65))
    assert "preflight_finished" not in told
