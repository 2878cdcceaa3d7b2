"""What a command leaves people with: what it says can be done next is so, whatever became of the run."""

import json
import os
from contextlib import closing

import pytest
from program import UNHURRIED, bulkcert, here, outcomes, summary_of, write_devices
from stored import kill

from bulkcert.store import lock

pytestmark = pytest.mark.usefixtures("inside")


@pytest.fixture
def devices(service, tmp_path):
    """Returns active devices of this test's own, listed in ``d.csv``."""
    pairs = write_devices(tmp_path / "d.csv", 4, name=tmp_path.name[:20])
    service.seed(pairs)
    return pairs


def run(service, *more, status=0):
    return here("run", "inactivate-device", "d.csv", *service.where, "-q", "-o", "r.csv", *more).ended(status)


@pytest.mark.parametrize(("option", "value"), [("--min-rows", "5"), ("--max-rows", "3")])
def test_a_plan_knows_how_long_the_list_may_be(service, devices, tmp_path, option, value):
    """65, in the words of the run, also from a job file: a plan never says that a run could start that would not."""
    (tmp_path / "job.toml").write_text(
        f'action = "inactivate-device"\ninput = "d.csv"\n{option.removeprefix("--")} = {value}\n'
    )
    refused = run(service, option, value, status=65).stderr.split(";")[0].removeprefix("error: ")
    where = service.looking[:4]
    told = here("plan", "inactivate-device", "d.csv", *where, "-q", option, value).ended(65).stdout
    assert refused in told
    assert "the run would not start" in told
    told = here("--job", "job.toml", "plan", *where, "-q", "--json").ended(65).stdout
    assert refused in " ".join(json.loads(told)["advice"])


def verify(*more, status=0):
    return here("verify", "r.csv", *UNHURRIED, *more).ended(status)


def offered(stderr, beginning):
    """Returns the arguments of the command that a hand-off names."""
    line = next(line for line in stderr.splitlines() if f": {beginning}" in line)
    return line[line.index(beginning) :].split()[1:]


def test_rows_not_come_to_are_not_offered_to_a_watch(service, devices):
    """A watch calls only what the run has called: where nothing of that stands otherwise it is not offered."""
    run(service, "--limit-rows", "2", status=75)
    assert "--watch" not in verify(status=1).stderr
    service.seed(devices[:1])
    assert "bulkcert verify r.csv --watch 10m" in verify(status=1).stderr


@pytest.mark.parametrize(("preflight", "decision"), [("never", ["--include-unknown"]), ("always", [])])
def test_the_line_that_undoes_works(service, devices, preflight, decision):
    """An undo of rows that were not read before asks for a decision: the line names it, and why; else it is plain."""
    run = ("run", "inactivate-device", "d.csv", *service.looking, "-o", "r.csv", "--preflight", preflight)
    told = here(*run).ended(0).stderr
    assert ("(4 rows: what they were before is not known)" in told) == bool(decision)
    line = offered(told, "bulkcert undo")
    assert line == ["undo", "r.csv", *decision]
    here(*line, "--yes", "-q", *UNHURRIED).ended(0)
    assert service.states(devices) == ["1"] * 4


def test_a_wrong_instance_is_not_repeated_as_the_way_on(service, devices):
    """78 for the instance: going on needs another one, and the hand-off says so."""
    where = ("--endpoint", service.url, "--instance", "post-nope", "--yes", "--preflight", "never", *UNHURRIED)
    told = here("run", "inactivate-device", "d.csv", *where, "-o", "r.csv").ended(78).stderr
    assert "with the right --instance and --region, to resume: bulkcert resume r.csv" in told
    assert summary_of("r.csv")["stop_code"] == "MqttInstanceNotFound"


def test_calls_of_a_killed_session_are_not_counted_out(service, devices):
    """A session that was killed has told of its calls as far as it has: those of all are "at least" so many."""
    run(service, "--limit-rows", "2", status=75)
    assert "at least" not in run(service, "--limit-rows", "1", status=75).stdout
    kill("r.csv")
    assert "at least 4 in all sessions" in run(service).stdout


