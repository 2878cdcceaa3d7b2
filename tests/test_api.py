"""The Python API: what the commands do, as functions; nothing is printed, no signal is taken, nothing stays behind."""

import asyncio
import inspect
import json
import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import anyio
import polars as pl
import pytest
from program import INSTANCE, KEY_ID, SECRET, environment, here, outcomes, read_results, wait_for, write_devices
from program import bulkcert as command

import bulkcert
from bulkcert import BulkcertError, Credentials, ExitStatus, Job
from bulkcert.log import bound

OF_LINES = {"timestamp", "level", "message"}
"""What the formatter of lines adds."""

KEY = Credentials(KEY_ID, SECRET)


@pytest.fixture
def job(tmp_path, service):
    """Makes a job over a list of 20 registered, active devices."""
    devices = write_devices(tmp_path / "devices.csv", 20)
    service.seed(devices)
    service.tell("faults", shares={})

    def make(action="inactivate-device", name="r.csv", **options):
        where = {"endpoint": service.url, "instance": INSTANCE, "rate": 100_000, "per_address_rate": 100_000}
        options = where | {"limits_raised": True, "results": tmp_path / name} | options
        return Job(action, tmp_path / "devices.csv", **options)

    make.devices = devices
    return make


async def test_from_the_plan_to_the_undo(job, service, capfd):
    """Each function does what its command does, one after the other in one process, and nobody sees anything."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    before, figures = dict(bound()), []
    planned = await bulkcert.plan(job(), credentials=KEY)
    came = await bulkcert.run(job(ticket="CHG-1"), on_progress=figures.append, credentials=KEY)
    verified = await bulkcert.verify(job(), credentials=KEY)
    rows = bulkcert.results(job()).collect()
    undone = await bulkcert.undo(job().results, credentials=KEY)
    again = await bulkcert.run(job(name="second.csv"), credentials=KEY)

    assert (planned.totals.to_change, planned.exit_status) == (20, 0)
    assert (came.outcomes, came.exit_status, came.latest.change.ticket) == ({"succeeded": 20}, 0, "CHG-1")
    assert figures[-1].done == 20
    assert (verified.wanted, verified.exit_status) == (20, 0)
    assert rows["verified_status"].to_list() == ["inactive"] * 20
    assert (undone.undone, undone.exit_status, undone.run.exit_status) == (20, 0, 1)
    assert again.outcomes == {"succeeded": 20}
    assert service.states(job.devices) == ["0"] * 20
    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    assert bound() == before


async def test_the_command_and_the_function_do_the_same(job, tmp_path):
    """What one has begun the other resumes, and both leave the same files."""
    await bulkcert.run(job(limit_rows=5), credentials=KEY)
    command("resume", job().results, "--limit-rows", 5, "-q", "-y").ended(75)
    came = await bulkcert.resume(str(job().results), credentials=KEY)

    assert (came.exit_status, came.outcomes) == (0, {"succeeded": 20})
    assert [each.kind for each in came.sessions] == ["run"] * 3
    assert outcomes(tmp_path / "r.csv") == {"succeeded": 20}


@pytest.mark.parametrize("how", ["asyncio", "anyio", "progress"])
async def test_cancelled(job, service, how):
    """No more is sent, calls in flight are waited for, the results are written: the run can be resumed."""
    reached = asyncio.Event()

    def on_progress(stats):
        if stats.calls:
            reached.set()
            if how == "progress":
                raise ZeroDivisionError

    slow = job(rate=10, per_address_rate=10)
    if how == "asyncio":
        running = asyncio.create_task(bulkcert.run(slow, on_progress=on_progress, credentials=KEY))
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    elif how == "anyio":
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: bulkcert.run(slow, on_progress=on_progress, credentials=KEY))
                await reached.wait()
                scope.cancel()
    else:
        with pytest.raises(ZeroDivisionError):
            await bulkcert.run(slow, on_progress=on_progress, credentials=KEY)
    status = here("status", slow.results).ended(75)
    calls = len(service.calls())
    there = outcomes(slow.results)

    assert "cancelled" in status.stdout
    assert sum(there.values()) == 20
    assert 0 < there["succeeded"] < 20
    await asyncio.sleep(0.3)
    assert len(service.calls()) == calls
    assert (await bulkcert.resume(slow.results, credentials=KEY)).exit_status == 0
    assert read_results(slow.results)[-1]["outcome"] == "succeeded"


def test_interrupted(job, service, tmp_path):
    """No signal is taken: Ctrl-C is asyncio's, which cancels; a thread that is not the first will do as well."""
    script = f"""
import asyncio, threading
from pathlib import Path
import bulkcert

def run(**options):
    where = dict(endpoint="{service.url}", instance="{INSTANCE}", results=Path("{job().results}"))
    job = bulkcert.Job("inactivate-device", "{tmp_path / "devices.csv"}", rate=10, **where, **options)
    return asyncio.run(bulkcert.run(job))

thread = threading.Thread(target=run, kwargs=dict(limit_rows=1))
thread.start()
thread.join()
print("begins", flush=True)
run()
"""
    calls = len(service.calls())
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], env=environment(), **streams) as child:
        child.stdout.readline()
        wait_for(child, lambda: len(service.calls()) > calls + 3)
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate()

    assert stderr.strip().endswith(b"KeyboardInterrupt")
    there = outcomes(job().results)
    assert there["succeeded"] == len(service.calls()) - calls - reads_of(service.calls()[calls:])
    assert "cancelled" in here("status", job().results).ended(75).stdout


