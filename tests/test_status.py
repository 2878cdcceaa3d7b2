"""``bulkcert status``: a second process says how a run stands, and the run does not notice."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from contextlib import contextmanager, suppress

import msgspec
import pytest
from program import INSTANCE, bulkcert, emulator, outcomes, start, summary_of, write_devices

from bulkcert.batch import snapshot, standing
from bulkcert.batch.holding import is_held
from bulkcert.batch.lines import Header, encode_lines, session_line
from bulkcert.batch.recovery import open_journal
from bulkcert.batch.standing import State, standing_of
from bulkcert.errors import BulkcertError
from bulkcert.status_view import told

PATIENCE_S = 20
HEADER = Header("inactivate-device", INSTANCE, "http://127.0.0.1:9", "0" * 64, 3, ("DeviceSn", "CaSn"), "0.1.0")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with emulator(tmp_path_factory.mktemp("service"), latency_ms=(1.0, 5.0)) as running:
        yield running


class Place:
    """A list of devices, and the run over it, slow enough to be looked at."""

    def __init__(self, directory, service, rows=100):
        self.directory, self.service = directory, service
        self.list, self.results = directory / "devices.csv", directory / "results.csv"
        self.devices = write_devices(self.list, rows)
        service.tell("faults", shares={})
        service.seed(self.devices)

    def command(self, *more, rate=40):
        where = ("--endpoint", self.service.url, "--instance", INSTANCE, "--yes", "-q", "--rate", rate)
        return ("run", "inactivate-device", self.list, "-o", self.results, *where, *more)

    @contextmanager
    def running(self, *more, **options):
        with start(*self.command("--look-first", "never", *more, **options)) as child:
            try:
                yield child
            except AssertionError as error:
                child.kill()
                error.add_note(f"the run said: {child.communicate()[1].decode()}")
                raise
            finally:
                child.kill()
                child.communicate()

    def until(self, holds):
        """Waits until the run stands as wanted; returns how it stands then."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                found = standing_of(self.results)
            except BulkcertError:
                found = None
            if found is not None and holds(found):
                return found
            assert time.monotonic() < until, found
            time.sleep(0.02)

    def calling(self, rows=1):
        return self.until(lambda now: now.snapshot is not None and now.snapshot.done >= rows)

    def told(self):
        """Returns what ``status --json`` prints; this process is another one than the run's."""
        return json.loads(msgspec.json.encode(told(standing_of(self.results))))

    @property
    def files(self):
        return {path.name: path.stat().st_mtime_ns for path in self.directory.iterdir()}


@pytest.fixture
def place(tmp_path, service):
    return Place(tmp_path, service)


def test_while_it_calls_and_after(place):
    """Rows, outcomes, rate, lanes and time left are told while it calls; in the end the counts are the results'."""
    with place.running("--source-address", "127.0.0.2", "--source-address", "127.0.0.3") as run:
        place.calling(rows=20)
        told = place.told()
        assert run.wait(PATIENCE_S) == 0

    session = told["session"]
    assert (told["state"], told["exit_status"], told["rows"]) == ("running", 0, 100)
    assert (session["phase"], session["session"]["pid"]) == ("calling", run.pid)
    assert told["outcomes"] == {"succeeded": told["done"]}
    assert 20 <= told["done"] <= session["calls"]
    assert [lane["address"] for lane in session["lanes"]] == ["127.0.0.2", "127.0.0.3"]
    assert 0 < session["rate"] <= 40
    assert session["left_s"] > 0
    assert place.told()["outcomes"] == outcomes(place.results) == {"succeeded": 100}
    assert place.told()["state"] == "ended"
    assert "results.csv.status.json" not in place.files


def test_the_command(tmp_path, service):
    """The command prints how a run stands, for people or as one JSON object, on stdout alone, and exits with 0."""
    place = Place(tmp_path, service, rows=2000)
    with place.running():
        place.calling()
        text = bulkcert("status", place.results).ended(0)
        found = bulkcert("status", "--json", place.results).ended(0)

    assert re.search(r"^state +going on, calling: process \d+ on ", text.stdout)
    assert re.search(r"^rows +\d+ of 2,000 \(\d+%\)$", text.stdout, re.MULTILINE)
    assert re.search(r"^waiting +paced at \d+/s$", text.stdout, re.MULTILINE)
    assert json.loads(found.stdout)["state"] == "running"
    assert text.stderr + found.stderr == ""


