"""For all tests: an emulator that a file shares, and the credentials that it accepts.

The credential chain reads the environment once in a process, and then finds the emulator's key.
"""

import gc
import os
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import polars as pl
import pytest
from cyclopts import ArgumentCollection
from forked import PROVED_HERE, Forked
from hypothesis import settings
from place import Slow
from program import emulator

from bulkcert.emulator import process
from bulkcert.input import readers

# A busy machine is no finding. By hand, for what a suite has no time for: --hypothesis-profile thorough
settings.register_profile("steady", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile("steady")

os.environ["ALIBABA_CLOUD_ACCESS_KEY_ID"] = "testAccessKeyId"
os.environ["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] = "testAccessKeySecret"
os.environ["ALIBABA_CLOUD_CLI_PROFILE_DISABLED"] = "true"
# It must not look for a metadata server.
os.environ["ALIBABA_CLOUD_ECS_METADATA_DISABLED"] = "true"

# What tests write lasts no longer than they do: in memory nobody waits for a disk. A container may have 64 MB there.
_MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and _MEMORY.is_mount() and shutil.disk_usage(_MEMORY).free > 2**31:
    os.environ["TMPDIR"], tempfile.tempdir = str(_MEMORY), None

# Who started the tests may ignore it, and what they start would, too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Three workers a core: most tests wait for a process, or for a timer."""
    return 3 * len(os.sched_getaffinity(0))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Lets workers report of tests that log what is no text, as names of files may be."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_collection():
    """Spares the collector what stays to the end: a process with all libraries has half a million objects."""
    gc.disable()


def pytest_collection_finish():
    """Lets it collect what tests leave."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _emulators_are_forked():
    """Spares the processes of rehearsals, too, the second that they take to load the program."""
    with patch.object(process, "subprocess", SimpleNamespace(Popen=Forked, PIPE=subprocess.PIPE)):
        yield


@pytest.fixture(autouse=True, scope="session")
def _parquet_is_proved_here():
    """Spares the processes that prove Parquet files; what they are for is tested where files are damaged."""
    with patch.object(readers, "subprocess", PROVED_HERE):
        yield


@pytest.fixture(autouse=True, scope="session")
def _options_are_read_off_once():
    """Spares commands in this process a third of their time: what is typed is no part of a signature.

    A command in a process of its own reads it off, as ever.
    """
    assemble = ArgumentCollection._from_callable.__func__

    @cache
    def read_off(function, defaults, more):
        return assemble(ArgumentCollection, function, *defaults, **dict(more))

    def assembled(cls, function, *defaults, reserved=(), **more):
        first = read_off(function, defaults, (*more.items(), ("reserved", tuple(reserved))))
        copied = first.copy(reset_tokens=True)
        copies = {id(each): copy for each, copy in zip(first, copied, strict=True)}
        for each in copied:
            each.children = ArgumentCollection(copies[id(child)] for child in each.children)
        return copied

    with patch.object(ArgumentCollection, "_from_callable", classmethod(assembled)):
        yield


@pytest.fixture(scope="module")
def service():
    """Returns an emulator without caps that all tests of a file share."""
    with emulator() as running:
        yield running


@pytest.fixture
def written(tmp_path):
    """Writes a list, text, bytes or a table, and returns its path."""

    def write(content, name="list.csv"):
        path = tmp_path / name
        if isinstance(content, pl.DataFrame):
            (content.write_ndjson if path.suffix == ".ndjson" else content.write_parquet)(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """Lets every command be typed in the directory of the test."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def place(tmp_path, service):
    """Returns a list of devices and what runs over it, slowly."""
    return Slow(tmp_path, service)
