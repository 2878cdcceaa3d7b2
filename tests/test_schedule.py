"""What a job that a timer starts is held to: rows, deadline, paths with dates, and how long old files stay."""

import datetime as dt
import json
import re
import shlex
import time
from types import SimpleNamespace

import pytest
from cyclopts import Token
from made_store import made_run, session
from program import INSTANCE, UNHURRIED, bulkcert, emulator, here, outcomes, write_devices

from bulkcert.engine import session as sessions
from bulkcert.job_file import STARTED
from bulkcert.runs.converters import moment
from bulkcert.store import lock

TODAY = STARTED.date()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with emulator() as running:
        running.seed(write_devices(tmp_path_factory.mktemp("list") / "devices.csv", 300))
        yield running


def job_file(directory, service, rows, **options):
    """Writes a list of so many rows, and a job file for it with more options; returns the file."""
    write_devices(directory / "devices.csv", rows)
    given = {"action": "inactivate-device", "input": "devices.csv", "results": "r.csv", "instance": INSTANCE}
    given |= {"endpoint": service.url, "yes": True, "preflight": "never"} | options
    lines = [
        f"{name} = {str(value).lower() if isinstance(value, bool | int) else repr(value)}"
        for name, value in given.items()
    ]
    (directory / "job.toml").write_text("\n".join(lines))
    return directory / "job.toml"


def clock(*, hours):
    """Returns what this machine's clock will show in so many hours."""
    return f"{dt.datetime.now() + dt.timedelta(hours=hours):%H:%M}"  # noqa: DTZ005 - its own time


@pytest.mark.parametrize("bound", ["min-rows", "max-rows"])
def test_rows_within_bounds(tmp_path, service, bound):
    """A list that is shorter or longer than the job allows is refused before any call; the bound itself is allowed."""
    job = job_file(tmp_path, service, 7, **{bound: 7})
    before = service.report().arrivals
    here("run", "--job", job, f"--{bound}", 8 if bound == "min-rows" else 6).ended(65)

    assert service.report().arrivals == before
    assert not list(tmp_path.glob("r.csv*"))
    here("run", "--job", job).ended(0)


def test_an_empty_list_is_a_quiet_night(tmp_path, service):
    """No rows are no reason to wake anyone, unless the job says that there must be some."""
    job = job_file(tmp_path, service, 0)

    assert "has no rows" in here("run", "--job", job).ended(0).stderr
    assert "at least 1 are expected" in here("run", "--job", job, "--min-rows", 1).ended(65).stderr


def test_deadline(tmp_path, service, monkeypatch):
    """When the deadline has come nothing more is sent; the same command goes on with what is left."""
    job = job_file(tmp_path, service, 300, rate=50)
    before = service.report().arrivals

    def passed():
        return time.time() + 3600 * (service.report().arrivals >= before + 10)

    monkeypatch.setattr(sessions, "CLOCK_CHECK_S", 0.05)
    monkeypatch.setattr(sessions, "time", SimpleNamespace(time=passed))
    ended = here("run", "--job", job, "--deadline", "1h").ended(75)
    monkeypatch.undo()
    called = service.report().arrivals - before

    assert re.search(r"warning: stopped: the deadline, \S+ [\d:]{8}[+-]\d\d:\d\d, is reached", ended.stderr)
    assert "error" not in ended.stderr
    assert 10 <= called < 300
    assert outcomes(tmp_path / "r.csv") == {"succeeded": called, "not_attempted": 300 - called}
    here("run", "--job", job, *UNHURRIED, "--deadline", clock(hours=6)).ended(0)
    assert service.report().arrivals - before == 300


def test_a_deadline_in_the_log(tmp_path, service):
    """It is a warning, with a zone, and the end of the run is the last line, whatever else goes wrong."""
    job = job_file(tmp_path, service, 5, **{"log-format": "json"})
    unheard = ("--notify", "json://127.0.0.1:9/")
    ended = bulkcert("run", "--job", job, "--deadline", "0s", *unheard).ended(75)
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    stopping, *_, last = (line for line in lines if line["event"] in ("stopping", "warning", "run_finished"))

    assert re.search(r"\d\d:\d\d:\d\d[+-]\d\d:\d\d", stopping["message"])
    assert "ERROR" not in {line["level"] for line in lines}
    assert lines[-1] is last
    assert last["event"] == "run_finished"
    assert any("not delivered" in line["message"] for line in lines[:-1])


