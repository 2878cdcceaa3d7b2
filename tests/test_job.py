"""Options, resolved: what is refused, and that everything wrong is said at once."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from cyclopts import Token
from program import INSTANCE, here, write_devices

from bulkcert.cli import app
from bulkcert.commands import COMMANDS
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.job_file import PATHS
from bulkcert.runs.converters import names_of
from bulkcert.runs.job import resolve
from bulkcert.runs.options import Options
from bulkcert.store.outcome import Retried
from bulkcert.store.paths import default_results

INPUTS = (Path("devices.csv"),)
GOOD = {"instance": "post-cn-1", "region": "cn-hangzhou"}


def refused(**options):
    with pytest.raises(BulkcertError) as refusal:
        resolve("inactivate-device", INPUTS, Options(**GOOD | options))
    return refusal.value


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"source_address": ("127.0.0.2", "127.0.0.2")}, "the same address twice"),
        ({"source_address": ("0.0.0.0",)}, "means any address"),
        ({"source_address": ("192.0.2.1",)}, "not an address of this machine"),
        ({"source_address": ("here",)}, "not an IP address"),
        ({"rate": 0}, "--rate must be at least 1"),
        ({"rate": 501}, "above the documented 500/s of an account"),
        ({"per_address_rate": 301}, "blocks it: nothing that sends from there gets an answer"),
        ({"rate": 1, "source_address": ("127.0.0.2", "127.0.0.3")}, "less than one call a second"),
        ({"max_in_flight": 1, "source_address": ("127.0.0.2", "127.0.0.3")}, "--max-in-flight"),
        ({"timeout": float("nan")}, "--timeout"),
        ({"max_errors": "101%"}, "--max-errors"),
        ({"overwrite": True, "retry": ("failed",)}, "exclude each other"),
        ({"limit_rows": 0}, "--limit-rows must be at least 1"),
        ({"endpoint": "http://example.com"}, "https"),
        ({"endpoint": "https://user@host"}, "scheme, host and port only"),
        ({"results": Path("out.xlsx")}, "must end in"),
        ({"vpc": True, "region": "mq-internet-access"}, "no VPC endpoint"),
    ],
)
def test_refused(options, told):
    """Each wrong option is refused before anything happens, and the message says why."""
    assert told in refused(**options).message


@pytest.mark.parametrize("how", ["flag", "environment", "job"])
def test_limits_that_were_raised(how, tmp_path, service):
    """Above the documented limits nothing starts unless somebody says that they were raised: then it is said again."""
    write_devices(tmp_path / "d.csv", 1)
    job, limits = tmp_path / "job.toml", "rate = 900\nper-address-rate = 900\n"
    job.write_text(limits + "limits-raised = true\n" * (how == "job"))
    where = (*service.looking[:5], "--preflight", "never")
    run = ("run", "inactivate-device", "d.csv", "-o", "r.csv", "--job", job, *where)
    more = ["--limits-raised"] if how == "flag" else []
    env = {"BULKCERT_LIMITS_RAISED": "true"} if how == "environment" else {}
    if how != "job":
        refused = here(*run, cwd=tmp_path).ended(2).stderr
        assert refused.count("--limits-raised says that the service has raised yours") == 2
        assert not (tmp_path / "r.csv.run").exists()
    done = here(*run, *more, cwd=tmp_path, env=env).ended(1).stderr
    assert "above the documented limits" in done
    assert "for how long is not documented" in done


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("failed",), ("failed",)),
        (("failed,unknown", "drifted"), ("failed", "unknown", "drifted")),
        (("undone, undone ,",), ("undone",)),
    ],
)
def test_what_is_called_again(typed, meant):
    """Names of outcomes with commas between them, given once or more often."""
    assert names_of(get_args(Retried))(None, [Token(value=value) for value in typed]) == meant


@pytest.mark.parametrize("name", ["succeeded", "invalid", "protected", "everything"])
def test_what_cannot_be_called_again(name):
    """What is done, and what is never called, is not taken up again (2); nor is a cap rounded up."""
    told = here("resume", "r.csv", "--retry", f"failed,{name}").ended(2).stderr
    assert f"'{name}' is not valid; choose from failed, unknown, not_registered, undone, drifted" in told
    assert "'1.5' is not a whole number" in here("resume", "r.csv", "--rate", "1.5").ended(2).stderr


def test_standard_input_names_no_results():
    """A list from a pipe needs the name of its results; several files are named after the first."""
    with pytest.raises(BulkcertError, match="--results is missing"):
        resolve("delete-ca", (Path("-"),), Options(**GOOD))
    job = resolve("delete-ca", (Path("a.csv"), Path("b.csv")), Options(**GOOD))
    assert (job.files.results, job.list_name) == (Path("a.delete-ca.results.csv"), "a.csv, b.csv")


@pytest.mark.parametrize("inputs", ['["a.csv", "b.csv"]', '"a.csv"'])
def test_the_list_of_a_job_file(tmp_path, inputs):
    """One file or several, from where the job file is; what is typed wins."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"DeviceSn,CaSn\n01,00{name}\n")
    job = tmp_path / "job.toml"
    job.write_text(f'action = "inactivate-device"\ninput = {inputs}\ninstance = "i"\nregion = "cn-hangzhou"\n')
    where = ("--job", job, "--deadline", "0s", "--yes", "--preflight", "never", "--overwrite")
    told = here("run", *where).ended(75)
    assert f"rows          {2 if 'b' in inputs else 1}\n" in told.stdout
    assert "rows          1\n" in here("run", "inactivate-device", tmp_path / "b.csv", *where).ended(75).stdout


