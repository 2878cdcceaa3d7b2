"""How far a session is: one ``Stats``, made in one place and taken whole by whoever shows it."""

import math
import re
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import msgspec
import pytest
from program import INSTANCE, here, write_devices
from stored import figures as figures_of

from bulkcert.engine import progress as engine_progress
from bulkcert.engine.failures import Stop
from bulkcert.engine.figures import Stats
from bulkcert.engine.progress import Progress, StatsMaker
from bulkcert.errors import ExitStatus
from bulkcert.store.outcome import Outcome
from bulkcert.telemetry.events import _Watcher
from bulkcert.views import live
from bulkcert.views.status import figures

pytestmark = pytest.mark.usefixtures("inside")


def progress(**outcomes):
    made = Progress(preflight_over=True)
    made.outcomes.update({Outcome(name): count for name, count in outcomes.items()})
    return made


def maker(made, *, rows=100, to_call=100, settled=None, kind="calling", limit=100.0, limited=False):
    before = Counter({Outcome(name): count for name, count in (settled or {}).items()})
    return StatsMaker(
        made,
        kind,
        SimpleNamespace(addresses=(None,), rate=limit, workers=20, account_cap=500, address_cap=300, lane_cap=270),
        rows=rows,
        settled=before,
        to_call=to_call,
        limited=limited,
    )


@contextmanager
def logged():
    """Yields the events of the log as they come: the fields of the last of each name."""
    events = {}
    with patch("bulkcert.telemetry.events.event", lambda name, _text, _level=0, **more: events.update({name: more})):
        yield events


def test_what_needs_no_call_does_not_count_against_a_limit():
    """With --limit-rows 20, of 250 rows that are in the desired state and two that were called, two are done."""
    made = progress(unchanged=250, succeeded=2)
    limited, all_rows = (maker(made, rows=300, to_call=20, limited=limited).take() for limited in (True, False))

    assert (limited.done_now, all_rows.done_now) == (2, 252)
    assert limited.done == all_rows.done == 252, "of the list"


@pytest.mark.parametrize("limited", [True, False])
def test_the_time_left_is_never_below_nothing(limited):
    """Whatever was counted."""
    assert maker(progress(unchanged=5, succeeded=12), to_call=10, limited=limited).take().left_s == 0


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(engine_progress, "time", SimpleNamespace(monotonic=lambda: now.now, time=lambda: now.now))
    return now


def test_the_time_left_goes_by_the_cap_until_there_is_a_rate(clock):
    """What the first answers took to come says nothing about the others; after that the slower of the two counts."""
    made = progress()
    making = maker(made, rows=6000, to_call=6000, limit=300.0)
    making.take()
    for elapsed, done, left in ((1, 3, 5997 / 300), (10, 1000, 50), (10, 4000, 2000 / 300)):
        made.outcomes[Outcome.SUCCEEDED], clock.now = done, 1000 + elapsed
        assert making.take().left_s == pytest.approx(left)


def test_looking_does_not_count_as_calling(clock):
    """The time left is told from when calls began, though something was shown before looking began, too."""
    made = progress()
    making = maker(made, rows=3000, to_call=3000)
    made.preflight_over = False
    assert making.take().left_s is None
    clock.now = 1100.0
    looking = making.take()
    assert (looking.phase, looking.left_s) == ("reading states", None)
    assert "left" not in figures(looking)
    made.preflight_over, clock.now = True, 1200.0
    assert making.take().left_s == pytest.approx(30)
    made.outcomes[Outcome.SUCCEEDED], clock.now = 1000, 1210.0
    assert making.take().left_s == pytest.approx(20)
    assert "; 20 s left; " in figures(making.take())


@pytest.mark.parametrize(("kind", "over"), [("calling", False), ("verifying", True)])
def test_the_time_that_reading_takes(kind, over):
    """Where states are read one by one it is known how many, and so how long that takes."""
    made = progress()
    made.preflight_over, made.reads, made.to_read = over, 1000, 13_000
    taken = maker(made, kind=kind, limit=100.0).take()

    assert taken.left_s == pytest.approx(120)
    assert "0 pages and 1,000 of 13,000 single certificates read; 2 min 0 s left; " in figures(taken)


