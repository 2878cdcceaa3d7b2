"""The log for machines: whole runs, read line by line as a log collector does."""

import json
import logging
import re
import signal

import pytest
from program import INSTANCE, KEY_ID, PATIENCE_S, bulkcert, emulator, here, outcomes, start, write_devices

from bulkcert import log

ALWAYS = {"timestamp", "level", "event", "message", "run", "job", "action", "instance", "access_key_id", "ticket"}
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
JSON = ("--log-format", "json")
MANY = 6000
"""Rows of a run that is ended by a signal."""


@pytest.fixture(scope="module")
def service():
    with emulator(latency_ms=(1, 5)) as running:
        yield running


def events(stderr):
    """Returns the events of a log; every line must be one, with the fields that every one has."""
    lines = [json.loads(line) for line in stderr.splitlines()]
    for line in lines:
        assert line.keys() >= ALWAYS
        assert TIMESTAMP.fullmatch(line["timestamp"])
    return lines


def named(lines, name):
    return [line for line in lines if line["event"] == name]


def listed(directory, service, count):
    devices = write_devices(directory / "in.csv", count)
    service.seed(devices)
    return directory / "in.csv"


def paced(service, rate):
    """Options of a run so slow that something can be done meanwhile."""
    where = ("--endpoint", service.url, "--instance", INSTANCE, "--yes", "--preflight", "never")
    return (*where, "--rate", rate, *JSON)


def read_until(child, text):
    """Returns what a command has said on stderr up to the line with a text."""
    said = b""
    while text not in said:
        line = child.stderr.readline()
        assert line, said.decode()
        said += line
    return said


def test_a_whole_run(service, tmp_path):
    """Every line is an event; from the start on each names run, action, instance, job and access key; in order."""
    devices = listed(tmp_path, service, 300)
    job = tmp_path / "nightly.toml"
    job.write_text(f'action = "inactivate-device"\ninput = "{devices}"\nresults = "r.csv"\nlog-format = "json"\n')
    finished = here("run", "--job", job, *service.looking).ended(0)

    lines = events(finished.stderr)
    started, ended = named(lines, "run_started"), named(lines, "run_finished")
    told = list(dict.fromkeys(line["event"] for line in lines if line["event"] != "notice"))
    assert told == ["run_started", "preflight_finished", "progress", "run_finished"]
    about = {"job": "nightly", "action": "inactivate-device", "instance": INSTANCE, "access_key_id": KEY_ID}
    assert all(line.items() >= about.items() for line in lines)
    assert len({line["run"] for line in lines}) == 1
    assert (started[0]["rows"], started[0]["to_call"], started[0]["done_before"]) == (300, 300, 0)
    assert ended[0]["outcomes"] == outcomes(tmp_path / "r.csv")
    assert (ended[0]["exit_status"], ended[0]["rows"]) == (0, 300)
    assert "exit status   0" in finished.stdout, "the product stays on stdout"


def test_run_id_stays_over_sessions(service, tmp_path):
    """The ID of a run is the same when it is gone on with, and when it is verified; another run has another."""
    devices, results = listed(tmp_path, service, 20), tmp_path / "r.csv"

    def ids(*command):
        lines = events(here(*command, *JSON).stderr)
        return {line["run"] for line in lines} - {None}

    command = ("run", "inactivate-device", devices, "-o", results, *service.where)
    first = ids(*command, "--limit-rows", "5")
    assert len(first) == 1
    assert ids(*command) == first
    where = ("--endpoint", service.url)
    assert ids("verify", results, *where, "--yes") in (first, set())
    assert ids(*command, "--overwrite") != first


def test_throttled_run_slows_down_and_recovers(service, tmp_path):
    """A run that is throttled says so once, with its code, and when it is over; one that is stopped says that, too."""
    devices = listed(tmp_path, service, MANY)
    service.tell("faults", shares={"throttle": 0.5})
    with start("run", "inactivate-device", devices, *paced(service, 100)) as child:
        try:
            said = read_until(child, b"slowed_down")
        finally:
            service.tell("faults", shares={})
        said += read_until(child, b"recovered")
        child.send_signal(signal.SIGTERM)
        _, rest = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 143

    lines = events((said + rest).decode())
    slowed, recovered = named(lines, "slowed_down"), named(lines, "recovered")
    assert slowed
    assert recovered
    assert lines.index(slowed[0]) < lines.index(recovered[-1])
    assert slowed[0]["reason"] == "throttled"
    assert slowed[0]["factor"] < 1
    assert "rottl" in slowed[0]["code"] + slowed[0]["last_error"]
    ends = [line for line in lines if line["event"] in ("stopping", "run_finished", "error")]
    assert [line["exit_status"] for line in ends] == [143, 143]
    assert lines[-1]["event"] == "run_finished", "nothing comes after the end"
    assert lines[-1]["throttles"] == recovered[-1]["throttles"] > 0


