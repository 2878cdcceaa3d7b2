"""What a job that a timer starts is held to: rows, deadline, paths with dates, and how long old files stay."""

import datetime as dt
import fcntl
import shlex
import signal
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from cyclopts import Token
from kill_anywhere import rows_done, whole
from program import (
    INSTANCE,
    PATIENCE_S,
    bulkcert,
    emulator,
    here,
    outcomes,
    read_results,
    signalled,
    start,
    wait_for,
    write_devices,
)

from bulkcert.batch import session
from bulkcert.batch.schedule import moment
from bulkcert.job_file import STARTED

TODAY = STARTED.date()
OWN = (".journal", ".summary.json")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with emulator(tmp_path_factory.mktemp("service")) as running:
        running.seed(write_devices(running.log.with_name("devices.csv"), 300))
        yield running


def job_file(directory, service, rows, **options):
    """Writes a list of so many rows, and a job file for it with more options; returns the file."""
    write_devices(directory / "devices.csv", rows)
    given = {"action": "inactivate-device", "input": "devices.csv", "results": "r.csv", "instance": INSTANCE}
    given |= {"endpoint": service.url, "yes": True, "look-first": "never"} | options
    lines = [
        f"{name} = {str(value).lower() if isinstance(value, bool | int) else repr(value)}"
        for name, value in given.items()
    ]
    (directory / "job.toml").write_text("\n".join(lines))
    return directory / "job.toml"


def clock(*, hours):
    """Returns what this machine's clock will show in so many hours."""
    return f"{dt.datetime.now() + dt.timedelta(hours=hours):%H:%M}"  # noqa: DTZ005 - its own time


@pytest.mark.parametrize("bound", ["expect-rows", "max-rows"])
def test_rows_within_bounds(tmp_path, service, bound):
    """A list that is shorter or longer than the job allows is refused before any call; the bound itself is allowed."""
    job = job_file(tmp_path, service, 7, **{bound: 7})
    before = service.report().arrivals
    here("run", "--job", job, f"--{bound}", 8 if bound == "expect-rows" else 6).ended(65)

    assert service.report().arrivals == before
    assert not list(tmp_path.glob("r.csv*"))
    here("run", "--job", job).ended(0)


def test_an_empty_list_is_a_quiet_night(tmp_path, service):
    """No rows are no reason to wake anyone, unless the job says that there must be some."""
    job = job_file(tmp_path, service, 0)

    assert "has no rows" in here("run", "--job", job).ended(0).stderr
    assert "at least 1 are expected" in here("run", "--job", job, "--expect-rows", 1).ended(65).stderr


def test_deadline(tmp_path, service, monkeypatch):
    """When the deadline has come nothing more is sent; the same command goes on with what is left."""
    job = job_file(tmp_path, service, 300, rate=50)
    before = service.report().arrivals

    def passed():
        return time.time() + 3600 * (service.report().arrivals >= before + 10)

    monkeypatch.setattr(session, "CLOCK_CHECK_S", 0.05)
    monkeypatch.setattr(session, "time", SimpleNamespace(time=passed))
    ended = here("run", "--job", job, "--deadline", "1h").ended(75)
    monkeypatch.undo()
    called = service.report().arrivals - before

    assert "the deadline, " in ended.stderr
    assert 10 <= called < 300
    assert outcomes(tmp_path / "r.csv") == {"succeeded": called, "not_attempted": 300 - called}
    here("run", "--job", job, "--rate", 100000, "--per-address-rate", 100000, "--deadline", clock(hours=6)).ended(0)
    assert service.report().arrivals - before == 300


def test_a_deadline_that_has_passed(tmp_path, service):
    """A deadline that is over before the first call lets none be made; one of this day does not mean the next."""
    job = job_file(tmp_path, service, 5)
    before = service.report().arrivals
    here("run", "--job", job, "--deadline", "0s").ended(75)
    told = here("run", "--job", job, "--deadline", clock(hours=-1)).ended(75).stderr

    assert service.report().arrivals == before
    assert "which is over: nothing will be called" in told
    assert "with a later --deadline" in told


