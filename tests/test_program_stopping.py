"""The command told to stop: it drains on the first signal, leaves at once on the second, and resumes."""

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import termios
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import pytest
import uvloop
from program import (
    INSTANCE,
    NO_KEY,
    PATIENCE_S,
    UNHURRIED,
    emulator,
    here,
    outcomes,
    read_results,
    start,
    wait_for,
    write_devices,
)
from stored import change, kill

from bulkcert import cli
from bulkcert.errors import BulkcertError, SignalError, end_on_signals, stop_signals
from bulkcert.store import queries
from bulkcert.store.database import reading
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import State, status_of
from bulkcert.store.store import Store

ROWS, IN_FLIGHT = 500, 8
SIGNALS = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]
PLACE = f"http://127.{os.getpid() >> 16 & 127}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}:9"
"""Where nobody listens, and no test next to this one sends to: a session warns of others to the same place."""

NOWHERE = ("--endpoint", PLACE, "--instance", INSTANCE, "--yes", *UNHURRIED)
"""An endpoint where nobody listens: whatever is called there fails."""


@pytest.fixture(scope="module")
def running():
    with emulator(latency_ms=(20, 100), slow_seconds=PATIENCE_S) as started:
        yield started


class Stopped:
    """A run of some rows against the emulator, to be stopped; calls are counted from here on."""

    def __init__(self, running, directory, rows=ROWS):
        self.running = running
        self.devices = write_devices(directory / "in.csv", rows)
        running.seed(self.devices)
        self.files = RunFiles(directory / "out.csv")
        self.results = self.files.results
        self.arguments = ["run", "inactivate-device", directory / "in.csv", "-o", self.results, *running.where, "-q"]
        self._before = len(running.calls())

    @contextmanager
    def under_way(self, *options):
        """Yields the command in the middle of its calls."""
        with start(*self.arguments, "--max-in-flight", IN_FLIGHT, *options) as child:
            wait_for(child, lambda: len(self.settled()) >= 50)
            yield child

    def settled(self):
        """Returns the rows that the store holds settled."""
        with suppress(FileNotFoundError), reading(self.files.store) as db:
            return set(queries.rows(db, queries.LEFT_ALONE, 1, len(self.devices)))
        return set()

    def phase(self):
        with suppress(BulkcertError):
            figures = status_of(self.files).session.figures
            return figures and figures["phase"]

    def calls(self):
        """Returns how often each row was called."""
        return Counter(int(call["device_sn"]) for call in self.running.calls()[self._before :])

    def goes_on(self, settled, command=None):
        """Does a command, the same one unless another is wanted: it calls all rows but those that were settled."""
        before = self.calls()
        here(*(command or self.arguments), "--max-in-flight", 64).ended(0)
        assert outcomes(self.results) == {"succeeded": len(self.devices)}
        assert set(self.calls() - before) == set(range(1, len(self.devices) + 1)) - settled


def ended(child, status):
    """Waits for the end of a command and returns its words on stderr."""
    stdout, stderr = child.communicate(timeout=PATIENCE_S)
    assert (child.returncode, b"Traceback" in stdout + stderr) == (status, False), stderr.decode()
    return stderr.decode()


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_drains(running, tmp_path, number):
    """No new rows, the calls in flight are waited for, results are written, and the words say how to resume."""
    run = Stopped(running, tmp_path)
    with run.under_way() as child:
        child.send_signal(number)
        said = ended(child, 128 + number)

    assert f"warning: stopped: {number.name} received" in said, "whoever stops it has wanted that"
    assert "error:" not in said
    assert f"to resume: bulkcert resume {run.results}\n" in said
    rows = read_results(run.results)
    assert [int(row["row"]) for row in rows] == [*range(1, ROWS + 1)]
    assert {row["outcome"] for row in rows} == {"succeeded", "not_attempted"}
    done = {int(row["row"]) for row in rows if row["outcome"] == "succeeded"}
    assert run.calls() == Counter(done)
    assert run.settled() == done
    run.goes_on(done)
    assert run.calls() == Counter(range(1, ROWS + 1))