def test_while_it_looks(place):
    """A run that looks says so, with what it has read."""
    place.service.seed(write_devices(place.list, 100, cas=100))  # a page each would save nothing
    with start(*place.command("--look-first", "always", rate=25)) as run:
        found = place.until(lambda now: now.snapshot is not None and now.snapshot.reads > 0)
        run.kill()
        run.communicate()
    assert (found.snapshot.phase, found.snapshot.done) == ("looking", 0)
    assert found.snapshot.left_s is None


def test_while_it_is_throttled(place):
    """Throttling shows: the share of the cap that is left, the throttles, and the error with its row's code."""
    with place.running() as run:
        place.calling()
        place.service.tell("faults", shares={"throttle": 1.0})
        place.until(lambda now: now.snapshot is not None and now.snapshot.throttles > 2)
        told = place.told()
        place.service.tell("faults", shares={})
        run.kill()

    assert told["session"]["factor"] < 1
    assert "throttled" in told["session"]["waiting_for"]
    assert [(error["code"], error["count"] > 1) for error in told["errors"]] == [("Throttling.User", True)]


def test_the_last_errors(place):
    """Errors are told by code, the latest first, with how often, the newest row and its message."""
    with place.running("--attempts", "1", "--max-errors", "100%") as run:
        place.calling()
        place.service.tell("faults", shares={"InternalError": 1.0})
        place.until(lambda now: now.snapshot is not None and now.snapshot.outcomes.get("failed", 0) > 2)
        (error,) = place.told()["errors"]
        place.service.tell("faults", shares={})
        run.kill()

    assert error["code"] == "InternalError"
    assert error["count"] > 2
    assert error["row"] > 1
    assert error["request_id"]


def test_while_it_stops(place):
    """A run that was told to stop and waits for its calls says that it is stopping, and why."""
    with place.running() as run:
        place.calling()
        place.service.tell("faults", shares={"slow": 1.0})  # for three seconds
        place.until(lambda now: now.snapshot is not None and now.snapshot.in_flight > 5)
        run.send_signal(signal.SIGTERM)
        found = place.until(lambda now: now.snapshot is not None and now.snapshot.phase == "stopping")
        place.service.tell("faults", shares={})
        assert run.wait(PATIENCE_S) == 143

    assert "SIGTERM" in found.snapshot.waiting_for
    told = place.told()
    assert told["exit_status"] == 143
    assert (told["state"], told["outcomes"]) == ("ended", summary_of(place.results)["outcomes"])
    assert "same command" in told["next"]


def test_killed(tmp_path, service):
    """After ``kill -9`` it is cut off (75): what is settled is what the next session counts as done.

    The journal's path and a job file mean the results as well; a job that names none means those it writes by default.
    """
    place = Place(tmp_path, service, rows=500)
    with place.running(rate=200) as run:
        place.calling(rows=10)
        run.kill()
        run.wait()
    job = tmp_path / "job.toml"
    job.write_text('action = "inactivate-device"\ninput = "devices.csv"\nresults = "results.csv"\nrate = 5\n')
    found = json.loads(bulkcert("status", "--json", "--job", job).ended(75).stdout)
    text = bulkcert("status", f"{place.results}.journal").ended(75).stdout

    assert place.results.name not in place.files
    assert (found["state"], found["rows"], found["done"]) == ("cut_off", 500, found["outcomes"]["succeeded"])
    assert f"{found['done']:,} of 500 have an outcome" in text
    assert f"bulkcert run inactivate-device {place.list}" in text
    job.write_text('action = "inactivate-device"\ninput = "devices.csv"\n')
    assert "devices.inactivate-device.results.csv" in bulkcert("status", "--job", job).ended(66).stderr
    going_on = [part for part in place.command("--look-first", "never", rate=500) if part != "-q"]
    assert f"{found['done']} by earlier sessions" in bulkcert(*going_on).ended(0).stderr


