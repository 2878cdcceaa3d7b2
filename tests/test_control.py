"""``bulkcert control``: the session that is running is slowed down, paused and stopped from another terminal."""

import asyncio
import importlib
import json
import re
import sqlite3
import sys
import time
from contextlib import closing, contextmanager, nullcontext

import anyio
import pytest
from made_store import made_run, row, session
from place import FAST, Slow
from program import PATIENCE_S, UNHURRIED, held, here, outcomes, start, wait_for
from test_pacer import _sends

from bulkcert.engine.failures import IN_A_ROW, SILENCE_S, Outage
from bulkcert.engine.pacer import Pacer, Ticker
from bulkcert.engine.slow_down import SlowDown
from bulkcert.report.counting import count
from bulkcert.report.rendering import render
from bulkcert.runs.session import POLL_EVERY_S
from bulkcert.store import database, lock
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import State, status_of
from bulkcert.store.store import now_ms

pytestmark = pytest.mark.filterwarnings("error")


def control(place, *asked, status=0):
    return here("control", place.results, *asked).ended(status)


@pytest.mark.parametrize(
    ("first", "second", "factor"), [(200, 20, 1.0), (40, 200, 1.0), (15, 300, 0.25), (300, 2, 1.0)]
)
def test_no_second_holds_more_than_a_limit_that_changes(first, second, factor):
    """A second across the change holds at most the greater of both caps, one after it the new cap."""

    async def measure():
        slow_down = SlowDown()
        slow_down._factor, slow_down._since = factor, time.monotonic() + 60
        pacer, changed = Pacer(first, Ticker(slow_down)), []

        async def change():
            await asyncio.sleep(0.6)
            await pacer.change(second)
            changed.append(time.monotonic())
            await asyncio.sleep(1.6)
            pacer._ticker.stop()

        asyncio.get_running_loop().create_task(change())
        return await _sends(pacer, 50, 10_000), changed[0]

    sent, at = anyio.run(measure)
    windows = {start: sum(start <= each < start + 1 for each in sent) for start in sent}

    assert max(windows.values()) <= max(first, second)
    assert max((most for start, most in windows.items() if start > at), default=0) <= second
    assert sum(each > at for each in sent) >= 0.4 * second * factor - 1, "the new rate is reached"


def test_a_pause_holds_everybody_and_costs_nobody_a_verdict():
    """Nothing passes while it lasts, however many wait; it is not taken for the silence of the service."""

    async def measure():
        ticker = Ticker(SlowDown())
        pacer = Pacer(1000, ticker)
        ticker.is_paused = True
        async with anyio.create_task_group() as group:
            passed = []
            group.start_soon(lambda: _kept(passed, _sends(pacer, 20, 20)))
            await anyio.sleep(0.2)
            assert not passed
            resumed = time.monotonic()
            ticker.is_paused = False
            ticker.wake()
        return passed[0], resumed

    sent, resumed = anyio.run(measure)
    assert len(sent) >= 20
    assert min(sent) >= resumed
    outage = Outage(0.0)
    outage.answer(1.0, throttled=False)
    for _ in range(IN_A_ROW):
        outage.no_answer(2.0, probe=True)
    outage.paused(3600.0)
    assert not outage.verdict(3602.0)
    assert outage.verdict(3602.0 + SILENCE_S)


async def _kept(passed, sending):
    passed.append(await sending)


def test_another_rate(place):
    """Within a second the session makes no more calls than it is allowed from then on; who asked is kept and shown."""
    with place.running(rate=80) as run:
        place.calling(20)
        told = control(place, "--rate", "10")
        time.sleep(0.2)
        before, began = place.service.report().arrivals, time.monotonic()
        status = place.until_it_does(lambda stats: stats.caps["account"] == 10 and stats.elapsed_s > 4)
        made, seconds = place.service.report().arrivals - before, time.monotonic() - began
        (asked,) = status.controls
        shown = here("status", place.results).ended(0).stdout
        place.end(run)

    assert told.stdout == "done: rate: 10/s for the account, 100000/s for an address\n"
    assert made <= 10 * seconds + 1
    assert (asked.request, asked.rate, asked.user) == ("rate", 10, lock.this_user())
    assert asked.taken_at - asked.asked_at < 1000 * (POLL_EVERY_S + PATIENCE_S)
    assert f"rate: 10/s for the account, 100000/s for an address, by {asked.by}" in shown
    assert "at most 10/s" in shown
    report = render(count(place.files), "md").decode()
    assert "rate: 10/s for the account" in report
    assert json.loads(here("status", place.results, "--json").stdout)["controls"][0]["rate"] == 10


