"""The same command again: it goes on where it stopped, calls nothing twice that is known done, and loses nothing."""

import contextlib
import re
import signal
import subprocess
import sys
from collections import Counter

import pytest
from kill_anywhere import CASES, rows_done, torment, whole
from program import COMMAND, INSTANCE, bulkcert, emulator, environment, here, outcomes, start, wait_for, write_devices
from test_engine import BUSY, DENIED, DONE, LOST, NOT_FOUND, opened, run

from bulkcert.batch.lines import Header, Intent, encode_lines
from bulkcert.batch.outcome import Outcome, Record
from bulkcert.errors import ExitStatus

NO_KEYS = dict.fromkeys(["ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"])
DELETE = {"action": "delete-ca"}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with emulator(tmp_path_factory.mktemp("emulator"), latency_ms=(0, 40)) as started:
        yield started


class Resumed:
    """A run of some rows that is started more than once; calls are counted from here on."""

    def __init__(self, running, directory, rows=20, place=None):
        self.running, self.input = running, directory / "in.csv"
        self.devices = write_devices(self.input, rows)
        running.seed(self.devices)
        self.results = (place or directory) / "out.csv"
        self.journal = self.results.with_name("out.csv.journal")
        self.summary = self.results.with_name("out.csv.summary.json")
        self._counted = len(running.calls())

    def arguments(self, *options, action="inactivate-device"):
        return ["run", action, self.input, "-o", self.results, *self.running.where, "-q", *options]

    def again(self, *options, ends, env=None, **faults):
        """Runs the command to its end; returns it, and how often it called each row."""
        self.running.tell("faults", shares={name.replace("_", "-"): share for name, share in faults.items()})
        command = self.arguments(*options)
        finished = bulkcert(*command, env=env) if env else here(*command)
        return finished.ended(ends), self.calls()

    def calls(self):
        """Returns how often each row was called since the last time."""
        calls = self.running.calls()[self._counted :]
        self._counted += len(calls)
        return Counter(int(call["device_sn"]) for call in calls)


def without_calls(finished):
    """Returns what a command said, but for the calls that it made itself."""
    lines = finished.stdout.splitlines()
    return [line for line in lines if not line.startswith("calls ") and not line.endswith(" in all sessions")]


@pytest.mark.parametrize(("action", "faults"), CASES)
def test_kill_anywhere(action, faults):
    """SIGKILL at a random instant, then the same command: see ``kill_anywhere`` for what is proved."""
    # This seed draws instants while rows are called, where there is most to lose.
    figures = torment(action, kills=1, rows=600, seed=9, faults=faults)

    assert figures.kills.total() == 1


@pytest.mark.parametrize("status", [0, 1])
def test_finished_run_calls_nothing(running, tmp_path, status):
    """The same command on a finished run needs no credentials, leaves everything as it is, and ends as the run did."""
    resumed = Resumed(running, tmp_path)
    faults = {"FindDeviceBySnError": 0.5} if status else {}
    first, _ = resumed.again(ends=status, **faults)
    before = resumed.results.read_bytes(), resumed.summary.read_bytes()
    second, calls = resumed.again(ends=status, env=NO_KEYS)

    assert calls == {}
    assert without_calls(second) == without_calls(first)
    assert "calls         none" in second.stdout
    assert (resumed.results.read_bytes(), resumed.summary.read_bytes()) == before


def test_deleted_results_are_made_again(running, tmp_path):
    """The journal is the record: results and summary that were lost are written anew, without a call."""
    resumed = Resumed(running, tmp_path)
    resumed.again(ends=0)
    before = resumed.results.read_bytes()
    resumed.results.unlink()
    resumed.summary.unlink()
    _, calls = resumed.again(ends=0, env=NO_KEYS)

    assert (calls, resumed.results.read_bytes()) == ({}, before)
    assert resumed.summary.exists()


def test_limit_rows_goes_on(running, tmp_path):
    """With --limit-rows each session calls the next few rows, until all are called."""
    resumed = Resumed(running, tmp_path)
    called = [resumed.again("--limit-rows", "8", ends=status)[1] for status in (75, 75, 0)]

    assert called == [Counter(range(1, 9)), Counter(range(9, 17)), Counter(range(17, 21))]