def test_it_writes_nothing_and_harms_nobody(place):
    """A hundred looks at a run change no file that is not the run's own, and nothing about the run."""
    with place.running() as run:
        place.calling()
        for _ in range(100):
            standing_of(place.results)
        assert set(place.files) <= {"devices.csv", "results.csv.journal", *snapshots()}
        assert run.wait(PATIENCE_S) == 0
    assert summary_of(place.results)["calls"] == 100
    before = place.files
    bulkcert("status", place.results).ended(0)
    assert place.files == before


def snapshots():
    return {"results.csv.status.json", "results.csv.status.json.part"}


def test_looking_keeps_no_run_from_starting(tmp_path):
    """Asking takes no lock: a journal that is asked about all the time can be opened, and told from a free one."""
    path, over = tmp_path / "r.csv.journal", threading.Event()
    path.touch()

    def ask():
        while not over.is_set():
            is_held(path)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(300):
            journal = open_journal(path, HEADER, session_line(0, "0.1.0"))
            assert is_held(path)
            journal.begin()
            journal.close()
            assert not is_held(path)
    finally:
        over.set()
        asking.join()
    with path.open("rb") as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_was_left_behind_is_not_what_goes_on(place):
    """While a run is about to go on with one that was killed, the old figures are not shown as the new ones."""
    with place.running() as run:
        place.calling()
        run.kill()
        run.wait()
    assert place.results.with_name("results.csv.status.json").exists()
    held = place.results.with_name("results.csv.journal").open("rb+")
    with held:
        fcntl.fcntl(held, fcntl.F_OFD_SETLK, b"\x01\0" + bytes(30))
        assert standing_of(place.results).state is State.STARTING


def test_no_sign_of_life(place, monkeypatch):
    """A run that is held and has written nothing for a while is told as such, not as one that goes on."""
    monkeypatch.setattr(standing, "SILENT_S", 1.5)
    with place.running() as run:
        place.calling()
        run.send_signal(signal.SIGSTOP)
        found = place.until(lambda now: now.state is State.SILENT)
        assert found.exit_status == 0
        run.send_signal(signal.SIGCONT)
        place.until(lambda now: now.state is State.RUNNING)


def test_a_snapshot_that_cannot_be_written_disturbs_nothing(place):
    """Where the snapshot cannot be written the run goes on to its end all the same."""
    place.results.with_name("results.csv.status.json").mkdir()
    with place.running(rate=80) as run:
        found = place.until(lambda now: now.goes_on)
        assert run.wait(PATIENCE_S) == 0
    assert found.state is State.STARTING
    assert outcomes(place.results) == {"succeeded": 100}


def test_owner_only(place):
    """The snapshot can be read by its owner only: it holds the command and its environment."""
    with place.running():
        place.calling()
        assert place.results.with_name("results.csv.status.json").stat().st_mode & 0o777 == 0o600


def test_no_run(tmp_path):
    """Without a run: 66, what to name, and which runs there are beside."""
    (tmp_path / "other.csv.journal").touch()
    refused = bulkcert("status", tmp_path / "none.csv").ended(66)

    assert "no run has written there" in refused.stderr
    assert "other.csv" in refused.stderr
    assert refused.stdout == ""
    with pytest.raises(BulkcertError, match="no run has written there"):  # an empty journal is none
        standing_of(tmp_path / "other.csv")
    (tmp_path / "other.csv.journal").write_text("no journal\n")
    with pytest.raises(BulkcertError, match="header"):
        standing_of(tmp_path / "other.csv")
    bulkcert("status").ended(2)


def test_cut_off_without_a_snapshot(tmp_path):
    """A journal alone tells of a run that was cut off, even where its lines are torn or foreign."""
    journal = tmp_path / "r.csv.journal"
    lines = encode_lines(HEADER, session_line(1_700_000_000_000, "0.1.0"))
    journal.write_bytes(lines + b'{"type":"row","row":99}\n\xff\n{"type":"ro')
    (tmp_path / "r.csv.status.json").write_text('{"version":0}')

    finished = bulkcert("status", journal).ended(75)
    assert "0 of 3 have an outcome in the journal" in finished.stdout
    assert "Run the same command again" in finished.stdout