def test_a_deadline_that_has_passed(tmp_path, service):
    """A deadline that is over before the first call lets none be made; one of this day does not mean the next."""
    job = job_file(tmp_path, service, 5)
    before = service.report().arrivals
    here("run", "--job", job, "--deadline", "0s").ended(75)
    told = here("run", "--job", job, "--deadline", clock(hours=-1)).ended(75).stderr

    assert service.report().arrivals == before
    assert "which is over: no calls will be made" in told


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
    [results] = tmp_path.glob("r-*[0-9].csv")
    [command] = [line.removeprefix("to resume: ") for line in said.splitlines() if line.startswith("to resume: ")]
    program, *options = shlex.split(command)

    assert (program, options) == ("bulkcert", ["resume", str(results)])
    bulkcert(*options, "--yes").ended(0)  # a process of its own, and so of another time
    assert [*tmp_path.glob("r-*[0-9].csv")] == [results]
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


@pytest.mark.parametrize("secret", ["ALIBABA_CLOUD_ACCESS_KEY_SECRET", "db_password", "ALIBABA_CLOUD_SECURITY_TOKEN"])
def test_a_secret_is_in_no_path(tmp_path, service, secret):
    """A variable whose name says that it holds a secret fills in no path, whether it is set or not (2)."""
    job = job_file(tmp_path, service, 3, results=f"${{{secret}}}.csv")
    refused = here("run", "--job", job, env={secret: "hidden"}).ended(2).stderr

    assert f"{secret} is a secret by its name" in refused
    assert "hidden" not in refused


def test_a_variable_that_says_where_a_secret_is_fills_a_path_in(tmp_path, service):
    """The name of a file is no secret."""
    job = job_file(tmp_path, service, 3, results="${KEYRING_TOKEN_FILE}.csv")
    here("run", "--job", job, env={"KEYRING_TOKEN_FILE": "where"}).ended(0)

    assert outcomes(tmp_path / "where.csv") == {"succeeded": 3}


def test_a_path_with_control_characters(tmp_path, service):
    """It is refused, and no terminal obeys the refusal (2); one that was typed is shown without them, too."""
    job = job_file(tmp_path, service, 3, results="${SITE}.csv")
    refused = here("run", "--job", job, env={"SITE": "a\x1b[31m\nb"}).ended(2).stderr
    typed = here("status", tmp_path / "a\x1b[31mb.csv").ended(66).stderr

    assert "the path holds a control character: 'a\\x1b[31m\\nb.csv'" in refused
    assert "\x1b" not in refused + typed


@pytest.fixture
def nights(tmp_path, service):
    """Returns what makes an earlier run of a job that keeps 30 days, and what runs the job and tells what it said."""
    job = job_file(tmp_path, service, 3, results="night-{date}.csv")
    of_job = {"instance": INSTANCE, "endpoint": service.url}

    def night(name, *sessions, **asked):
        made = made_run(tmp_path, ["succeeded"] * 3, sessions or None, name=name, **of_job | asked)
        made.results.write_text("results")
        return made

    return night, lambda *more: here("run", "--job", job, "--retain-days", 30, *more).ended(0).stderr


def test_old_runs_are_removed(tmp_path, nights):
    """Runs of the same job, older than it says, that ended are removed with all that bulkcert has made; no more."""
    night, run = nights
    old = night("night-2020-01-01.csv", session(), session("undo"), session("verify", ended=None))
    old.report.write_text("report")
    old.summary.write_text("summary")
    killed = old.failed.with_name(f".{old.failed.name}.0123456789ab.part")
    killed.touch()
    (tmp_path / "night-2020-01-01.csv.notes").write_text("mine")
    night("day-2020-01-01.csv")
    night("night-2020-02-30.csv")
    night(f"night-{TODAY - dt.timedelta(days=30)}.csv")
    night(f"night-{TODAY - dt.timedelta(days=31)}.csv")
    (tmp_path / "night-2020-01-05.csv").write_text("no run of ours")
    before = {path.name for path in tmp_path.iterdir()}
    told = run()

    names = ["night-2020-01-01.csv", f"night-{TODAY - dt.timedelta(days=31)}.csv"]
    gone = before - {path.name for path in tmp_path.iterdir()}
    assert gone == {f"{name}{more}" for name in names for more in ("", ".run")} | {old.report.name, killed.name}
    assert f"removed 2 earlier runs, the oldest {names[0]}" in told
    assert "kept" not in told


