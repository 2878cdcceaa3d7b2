"""``bulkcert status`` of real processes: one that runs, one that was killed, one that was undone."""

import json
import subprocess

from place import FAST, Place
from program import UNHURRIED, bulkcert, here, outcomes, start, summary_of

from bulkcert.store.status import status_of

FIRST = ("--preflight", "never")


def test_while_it_calls_and_after(place):
    """Rows, rate, lanes and time left are told while it calls, and change nothing; in the end the results are told."""
    with place.running("--source-address", "127.0.0.2", "--source-address", "127.0.0.3") as run:
        now = place.until_it_does(lambda stats: stats.done >= 20 and stats.rate > 0)
        told = place.told(now)
        for _ in range(100):
            status_of(place.run)
        place.end(run)

    session = told["session"]
    assert (told["state"], told["kind"], told["exit_status"], told["rows"]) == ("running", "run", 0, 5000)
    assert (session["phase"], told["sessions"][0]["pid"]) == ("calling", run.pid)
    assert told["outcomes"]["succeeded"] == told["done"] >= 20
    assert [lane["address"] for lane in session["lanes"]] == ["127.0.0.2", "127.0.0.3"]
    assert 0 < session["rate"] <= 40
    assert session["left_s"] > 0
    ended = place.told()
    assert ended["outcomes"] == outcomes(place.results)
    assert (ended["state"], ended["exit_status"]) == ("ended", 143)
    assert {"purpose": "to resume", "command": f"bulkcert resume {place.results}"} in ended["next"]


def test_errors_and_throttling(place):
    """The newest errors are told by code, with the row and the request, and what throttling does to the rate."""
    with place.running("--attempts", "1", "--max-errors", "100%") as run:
        place.calling()
        place.service.tell("faults", shares={"InternalError": 1.0})
        (error,) = place.told(place.until_it_does(lambda stats: stats.outcomes.get("unknown", 0) > 2))["errors"]
        place.service.tell("faults", shares={"throttle": 1.0})
        told = place.told(place.until_it_does(lambda stats: stats.throttles > 2 and stats.factor < 1))
        run.kill()

    assert (error["code"], error["count"] > 2, error["row"] > 1) == ("InternalError", True, True)
    assert error["request_id"]
    assert told["errors"][0]["code"] == "Throttling.User"
    assert "throttled" in told["session"]["waiting_for"]


def test_killed_and_resumed(place):
    """After ``kill -9`` it is interrupted (75), with the rows of all sessions; a job file means it as well."""
    here(*place.command(*FIRST, "--limit-rows", "3", rate=FAST)).ended(75)
    with place.running() as run:
        place.calling(rows=13)
        run.kill()
        run.wait()
    job = place.directory / "job.toml"
    job.write_text('action = "inactivate-device"\ninput = "devices.csv"\nresults = "results.csv"\nrate = 5\n')
    told = json.loads(bulkcert("status", "--json", "--job", job).ended(75).stdout)
    text = bulkcert("status", place.results).ended(75).stdout

    assert (told["state"], told["done"]) == ("interrupted", told["outcomes"]["succeeded"])
    assert told["done"] >= 13
    assert told["in_doubt"] > 0
    assert f"interrupted: process {run.pid} on" in text
    assert f"to resume: bulkcert resume {place.results}\n" in text
    job.write_text('action = "inactivate-device"\ninput = "devices.csv"\n')
    assert "devices.inactivate-device.results.csv" in here("status", "--job", job).ended(66).stderr


def test_undone(tmp_path, service):
    """An undo is told while it runs; afterwards the run is UNDONE, also once it was read back."""
    place = Place(tmp_path, service, rows=100)
    here(*place.command(*FIRST, rate=FAST)).ended(0)
    assert place.told()["next"] == []
    where = ("--include-unknown", "--yes", "-q")
    with start("undo", place.results, "--rate", "20", *where, stdout=subprocess.DEVNULL) as undoing:
        told = place.told(place.until_it_does(lambda stats: stats.phase == "undoing" and stats.outcomes.get("undone")))
        undoing.kill()
    assert (told["state"], told["kind"]) == ("running", "undo")
    assert place.told()["state"] == "interrupted"
    here("undo", place.results, *UNHURRIED, *where).ended(0)
    here("verify", place.results, "-q").ended(1)

    assert "UNDONE: 100 certificates are active again" in bulkcert("status", place.results).ended(1).stdout
    assert place.told()["next"][-1]["command"] == f"bulkcert resume {place.results} --retry undone"
    assert summary_of(place.results)["undone"] == 100