def test_what_a_deadline_may_be():
    """A time of day is the nearest such one; a length of time counts from now; anything else is refused."""
    now = time.time()
    for text in ("06:00", "6:00", "23:59", "00:00"):
        then = moment(float, [Token(value=text)])
        assert abs(then - now) <= 12.5 * 3600, "half a day, and the hour of a change of clocks"
        assert dt.datetime.fromtimestamp(then).strftime("%H:%M") == text.zfill(5)  # noqa: DTZ006 - local, as typed
    assert now + 5400 <= moment(float, [Token(value="1.5h")]) <= time.time() + 5400
    for text in ("24:00", "6", "noon", "06:60"):
        if text != "6":
            with pytest.raises(ValueError, match="neither a length of time"):
                moment(float, [Token(value=text)])


def test_paths_of_a_job_file(tmp_path, service):
    """Paths carry the date, the time, and variables of the environment; two dollar signs are one."""
    job = job_file(tmp_path, service, 3, input="${LIST}.csv", results="$$r-{date}.{time}.csv")
    here("run", "--job", job, env={"LIST": "devices"}).ended(0)
    [results] = tmp_path.glob("$r-*.csv")

    assert dt.datetime.strptime(results.name, "$r-%Y-%m-%d.%H-%M-%S.csv").date() == TODAY  # noqa: DTZ007 - local


def test_to_go_on_names_the_results_of_a_job_with_a_date(tmp_path, service):
    """What is printed to go on means the same run at any time, also of a job whose results carry the time."""
    job = job_file(tmp_path, service, 7, results="r-{date}.{time}.csv")
    said = here("run", "--job", job, "--limit-rows", 3).ended(75).stderr
    [results] = tmp_path.glob("r-*.csv")
    [command] = [line.removeprefix("to go on: ") for line in said.splitlines() if line.startswith("to go on: ")]
    program, *options = shlex.split(command)

    assert (program, options[-2:]) == ("bulkcert", ["--results", str(results)])
    options.remove("--limit-rows")
    options.remove("3")
    bulkcert(*options).ended(0)  # a process of its own, and so of another time
    assert [*tmp_path.glob("r-*.csv")] == [results]
    assert outcomes(results) == {"succeeded": 7}


def test_a_yes_of_a_job_is_for_its_run(tmp_path, service):
    """What takes a run back, or calls again, asks all the same, or wants a yes of its own (2)."""
    job = job_file(tmp_path, service, 3)
    here("run", "--job", job).ended(0)
    before = service.report().arrivals
    for command in (("undo", "--include-unknown"), ("verify", "--watch", "1s")):
        assert "--yes" in here(*command, "--job", job).ended(2).stderr

    assert service.report().operations.get("ActiveDeviceCertificate", 0) == 0
    assert service.report().arrivals == before
    here("undo", "--include-unknown", "--job", job, "--yes").ended(0)


@pytest.mark.parametrize(
    ("path", "told"), [("${NOWHERE}.csv", "NOWHERE is not set"), ("{day}.csv", "{day} is neither")]
)
def test_paths_that_cannot_be_filled_in(tmp_path, service, path, told):
    """A path that would come out wrong is refused, with file and key."""
    job = job_file(tmp_path, service, 3, results=path)

    for command in ("run", "plan"):  # a plan tells whether the run could start
        assert f"{job}: results = '{path}': {told}" in here(command, "--job", job).ended(2).stderr


