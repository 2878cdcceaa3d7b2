"""``bulkcert status`` beside a run: a second process says how it stands, and the run does not notice."""

import json
import re
import signal
import subprocess
from datetime import UTC, datetime, timedelta

from place import FAST, Place
from program import PATIENCE_S, bulkcert, emulator, here, outcomes, start, summary_of, write_devices

from bulkcert.batch import standing
from bulkcert.batch.standing import State, standing_of


def test_while_it_calls_and_after(place):
    """Rows, outcomes, rate, lanes and time left are told while it calls; in the end the counts are the results'."""
    with place.running("--source-address", "127.0.0.2", "--source-address", "127.0.0.3") as run:
        told = place.told(place.until_it_does(lambda now: now.done >= 20 and now.rate > 0))
        place.end(run)

    session = told["session"]
    assert (told["state"], told["exit_status"], told["rows"]) == ("running", 0, 5000)
    assert (session["phase"], session["session"]["pid"]) == ("calling", run.pid)
    assert told["outcomes"] == {"succeeded": told["done"]}
    assert 20 <= told["done"] <= session["calls"]
    assert [lane["address"] for lane in session["lanes"]] == ["127.0.0.2", "127.0.0.3"]
    assert 0 < session["rate"] <= 40
    assert session["left_s"] > 0
    ended = place.told()
    assert ended["outcomes"] == summary_of(place.results)["outcomes"] == outcomes(place.results)
    assert (ended["state"], ended["exit_status"]) == ("ended", 143)
    assert "same command" in ended["next"]
    assert "results.csv.status.json" not in place.files


def test_the_command(place, monkeypatch):
    """The command prints how a run stands, for people or as one JSON object, on stdout alone, and exits with 0."""
    monkeypatch.setattr(standing, "SILENT_S", PATIENCE_S)
    with place.running():
        place.calling()
        text = here("status", place.results).ended(0)
        found = here("status", "--json", place.results).ended(0)

    assert re.search(r"^state +going on, calling: process \d+ on ", text.stdout)
    assert re.search(r"^rows +\d+ of 5,000 \(\d+%\)$", text.stdout, re.MULTILINE)
    assert re.search(r"^waiting +paced at \d+/s$", text.stdout, re.MULTILINE)
    assert json.loads(found.stdout)["state"] == "running"
    assert text.stderr + found.stderr == ""


def test_while_it_looks(place):
    """A run that looks says so, with what it has read."""
    place.service.seed(write_devices(place.list, 5000, cas=5000))  # a page each would save nothing
    with start(*place.command("--look-first", "always")) as run:
        found = place.until_it_does(lambda now: now.reads > 0)
        run.kill()
        run.communicate()
    assert (found.snapshot.phase, found.snapshot.done) == ("looking", 0)
    assert found.snapshot.left_s is None


def test_while_it_is_throttled(place):
    """Throttling shows: the share of the cap that is left, the throttles, and the error with its row's code."""
    with place.running() as run:
        place.calling()
        place.service.tell("faults", shares={"throttle": 1.0})
        told = place.told(place.until_it_does(lambda now: now.throttles > 2))
        place.service.tell("faults", shares={})
        run.kill()

    assert told["session"]["factor"] < 1
    assert "throttled" in told["session"]["waiting_for"]
    assert [(error["code"], error["count"] > 1) for error in told["errors"]] == [("Throttling.User", True)]


def test_the_last_errors(place):
    """Errors are told by code, the latest first, with how often, the newest row and its message."""
    with place.running("--attempts", "1", "--max-errors", "100%") as run:
        place.calling()
        place.service.tell("faults", shares={"InternalError": 1.0})
        found = place.until_it_does(lambda now: now.outcomes.get("failed", 0) > 2)
        (error,) = place.told(found)["errors"]
        place.service.tell("faults", shares={})
        run.kill()

    assert error["code"] == "InternalError"
    assert error["count"] > 2
    assert error["row"] > 1
    assert error["request_id"]