def test_not_above_what_was_allowed(place):
    """Back to the rate of the start is fine, above it wants a word, and above the documented limits says the price."""
    with place.running(rate=80) as run:
        place.calling()
        control(place, "--rate", "20")
        control(place, "--rate", "80")
        assert "above 80/s, which it was allowed at its start" in control(place, "--rate", "81", status=2).stderr
        assert "above the documented 500/s" in control(place, "--rate", "501", status=2).stderr
        assert "must be at least 1, not 0" in control(place, "--rate", "0", status=2).stderr
        assert len(place.status.controls) == 2
        told = control(place, "--rate", "501", "--limits-raised")
        assert "above the documented 500/s" in told.stderr
        assert "blocks" not in told.stderr, "no address may send more than before"
        slower = control(place, "--per-address-rate", "100")
        assert "--rate" not in slower.stderr
        shown = here("status", place.results).ended(0).stdout
        assert "1 asked earlier" in shown
        assert shown.count(", by ") == 3
        place.end(run)


def test_paused_and_continued(place):
    """Nothing is sent during a pause, which says by whom and since when; a forgotten one can be ended by anybody."""
    with place.running(rate=60) as run:
        place.calling(10)
        told = control(place, "--pause")
        paused = place.service.report().arrivals
        status = place.until_it_does(lambda stats: stats.phase == "paused" and not stats.in_flight)
        control(place, "--pause")
        assert place.status.pause == status.pause, "the first counts"
        by = f"PAUSED by {status.pause.by} since "
        shown, lines = (here("status", place.results, *more).ended(0).stdout for more in ((), ("--json",)))
        time.sleep(1)
        assert place.service.report().arrivals == paused
        assert by in shown
        assert by in json.loads(lines)["session"]["waiting_for"]
        assert json.loads(lines)["session"]["left_s"] is None
        assert f"to continue: bulkcert control {place.results} --continue" in shown
        assert "paused" in told.stdout
        assert re.search(r"Now +paused", here("report", place.results, "--format", "text").ended(0).stdout)
        assert "PAUSED" in here("runs", place.results.parent).ended(0).stdout
        control(place, "--continue")
        place.until_it_does(lambda stats: stats.phase == "calling")
        wait_for(run, lambda: place.service.report().arrivals > paused)
        assert place.status.pause is None
        place.end(run)


def test_a_deadline_holds_during_a_pause(tmp_path, service):
    """A pause that is forgotten does not keep a night from ending; what is left can be resumed, and is not paused."""
    place = Slow(tmp_path, service, rows=1500)
    with place.running("--deadline", "8s", rate=60) as run:
        place.calling()
        control(place, "--pause")
        assert run.wait(PATIENCE_S) == 75
    here("resume", place.results, "--yes", "-q", *UNHURRIED).ended(0)
    assert outcomes(place.results) == {"succeeded": 1500}


def test_stopped(place):
    """It drains as after SIGTERM, and ends with 75; by whom is why it stopped."""
    with place.running(rate=60) as run:
        place.calling(10)
        told = control(place, "--stop")
        assert run.wait(PATIENCE_S) == 75
    assert f"to resume: bulkcert resume {place.results}" in told.stdout
    assert f"bulkcert control --stop by {lock.this_user()}" in place.status.doing.stopped
    assert set(outcomes(place.results)) == {"succeeded", "not_attempted"}
    assert f"To resume: bulkcert resume {place.results}" in control(place, "--stop", status=75).stderr


@pytest.mark.parametrize("command", ["undo", "verify"])
def test_undo_and_verify_obey_too(tmp_path, service, command):
    """Whatever calls the service for a run can be slowed down, paused and stopped."""
    place = Slow(tmp_path, service, rows=300)
    here(*place.command("--preflight", "always", rate=FAST)).ended(0)
    pace = ("--rate", "20", "--per-address-rate", FAST, "--limits-raised", "--yes", "-q")
    more = ("--watch", "1h") if command == "verify" else ()
    with start(command, place.results, *pace, *more) as child:
        place.until(lambda status: status.session.kind == command and status.state is State.RUNNING)
        for asked in (("--rate", "10"), ("--pause",)):
            control(place, *asked)
        place.until_it_does(lambda stats: stats.phase == "paused")
        shown = here("status", place.results).stdout
        assert re.search(
            r"^rows +300; 0 called again$" if command == "verify" else r"^rows .* of 300 \(", shown, re.MULTILINE
        )
        control(place, "--stop")
        assert child.wait(PATIENCE_S) == 75
    assert [each.request for each in place.status.controls] == ["rate", "pause", "stop"]


@contextmanager
def held_between_writes(run, store):
    """Keeps a session from going on, for as long as the context lasts, while it does not hold its store."""
    while True:
        with held(run), closing(sqlite3.connect(store, timeout=0)) as writer:
            try:
                writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                continue
            writer.execute("ROLLBACK")
            yield
            return


