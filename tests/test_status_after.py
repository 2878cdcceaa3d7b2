"""``bulkcert status`` of real processes: one that runs, one that was killed, one that was undone."""

from program import outcomes

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