def test_the_time_that_pages_take(tmp_path, service, monkeypatch):
    """How many pages there are is known once the first of each CA is there: run, plan and inventory show it."""
    service.seed(write_devices(tmp_path / "d.csv", 700, cas=2))
    monkeypatch.setattr(live, "LINE_EVERY_S", 0.02)
    where = ("--endpoint", service.url, "--instance", INSTANCE, "--rate", "40")
    for command in (
        ("plan", "inactivate-device", "d.csv", *where),
        ("run", "inactivate-device", "d.csv", "-o", "r.csv", *where, "--yes", "--limit-rows", "1"),
        ("inventory", "-o", "i.csv", *where, *(word for ca in (0, 1) for word in ("--ca-sn", f"00ca{ca:06d}"))),
    ):
        shown = here(*command, cwd=tmp_path)
        assert shown.status in (0, 75)
        found = re.findall(r"(\d+) of (\d+) pages.*?; (\d+) s left", " ".join(shown.stderr.split()))
        assert found, shown.stderr
        assert {of for _, of, _ in found} == {"8"}, "350 certificates of each CA, a hundred on a page"
        assert all(0 < int(read) < 8 for read, _, _ in found)


@pytest.mark.parametrize(
    ("kind", "settled", "now", "done", "outcomes"),
    [
        ("calling", {}, {"succeeded": 3}, 3, {"succeeded": 3}),
        ("calling", {"succeeded": 40, "failed": 2}, {"succeeded": 3}, 45, {"succeeded": 43, "failed": 2}),
        ("undoing", {"succeeded": 40}, {"undone": 3, "failed": 1}, 4, {"succeeded": 37, "undone": 3}),
        ("verifying", {}, {"succeeded": 2}, 2, {}),
    ],
)
def test_rows_are_those_of_all_sessions(kind, settled, now, done, outcomes):
    """What earlier sessions have done is done; of an undo, what is undone or tried; a verification has none."""
    made = progress(**now)
    made.replaced[Outcome.SUCCEEDED] = now.get("undone", 0)
    taken = maker(made, settled=settled, kind=kind).take()

    assert (taken.done, taken.outcomes) == (done, outcomes)
    assert taken.outcomes_now == now
    assert taken.done_now == sum(now.values())


def test_one_moment_for_all_who_show_it():
    """Bar, log, metrics and store say the same of a session, since they are given the same."""
    made = progress(succeeded=30, failed=4)
    made.retries, made.throttles, made.codes = 5, 6, Counter({"SystemError": 4})
    made.stop = Stop(ExitStatus.DENIED, "no permission")
    taken = maker(made, rows=200, to_call=150, settled={"succeeded": 50}).take()

    told = figures(taken)
    assert "80 succeeded, 4 failed" in told
    assert "5 retries, 6 throttles" in told
    with logged() as events:
        _Watcher().observe(taken, math.inf)
    assert events["progress"].items() >= {"outcomes": taken.outcomes_now, "retries": 5, "throttles": 6}.items()
    assert events["progress"]["left"] == 150 - 34
    assert events["stopping"]["exit_status"] == 77
    assert msgspec.json.decode(msgspec.json.encode(taken), type=Stats) == taken, "what the store keeps"


def test_progress_does_not_restart(tmp_path, service):
    """A run that is resumed goes on where it was: on the board, in the store, and in what the log says is left."""
    service.seed(write_devices(tmp_path / "d.csv", 40))
    run = ("run", "inactivate-device", "d.csv", "-o", "r.csv", *service.where, "-q")
    here(*run, "--limit-rows", "15").ended(75)
    shown = []
    with patch.object(StatsMaker, "take", keeping(shown, StatsMaker.take)):
        here("resume", "r.csv", "--yes", "-q").ended(0)
    first, second = figures_of("r.csv")

    assert (first.rows, first.done, first.outcomes) == (40, 15, {"succeeded": 15})
    assert min(stats.done for stats in shown) == 15
    assert (second.done, second.done_now, second.to_call, second.outcomes) == (40, 25, 25, {"succeeded": 40})
    assert second.outcomes_now == {"succeeded": 25}


def keeping(shown, take):
    def taken(making):
        shown.append(take(making))
        return shown[-1]

    return taken


def test_the_end_of_an_idle_start_has_its_own_figures(tmp_path, service):
    """A start that has nothing to do has made no calls, whatever the session before has made."""
    service.seed(write_devices(tmp_path / "d.csv", 5))
    run = ("run", "inactivate-device", "d.csv", "-o", "r.csv", *service.where)
    here(*run, "-q").ended(0)
    with logged() as events:
        told = here(*run).ended(0)

    ended, names = events["run_finished"], ("calls", "achieved_rate", "peak_window", "retries", "throttles")
    assert {name: ended[name] for name in names} == dict.fromkeys(names, 0)
    assert ended["outcomes"] == {"succeeded": 5}
    assert "calls         none" in told.stdout
    assert "5 in all sessions" in told.stdout
    assert len(figures_of("r.csv")) == 1, "it is no session, and leaves the figures of the one before"