def test_while_it_stops(tmp_path):
    """A run that was told to stop and waits for its calls says that it is stopping, and why."""
    with emulator(tmp_path, slow_seconds=PATIENCE_S) as service:
        place = Place(tmp_path, service)
        with place.running("--timeout", PATIENCE_S) as run:
            place.calling()
            place.service.tell("faults", shares={"slow": 1.0})
            place.until_it_does(lambda now: now.in_flight > 5)
            run.send_signal(signal.SIGTERM)
            found = place.until_it_does(lambda now: now.phase == "stopping")

    assert "SIGTERM" in found.snapshot.waiting_for


def test_it_writes_nothing_and_harms_nobody(place):
    """A hundred looks at a run change no file that is not the run's own, and nothing about the run."""
    with place.running() as run:
        place.calling()
        for _ in range(100):
            standing_of(place.results)
        assert set(place.files) <= {"devices.csv", "results.csv.journal", *snapshots()}
        place.end(run)
    assert summary_of(place.results)["calls"] == outcomes(place.results)["succeeded"]
    before = place.files
    bulkcert("status", place.results).ended(143)
    assert place.files == before


def snapshots():
    return {"results.csv.status.json", "results.csv.status.json.part"}


def test_no_sign_of_life(place, monkeypatch):
    """A run that is held and has written nothing for a while is told as such, not as one that goes on."""
    monkeypatch.setattr(standing, "SILENT_S", 1.5)
    with place.running() as run:
        place.calling()
        run.send_signal(signal.SIGSTOP)
        found = place.until(lambda now: now.state is State.SILENT)
        assert found.exit_status == 0
        run.send_signal(signal.SIGCONT)
        place.until(lambda now: now.state is State.RUNNING)


def test_an_undo_shows(tmp_path, service):
    """An undo is a run of its own results; the run says that it is taken back, and which results tell of that."""
    place = Place(tmp_path, service, rows=500)
    here(*place.command("--look-first", "always", rate=FAST)).ended(0)
    undone, place.results = place.results, place.results.with_name("results.undo.csv")
    where = ("--endpoint", place.service.url, "--rate", "5", "--look-first", "never", "--yes", "-q")
    with start("undo", undone, *where, stdout=subprocess.DEVNULL) as undoing:
        found = place.calling()
        run = standing_of(undone)
        shown = here("status", undone).ended(0).stdout
        undoing.kill()
        undoing.wait()
    assert found.snapshot.session.action == "activate-device"
    assert (run.state, run.undo, run.exit_status) == (State.UNDOING, place.results, 0)
    assert "an undo takes the run back" in shown
    assert f"bulkcert status {place.results} " in shown
    assert standing_of(undone).state is State.ENDED


def test_an_undo_elsewhere_shows(tmp_path, service):
    """An undo with results of its own choice shows as well, from its first call on."""
    place = Place(tmp_path, service, rows=100)
    here(*place.command("--look-first", "always", rate=FAST)).ended(0)
    undone, place.results = place.results, place.directory / "elsewhere.csv"
    where = ("-o", place.results, "--endpoint", place.service.url, "--rate", "5", "--look-first", "never", "--yes")
    with start("undo", undone, *where, "-q", stdout=subprocess.DEVNULL) as undoing:
        place.calling()
        assert standing_of(undone).undo == place.results
        undoing.kill()


def test_a_watch_that_sleeps(tmp_path, service):
    """Between two looks a watch says when the next one is, and until when it goes on; it is not told as paced."""
    place = Place(tmp_path, service, rows=100)
    here(*place.command("--look-first", "always", rate=FAST)).ended(0)
    began = datetime.now(UTC)
    command = ("verify", place.results, "--watch", "1h", "--every", "10m", "--yes", "-q")
    with start(*command, "--endpoint", place.service.url) as watching:
        try:
            found = place.until(lambda now: now.snapshot is not None and "next look" in now.snapshot.waiting_for)
            shown = here("status", place.results).ended(0).stdout
        finally:
            watching.kill()
    assert found.snapshot.phase == "verifying"
    until = re.search(r"^waiting +next look in about (?:9|10) min \d+ s, until (\S+)$", shown, re.MULTILINE)[1]
    assert began < datetime.fromisoformat(until) - timedelta(minutes=59) < datetime.now(UTC) + timedelta(minutes=1)
