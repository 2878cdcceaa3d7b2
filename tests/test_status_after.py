"""``bulkcert status`` of a run that goes on no more, or never did."""

import fcntl
import json
import re

import pytest
from place import FAST, Place
from program import INSTANCE, UNHURRIED, bulkcert, here, start, summary_of

from bulkcert.batch.lines import Header, encode_lines, session_line
from bulkcert.batch.standing import State, standing_of
from bulkcert.errors import BulkcertError

HEADER = Header("inactivate-device", INSTANCE, "http://127.0.0.1:9", "0" * 64, 3, ("DeviceSn", "CaSn"), "0.1.0")


def test_killed(tmp_path, service):
    """After ``kill -9`` it is cut off (75): what is settled is what the next session counts as done.

    The journal's path and a job file mean the results as well; a job that names none means those it writes by default.
    """
    place = Place(tmp_path, service)
    with place.running() as run:
        place.calling(rows=10)
        run.kill()
        run.wait()
    job = tmp_path / "job.toml"
    job.write_text('action = "inactivate-device"\ninput = "devices.csv"\nresults = "results.csv"\nrate = 5\n')
    found = json.loads(bulkcert("status", "--json", "--job", job).ended(75).stdout)
    text = here("status", f"{place.results}.journal").ended(75).stdout

    assert place.results.name not in place.files
    assert (found["state"], found["rows"], found["done"]) == ("cut_off", 5000, found["outcomes"]["succeeded"])
    assert f"{found['done']:,} of 5,000 have an outcome" in text
    assert f"bulkcert run inactivate-device {place.list}" in text
    job.write_text('action = "inactivate-device"\ninput = "devices.csv"\n')
    assert "devices.inactivate-device.results.csv" in here("status", "--job", job).ended(66).stderr
    going_on = [part for part in place.command("--look-first", "never", rate=FAST) if part != "-q"]
    assert f"{found['done']:,} by earlier sessions" in here(*going_on).ended(0).stderr


def test_killed_and_verified(place):
    """A verification has not ended a run that was killed: it is cut off (75) until its own command has gone on."""
    here(*place.command("--look-first", "never", "--limit-rows", "3", rate=FAST)).ended(75)
    with place.running() as run:
        place.calling(rows=10)
        run.kill()
        run.wait()
    here("verify", place.results, "-q", *UNHURRIED).ended(1)

    assert (place.told()["state"], place.told()["exit_status"]) == ("cut_off", 75)
    assert f"cut off: process {run.pid} on" in bulkcert("status", place.results).ended(75).stdout
    here(*place.command("--look-first", "never", rate=FAST)).ended(0)
    assert place.told()["state"] == "ended"


def test_what_was_left_behind_is_not_what_goes_on(place):
    """While a run is about to go on with one that was killed, the old figures are not shown as the new ones."""
    with place.running() as run:
        place.calling()
        run.kill()
        run.wait()
    assert place.results.with_name("results.csv.status.json").exists()
    held = place.results.with_name("results.csv.journal").open("rb+")
    with held:
        fcntl.fcntl(held, fcntl.F_OFD_SETLK, b"\x01\0" + bytes(30))
        assert standing_of(place.results).state is State.STARTING


def test_no_run(tmp_path):
    """Without a run: 66, what to name, and which runs there are beside."""
    (tmp_path / "other.csv.journal").touch()
    refused = bulkcert("status", tmp_path / "none.csv").ended(66)

    assert "no run has written there" in refused.stderr
    assert "other.csv" in refused.stderr
    assert refused.stdout == ""
    with pytest.raises(BulkcertError, match="no run has written there"):  # an empty journal is none
        standing_of(tmp_path / "other.csv")
    (tmp_path / "other.csv.journal").write_text("no journal\n")
    with pytest.raises(BulkcertError, match="header"):
        standing_of(tmp_path / "other.csv")
    bulkcert("status").ended(2)


def test_cut_off_without_a_snapshot(tmp_path):
    """A journal alone tells of a run that was cut off, even where its lines are torn or foreign."""
    journal = tmp_path / "r.csv.journal"
    lines = encode_lines(HEADER, session_line(1_700_000_000_000, "0.1.0"))
    journal.write_bytes(lines + b'{"type":"row","row":99}\n\xff\n{"type":"ro')
    (tmp_path / "r.csv.status.json").write_text('{"version":0}')

    finished = bulkcert("status", journal).ended(75)
    assert "0 of 3 have an outcome in the journal" in finished.stdout
    assert "Run the same command again" in finished.stdout


def test_the_newest_errors_of_a_run_that_was_cut_off(place):
    """What went wrong last is told first, also where no row has ended with it, before what earlier sessions met."""
    place.service.tell("faults", shares={"InternalError": 1.0})
    here(*place.command("--look-first", "never", "--attempts", "1", "--limit-rows", "3", rate=FAST)).ended(75)
    place.service.tell("faults", shares={"throttle": 1.0})
    with place.running() as run:
        place.until(lambda now: now.snapshot is not None and now.snapshot.errors)
        run.kill()
    place.service.tell("faults", shares={})

    assert place.told()["state"] == "cut_off"
    assert [error["code"] for error in place.told()["errors"]] == ["Throttling.User", "InternalError"]
    shown = bulkcert("status", place.results).ended(75).stdout
    assert shown.index("Throttling.User") < shown.index("InternalError")


def ended(results):
    return bulkcert("status", results).ended(0).stdout


def test_ended_as_the_run_did(tmp_path, service):
    """A run that ended in order has its own exit status, what it came to, and the next step; a verification shows.

    When the verification is killed, the run has ended all the same. What it has not come to is not done, and the calls
    of several sessions are not told at the rate of one.
    """
    place = Place(tmp_path, service, rows=100)
    ending = here(*place.command("--look-first", "never", "--limit-rows", "3", rate=FAST)).status
    told = place.told()

    assert (ending, told["exit_status"], told["outcomes"]) == (75, 75, {"succeeded": 3, "not_attempted": 97})
    assert (told["rows"], told["done"]) == (100, 3)
    assert re.search(r"^calls +3 at ", bulkcert("status", place.results).ended(75).stdout, re.MULTILINE)
    assert "same command" in told["next"]
    here(*place.command("--look-first", "never", rate=FAST)).ended(0)
    paced = re.search(r"^calls +100 in all, (\S+)/s in the last session; ", ended(place.results), re.MULTILINE)
    assert float(paced[1]) == summary_of(place.results)["sessions"][-1]["achieved_rate"]
    watch = ("--watch", "1h", "--every", "1s", "--yes", "-q")
    with start("verify", place.results, "--endpoint", place.service.url, *watch) as verifying:
        found = place.until_it_does(lambda now: now.pages > 0)
        verifying.kill()
        verifying.communicate()
    assert (found.snapshot.phase, found.snapshot.session.rows) == ("verifying", 100)
    assert (place.told()["state"], place.told()["exit_status"]) == ("ended", 0)
    assert "proves it" in place.told()["next"]
    here("verify", place.results, "-q").ended(0)
    assert place.told()["ending"]["verification"]["statuses"] == {"inactive": 100}
    assert place.told()["next"] == ""