@pytest.mark.parametrize(
    ("arguments", "env", "status"),
    [
        (("run", "inactivate-device", "nothing.csv", "--rate", "0", *JSON), {}, 2),
        (("run", "--no-such-option", "--log-format=json"), {}, 2),
        (("run", "inactivate-device", "nothing.csv", "--yes", "--rate", "0"), {"BULKCERT_LOG_FORMAT": "json"}, 2),
        (("run", "inactivate-device", "none.csv", "--region", "cn-hangzhou", "--instance", "i", "-y", *JSON), {}, 66),
        (("inventory", "--instance", "i", *JSON), {"BULKCERT_UNHEARD_OF": "1"}, 2),
        (("verify", "none.csv", *JSON), {}, 66),
    ],
)
def test_errors_and_warnings_are_events(tmp_path, arguments, env, status):
    """Whatever goes wrong, wrong options too, is one event with its exit status; nothing else is on stderr."""
    finished = here(*arguments, env=env, cwd=tmp_path).ended(status)

    lines = events(finished.stderr)
    assert lines[-1]["event"] == "error"
    assert (lines[-1]["exit_status"], lines[-1]["level"]) == (status, "ERROR")
    assert {line["event"] for line in lines} <= {"error", "warning"}
    assert ("warning" in {line["event"] for line in lines}) == ("BULKCERT_UNHEARD_OF" in env)


def test_other_voices_do_not_break_lines(service, tmp_path):
    """Forced colours, warnings of libraries, another locale: every line stays an event without control characters."""
    devices = listed(tmp_path, service, 10)
    env = {"FORCE_COLOR": "1", "PYTHONWARNINGS": "always", "LC_ALL": "C"}
    finished = bulkcert("run", "inactivate-device", devices, *service.looking, *JSON, env=env).ended(0)

    assert named(events(finished.stderr), "run_finished")
    assert "\\u001b" not in finished.stderr


def test_log_file(service, tmp_path):
    """It has every event, errors too, while stderr is for people, however quiet; a later start adds to it."""
    devices, file = listed(tmp_path, service, 20), tmp_path / "bulkcert.log"
    command = ("run", "inactivate-device", devices, *service.looking, "--log-file", file)
    said = here(*command, "-q").ended(0).stderr
    assert said == ""
    first = events(file.read_text())
    assert [line["event"] for line in first] == ["run_started", "preflight_finished", "progress", "run_finished"]
    assert {line["level"] for line in first} == {"INFO"}

    missing = ("run", "inactivate-device", tmp_path / "no.csv", *service.looking, "--log-file", file)
    said = here(*missing).ended(66).stderr
    added = events(file.read_text())[len(first) :]
    assert said.startswith("error: ")
    assert [(line["event"], line["exit_status"]) for line in added] == [("error", 66)]


def test_log_file_next_to_what_people_read(service, tmp_path):
    """With -v people read calls that failed, and a warning once; the file has both as events, with code and request.

    With JSON both are the same.
    """
    (tmp_path / "in.csv").write_text("DeviceSn,CaSn\nunheard-of-1,00ca000000\nunheard-of-2,00ca000000\n")
    file, protect = tmp_path / "bulkcert.log", tmp_path / "keep.txt"
    protect.write_text("UNHEARD-OF-1\n")
    command = ("run", "inactivate-device", tmp_path / "in.csv", *service.where, "--log-file", file, "-v")
    said = here(*command, "--protect", protect).ended(1).stderr
    lines = events(file.read_text())
    assert named(lines, "warning")
    assert [bool(line["code"] and line["request_id"]) for line in named(lines, "api_error")] == [True] * 2
    assert said.count("warning: ") == said.count("NOT protected") == 1
    assert "FindDeviceBySnError" in said

    file.unlink()
    said = here(*command, "--overwrite", *JSON).ended(1).stderr
    assert said == file.read_text()


def test_log_file_rotates(tmp_path, monkeypatch):
    """A file that is full becomes the first of those before, of which a few are kept; no line is torn."""
    monkeypatch.setattr(log, "MOST_BYTES", 2000)
    monkeypatch.setattr(log, "MOST_FILES", 2)
    file, root = tmp_path / "bulkcert.log", logging.getLogger()
    before = [*root.handlers]
    log.begin_file(file, print)
    log.set_level(verbose=False, quiet=False)
    for number in range(40):
        log.event("progress", f"{number} rows")
    root.handlers[-1].close()
    root.handlers[:] = before

    kept = [tmp_path / f"bulkcert.log{end}" for end in (".2", ".1", "")]
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert all(path.stat().st_size <= 2000 for path in kept)
    numbers = [int(line["message"].split()[0]) for path in kept for line in events(path.read_text())]
    assert numbers == [*range(numbers[0], 40)]


def test_log_file_that_cannot_be_written(service, tmp_path):
    """One that cannot be opened refuses the run (73); a disk that is full later is a warning, and the run goes on."""
    devices, before = listed(tmp_path, service, 5), service.report().arrivals
    command = ("run", "inactivate-device", devices, *service.where, "--log-file")
    assert "cannot write the log" in bulkcert(*command, tmp_path / "none" / "x.log").ended(73).stderr
    assert service.report().arrivals == before

    said = bulkcert(*command, "/dev/full").ended(0).stderr
    assert said.count("warning: the log /dev/full is not written any more: No space left on device") == 1