def test_a_session_that_hangs(tmp_path, service, monkeypatch):
    """What it does not do in time is said, and done as soon as it can; a kill after that leaves a run to be resumed."""
    place = Slow(tmp_path, service, rows=1500)
    commands = importlib.import_module("bulkcert.commands.control")
    monkeypatch.setattr(commands, "WAITS_S", 0.5)
    with place.running(rate=60) as run:
        place.calling(10)
        with held_between_writes(run, RunFiles(place.results).store):
            refused = control(place, "--pause", status=75).stderr
            assert "has not done it within" in refused
            assert ", not done yet" in here("status", place.results).stdout
        place.until_it_does(lambda stats: stats.phase == "paused")
        run.kill()
        run.wait()
    assert place.status.state is State.INTERRUPTED
    assert "interrupted" in control(place, "--continue", status=75).stderr
    here("resume", place.results, "--yes", "-q", *UNHURRIED).ended(0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names of a network namespace")
def test_two_sessions_from_one_address(place, tmp_path):
    """Neither counts what the other sends, and the service blocks the address: the second is warned, the next not."""
    other = ("verify", tmp_path / "other.csv", "-q")
    command = [tmp_path / "other.csv" if each == place.results else each for each in place.command(rate=FAST)]
    here(*command, "--limit-rows", "1").ended(75)
    with place.running(rate=60) as run:
        place.calling()
        assert "another session on this machine sends from any address" in " ".join(here(*other).stderr.split())
        place.end(run)
    assert "another session" not in here(*other).stderr


def test_what_is_asked_is_typed(place, tmp_path):
    """A job file and the environment say which run is meant; the rate that they hold is that of a start."""
    job = tmp_path / "job.toml"
    job.write_text(f"results = '{place.results}'\nrate = 7\nlimits-raised = true\n")
    with place.running(rate=60) as run:
        place.calling()
        here("control", "--job", job, "--pause", env={"BULKCERT_RATE": "9", "BULKCERT_STOP": "true"}).ended(0)
        assert [each.request for each in place.status.controls] == ["pause"]
        place.end(run)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ((), "what is asked is missing"),
        (("--pause", "--stop"), "--pause, --stop exclude each other"),
        (("--rate", "5", "--continue"), "--rate, --continue exclude each other"),
        (("--stop", "--limits-raised"), "--limits-raised is for --rate"),
        (("--rate", "0"), "--rate must be at least 1, not 0"),
        (("--per-address-rate", "-1"), "--per-address-rate must be at least 1, not -1"),
    ],
)
def test_one_thing_at_a_time(tmp_path, asked, told):
    """One request, and nothing is read before that is so."""
    assert told in here("control", tmp_path / "r.csv", *asked).ended(2).stderr


KILLED = session(ended=None, logged=0)


@pytest.mark.parametrize(
    ("rows", "ended", "is_held", "refusal"),
    [
        (["succeeded"], session(), False, (66, "no session is running, it ended with 0\n  → To verify")),
        (["failed"], session(ended=1), False, (66, "it ended with 1\n  → To call again (1 failed): bulkcert resume")),
        ([None], session(ended=143), False, (75, "it ended with 143\n  → To resume: bulkcert resume")),
        ([row(None, claimed_by=1)], KILLED, False, (75, "it was interrupted\n  → To resume: bulkcert resume")),
        ([None], session(ended=143), True, (75, "no calls yet")),
    ],
)
def test_nobody_is_there_to_do_it(tmp_path, rows, ended, is_held, refusal):
    """Without a session that is running it is refused, with the way on; nothing is written."""
    files, (status, told) = made_run(tmp_path, rows, [ended]), refusal
    before = files.store.read_bytes()
    with lock.take(files.lock) if is_held else nullcontext():
        refused = here("control", files.results, "--pause").ended(status)

    assert told in refused.stderr
    assert files.store.read_bytes() == before


def test_a_killed_session_is_none_of_whoever_holds_the_run_now(tmp_path):
    """A resume that asks its question is starting: the session that was killed before does not hang."""
    files = made_run(tmp_path, [row(None, claimed_by=1)], [session(ended=None, logged=0, after_ms=-(10**11))])
    with lock.take(files.lock):
        assert status_of(files).state is State.STARTING
        assert "calls/s" not in here("report", files.results, "--format", "text").ended(0).stdout
        shown = json.loads(here("status", files.results, "--json").stdout)
        assert (shown["state"], shown["session"]) == ("starting", None)
        assert shown["holder"]["pid"] > 0, "what waits at its question can be found, and ended"


def test_a_session_that_is_frozen_while_it_writes(tmp_path, monkeypatch):
    """Whoever asks something of it waits for a while, and is told that the store is held, and what to do."""
    files = made_run(tmp_path, [row(None, claimed_by=1)], [session(ended=None, logged=0, beat_at=now_ms())])
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    with lock.take(files.lock), closing(sqlite3.connect(files.store)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        refused = " ".join(here("control", files.results, "--pause").ended(75).stderr.split())

    assert "store.sqlite: another process holds it" in refused
    assert "perhaps its session is frozen" in refused
    assert "to try again: bulkcert control" in refused