def test_ended_as_the_run_did(place):
    """A run that ended in order has its own exit status, what it came to, and the next step; a verification shows.

    When the verification is killed, the run has ended all the same.
    """
    ending = bulkcert(*place.command("--look-first", "never", "--limit-rows", "3", rate=500)).status
    told = place.told()

    assert (ending, told["exit_status"], told["outcomes"]) == (75, 75, {"succeeded": 3, "not_attempted": 97})
    assert "same command" in told["next"]
    bulkcert(*place.command("--look-first", "never", rate=500)).ended(0)
    command = (
        "verify",
        place.results,
        "--watch",
        "1h",
        "--every",
        "1s",
        "--yes",
        "--endpoint",
        place.service.url,
        "-q",
    )
    with start(*command) as verifying:
        found = place.until(lambda now: now.snapshot is not None and now.snapshot.pages > 0)
        verifying.kill()
        verifying.communicate()
    assert (found.snapshot.phase, found.snapshot.session.rows) == ("verifying", 100)
    assert (place.told()["state"], place.told()["exit_status"]) == ("ended", 0)
    assert "proves it" in place.told()["next"]
    bulkcert("verify", place.results, "-q").ended(0)
    assert place.told()["ending"]["verification"]["statuses"] == {"inactive": 100}
    assert place.told()["next"] == ""


def test_follow_ends_as_the_run_does(tmp_path, service):
    """``--follow`` tells how the run stands until it ends, then how it ended, and exits as the run did."""
    place = Place(tmp_path, service, rows=300)
    place.service.tell("faults", shares={"InternalError": 0.5})
    with place.running("--attempts", "1", "--max-errors", "100%", rate=30) as run:
        place.calling()
        followed = bulkcert("status", place.results, "--follow").ended(1)
        assert run.wait(PATIENCE_S) == 1
    first, *rest = followed.stdout.splitlines()

    assert re.match(r"\S+Z calling: \d+ of 300 \(\d+%\); \d+/s; .*", first), followed.stdout
    assert any(line.startswith("state         ended") for line in rest)


def test_follow_on_a_terminal(tmp_path, service):
    """On a terminal ``--follow`` is a live view that goes when the run ends; what stays is how it ended."""
    place = Place(tmp_path, service, rows=300)
    with place.running(rate=60):
        place.calling()
        main, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        with start("status", place.results, "--follow", env={"TERM": "xterm"}, stdout=far) as following:
            os.close(far)
            shown = b""
            with suppress(OSError):  # that is how a terminal ends
                while part := os.read(main, 65536):
                    shown += part
            assert (following.wait(PATIENCE_S), following.stderr.read()) == (0, b"")
        os.close(main)
    assert "━".encode() in shown
    assert b"paced at" in shown
    assert b"ended at" in shown


def test_ctrl_c_ends_following_quietly(tmp_path, service):
    """Ctrl-C ends ``--follow`` with 130 and without a word; the run goes on."""
    place = Place(tmp_path, service, rows=2000)
    with place.running() as run:
        place.calling()
        with start("status", place.results, "--follow") as following:
            assert following.stdout.readline()
            following.send_signal(signal.SIGINT)
            _, said = following.communicate(timeout=PATIENCE_S)
        assert (following.returncode, said) == (130, b"")
        assert run.poll() is None


def test_an_undo_shows(place):
    """An undo is a run of its own results."""
    bulkcert(*place.command("--look-first", "always", rate=500)).ended(0)
    place.results = place.results.with_name("results.undo.csv")
    where = ("--endpoint", place.service.url, "--rate", "40", "--look-first", "never", "--yes", "-q")
    with start("undo", place.directory / "results.csv", *where, stdout=subprocess.DEVNULL) as undoing:
        found = place.calling()
        undoing.kill()
        undoing.wait()
    assert found.snapshot.session.action == "activate-device"


def test_a_snapshot_appears_whole(tmp_path, place):
    """Whoever reads while it is written reads the old one or the new one."""
    with place.running():
        taken = place.calling().snapshot
    results, over, torn = tmp_path / "x.csv", threading.Event(), []
    snapshot.write(taken, results)

    def read():
        while not over.is_set():
            if snapshot.read(results) is None:
                torn.append(1)

    reading = threading.Thread(target=read)
    reading.start()
    for _ in range(300):
        snapshot.write(taken, results)
    over.set()
    reading.join()
    assert not torn
    assert not results.with_name("x.csv.status.json.part").exists()
