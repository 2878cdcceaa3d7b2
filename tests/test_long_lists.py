"""What goes over all rows does so beside the event loop: signals, figures and credentials have their turn meanwhile."""

import asyncio
import threading
from contextlib import suppress

import pytest
from program import UNHURRIED, here, outcomes, wait_for, write_devices
from watching import watch

from bulkcert.engine.progress import StatsMaker
from bulkcert.runs import opened
from bulkcert.store import read_states
from bulkcert.store.store import Store

WORK = (
    (read_states, "keep"),
    (read_states, "keep_later"),
    *((Store, name) for name in ("keep", "read", "note", "claim")),
)
"""What a store is asked to do, and which takes the longer the more rows there are."""


@pytest.fixture
def work(monkeypatch):
    """Returns the work that was done in all, and that of it which kept the event loop waiting."""
    done, on_the_loop = set(), set()

    def noted(name, function):
        def does(*arguments, **more):
            done.add(name)
            with suppress(RuntimeError):
                asyncio.get_running_loop()
                on_the_loop.add(name)
            return function(*arguments, **more)

        return does

    annotated = opened.annotated

    def frames(*arguments, **more):
        for frame in annotated(*arguments, **more):
            noted("frames", bool)()
            yield frame

    monkeypatch.setattr(opened, "annotated", frames)
    for owner, name in WORK:
        monkeypatch.setattr(owner, name, noted((owner, name), getattr(owner, name)))
    return done, on_the_loop


@pytest.mark.parametrize("look", ["auto", "always"])
def test_nothing_that_is_long_is_done_on_the_loop(tmp_path, service, work, inside, look):
    """A run with its preflight, what resumes it, a verification, a watch that calls again, and an undo."""
    devices = write_devices("d.csv", 300, cas=3)
    service.seed(devices)
    run = ("run", "inactivate-device", "d.csv", "-o", "r.csv", *service.looking, "--preflight", look)
    here(*run, "--limit-rows", 100).ended(75)
    here("resume", "r.csv", "--yes").ended(0)
    here("verify", "r.csv", *UNHURRIED).ended(0)
    service.seed(devices[:10])
    since = service.report().changes
    watch("r.csv", lambda: wait_for(None, lambda: service.report().changes >= since + 10)).ended(0)
    here("undo", "r.csv", "--yes", "--include-unknown").ended(0)

    assert outcomes("r.csv") == {"undone": 300}
    assert work == ({*WORK, "frames"}, set())


def test_figures_are_made_where_they_change(monkeypatch, service, inside):
    """Never in a thread: there what is counted would change while it is gone through, and end the run (70)."""
    threads, take = set(), StatsMaker.take

    def taken(stats):
        threads.add(threading.current_thread())
        return take(stats)

    monkeypatch.setattr(StatsMaker, "take", taken)
    service.seed(write_devices("d.csv", 3))
    here("run", "inactivate-device", "d.csv", "-o", "r.csv", *service.looking, "--metrics-file", "m.prom").ended(0)

    assert threads == {threading.current_thread()}
