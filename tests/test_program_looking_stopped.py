"""A run that looks first and is stopped: the state before the run is kept, and only a whole look counts."""

import pytest
from looking import ACTIVE, BY_CA, CALL, CLOSE_TOGETHER, INACTIVE, MISSING, Place
from program import emulator, outcomes, read_results, start, wait_for
from stored import change, kill


@pytest.fixture
def service():
    with emulator() as running:
        yield running


def test_a_limit_and_on(tmp_path, service):
    """A run that is resumed does not look again: the state before the first call stands, whatever happened since."""
    place = Place(tmp_path, service, 300, state=lambda number: INACTIVE if number % 5 == 0 else ACTIVE)
    place.run("--limit-rows", "40").ended(75)
    assert service.report().operations == {BY_CA: 3, CALL: 40}
    assert outcomes(place.results) == {"unchanged": 60, "succeeded": 40, "not_attempted": 200}
    assert place.prior() == place.before
    service.seed(place.of_state(ACTIVE)[-10:], "0")
    place.run().ended(0)

    assert service.report().operations == {BY_CA: 3, CALL: 240}
    place.judge()


@pytest.mark.parametrize("calls", [1, 30, 90], ids="after {} calls".format)
def test_killed_while_calling(tmp_path, calls):
    """SIGKILL in the midst, twice: the run is resumed, and the state of every row is still the one before the run."""
    with emulator(latency_ms=(5, 40)) as service:
        place = Place(
            tmp_path, service, 400, cas=2, state=lambda number: {0: INACTIVE, 1: MISSING}.get(number // 2 % 10, ACTIVE)
        )
        for most in (calls, calls + 40):
            with start(*place.arguments(*CLOSE_TOGETHER)) as child:
                wait_for(child, lambda most=most: service.report().changes >= most)
                child.kill()
        reads = service.report().operations[BY_CA]
        place.run().ended(1)

        assert service.report().operations[BY_CA] == reads == 4, "two pages of 180 for each CA, once"
        place.judge()


def test_killed_while_looking(tmp_path):
    """SIGKILL before looking is over: no calls were made, and the next run looks from the start."""
    with emulator(latency_ms=(150, 250)) as service:
        place = Place(tmp_path, service, 1500, state=lambda number: ACTIVE if number % 100 == 0 else INACTIVE)
        with start(*place.arguments("--max-in-flight", "1")) as child:
            wait_for(child, lambda: service.report().operations.get(BY_CA, 0) >= 3)
            child.kill()
        assert service.report().changes == 0
        seen = service.report().operations[BY_CA]
        place.run().ended(0)

        assert service.report().operations == {BY_CA: seen + 15, CALL: 15}
        place.judge()


def test_killed_while_what_was_seen_is_kept(tmp_path, service):
    """A look whose end is not on disk counts for nothing: what was switched on since is called."""
    place = Place(tmp_path, service, 200, state=lambda number: INACTIVE if number < 100 else ACTIVE)
    place.run("--limit-rows", "1").ended(75)
    change(place.results, "UPDATE session SET preflight_at = NULL")
    change(place.results, "UPDATE certificate SET newest = NULL, attempts = 0, changed = 0 WHERE newest <> 'unchanged'")
    kill(place.results)
    service.seed(place.devices[:5], "1")
    place.run().ended(0)

    assert service.states(place.devices[:5]) == ["0"] * 5
    assert [row["outcome"] for row in read_results(place.results)[:6]] == ["succeeded"] * 5 + ["unchanged"]


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_signals_while_looking(tmp_path, number):
    """A signal while it looks ends the run in order; no calls were made, and the next run looks from the start."""
    status = {"SIGINT": 130, "SIGTERM": 143}[number]
    with emulator(latency_ms=(150, 250)) as service:
        place = Place(tmp_path, service, 1000, state=lambda number: ACTIVE if number % 100 == 0 else INACTIVE)
        with start(*place.arguments("--max-in-flight", "1")) as child:
            wait_for(child, lambda: service.report().operations.get(BY_CA, 0) >= 2)
            child.send_signal({"SIGINT": 2, "SIGTERM": 15}[number])
            _, said = child.communicate(timeout=30)
        assert child.returncode == status, said.decode()
        assert outcomes(place.results) == {"not_attempted": 1000}
        assert service.report().changes == 0
        place.run().ended(0)
        place.judge()
