"""The man page: it is the help, is made while a wheel is built, and is installed with it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from program import here

from bulkcert.commands import COMMANDS
from bulkcert.man import man_page

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOADED = "import sys, bulkcert.man; bulkcert.man.man_page(); print(*sys.modules)"


def modules(requirements):
    names = [re.split(r"[^\w-]", each)[0] for each in requirements]
    return {"pythonjsonlogger" if name == "python-json-logger" else name.replace("-", "_") for name in names}


def written(text):
    """Returns the lines that are not blank: of several of those ``man`` shows one."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_it_is_installed_with_the_wheel(tmp_path):
    """Where pip and pipx put it ``man`` looks for it."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        (page,) = (name for name in packed.namelist() if name.endswith(".data/data/share/man/man1/bulkcert.1"))
        assert packed.read(page).decode() == man_page()
        assert "bulkcert/catalogue/zh/LC_MESSAGES/bulkcert.mo" in packed.namelist()


def test_it_needs_no_more_than_a_build_has():
    """A wheel is built where nothing else is installed."""
    ended = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, check=True, capture_output=True, text=True)
    missing = modules(PROJECT["project"]["dependencies"]) - modules(PROJECT["build-system"]["requires"])

    assert {"polars", "httpx"} <= missing
    assert not missing & set(ended.stdout.split())


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_it_reads_as_the_help_does(tmp_path):
    """Each line of each command's help is in it as it is, in order, and fits 80 columns."""
    (tmp_path / "bulkcert.1").write_text(man_page(), encoding="utf-8")
    show = ["man", "--warnings", "-E", "utf-8", "-l", tmp_path / "bulkcert.1"]
    wide = os.environ | {"MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    shown = subprocess.run(show, env=wide, check=True, capture_output=True, text=True)
    lines = written(re.sub(r"\x1b\[[\d;]*m|.\x08", "", shown.stdout))

    assert shown.stderr == ""
    assert max(map(len, lines)) <= 80
    for command in COMMANDS:
        said = written(here(command, "--help", env={"COLUMNS": "80"}).stdout)
        start = lines.index(f"bulkcert {command}") + 1
        assert lines[start : start + len(said)] == said