def test_old_runs_are_removed(tmp_path, service):
    """Only runs of the same job, older than it says, that ended and that nobody holds; with their undo, and no more."""
    job = job_file(tmp_path, service, 3, results="night-{date}.csv")

    def run(name, *more):
        here("run", "--job", job, "-o", tmp_path / name, *more).ended(0)

    for name in ("night-2020-01-01.csv", "night-2020-01-02.csv", "night-2020-01-03.csv", "day-2020-01-01.csv"):
        run(name)
    run("night-2020-01-04.csv", "--action", "activate-device")
    run(f"night-{TODAY - dt.timedelta(days=30)}.csv")
    (tmp_path / "night-2020-01-01.csv.report.html").write_text("")
    (tmp_path / "night-2020-01-01.csv.notes").write_text("mine")
    here("undo", tmp_path / "night-2020-01-01.csv", "--yes", "--include-unknown").ended(0)
    cut_off = tmp_path / "night-2020-01-02.csv.journal"
    cut_off.write_bytes(b"".join(cut_off.read_bytes().splitlines(keepends=True)[:-1]))
    (tmp_path / "night-2020-01-05.csv").write_text("no run of ours")
    before = {path.name for path in tmp_path.iterdir()}
    with (tmp_path / "night-2020-01-03.csv.journal").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        told = here("run", "--job", job, "--keep", 30).ended(0).stderr

    gone = before - {path.name for path in tmp_path.iterdir()}
    of_run = {f"night-2020-01-01.csv{more}" for more in ("", *OWN, ".report.html", ".undo-list.csv")}
    assert gone == of_run | {f"night-2020-01-01.undo.csv{more}" for more in ("", *OWN)}
    assert "removed 1 earlier run, the oldest night-2020-01-01.csv" in told
    reasons = {"02": "cut off", "03": "going on", "04": "another job"}
    assert all(f"night-2020-01-{day}.csv, though it is old enough: " in told for day in reasons)
    assert all(reason in told for reason in reasons.values())


def test_a_verification_ends_no_run_and_cuts_none_off(tmp_path, service):
    """A killed run that was verified since is not removed; one that ended is, though its verification was killed."""
    job = job_file(tmp_path, service, 3, results="night-{date}.csv")
    killed, ended = tmp_path / "night-2020-01-01.csv", tmp_path / "night-2020-01-02.csv"
    for results in (killed, ended):
        here("run", "--job", job, "-o", results).ended(0)
    journal = Path(f"{killed}.journal")
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    here("verify", killed, "-q").ended(0)
    with start("verify", ended, "--watch", "1h", "--every", "1s", "--yes") as watching:
        wait_for(watching, lambda: b'"seen"' in Path(f"{ended}.journal").read_bytes())
        watching.kill()
        watching.communicate()
    told = here("run", "--job", job, "--keep", 30).ended(0).stderr

    assert (killed.exists(), ended.exists()) == (True, False)
    assert "night-2020-01-01.csv, though it is old enough: it was cut off and never gone on with" in told


def test_keep_needs_a_date(tmp_path, service):
    """Without a date in the name of the results nothing could be told apart, and nothing is removed."""
    job = job_file(tmp_path, service, 3, keep=30)

    assert "put {date} into the results of the job file" in here("run", "--job", job).ended(2).stderr


def test_killed_by_its_scheduler(tmp_path):
    """SIGTERM, then SIGKILL before the calls in flight are answered: the next start of the job goes on, and ends it."""
    journal = tmp_path / "r.csv.journal"
    with emulator(tmp_path, slow_seconds=PATIENCE_S) as service:
        job = job_file(tmp_path, service, 300, rate=50)
        service.seed(write_devices(tmp_path / "devices.csv", 300))
        with start("run", "--job", job) as child:
            wait_for(child, lambda: rows_done(whole(journal)))
            service.tell("faults", shares={"slow": 1.0})
            wait_for(child, lambda: service.report().faults.get("slow"))
            signalled(child, signal.SIGTERM)
            child.kill()
            child.communicate()
        service.tell("faults", shares={})
        known, called = rows_done(whole(journal)), set(rows_called(service))
        here("run", "--job", job, "--rate", 100000, "--per-address-rate", 100000).ended(0)
        calls = rows_called(service)

    assert known < called
    assert {calls[row] for row in known} == {1}
    assert set(calls) == set(range(1, 301))
    assert [row["outcome"] for row in read_results(tmp_path / "r.csv")] == ["succeeded"] * 300


def rows_called(service):
    """Returns how often each row was called."""
    return Counter(int(call["device_sn"]) for call in service.calls())
