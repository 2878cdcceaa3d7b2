"""README and docs say what the program does: their tables are held against the code, their links lead somewhere."""

import re
import tomllib
from pathlib import Path

import pytest

from bulkcert.cli import COMMANDS
from bulkcert.errors import ExitStatus
from bulkcert.output.results import COLUMNS, VERIFIED_COLUMNS
from bulkcert.runs.options import Options
from bulkcert.service.actions import ACTIONS
from bulkcert.store.outcome import Outcome

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "bulkcert" / "docs").glob("*.md"))}


def first_cells(text):
    """Returns what is in the first column of the tables of a text."""
    return [cell for cell in re.findall(r"^\| (.+?) \|", text, re.MULTILINE) if not cell.startswith("---")]


def names(cells):
    return [name for cell in cells for name in re.findall(r"`([a-z_-]+)`", cell)]


def section(heading):
    return README.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_readme_is_short():
    """Whoever has an incident reads no more than 200 lines."""
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("text", [section("Exit status"), DOCS["exit-statuses"]], ids=["README", "topic"])
def test_exit_statuses(text):
    """Every exit status is in the table, and no other."""
    assert [int(number) for cell in first_cells(text) for number in re.findall(r"\d+", cell)] == list(ExitStatus)


def test_outcomes_and_columns():
    """Every outcome and every column of the results is explained, in order."""
    outcomes = [outcome.value for outcome in Outcome]

    assert names(first_cells(section("Results"))) == outcomes
    assert names(first_cells(DOCS["results"])) == [*COLUMNS, *VERIFIED_COLUMNS, *outcomes]


def test_actions_and_commands():
    """Every command and every action is named."""
    cells = first_cells(section("Commands"))

    assert names(cells)[-len(ACTIONS) :] == list(ACTIONS)
    assert all(any(f"`bulkcert {command}`" in cell for cell in cells) for command in COMMANDS if command != "help")


@pytest.mark.parametrize("job", sorted(ROOT.glob("jobs/*.toml")), ids=lambda path: path.name)
def test_jobs(job):
    """Every job file is in the README, and holds nothing but options of the command."""
    options = tomllib.loads(job.read_text(encoding="utf-8"))

    assert f"jobs/{job.name}" in README
    known = {name.replace("_", "-") for name in Options.__dataclass_fields__}
    assert set(options) <= {"action", "input", "rehearsal", *known}


def test_two_command_lines():
    """A fresh machine needs two command lines, which CI runs exactly as they are."""
    lines = re.findall(r"^    (python3 -m venv .*|\.venv/bin/pip .*)$", README, re.MULTILINE)

    assert len(lines) == 2
    assert lines[0].endswith(".venv/bin/bulkcert rehearse --job jobs/mass-revocation.toml")
    assert lines[1] == ".venv/bin/pip install '.[test]' && .venv/bin/pytest -n auto --dist worksteal"


def test_links():
    """Every relative link of the README leads to a file or a heading, and every topic can be found from there."""
    links = re.findall(r"\]\(([^)]+)\)", README)
    headings = {"#" + heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", README, re.MULTILINE)}

    assert not [link for link in links if link not in headings and not (ROOT / link).is_file()]
    assert {Path(link).stem for link in links if link.startswith("bulkcert/docs/")} == set(DOCS)