def test_json_is_why_nothing_is_asked(service, devices):
    """--log-format json without --yes: the reason is the format, not that there is no terminal."""
    run = ("run", "inactivate-device", "d.csv", *service.looking[:4], "--log-format", "json")
    refused = bulkcert(*run).ended(2).stderr
    assert "with --log-format json nothing is asked; no calls were made" in refused
    assert "terminal" not in refused


def test_what_is_not_ok_is_never_silent(service, devices, tmp_path):
    """However quiet a run is, a line on stderr says why it does not exit with 0: a timer mails that alone."""
    (tmp_path / "d.csv").write_text((tmp_path / "d.csv").read_text() + ",x\n,y\n")
    told = "warning: 2 rows are not in the desired state: 2 invalid; see r.csv.failed.csv\n"
    assert run(service, "--skip-invalid", status=1).stderr == told
    assert run(service, "--skip-invalid", "--json", status=1).stderr == told
    assert verify("-q", status=1).stderr == "warning: 2 rows not read; see r.csv.failed.csv\n"


def test_what_is_ok_is_silent(service, devices):
    """A quiet run that exits with 0 leaves nothing on stderr; one that was read back otherwise says when."""
    assert not run(service).stderr
    assert not verify("-q").stderr
    service.seed(devices[:1])
    verify("-q", status=1)
    assert run(service, status=1).stderr == (
        "warning: 1 row is not in the desired state: read back so; see r.csv.failed.csv\n"
        "to call again (1 drifted): bulkcert resume r.csv --retry drifted\n"
    )


@pytest.mark.parametrize("command", ["verify", "undo", "resume"])
def test_a_run_that_is_running_is_not_one_that_was_killed(service, devices, tmp_path, command):
    """73 while a first run is running: who holds it, and nothing about a kill or a command to run again."""
    run(service, "--limit-rows", "2", status=75)
    (tmp_path / "r.csv").unlink()
    with closing(lock.take(tmp_path / "r.csv.run" / "lock")):
        refused = here(command, "r.csv", "--yes", *UNHURRIED).ended(73).stderr
    assert f"process {os.getpid()} on " in refused
    assert "Wait until it ends" in refused
    assert "killed" not in refused


@pytest.mark.parametrize("named", [True, False], ids=["named", "by default"])
def test_a_job_file_names_the_run_for_what_reads_it(service, devices, tmp_path, named):
    """Verify, report, status, resume and undo take the results of the job, its default ones too."""
    results = "r.csv" if named else "d.inactivate-device.results.csv"
    line = f'results = "{results}"\n' if named else ""
    (tmp_path / "job.toml").write_text(f'action = "inactivate-device"\ninput = "d.csv"\n{line}')
    here("--job", "job.toml", "run", *service.where, "-q").ended(0)
    assert results in here("--job", "job.toml", "verify", *UNHURRIED).ended(0).stdout
    assert "4" in here("--job", "job.toml", "report", "--format", "text").ended(0).stdout
    assert results in here("--job", "job.toml", "status").ended(0).stdout
    here("--job", "job.toml", "undo", "--include-unknown", "--yes", "-q", *UNHURRIED).ended(0)
    assert service.states(devices) == ["1"] * 4
    assert outcomes(tmp_path / results) == {"undone": 4}
    here("--job", "job.toml", "resume", "--retry", "undone", "--yes", "-q", *UNHURRIED).ended(0)
    assert service.states(devices) == ["0"] * 4


def test_a_plan_that_may_not_read(service, devices):
    """Where reading is refused the plan does not call it untried, and says what the start then depends on."""
    service.tell("faults", shares={"NoPermission": 1.0})
    try:
        told = here("plan", "inactivate-device", "d.csv", *service.looking[:4]).ended(0).stdout
    finally:
        service.tell("faults", shares={})

    assert "not known: reading was refused" in told
    assert "could start, if it may change what it may not read" in told
    assert "not tried" not in told