def test_an_unknown_region():
    """An unknown region is a matter of configuration; the one that was meant is named, and a few, not all there are."""
    error = refused(region="cn-nowhere")

    assert error.status is ExitStatus.MISCONFIGURED
    assert "did you mean" not in error.message
    assert len(error.advice) < 200
    assert refused(region="cn-hangzou").message == "--region cn-hangzou is not known; did you mean cn-hangzhou?"


def test_hosts():
    """A region gives the public host, or the one inside its VPC; an endpoint wins over both."""
    hosts = [
        str(resolve("delete-ca", INPUTS, Options(**GOOD | more)).endpoint)
        for more in ({}, {"vpc": True}, {"endpoint": "https://elsewhere"})
    ]

    assert hosts[0] == "https://onsmqtt.cn-hangzhou.aliyuncs.com"
    assert hosts[1] == "https://onsmqtt-vpc.cn-hangzhou.aliyuncs.com"
    assert hosts[2] == "https://elsewhere"


@pytest.mark.parametrize(
    ("name", "results"),
    [
        ("devices.csv", "devices.inactivate-device.results.csv"),
        ("a.b.CSV.gz", "a.b.inactivate-device.results.csv"),
        ("devices.parquet", "devices.inactivate-device.results.parquet"),
    ],
)
def test_default_results(name, results):
    """Results stand beside the input, named after it and the action, in its format."""
    assert default_results(Path("/x") / name, "inactivate-device") == Path("/x") / results


def test_paths_that_cannot_be(tmp_path):
    """A path that the system refuses even to look at is an error of its kind, not an internal one."""
    write_devices(tmp_path / "in.csv", 1)
    where = ("--instance", "i", "--endpoint", "http://127.0.0.1:9", "--yes")
    too_long = tmp_path / ("x" * 300)

    assert "too long" in here("run", "delete-ca", tmp_path / "in.csv", "-o", f"{too_long}.csv", *where).ended(73).stderr
    assert "--job" in here("run", "--job", too_long).ended(2).stderr


def test_the_rehearsals_own_table(tmp_path):
    """What is in [rehearsal] is for rehearse alone, and the deadline of the night is not; a misspelt name is said."""
    write_devices(tmp_path / "in.csv", 5)
    job = 'action = "inactivate-device"\ninput = "in.csv"\ninstance = "i"\nendpoint = "http://127.0.0.1:9"\n'
    over = f"{datetime.now() - timedelta(hours=1):%H:%M}"  # noqa: DTZ005 - a time of day is the machine's own
    (tmp_path / "job.toml").write_text(f"{job}attempts = 1\ndeadline = '{over}'\n[rehearsal]\nunregistered = 1.0\n")
    rehearsed = here("rehearse", "--job", tmp_path / "job.toml").ended(1)
    run = ("run", "--job", tmp_path / "job.toml", "--yes", "--deadline", "1h")
    warned = here(*run, env={"BULKCERT_INSTANSE": "other"}).ended(69).stderr

    assert "5 not_registered" in rehearsed.stdout
    assert "warning: BULKCERT_INSTANSE is not an option" in warned


PROFILED = (
    ("inventory", "-o", "d.csv"),
    ("doctor",),
    ("policy", "inactivate-device"),
    ("plan", "inactivate-device", "d.csv"),
    ("run", "inactivate-device", "d.csv", "-o", "r.csv", "--yes"),
    ("status", "r.csv"),
    ("runs",),
    ("verify", "r.csv"),
    ("report", "r.csv"),
    ("export", "r.csv", "-o", "x.csv"),
    ("undo", "r.csv", "--yes"),
    ("resume", "r.csv", "--yes", "--retry", "undone"),
)


def test_a_job_file_without_a_job_is_a_profile(tmp_path, service):
    """Where calls go is named once, for every command; what is typed comes first."""
    service.seed(write_devices(tmp_path / "d.csv", 5))
    (tmp_path / "d.csv").unlink()
    profile = tmp_path / "prod.toml"
    profile.write_text(f'instance = "{INSTANCE}"\nendpoint = "{service.url}"\nrate = 100\n')
    env = {"BULKCERT_JOB": str(profile)}
    for command in PROFILED:
        here(*command, env=env, cwd=tmp_path).ended(0)

    assert "MqttInstanceNotFound" in here("doctor", "--instance", "another", env=env).ended(78).stdout


def test_every_path_counts_from_the_job_file(tmp_path):
    """What is a path of any command is one in a job file: it starts there, and has no control characters."""
    paths = {
        argument.name.removeprefix("--")
        for command in COMMANDS
        for argument in app[command].assemble_argument_collection()
        if "Path" in str(argument.hint)
    }

    assert paths == PATHS
    (tmp_path / "job.toml").write_text('directory = "new\\u0000"')
    assert "control character" in here("runs", "--job", tmp_path / "job.toml").ended(2).stderr
