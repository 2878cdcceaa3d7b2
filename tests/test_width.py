"""On a terminal of 80 columns no line is longer and no word is cut, whatever a view has to say."""

import io
from pathlib import Path

import pytest
from made_store import made_run, row, session

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.store.status import status_of
from bulkcert.views import console
from bulkcert.views.advice import steps_after, steps_left
from bulkcert.views.console import command_lines, say_step
from bulkcert.views.layout import show
from bulkcert.views.plan import CaStates, States, _table
from bulkcert.views.runs import lines_of, runs_in
from bulkcert.views.status import rows_of

WIDTH = 80
LONG = "the service has answered with words and words and more words that nobody would read on one line " * 2
RUNS = {
    "killed": (["succeeded", "failed", row(None, claimed_by=1), None], [session(ended=None, figures={"calls": 5})]),
    "stopped": (["succeeded", None], [session(ended=77, stopped=LONG)]),
    "undone": (["undone", row(claimed_by=2, sent=True)], [session(), session("undo", after_ms=60_000)]),
    "unregistered": (["not_registered", "failed", "unknown"], [session(ended=1)]),
}


@pytest.fixture
def printed(monkeypatch):
    """Both consoles as terminals of 80 columns; gives the lines that were printed."""
    stream = io.StringIO()
    for each in (console.stdout, console.stderr):
        monkeypatch.setattr(each, "_force_terminal", True)
        monkeypatch.setattr(each, "_width", WIDTH)
        monkeypatch.setattr(each, "_color_system", None)
        monkeypatch.setattr(each, "_file", stream)
    return lambda: stream.getvalue().splitlines()


@pytest.mark.parametrize("case", RUNS)
def test_status_and_next_steps(tmp_path, monkeypatch, printed, case):
    """Values go on below themselves, and a long command below its purpose, broken as a shell takes it."""
    monkeypatch.chdir(tmp_path)
    files = made_run(Path(), *RUNS[case], name="devices.of-the-whole-fleet.results.csv")
    status = status_of(files)
    show(rows_of(status))
    for step in (*steps_left(status), *steps_after(status)):
        say_step(step.purpose, step.command)
    words = [word for name, value in rows_of(status) for word in f"{name} {value}".split()]

    lines = printed()
    assert all(len(line) <= WIDTH for line in lines)
    assert set(words) <= {word for line in lines for word in line.split()}


def test_an_error(printed):
    """What has stopped a run is read to its end."""
    console.show_error(BulkcertError(ExitStatus.DENIED, LONG, LONG))

    assert all(len(line) <= WIDTH for line in printed())
    assert [word for line in printed() for word in line.split() if word not in ("error:", "→")] == LONG.split() * 2


def test_runs(tmp_path):
    """The list of runs cuts its columns, the instance first."""
    for name, made in RUNS.items():
        made_run(tmp_path, *made, name=f"{name}.inactivate-device.of-the-whole-fleet.results.csv")

    assert all(len(line) <= WIDTH for line in lines_of(runs_in(tmp_path), WIDTH))


@pytest.mark.parametrize("unread", [0, 12])
def test_a_plan(unread):
    """The table drops the column of what was not read where there is none, and cuts names of CAs, never a figure."""
    figures = States(1_000_000, 900_000, 50_000, 50_000 - unread, unread)
    ca = CaStates(
        *(getattr(figures, name) for name in States.__struct_fields__),
        ca_sn="0" * 40,
        registered=1,
        registered_at_least=1,
    )
    plan = type("Made", (), {"cas": [ca], "totals": figures})
    lines = list(_table(plan, WIDTH))

    assert all(len(line) <= WIDTH for line in lines)
    assert ("not read" in lines[0]) == bool(unread)
    assert all("1,000,000" in line for line in lines[1:])


def test_commands_are_for_a_shell():
    """A command that is broken is the same command."""
    command = (
        "bulkcert resume '/a path/of/some length/results.csv' --retry failed,unknown --state-dir /a/directory/elsewhere"
    )
    lines = list(command_lines(command, WIDTH))

    assert len(lines) == 2
    assert " ".join("".join(line.removesuffix("\\") for line in lines).split()) == command
