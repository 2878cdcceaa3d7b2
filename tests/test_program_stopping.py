"""The command told to stop: it drains on the first signal, leaves at once on the second, and goes on when run again."""

import hashlib
import signal
import socket
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from kill_anywhere import fresh, rows_done, whole
from program import (
    INSTANCE,
    PATIENCE_S,
    UNHURRIED,
    bulkcert,
    emulator,
    outcomes,
    read_results,
    start,
    wait_for,
    write_devices,
)

from bulkcert.batch import snapshot
from bulkcert.batch.lines import Header, encode_lines
from bulkcert.batch.outcome import Outcome, Record

ROWS, IN_FLIGHT = 1000, 8
SIGNALS = [signal.SIGINT, signal.SIGTERM]
NOWHERE = ("--endpoint", "http://127.0.0.1:9", "--instance", INSTANCE, "--yes", *UNHURRIED)
"""An endpoint where nobody listens: whatever is called there fails."""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with emulator(tmp_path_factory.mktemp("emulator"), latency_ms=(20, 100), slow_seconds=PATIENCE_S) as started:
        yield started


class Stopped:
    """A run of some rows against the emulator, to be stopped; calls are counted from here on."""

    def __init__(self, running, directory, rows=ROWS):
        self.running = running
        self.devices = write_devices(directory / "in.csv", rows)
        running.seed(self.devices)
        self.results, self.journal = directory / "out.csv", directory / "out.csv.journal"
        self.arguments = ["run", "inactivate-device", directory / "in.csv", "-o", self.results, *running.where]
        self.arguments += ["-q"]
        self._before = len(running.calls())

    @contextmanager
    def under_way(self, *options):
        """Yields the command in the middle of its calls."""
        with start(*self.arguments, "--max-in-flight", IN_FLIGHT, *options) as child:
            wait_for(child, lambda: len(rows_done(whole(self.journal))) >= 50)
            yield child

    def calls(self):
        """Returns how often each row was called."""
        return Counter(int(call["device_sn"]) for call in self.running.calls()[self._before :])

    def goes_on(self, done):
        """Runs the same command to its end: it calls all rows but those that are known done."""
        before = self.calls()
        bulkcert(*self.arguments).ended(0)
        assert outcomes(self.results) == {"succeeded": len(self.devices)}
        assert set(self.calls() - before) == set(range(1, len(self.devices) + 1)) - done


@contextmanager
def unanswered(running):
    """Keeps the emulator from answering."""
    running.tell("faults", shares={"slow": 1.0})
    try:
        yield
    finally:
        running.tell("faults", shares={})


def ended(child, status):
    """Waits for the end of a command and returns its words on stderr."""
    stdout, stderr = child.communicate(timeout=PATIENCE_S)
    assert (child.returncode, b"Traceback" in stdout + stderr) == (status, False), stderr.decode()
    return stderr.decode()


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_drains(running, tmp_path, number):
    """No new rows, the calls in flight are waited for, results are written, and the words say how to go on."""
    run = Stopped(running, tmp_path)
    with run.under_way() as child:
        child.send_signal(number)
        said = ended(child, 128 + number)

    assert f"{number.name} received" in said
    assert "Run the same command again to go on" in said
    rows = read_results(run.results)
    assert [int(row["row"]) for row in rows] == [*range(1, ROWS + 1)]
    assert {row["outcome"] for row in rows} == {"succeeded", "not_attempted"}
    done = {int(row["row"]) for row in rows if row["outcome"] == "succeeded"}
    assert run.calls() == Counter(done)
    assert rows_done(whole(run.journal)) == done
    run.goes_on(done)
    assert run.calls() == Counter(range(1, ROWS + 1))


@pytest.mark.parametrize(
    ("second", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_second_signal_leaves_at_once(running, tmp_path, second, status):
    """A second signal, or a scheduler that loses patience, cuts the drain short; the journal is whole all the same."""
    run = Stopped(running, tmp_path)
    slow = running.report().faults.get("slow", 0)
    with run.under_way("--timeout", PATIENCE_S) as child, unanswered(running):
        wait_for(child, lambda: running.report().faults.get("slow", 0) == slow + IN_FLIGHT)
        child.send_signal(signal.SIGINT if second is signal.SIGTERM else signal.SIGTERM)
        wait_for(child, lambda: (taken := snapshot.read(run.results)) and taken.phase == "stopping")
        child.send_signal(second)
        ended(child, status)

    assert not run.results.exists()
    assert whole(run.journal) == run.journal.read_bytes()
    run.goes_on(rows_done(whole(run.journal)))


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_while_the_input_is_checked(tmp_path, number):
    """The check is given up at once; nothing was called and nothing is left behind."""
    rows = "".join(f"{row:010d},00ca000000\n" for row in range(2_000_000))
    (tmp_path / "in.csv").write_text(f"DeviceSn,CaSn\n{rows}")
    with start("run", "inactivate-device", tmp_path / "in.csv", *NOWHERE, "-q") as child:
        wait_for(child, lambda: opened(child.pid, tmp_path / "in.csv"), pause_s=0.001)
        child.send_signal(number)

        assert "Run the same command again to go on" in ended(child, 128 + number)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


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
        keys = dict.fromkeys(["ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"])
        yield server, {**keys, "ALIBABA_CLOUD_CREDENTIALS_URI": where}


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_while_credentials_are_fetched(running, tmp_path, slow_credentials, number):
    """Nobody has to wait for a credentials server that hangs: before the first call a signal ends the command."""
    run = Stopped(running, tmp_path)
    server, env = slow_credentials
    with start(*run.arguments, env=env) as child, server.accept()[0]:
        child.send_signal(number)
        said = ended(child, 128 + number)

    assert "nothing was called" in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    assert run.calls() == {}
    run.goes_on(set())


@pytest.mark.parametrize(
    ("number", "suffix"), [(signal.SIGINT, "csv"), (signal.SIGTERM, "parquet"), (signal.SIGKILL, "csv")]
)
def test_signal_while_results_are_written(tmp_path, number, suffix):
    """Results appear whole or not at all; the same command writes them, and calls nothing."""
    rows, results = 150_000, tmp_path / f"out.{suffix}"
    write_devices(tmp_path / "in.csv", rows)
    finished_journal(tmp_path / "in.csv", f"{results}.journal", rows)
    arguments = ["run", "inactivate-device", tmp_path / "in.csv", "-o", results, *NOWHERE, "-q"]
    began = time.time()
    with start(*arguments) as child:
        wait_for(child, lambda: fresh(tmp_path / f".out.{suffix}.part", began), pause_s=0.001)
        child.send_signal(number)
        ended(child, -9 if number is signal.SIGKILL else 128 + number)

    assert not results.exists()
    assert bulkcert(*arguments).ended(0).stderr == ""
    assert results.exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        "in.csv",
        *(results.name + end for end in ("", ".journal", ".summary.json")),
    }


def finished_journal(path, journal, rows):
    """Writes the journal of a run that has called all rows of an input, and not written its results yet."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    header = Header("inactivate-device", INSTANCE, NOWHERE[1], sha256, rows, ("DeviceSn", "CaSn"), "0.1.0")
    with Path(journal).open("wb") as file:
        file.write(encode_lines(header))
        file.writelines(encode_lines(Record(row, Outcome.SUCCEEDED, attempts=1)) for row in range(1, rows + 1))