def reads_of(calls):
    return sum(not call["operation"].startswith("Inactivate") for call in calls)


async def test_results_are_read_as_far_as_they_are_wanted(job):
    """A LazyFrame has the types of the columns, filters, projects, and needs no results file."""
    await bulkcert.run(job(limit_rows=7), credentials=KEY)
    job().results.unlink()
    rows = bulkcert.results(job())

    assert rows.collect_schema()["attempts"] == pl.UInt32
    assert rows.filter(pl.col("outcome") == "succeeded").select("DeviceSn").collect().height == 7
    assert rows.head(3).collect()["row"].to_list() == [1, 2, 3]
    assert rows.select(pl.len()).collect().item() == 20


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({"action": "inactivate-devices"}, ExitStatus.USAGE, "there is no action"),
        ({"rate": "fast"}, ExitStatus.USAGE, "$.rate"),
        ({"retry": ["faild"]}, ExitStatus.USAGE, "faild"),
        ({"rate": 501, "limits_raised": False}, ExitStatus.USAGE, "501"),
        ({"instance": ""}, ExitStatus.USAGE, "--instance is missing"),
        ({"min_rows": 21}, ExitStatus.INPUT_INVALID, "20 rows"),
        ({"require": ["plan"]}, ExitStatus.USAGE, "plan is missing"),
    ],
)
async def test_refused(job, service, changed, status, says):
    """What a command refuses is an error with its exit status; no calls are made and nothing is left."""
    calls = len(service.calls())
    with pytest.raises(BulkcertError) as refused:
        await bulkcert.run(job(**changed), credentials=KEY)

    assert refused.value.status is status
    assert says in refused.value.message
    assert len(service.calls()) == calls
    assert not job().results.with_name("r.csv.run").exists()


async def test_an_action_on_cas_is_read_first(job, service, tmp_path):
    """Nobody is asked, so a deletion needs the number of devices, as with --yes."""
    with pytest.raises(BulkcertError, match="20 device certificates"):
        await bulkcert.run(job("delete-ca"), credentials=KEY)
    came = await bulkcert.run(job("delete-ca", confirm_devices=20), credentials=KEY)

    assert came.exit_status == 0
    assert service.states(job.devices) == [None] * 20


async def test_there_is_no_such_run(tmp_path):
    """Every function that needs a run says that there is none."""
    for function in (bulkcert.verify, bulkcert.undo, bulkcert.resume):
        with pytest.raises(BulkcertError) as refused:
            await function(tmp_path / "r.csv")
        assert refused.value.status is ExitStatus.INPUT_UNREADABLE
    with pytest.raises(BulkcertError, match="no run"):
        bulkcert.results(tmp_path / "r.csv")


async def test_the_log_is_that_of_the_standard_library(job, caplog):
    """Whoever sets up the logger bulkcert gets its events, with their fields."""
    with caplog.at_level(logging.INFO, "bulkcert"):
        await bulkcert.run(job(ticket="CHG-1"), credentials=KEY)
        await bulkcert.run(job("activate-device", name="second.csv"), credentials=KEY)
    events = [record.event for record in caplog.records]

    assert events[0] == "run_started"
    assert events[-1] == "run_finished"
    assert "progress" in events
    runs = {record.run: (record.action, record.ticket, record.access_key_id) for record in caplog.records}
    assert [*runs.values()] == [("inactivate-device", "CHG-1", KEY_ID), ("activate-device", None, KEY_ID)]


async def test_the_command_logs_the_same(job, caplog):
    """Command and function are strung together of the same steps: what machines read of either is the same."""
    where = ("--instance", INSTANCE, "--endpoint", job().endpoint, "--yes", "--log-format", "json")
    said = [command("run", "inactivate-device", job().inputs, "-o", job(name="c.csv").results, *where).ended(0)]
    said += [command(name, job(name="c.csv").results, *where).ended(0) for name in ("verify", "undo")]
    lines = [json.loads(line) for each in said for line in each.stderr.splitlines()]
    of_command = [(line["event"], line.keys() - OF_LINES) for line in lines]
    of_command = [(name, fields) for name, fields in of_command if name not in ("progress", "notice")]
    documented = {"rate": 500, "per_address_rate": 300, "limits_raised": False}
    with caplog.at_level(logging.INFO, "bulkcert"):
        await bulkcert.run(job(**documented), credentials=KEY)
        await bulkcert.verify(job(**documented), credentials=KEY)
        await bulkcert.undo(job(**documented), credentials=KEY)
    records = [vars(record) for record in caplog.records if record.event != "progress"]

    assert [name for name, _ in of_command] == [record["event"] for record in records]
    assert all(fields <= record.keys() for (_, fields), record in zip(of_command, records, strict=True))


def test_importing_it_is_light():
    """The names are loaded when they are used; all of them are there, and no other."""
    code = "import sys, bulkcert; assert not {'anyio', 'cyclopts', 'polars'} & {*sys.modules}; bulkcert.run"
    code += "; assert not {'prometheus_client', 'apprise', 'jinja2', 'uvicorn', 'distributed'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)

    assert all(getattr(bulkcert, name) for name in bulkcert.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bulkcert.nothing  # noqa: B018


def test_it_is_typed():
    """A type checker knows every argument and what comes back, and that it may look."""
    functions = [bulkcert.plan, bulkcert.run, bulkcert.verify, bulkcert.undo, bulkcert.resume, bulkcert.results]

    assert all(inspect.signature(each).parameters.keys() <= get_type_hints(each).keys() for each in functions)
    assert Path(bulkcert.__file__).with_name("py.typed").is_file()
