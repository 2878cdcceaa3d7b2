"""``bulkcert status --follow``: until the run ends."""

import fcntl
import importlib
import os
import pty
import re
import signal
import struct
import termios
from contextlib import suppress

from place import Place
from program import PATIENCE_S, here, start


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
        main, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        with start("status", place.results, "--follow", env={"TERM": "xterm"}, stdout=far) as following:
            os.close(far)
            shown, ending = b"", False
            with suppress(OSError):  # that is how a terminal ends
                while part := os.read(main, 65536):
                    shown += part
                    if b"limited to" in shown and not ending:
                        ending = True
                        place.end(run)
            assert (following.wait(PATIENCE_S), following.stderr.read()) == (143, b"")
        os.close(main)
    bar = shown.index("━".encode())
    assert 0 < bar < shown.index(b"action"), "a short terminal shows the bar all the same"
    assert shown[bar : shown.index(b"state", bar)].count(b"\n") == 2, "with a blank line below it"
    assert b"ended at" in shown


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
    following, place = importlib.import_module("bulkcert.commands.status"), Place(tmp_path, service, rows=300)
    monkeypatch.setattr(following, "APPEARS_S", PATIENCE_S)
    with place.running(rate=200):
        assert "ended at" in here("status", place.results, "--follow").ended(0).stdout
    monkeypatch.setattr(following, "APPEARS_S", 0.6)
    refused = here("status", tmp_path / "none.csv", "--follow").ended(66)
    assert "no run has written there" in refused.stderr