@pytest.mark.parametrize(
    ("second", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_second_signal_leaves_at_once(running, tmp_path, second, status):
    """A second signal, or a scheduler that loses patience, cuts the drain short; the store is whole all the same."""
    run = Stopped(running, tmp_path)
    slow = running.report().faults.get("slow", 0)
    with run.under_way("--timeout", PATIENCE_S) as child, running.faulty(slow=1.0):
        wait_for(child, lambda: running.report().faults.get("slow", 0) == slow + IN_FLIGHT)
        child.send_signal(signal.SIGINT if second is signal.SIGTERM else signal.SIGTERM)
        wait_for(child, lambda: run.phase() == "stopping")
        child.send_signal(second)
        said = ended(child, status)

    assert second is signal.SIGKILL or f"without waiting for {IN_FLIGHT} calls in flight" in said
    assert second is signal.SIGKILL or f"bulkcert resume {run.results}\n" in said
    assert not run.results.exists()
    found = status_of(run.files)
    assert (found.state, found.exit_status) == (State.INTERRUPTED, 75)
    assert found.in_doubt >= IN_FLIGHT
    run.goes_on(run.settled(), ("resume", run.results, "--yes", "-q"))


def test_signal_while_the_input_is_checked(tmp_path):
    """The check is given up at once; no calls were made and nothing is left behind."""
    rows = "".join(f"{row:010d},00ca000000\n" for row in range(1_000_000))
    (tmp_path / "in.csv").write_text(f"DeviceSn,CaSn\n{rows}")
    with start("run", "inactivate-device", tmp_path / "in.csv", *NOWHERE, "-q") as child:
        wait_for(child, lambda: opened(child.pid, tmp_path / "in.csv"), pause_s=0.001)
        child.send_signal(signal.SIGTERM)

        assert "No calls were made" in ended(child, 128 + signal.SIGTERM)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_signal_while_a_pipe_is_read(tmp_path):
    """A list that never ends keeps nobody waiting either."""
    with start("run", "inactivate-device", "-", "-o", tmp_path / "r.csv", *NOWHERE, stdin=subprocess.PIPE) as child:
        child.stdin.write(b"DeviceSn,CaSn\n1,00ca\n")
        child.stdin.flush()
        wait_for(child, lambda: not unread(child.stdin))
        child.send_signal(signal.SIGINT)
        said = ended(child, 128 + signal.SIGINT)

    assert "No calls were made" in said
    assert not list(tmp_path.iterdir())


def unread(pipe):
    """Returns how many bytes of a pipe nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), "little")


def opened(pid, path):
    """Returns whether a process has a file open."""
    try:
        return path in [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:  # one was closed meanwhile
        return False


@pytest.fixture
def slow_credentials():
    """A credentials server that takes its time, and the environment that leads to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        where = f"http://127.0.0.1:{server.getsockname()[1]}/"
        yield server, {**NO_KEY, "ALIBABA_CLOUD_CREDENTIALS_URI": where}


def test_signal_while_credentials_are_fetched(running, tmp_path, slow_credentials):
    """Nobody has to wait for a credentials server that hangs: before the first call a signal ends the command."""
    run = Stopped(running, tmp_path)
    server, env = slow_credentials
    with start(*run.arguments, env=env) as child, server.accept()[0]:
        child.send_signal(signal.SIGINT)
        said = ended(child, 128 + signal.SIGINT)

    assert "no calls were made" in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    assert run.calls() == {}
    run.goes_on(set())


@pytest.mark.parametrize(("number", "suffix"), [(signal.SIGTERM, "parquet"), (signal.SIGKILL, "csv")])
def test_signal_while_results_are_written(tmp_path, number, suffix):
    """Results appear whole or not at all; the same command writes them, and calls nothing."""
    rows, results = 300, tmp_path / f"out.{suffix}"
    write_devices(tmp_path / "in.csv", rows)
    arguments = ["run", "inactivate-device", tmp_path / "in.csv", "-o", results, *NOWHERE, "-q"]
    all_called(arguments, rows, results)
    with start(*arguments, env={"BEGINS_WITH": "slow_writing"}) as child:
        wait_for(child, lambda: list(tmp_path.glob(f".{results.name}.*")), pause_s=0.001)
        child.send_signal(number)
        ended(child, -9 if number is signal.SIGKILL else 128 + number)

    assert not results.exists()
    assert here(*arguments).ended(0).stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", results.name, f"{results.name}.run"]


def all_called(arguments, rows, results):
    """Brings a run to where a session that has called all its rows was killed before it wrote results."""
    here(*arguments, "--attempts", "1").ended(69)
    change(results, "DELETE FROM certificate")
    number = f"WITH RECURSIVE number(row) AS (SELECT 1 UNION ALL SELECT row + 1 FROM number WHERE row < {rows})"
    done = "INSERT INTO certificate (row, newest, attempts) SELECT row, 'succeeded', 1 FROM number"
    change(results, f"{number} {done}")
    kill(results)
    results.unlink()


def test_killed_before_a_session_of_its_own(running, tmp_path):
    """Who looks at what a killed session has left, and goes or is killed in turn, leaves a run that can be resumed."""
    run = Stopped(running, tmp_path, rows=3)
    here(*run.arguments, "--limit-rows", "1").ended(75)
    kill(run.results)
    here("resume", run.results, "-q").ended(2)
    store, log = Store(run.files.store), run.files.store.with_name("store.sqlite-wal")
    left = {path: path.read_bytes() for path in (store.path, log)}
    store.close()
    for path, content in left.items():
        path.write_bytes(content)

    assert here("status", run.results).status == 75
    run.goes_on({1}, ("resume", run.results, "--yes", "-q"))


@pytest.mark.parametrize("factory", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("in_callback", [True, False], ids=["in a callback", "while it waits"])
def test_a_signal_while_a_loop_runs(factory, number, in_callback):
    """As between the start of the loop and its own handlers: it ends the command, and no log line is made of it."""

    async def work():
        if in_callback:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        else:
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
        await anyio.sleep(30)

    before = {each: signal.getsignal(each) for each in stop_signals()}
    try:
        end_on_signals()
        with pytest.raises(SignalError) as ended:
            anyio.run(work, backend_options={"loop_factory": factory})
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert ended.value.error.status == 128 + number


class Dropping:
    """Sends a signal to its own process where what is raised is dropped, as some libraries do that call back."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", stop_signals())
@pytest.mark.parametrize("fails", [True, False], ids=["and fails", "and goes on"])
def test_a_signal_that_a_library_drops(monkeypatch, number, fails):
    """It ends the command all the same, as itself: neither as what fails by it, nor with a traceback."""

    def work(_typed):
        Dropping(number)
        if fails:
            raise TypeError("no text")
        time.sleep(PATIENCE_S)

    monkeypatch.setattr(cli, "_done", work)
    began = time.monotonic()
    ended = here()

    assert ended.ended(128 + number).stderr == f"error: {'interrupted' if number == 2 else f'{number.name} received'}\n"
    assert time.monotonic() < began + PATIENCE_S / 2