def test_retry_failed(running, tmp_path):
    """--retry-failed takes up the rows that failed, were not registered or are unknown, and no others."""
    resumed = Resumed(running, tmp_path)
    few = ("--limit-rows", "3", "--attempts", "1")
    for fault in ("ParameterCheckFailed", "no_echo", "FindDeviceBySnError"):
        resumed.again(*few, ends=75, **{fault: 1.0})
    resumed.again(ends=1)
    assert outcomes(resumed.results) == {"failed": 3, "unknown": 3, "not_registered": 3, "succeeded": 11}

    assert resumed.again("--retry-failed", ends=0)[1] == Counter(range(1, 10))
    assert outcomes(resumed.results) == {"succeeded": 20}
    assert resumed.again("--retry-failed", ends=0)[1] == {}


def test_overwrite_starts_anew(running, tmp_path):
    """--overwrite drops what was done, and is needed where results exist whose journal is gone."""
    resumed = Resumed(running, tmp_path)
    resumed.again(ends=0)
    resumed.journal.unlink()
    refused, calls = resumed.again(ends=73)
    assert "--overwrite" in refused.stderr
    assert calls == {}
    assert resumed.again("--overwrite", ends=0)[1] == Counter(range(1, 21))
    assert resumed.again("--overwrite", ends=0)[1] == Counter(range(1, 21))


@pytest.mark.parametrize("change", ["input", "action", "instance", "order"])
def test_other_run_is_refused(running, tmp_path, change):
    """A journal is gone on with for the same action, instance and input only; nothing is called, nothing is written."""
    resumed = Resumed(running, tmp_path)
    resumed.again("--limit-rows", "5", ends=75)
    before = resumed.journal.read_bytes(), resumed.results.read_bytes()
    if change in ("input", "order"):
        head, *lines = resumed.input.read_text().splitlines(keepends=True)
        resumed.input.write_text("".join([head, *lines[::-1]] if change == "order" else [head, *lines, "1,2\n"]))
    arguments = resumed.arguments(action="activate-device" if change == "action" else "inactivate-device")
    refused = here(*["post-cn-other" if (change, word) == ("instance", INSTANCE) else word for word in arguments])

    assert "is the journal of another run" in refused.ended(65).stderr
    assert resumed.calls() == {}
    assert (resumed.journal.read_bytes(), resumed.results.read_bytes()) == before