@pytest.mark.parametrize(
    ("sessions", "asked", "reason"),
    [
        ([session(ended=None)], {}, "it was interrupted and never resumed"),
        ([session(), session("undo", ended=None)], {}, "it was interrupted and never resumed"),
        ([session(ended=None), session("verify")], {}, "it was interrupted and never resumed"),
        ([], {"action": "activate-device"}, "it is the run of another job"),
        ([], {"instance": "post-cn-other"}, "it is the run of another job"),
        ([], {"endpoint": "https://other"}, "it is the run of another job"),
    ],
)
def test_old_runs_that_are_kept(nights, sessions, asked, reason):
    """What was interrupted, or is of another job, stays whole, and the reason is told."""
    night, run = nights
    kept = night("night-2020-01-01.csv", *sessions, **asked)
    before = sorted(kept.everything())

    assert f"kept {kept.results}, though it is old enough: {reason}\n" in run()
    assert sorted(kept.everything()) in (before, sorted([*before, kept.lock]))


def test_old_runs_that_cannot_be_removed(tmp_path, nights):
    """What a process holds and what is damaged stays, with the reason."""
    night, run = nights
    names = [f"night-2020-01-0{number}.csv" for number in range(1, 4)]
    running, damaged = (night(name) for name in names[:2])
    damaged.store.write_bytes(b"no store\n" * 999)
    (tmp_path / f"{names[2]}.run").mkdir()
    with lock.take(running.lock):
        told = run()

    assert "removed" not in told
    assert all(each.results.exists() and each.store.exists() for each in (running, damaged))
    reasons = ["it is running", "is damaged", "there is no run in it"]
    for name, reason in zip(names, reasons, strict=True):
        assert reason in next(line for line in told.splitlines() if f"{name}, though it is old enough" in line)


def test_old_runs_of_folders_elsewhere(tmp_path, nights):
    """Where the folders of runs are kept elsewhere, those of results in other directories stay."""
    night, run = nights
    (tmp_path / "state").mkdir()
    old = night("night-2020-01-01.csv", state_dir=tmp_path / "state")
    other = night("night-2020-01-02.csv", state_dir=tmp_path / "state", directory="/elsewhere", results="r.csv")
    told = run("--state-dir", tmp_path / "state")

    assert (old.folder.exists(), other.folder.exists()) == (False, True)
    assert "night-2020-01-02.csv, though it is old enough: it is the run of another job" in told


def test_keep_needs_a_date(tmp_path, service):
    """Without a date in the name of the results nothing could be told apart, and nothing is removed."""
    job = job_file(tmp_path, service, 3, retain_days=30)

    assert "put {date} into the results of the job file" in here("run", "--job", job).ended(2).stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--deadline", value) for value in ("70000000h", "9" * 400, "nan", "-1h")),
        *(("--timeout", value) for value in ("nan", "inf", "1e300", "-1")),
        *((option, "9" * 400) for option in ("--rate", "--attempts", "--max-rows", "--limit-rows", "--max-errors")),
        *((option, "1000000") for option in ("--retain-days", "--max-in-flight")),
    ],
)
def test_numbers_beyond_all_reckoning(tmp_path, option, value):
    """What is no number that can be reckoned with is a wrong option, before anything happens."""
    where = ("--instance", INSTANCE, "--endpoint", "http://127.0.0.1:9", "-o", tmp_path / "r-2026-01-01.csv")
    refused = here("run", "inactivate-device", "d.csv", *where, option, value, cwd=tmp_path).ended(2).stderr

    assert option in refused
    assert len(refused) < 600


def test_an_undo_by_the_environment_alone(tmp_path, service):
    """An undo that is typed as one word, of a job with a date in its results, names the command that goes on."""
    job_file(tmp_path, service, 5, results="r-{date}.csv")
    here("run", "--job", "job.toml", cwd=tmp_path).ended(0)
    env = {"BULKCERT_JOB": "job.toml", "BULKCERT_YES": "true", "BULKCERT_INCLUDE_UNKNOWN": "true"}

    told = here("undo", env=env | {"BULKCERT_LIMIT_ROWS": "2"}, cwd=tmp_path).ended(75).stderr

    assert f"bulkcert resume {tmp_path / f'r-{TODAY}.csv'}\n" in told
