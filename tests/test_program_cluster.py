"""Several machines, as processes: the short half of what may happen while a run goes, and what is refused at once."""

import os
import signal
import stat
import subprocess
import sys

import cluster
import pytest
from kill_cluster import torment
from killed_run import Figures
from program import PATIENCE_S, bulkcert, here, start, write_devices

from bulkcert.fleet.keys import make_keys


@pytest.mark.parametrize("scenario", cluster.SHORT, ids=lambda scenario: scenario.__name__)
def test_whatever_happens(tmp_path, scenario):
    """Every row has one outcome, the limits are kept, and what was called twice is said."""
    cluster.play(scenario, tmp_path)


def test_kills_over_lanes():
    """Lanes and coordinators end at random instants: see ``kill_cluster`` for what is proved."""
    seen = Figures()
    torment(2, 120, seed=3, figures=seen)

    assert seen.kills.total() == 2


def test_keys(tmp_path):
    """One file for each machine, for its owner alone; the authority's own key is nowhere, and nothing is replaced."""
    here("cluster", "keys", "k", "--lanes", "2", cwd=tmp_path).ended(0)
    files = sorted(tmp_path.glob("k/*"))

    assert [file.name for file in files] == ["ca.pem", "coordinator.pem", "lane-1.pem", "lane-2.pem"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "PRIVATE" not in files[0].read_text()
    assert "is not empty" in here("cluster", "keys", "k", cwd=tmp_path).ended(73).stderr
    files[2].write_text("junk")
    said = here("lane", "tls://127.0.0.1:9", "--keys", "k", cwd=tmp_path).ended(66).stderr
    assert "cannot use k/lane-1.pem with ca.pem: not a certificate and its key" in " ".join(said.split())
    assert "--lanes must be from 1" in here("cluster", "keys", "x", "--lanes", "0", cwd=tmp_path).ended(2).stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, None], ids=["SIGTERM", "end of input"])
def test_a_child_ends_in_order(number):
    """A lane that somebody has started as a child ends by a signal, or with its input, whichever comes first."""
    with start("lane", "tcp://127.0.0.1:9", "--exit-on-eof", stdin=subprocess.PIPE) as child:
        while b"waiting for a run" not in child.stderr.readline():
            pass
        if number:
            child.send_signal(number)
        else:
            child.stdin.close()
        assert child.wait(PATIENCE_S) == 0
        assert b"Traceback" not in child.stderr.read()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cluster", "tls://127.0.0.1:8786"), "needs --keys"),
        (("--cluster", "tcp://10.0.0.1:8786"), "tcp is allowed for loopback addresses only"),
        (("--cluster", "10.0.0.1"), "must look like tls://10.0.0.5:8786"),
        (("--cluster", "tls://0.0.0.0:8786", "--keys", "k"), "means any address"),
        (("--cluster", "tls://203.0.113.7:8786", "--keys", "k"), "cannot listen there"),
        (("--keys", "k"), "--keys needs --cluster"),
        (("--lanes", "2"), "--lanes needs --cluster"),
    ],
)
def test_wrong_options(tmp_path, options, said):
    """They are refused before anything else, with what is wrong with them."""
    write_devices(tmp_path / "d.csv", 3)
    make_keys(tmp_path / "k", 1, days=1)
    run = ("run", "inactivate-device", "d.csv", "--instance", "i", "--endpoint", "http://127.0.0.1:9", "--yes")

    assert said in " ".join(here(*run, *options, cwd=tmp_path).ended(2).stderr.split())


def test_deleting_is_refused(tmp_path):
    """Its calls must be on disk before they are sent, which a lane elsewhere cannot see to."""
    (tmp_path / "c.csv").write_text("CaSn\n00ca\n")
    run = ("run", "delete-ca", "c.csv", "--instance", "i", "--endpoint", "http://127.0.0.1:9", "--yes")

    ended = here(*run, "--cluster", "tcp://127.0.0.1:8786", cwd=tmp_path).ended(2)
    assert "delete-ca must be on disk before each call" in " ".join(ended.stderr.split())


@pytest.mark.parametrize(
    "command", [("run", "inactivate-device", "d.csv", "--cluster", "tcp://127.0.0.1:1"), ("lane", "tcp://127.0.0.1:1")]
)
def test_without_dask(tmp_path, command):
    """One line says how to install it."""
    write_devices(tmp_path / "d.csv", 3)
    (tmp_path / "none").mkdir()
    (tmp_path / "none/distributed.py").write_text("raise ImportError")
    path = os.pathsep.join([str(tmp_path / "none"), *filter(None, [os.environ.get("PYTHONPATH")])])
    where = ("--instance", "i", "--endpoint", "http://127.0.0.1:9", "--yes") if command[0] == "run" else ()
    ended = bulkcert(*command, *where, cwd=tmp_path, env={"PYTHONPATH": path}).ended(78)

    assert "pip install 'bulkcert[cluster]'" in ended.stderr


def said_by(code):
    """Returns what a program says."""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return shown.stdout + shown.stderr


def test_its_libraries_write_nothing():
    """A lane that vanishes in the middle of a handshake is an error to them, with a traceback; nobody is shown it."""
    names = ("distributed.core", "distributed.scheduler", "tornado.application", "tornado.general")
    load = "import logging; from bulkcert.fleet.network import load; load()"

    assert not said_by(f"{load}\nfor name in {names}: logging.getLogger(name).error('a traceback')")


@pytest.mark.parametrize(
    ("loaded", "words"),
    [("bulkcert.commands.run, bulkcert.runs.rehearsal", ("fleet", "dask")), ("bulkcert.commands.lane", ("polars",))],
)
def test_what_is_not_asked_for_is_not_loaded(loaded, words):
    """A run of one machine does not pay for lanes elsewhere; a lane has no lists, and may have little memory."""
    found = f"[name for name in sys.modules if any(word in name for word in {words})]"

    assert said_by(f"import sys, {loaded}\nprint({found})") == "[]\n"
