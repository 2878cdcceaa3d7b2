"""``bulkcert runs``: the runs of a directory, a line each."""

import json
import os
from pathlib import Path

import msgspec
import pytest
from made_store import made_run, row, session
from program import here

from bulkcert.store import lock
from bulkcert.views.runs import Listed, lines_of


def test_a_line_each(tmp_path):
    """Each run has a line, the newest last: when, which, what, where, how far, how it stands and what is wrong."""
    made_run(tmp_path, ["succeeded"] * 3, name="good.csv")
    undone, undo = ["undone", row(claimed_by=2, sent=True)], session("undo", after_ms=5)
    made_run(tmp_path, undone, [session(after_ms=60_000), undo], name="undone.csv")
    made_run(tmp_path, ["failed"], [session(ended=None, after_ms=120_000)], name="killed")
    failed = ["failed", "unknown", row("succeeded", verified="active"), "duplicate", "unchanged"]
    made_run(tmp_path, failed, [session(ended=1, after_ms=180_000)], name="failed.csv", action="inactivate-ca")
    said = here("runs", tmp_path).ended(0)

    assert said.stdout.splitlines() == [
        "2027-01-15 08:00Z  good.csv    inactivate-device  post-cn-made  3/3  ended 0",
        "2027-01-15 08:01Z  undone.csv  inactivate-device  post-cn-made  2/2  ended 1: 1 UNDONE, 1 perhaps undone",
        "2027-01-15 08:02Z  killed      inactivate-device  post-cn-made  1/1  interrupted 75: 1 failed",
        "2027-01-15 08:03Z  failed.csv  inactivate-ca      post-cn-made  5/5  ended 1: 1 failed, 1 unknown, 1 drifted",
    ]
    assert said.stderr == ""
    assert here("runs", cwd=tmp_path).ended(0).stdout == said.stdout


def test_for_programs(tmp_path):
    """For programs each run is an object on a line of its own, with what ``status`` shows."""
    made_run(tmp_path, ["succeeded", "failed"], [session(ended=1)])
    (told,) = map(json.loads, here("runs", tmp_path, "--json").ended(0).stdout.splitlines())

    assert told["results"] == str(tmp_path / "results.csv")
    assert told["folder"] == str(tmp_path / "results.csv.run")
    assert told["status"] == json.loads(here("status", tmp_path / "results.csv", "--json").ended(1).stdout)
    assert told["wrong"] == "1 failed"


def test_running(tmp_path):
    """A run that a process holds is running, stalled or starting, with what its session does."""
    files = made_run(tmp_path, [None], [session("undo", ended=None)], name="r.csv")
    begun = made_run(tmp_path, name="s.csv")
    begun.store.unlink()
    with lock.take(files.lock), lock.take(begun.lock):
        said = here("runs", tmp_path).ended(0).stdout

    assert "0/1  running, undo\n" in said
    assert said.splitlines()[0].split() == ["s.csv", "starting"]


def test_what_cannot_be_read(tmp_path):
    """A damaged, foreign or empty folder has a line that says so; what is no folder is none."""
    made_run(tmp_path, name="whole.csv")
    made_run(tmp_path, name="damaged.csv").store.write_bytes(b"no store\n" * 999)
    for name in ("empty.csv.run", ".run"):
        (tmp_path / name).mkdir()
    (tmp_path / "foreign.csv.run").mkdir()
    (tmp_path / "foreign.csv.run" / "store.sqlite").mkdir()
    (tmp_path / "file.csv.run").touch()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.run")).mkdir()
    said = here("runs", tmp_path).ended(0).stdout.splitlines()
    told = [json.loads(line) for line in here("runs", tmp_path, "--json").ended(0).stdout.splitlines()]

    assert [line.split()[0] for line in said[:4]] == ["?\\n", "damaged.csv", "empty.csv", "foreign.csv"]
    reasons = ("no run in it", "is damaged", "no run in it", "not a regular file", "ended 0")
    assert all(reason in line for line, reason in zip(said, reasons, strict=True))
    assert len(said) == 5
    assert [each["status"] is None for each in told] == [True] * 4 + [False]
    assert all(each["wrong"] for each in told[:4])


def test_no_runs(tmp_path):
    """An empty directory has none (0), and says so to people; one that is not there cannot be read (66)."""
    assert here("runs", tmp_path).ended(0).stdout == f"no runs in {tmp_path}\n"
    assert here("runs", tmp_path, "--json").ended(0).stdout == ""
    assert "cannot read" in here("runs", tmp_path / "none").ended(66).stderr


def test_folders_elsewhere(tmp_path):
    """Folders of runs that are kept elsewhere are listed there, with the results that they are of."""
    (tmp_path / "state").mkdir()
    files = made_run(tmp_path, name="r.csv", state_dir=tmp_path / "state")
    (told,) = map(json.loads, here("runs", "--state-dir", tmp_path / "state", "--json").ended(0).stdout.splitlines())

    assert told["results"] == str(files.results)
    assert told["folder"] == str(files.folder)
    assert "no runs in" in here("runs", tmp_path).ended(0).stdout


@pytest.mark.parametrize("width", [60, 80, 120, 200, None])
def test_how_long_lines_are(tmp_path, width):
    """On a terminal there is a header, and only a name makes a line longer than it is wide; no word is ever cut."""
    names = ("a.csv", "devices.of-the-whole-fleet.inactivate-device.results.csv")
    for name in names:
        made_run(tmp_path, ["failed", "unknown", None], [session(ended=75)], name=name, instance="post-cn-" + "x" * 30)
    damaged = Listed("damaged.csv", "damaged.csv.run", wrong="it is " + "very " * 30 + "damaged")
    listed = here("runs", tmp_path, "--json").ended(0).stdout.splitlines()
    lines = list(lines_of([damaged, *(msgspec.json.decode(line, type=Listed) for line in listed)], width))
    words = " ".join(" ".join(lines).split())

    assert all(name in words for name in names)
    assert words.count("inactivate-device ") == 2
    assert words.count("2/3 ended 75: 1 failed, 1 unknown, 1 not_attempted") == 2
    assert words.count("very ") == 30
    assert ("started" in words) == (width is not None)
    assert ("instance" in words) == (width == 200)
    assert width is None or all(len(line) <= width for line in lines if names[1] not in line)
