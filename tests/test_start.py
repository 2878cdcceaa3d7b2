"""Start-up and help: what answers at once loads nothing heavy, and each command's help is complete."""

import subprocess
import sys

import pytest
from program import bulkcert

from bulkcert.commands import COMMANDS

HEAVY = {"polars", "httpx", "aiohttp", "matplotlib", "uvicorn", "jinja2"}
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


@pytest.mark.parametrize(
    "arguments", [("--version",), ("-V",), ("version",), ("--help",), ("status", "none.csv")], ids=" ".join
)
def test_nothing_heavy_is_loaded(arguments):
    """What answers from memory or from the store alone loads no table, no HTTP, no server."""
    ended = subprocess.run([sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=True)

    assert not HEAVY & set(ended.stderr.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command):
    """It shows two examples before the options and ends with exit statuses; empty defaults are no news."""
    shown = bulkcert(command, "--help", env={"COLUMNS": "80"}).ended(0).stdout
    lines = [line.strip() for line in shown.splitlines() if line.strip()]

    assert [line.startswith("bulkcert ") for line in lines[2:4]] == [True, True]
    assert "Exit status: 0" in " ".join(lines[-3:])
    assert not {'[default: ""]', "[default: ()]", "[default: False]"} & set(shown.replace("\n", " ").split("  "))
    assert "--no-json" not in shown


def test_help_topics():
    """A topic that there is not is refused with the one that was meant; a command's name shows its help."""
    assert "Did you mean bulkcert help status?" in bulkcert("help", "statuss").ended(2).stderr
    assert bulkcert("help", "runs").ended(0).stdout == bulkcert("runs", "--help").ended(0).stdout
    assert "commands: inventory, plan" in bulkcert("help").ended(0).stdout


def test_a_topic_is_plain_for_a_pipe():
    """Without a terminal a topic is its own Markdown; every topic that is listed can be shown."""
    listed = bulkcert("help").ended(0).stdout.splitlines()[0].removeprefix("topics:").replace(",", " ").split()

    assert "exit-statuses" in listed
    assert bulkcert("help", "exit-statuses").ended(0).stdout.startswith("# ")