def test_input_that_changes_during_the_run(running, tmp_path):
    """It is noticed (65), no results tell of rows that never were, and with the old input the run goes on."""
    resumed = Resumed(running, tmp_path, rows=2000)
    text = resumed.input.read_bytes()
    with start(*resumed.arguments("--max-in-flight", "4")) as child:
        wait_for(child, lambda: len(rows_done(whole(resumed.journal))) >= 20)
        resumed.input.write_bytes(text.replace(b"00ca", b"11ca"))
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate()
    assert (child.returncode, b"was changed" in said, b"Traceback" in said) == (65, True, False)
    assert not resumed.results.exists()

    resumed.input.write_bytes(text)
    _, calls = resumed.again(ends=0)
    assert calls == Counter(range(1, 2001))
    assert outcomes(resumed.results) == {"succeeded": 2000}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, and what gives it another size."""
    place = tmp_path / "small"
    place.mkdir()

    def resize(size, *how):
        return subprocess.run(["mount", *how, "-o", f"{'' if how else 'remount,'}size={size}", place], check=False)

    if resize("64k", "-t", "tmpfs", "tmpfs").returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield place, resize
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize(("size", "fails"), [("64k", "journal"), ("256k", "results")])
def test_full_disk(running, tmp_path, small_disk, size, fails):
    """A full disk stops the run with one message (73); with room again it goes on, and repeats nothing on record."""
    place, resize = small_disk
    resize(size)
    resumed = Resumed(running, tmp_path, rows=1000, place=place)
    refused, first = resumed.again("--max-in-flight", "64", ends=73)

    assert len(re.findall("error: ", refused.stderr)) == 1
    assert f"cannot write {resumed.journal if fails == 'journal' else resumed.results}" in refused.stderr
    assert "No space left" in refused.stderr
    assert ("Nothing is lost: the journal holds every outcome" in refused.stderr) == (fails == "results")
    assert [path.name for path in place.iterdir()] == ["out.csv.journal"]
    assert whole(resumed.journal) == resumed.journal.read_bytes()
    done = rows_done(whole(resumed.journal))
    assert (len(done) == 1000) == (fails == "results")

    resize("4M")
    _, second = resumed.again(ends=0)
    assert set(second) == set(range(1, 1001)) - done
    assert set(first) | set(second) == set(range(1, 1001))
    assert outcomes(resumed.results) == {"succeeded": 1000}


def test_disk_that_takes_half_a_line(running, tmp_path, small_disk):
    """Where not even the line of the session fits, the journal stays as it was, to the byte."""
    place, resize = small_disk
    resumed = Resumed(running, tmp_path, place=place)
    resumed.again("--limit-rows", "5", ends=75)
    page = 4096
    shortest = len(encode_lines(Record(5, Outcome.SUCCEEDED, message="m"))) - 1
    with resumed.journal.open("ab") as file:
        left = (-file.tell() - shortest - 40) % page
        file.write(encode_lines(Record(5, Outcome.SUCCEEDED, message="m" * left)))
    before = resumed.journal.read_bytes()
    assert -len(before) % page == 40
    resize("16k")
    with contextlib.suppress(OSError):
        (place / "filler").write_bytes(bytes(16 * 1024))
    refused, calls = resumed.again(ends=73)

    assert f"cannot write {resumed.journal}: No space left on device" in refused.stderr
    assert (calls, resumed.journal.read_bytes()) == ({}, before)


def test_resume_of_a_million_lines(running, tmp_path):
    """A journal of a million lines is opened, and its results are written, in less than 350 MB."""
    rows = 1_000_000
    path, results = tmp_path / "in.csv", tmp_path / "out.parquet"
    running.seed(write_devices(path, rows)[-1:])
    sha256 = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout.split()[0]
    with (tmp_path / "out.parquet.journal").open("wb") as file:
        file.write(
            encode_lines(
                Header("inactivate-device", INSTANCE, running.url, sha256, rows, ("DeviceSn", "CaSn"), "0.1.0")
            )
        )
        line = encode_lines(Record(1, Outcome.SUCCEEDED, "", "", 200, "0" * 36, 1, 1, 2, 12.5))
        file.writelines(line.replace(b'"row":1,', b'"row":%d,' % row) for row in range(1, rows))
    # A child's peak is at least that of its parent before it; so its parent is to be a small one.
    small = "import resource, subprocess, sys; ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
    small += "print(ended.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    command = [*COMMAND, "run", "inactivate-device", path, "-o", results, *running.where, "-q"]
    measured = subprocess.run(
        [sys.executable, "-c", small, *map(str, command)], env=environment(), check=True, capture_output=True, text=True
    )
    status, peak_kib = map(int, measured.stdout.split())

    assert (status, measured.stderr) == (0, "")
    assert peak_kib < 350 * 1024


async def test_deletion_whose_answer_was_lost(tmp_path):
    """A CA that is gone after an attempt without an answer was deleted by it; one that is gone at once never was."""
    ran = await run(tmp_path, 2, lambda row, attempt, _: LOST if (row, attempt) == (1, 1) else NOT_FOUND, **DELETE)

    assert ran.outcomes == {1: Outcome.SUCCEEDED, 2: Outcome.NOT_REGISTERED}


async def test_deletion_is_announced_on_disk(tmp_path):
    """When a CA is called the intent stands in the journal; where a stop or a kill prevents the call, it does not."""

    def script(row, *_):
        assert encode_lines(Intent(row)) in whole(tmp_path / "j")
        return DENIED if row == 5 else DONE

    ran = await run(tmp_path, 50, script, workers=16, **DELETE)

    assert ran.stopped is ExitStatus.DENIED
    intents = whole(tmp_path / "j").count(b'"intent"')
    assert intents <= len(ran.service.requests) + 1


@pytest.mark.parametrize("between", [DENIED, BUSY, LOST, "nothing"])
async def test_lost_deletion_is_remembered(tmp_path, between):
    """What a killed session may have deleted counts as deleted by it, even if sessions in between came to nothing."""
    opened(tmp_path, 1, "delete-ca").close()
    with (tmp_path / "j").open("ab") as file:
        file.write(encode_lines(Intent(1)))
    if between != "nothing":
        await run(tmp_path, 1, lambda *_: between, attempts=1, **DELETE)
    ran = await run(tmp_path, 1, lambda *_: NOT_FOUND, reopen={Outcome.UNKNOWN}, **DELETE)

    assert ran.outcomes == {1: Outcome.SUCCEEDED}
