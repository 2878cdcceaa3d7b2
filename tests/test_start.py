"""Start-up and help: what answers at once loads nothing heavy, and each command's help is complete."""

import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
from program import bulkcert, here

import bulkcert as package
from bulkcert.cli import app
from bulkcert.commands import COMMANDS, OVERVIEW
from bulkcert.commands.help import DOCS, topics

HEAVY = {"anyio", "aiolimiter", "polars", "httpx", "uvicorn", "jinja2", "prometheus_client", "cryptography"}
HEAVY |= {"alibabacloud_credentials", "importlib.metadata"}
LOADED = """
import sys
sys.argv = ["bulkcert", *sys.argv[1:]]
from bulkcert.__main__ import main
try:
    main()
except SystemExit:
    pass
sys.stderr.write(" ".join(sys.modules))
"""


@pytest.mark.parametrize("arguments", ["--version", "--help", "run --help", "emulator --help", "status none.csv"])
def test_nothing_heavy_is_loaded(arguments):
    """What answers from memory or from the store alone loads no table, no HTTP, no server, no credentials."""
    command = [sys.executable, "-c", LOADED, *arguments.split()]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    assert not HEAVY & set(ended.stderr.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command, monkeypatch):
    """It shows two examples, then options, then exit statuses; no default that says nothing.

    However wide the terminal is, no line is over 80.
    """
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((200, 50)))
    shown = here(command, "--help").ended(0).stdout
    lines = [line.strip() for line in shown.splitlines() if line.strip()]

    assert [line.startswith("bulkcert ") for line in lines[2:4]] == [True, True]
    assert "Exit status: 0" in " ".join(lines[-3:])
    assert not re.findall(r"\[default:\s+(\"\"|\(\)|False|None)|--no-json|\bSTR\b", shown)
    assert max(map(len, shown.splitlines())) <= 80
    examples = [line.strip() for line in str(app[command].default_command.__doc__).splitlines() if " bulkcert " in line]
    assert set(examples) <= set(lines), "an example to be copied is on one line"
    assert not re.findall("--secret|--access-key|--token", shown)


def test_the_help_of_run_is_short_and_begins_with_what_everybody_needs():
    """Fewer than 100 lines; the list, the results, where, the safety of it; then how fast; then the rest."""
    shown = bulkcert("run", "--help", env={"COLUMNS": "80"}).ended(0).stdout
    order = ["ACTION", "INPUT", "--results", "--instance", "--region", "--yes", "--preflight", "--limit-rows", "N|P%"]
    places = [shown.index(f"\n  {name}" if name != "N|P%" else name) for name in order]

    assert places == sorted(places)
    assert len(shown.splitlines()) < 100
    assert "--source-address ADDRESS" in shown


def test_the_first_page():
    """It fits a screen and has every command, in the words of the command's own help; nothing is loaded for it."""
    lines = OVERVIEW.splitlines()

    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for name in COMMANDS:
        assert any(
            line[9:] == f"{name:<10} {app[name].default_command.__doc__.partition(f'.{chr(10)}')[0]}" for line in lines
        )


def test_help_topics():
    """A topic that there is not is refused with the one that was meant; a command without a topic shows its help."""
    assert "Did you mean bulkcert help status?" in here("help", "statuss").ended(2).stderr
    assert here("help", "runs").ended(0).stdout == here("runs", "--help").ended(0).stdout
    assert "commands: inventory, plan" in here("help").ended(0).stdout


@pytest.mark.parametrize("topic", topics())
def test_every_topic_can_be_read(topic):
    """Without a terminal it is its own Markdown, with tables in columns; a command's own help is named."""
    shown = here("help", topic).ended(0).stdout
    parts = re.split(r"^(?:\|.*\n)+", (DOCS / f"{topic}.md").read_text(), flags=re.MULTILINE)

    assert shown.startswith(parts[0])
    assert all(part in shown for part in parts)
    assert (f"bulkcert {topic} --help" in shown.splitlines()[-1]) == (topic in COMMANDS)


@pytest.mark.parametrize("asked", ["--version", "-V", "version"])
def test_version(asked):
    """The version alone; with -v what a report of a fault should say: Python, the event loop, the libraries."""
    assert bulkcert(asked).ended(0).stdout == f"{package.__version__}\n"
    first, *lines = bulkcert(asked, "-v").ended(0).stdout.splitlines()
    told = dict(line.split(maxsplit=1) for line in lines)

    assert first == package.__version__
    assert told["python"] == sys.version.split()[0]
    assert told["loop"].startswith(("uvloop ", "asyncio, since "))
    assert told["polars"] == version("polars")
