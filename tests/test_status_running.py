"""``bulkcert status`` of real processes: what it says while a run goes, and ``--follow``, until that ends."""

import importlib
import re
import signal

from place import Slow
from program import PATIENCE_S, here, outcomes, start
from test_program_terminal import Dialogue

from bulkcert.store.status import status_of


def test_while_it_calls_and_after(place):
    """Rows, rate, lanes and time left are told while it calls, and change nothing; in the end the results are told."""
    with place.running("--source-address", "127.0.0.2", "--source-address", "127.0.0.3") as run:
        now = place.until_it_does(lambda stats: stats.done >= 20 and stats.rate > 0)
        told = place.told(now)
        for _ in range(100):
            status_of(place.files)
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


def test_follow_ends_as_the_run_does(place):
    """``--follow`` tells how the run stands until it ends, then how it ended, and exits as the run did."""
    with place.running() as run:
        place.calling()
        with start("status", place.results, "--follow") as following:
            first = following.stdout.readline().decode()
            place.end(run)
            rest, _ = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 143
    assert re.match(r"\S+Z calling: \d+ of 5,000 \(\d+%\); .*; \d+/s; .*", first), first
    assert any(line.startswith("state         ended") for line in rest.decode().splitlines())


def test_follow_on_a_terminal(place):
    """On a terminal ``--follow`` is a live view that goes when the run ends; what stays is how it ended."""
    with place.running() as run:
        place.calling()
        with Dialogue("status", place.results, "--follow", columns=100, streams=["stdout"]) as following:
            following.read_until("limited to")
            place.end(run)
            ended = following.end().ended(143)
    shown, bar = ended.stderr, ended.stderr.index("━")
    assert ended.stdout == "", "nothing on standard error"
    assert 0 < bar < shown.index("action"), "a short terminal shows the bar all the same"
    assert shown[bar : shown.index("state", bar)].count("\n") == 2, "with a blank line below it"
    assert "ended at" in shown


def test_ctrl_c_ends_following_quietly(place):
    """Ctrl-C ends ``--follow`` with 130 and without a word; the run goes on."""
    with place.running() as run:
        place.calling()
        with start("status", place.results, "--follow") as following:
            assert following.stdout.readline()
            following.send_signal(signal.SIGINT)
            _, said = following.communicate(timeout=PATIENCE_S)
        assert (following.returncode, said) == (130, b"")
        assert run.poll() is None


def test_follow_waits_for_a_run_that_is_about_to_appear(tmp_path, service, monkeypatch):
    """``--follow`` may be typed as soon as the run is: before it has a journal there is no error, unless none comes."""
    following, place = importlib.import_module("bulkcert.commands.status"), Slow(tmp_path, service, rows=300)
    monkeypatch.setattr(following, "APPEARS_S", PATIENCE_S)
    with place.running(rate=200):
        assert "ended at" in here("status", place.results, "--follow").ended(0).stdout
    monkeypatch.setattr(following, "APPEARS_S", 0.6)
    refused = here("status", tmp_path / "none.csv", "--follow").ended(66)
    assert "no run has written there" in refused.stderr
