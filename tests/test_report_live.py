"""``report --live``: a page that is written again and again while a session runs, and reloads itself."""

import re
import signal
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browser import CHROMIUM, browser
from program import PATIENCE_S, here, start, wait_for
from test_program_terminal import Dialogue

RELOAD = '<meta http-equiv="refresh"'


@pytest.fixture
def page(place):
    return place.results.parent / "war-room.html"


@contextmanager
def served(page):
    """Runs a static file server for the directory of a page; yields the address of the page."""
    handler = partial(Quiet, directory=page.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/{page.name}"
        finally:
            server.shutdown()
            thread.join()


class Quiet(SimpleHTTPRequestHandler):
    """A file server that says nothing."""

    def log_message(self, *_):
        pass


def written(page, *words):
    """Returns whether the page is there and has these words."""
    return page.exists() and all(word in page.read_text() for word in words)


@contextmanager
def watched(place, page, *words):
    """Yields a run, and what writes a page of it that is there with these words."""
    with place.running() as run:
        place.calling()
        with start("report", place.results, "-o", page, "--live") as live:
            wait_for(live, lambda: written(page, RELOAD, *words))
            yield run, live


def test_until_the_session_ends(place, page):
    """It says how far the session is; the last page is that of the end, and loads itself no more."""
    with watched(place, page, "Running", "calls/s", "The run is running") as (run, live):
        place.end(run)
        said, _ = live.communicate(timeout=PATIENCE_S)
    assert live.returncode == 0
    assert "war-room.html" in said.decode()
    assert RELOAD not in page.read_text()
    assert re.search(r"Not all inactive</p>\s*<p class=\"line\">\d", page.read_text())


def test_a_run_that_is_killed(place, page):
    """The last page says so, and how to resume."""
    with watched(place, page) as (run, live):
        run.kill()
        live.communicate(timeout=PATIENCE_S)
    assert live.returncode == 0
    assert written(page, "The run was interrupted", f"<code>bulkcert resume {place.results}</code>")
    assert RELOAD not in page.read_text()


def test_ctrl_c(place, page):
    """Ctrl-C ends the page, not the run: what stays says when it was made, and loads itself no more."""
    with watched(place, page) as (run, live):
        live.send_signal(signal.SIGINT)
        _, said = live.communicate(timeout=PATIENCE_S)
        assert (live.returncode, b"error" in said) == (130, False)
        assert run.poll() is None
    assert written(page, "The run is running: what it does after this report was made is not in here.")
    assert RELOAD not in page.read_text()


def test_ctrl_c_for_both(place, page):
    """Where one Ctrl-C ends page and run, as in one terminal, what stays is the end of the run, not that it runs."""
    with watched(place, page) as (run, live):
        for child in (live, run):
            child.send_signal(signal.SIGINT)
        live.communicate(timeout=PATIENCE_S)
    assert live.returncode == 130
    assert written(page, "The run stopped early: SIGINT received")
    assert not written(page, "Running")


def test_ctrl_c_on_a_terminal(place, page):
    """What a terminal shows of Ctrl-C is not in the line that comes next."""
    with place.running():
        place.calling()
        with Dialogue("report", place.results, "-o", page, "--live") as live:
            live.read_until("Ctrl-C stops that")
            wait_for(live.child, lambda: written(page, RELOAD))
            live.child.send_signal(signal.SIGINT)
            assert live.end().ended(130).stderr.endswith("\r")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")
def test_in_a_browser(place, page):
    """From a static file server whoever has opened it sees the run get on, without a script and without a hand."""
    with place.running() as run, start("report", place.results, "-o", page, "--live") as live, served(page) as url:
        wait_for(live, lambda: written(page, RELOAD))
        with browser() as tab:
            tab.open(url)
            shown = "document.querySelector('.tile dd small')?.textContent"
            first, until = tab.value(shown), time.monotonic() + PATIENCE_S
            while tab.value(shown) in (first, None):
                assert time.monotonic() < until
                time.sleep(0.3)
            assert re.fullmatch(r"[\d,]+ of 5,000", first)
            assert set(tab.asked) <= {url}
        place.end(run)
        live.communicate(timeout=PATIENCE_S)


def test_of_a_run_that_has_ended(place, page):
    """It is written once; a page needs a file, and a run."""
    with place.running() as run:
        place.calling()
        place.end(run)
    here("report", place.results, "-o", page, "--live").ended(0)
    assert RELOAD not in page.read_text()
    refused = here("report", place.results, "--format", "text", "--live").ended(2).stderr
    assert "--live is for a page in a file" in refused
