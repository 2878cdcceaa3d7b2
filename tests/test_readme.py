"""The README says what the program does: its tables are held against the code."""

import re
import tomllib
from pathlib import Path

import pytest

from bulkcert.cli import COMMANDS
from bulkcert.errors import ExitStatus
from bulkcert.output.results import COLUMNS, VERIFIED_COLUMNS
from bulkcert.runs.job import Options
from bulkcert.service.actions import ACTIONS
from bulkcert.store.outcome import Outcome

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def first_cells(heading, *, after=""):
    """Returns what stands in the first column of the tables below a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", section.split(after)[-1] if after else section, re.MULTILINE)
    return [cell for cell in rows if not cell.startswith("---")]


def names(cells):
    return [name for cell in cells for name in re.findall(r"`([a-z_-]+)`", cell)]


def test_exit_statuses():
    """Every exit status is in the table, and no other."""
    told = [int(number) for cell in first_cells("Exit status") for number in re.findall(r"\d+", cell)]

    assert told == list(ExitStatus)


def test_outcomes_and_columns():
    """Every outcome and every column of the results is explained, in order."""
    assert names(first_cells("Results")) == [*COLUMNS, *VERIFIED_COLUMNS, *(outcome.value for outcome in Outcome)]


def test_actions_and_commands():
    """Every command and every action is named."""
    cells = first_cells("Commands")

    assert names(cells)[-len(ACTIONS) :] == list(ACTIONS)
    assert all(any(f"`bulkcert {command}" in cell for cell in cells) for command in COMMANDS)


@pytest.mark.parametrize("job", sorted(ROOT.glob("jobs/*.toml")), ids=lambda path: path.name)
def test_jobs(job):
    """Every job file is in the README, and holds nothing but options of the command."""
    options = tomllib.loads(job.read_text(encoding="utf-8"))

    assert f"jobs/{job.name}" in README
    known = {name.replace("_", "-") for name in Options.__dataclass_fields__}
    assert set(options) <= {"action", "input", "rehearsal", *known}


def test_two_command_lines():
    """A fresh machine needs two command lines, which CI runs to the letter."""
    lines = re.findall(r"^    (python3 -m venv .*|\.venv/bin/pip .*)$", README, re.MULTILINE)

    assert len(lines) == 2
    assert lines[0].endswith(".venv/bin/bulkcert rehearse --job jobs/mass-revocation.toml")
    assert lines[1] == ".venv/bin/pip install '.[test]' && .venv/bin/pytest -n auto --dist worksteal"
