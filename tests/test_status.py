"""``bulkcert status`` over stores that were made: what it says of each, for people and for programs."""

import json
import re
import time
from datetime import UTC, datetime

import msgspec
import pytest
from made_store import START, made_run, row, session
from program import here
from rich.text import Text

from bulkcert.engine.figures import LastError
from bulkcert.store import lock, queries
from bulkcert.store.outcome import DESIRED
from bulkcert.store.sessions import Verification
from bulkcert.store.status import State, status_of
from bulkcert.views.shown import shown
from bulkcert.views.status import _errors, line_of, rows_of, steps_of

KILLED = session(ended=None, figures={"calls": 5, "retries": 1, "achieved_rate": 2.5})
ENDED = session(ended=0, figures={"calls": 3, "achieved_rate": 1.0})
UNDO = session("undo", after_ms=60_000, figures={"calls": 3})
READ = Verification("2027-01-15T09:00:00.000Z", {"inactive": 3}, 3, 0, 1, 0, 0, "")


def verify(reading=READ, **columns):
    return session("verify", after_ms=120_000, ended=reading.exit_status, verification=reading, **columns)


def ended(status, **columns):
    return session(ended=status, **columns)


STANDS = [
    (
        ["succeeded"] * 3,
        [ENDED],
        ("ended", 0),
        "ended at 2027-01-15T08:00:02Z with 0: every row",
        "to verify: bulkcert verify R",
    ),
    ([], [ENDED], ("ended", 0), "with 0: nothing to do: the list was empty", ""),
    (["succeeded"], [ENDED, UNDO, session(after_ms=90_000)], ("ended", 0), "with 0: every row", "to verify"),
    (["succeeded", "unchanged", "duplicate"], [ENDED, verify()], ("ended", 0), "with 0", ""),
    (
        ["succeeded"],
        [ENDED, verify(Verification("2027-01-15T09:00:00.000Z", {}, 0, 0, 1, 1, 69, "no answer"))],
        ("ended", 69),
        "with 69: no answer",
        "to read what was not read: bulkcert verify R",
    ),
    (
        ["succeeded", "failed", "unknown"],
        [ended(1)],
        ("ended", 1),
        "with 1: finished, and some rows",
        "to call again (1 failed, 1 unknown): bulkcert resume R --retry failed,unknown",
    ),
    (
        ["succeeded", None, None],
        [ended(75, stopped="--limit-rows", advice="Run the same command again.")],
        ("ended", 75),
        "with 75: --limit-rows",
        "to resume: bulkcert resume R",
    ),
    (
        ["succeeded", None],
        [ended(130, stopped="SIGINT received", advice="Run the same command again.")],
        ("ended", 130),
        "with 130: SIGINT received",
        "to resume: bulkcert resume R",
    ),
    (
        ["succeeded", None],
        [ended(77, stopped="refused", advice="Grant it.")],
        ("ended", 77),
        "with 77: refused",
        "after that, to resume: bulkcert resume R",
    ),
    (["succeeded", "not_registered"], [ended(1)], ("ended", 1), "with 1", "1 not registered; NOT safe"),
    (
        [row(verified="active", verified_at=START), "succeeded"],
        [ENDED],
        ("ended", 1),
        "with 1: finished",
        "to call again (1 drifted): bulkcert resume R --retry drifted",
    ),
    (
        [row("not_registered", verified="not_registered"), row("failed", verified="active"), "succeeded"],
        [ended(1), verify(msgspec.structs.replace(READ, exit_status=1))],
        ("ended", 1),
        "with 1: finished",
        "to call again (1 failed): bulkcert resume R --retry failed",
    ),
    (
        ["undone", "undone", "succeeded"],
        [ENDED, UNDO],
        ("ended", 1),
        "UNDONE: 2 of 3 certificates are active again; ended at 2027-01-15T08:01:02Z with 1",
        "to do it again: bulkcert resume R --retry undone",
    ),
    (
        [row("undone", verified="active", verified_at=START)],
        [ENDED, UNDO, verify()],
        ("ended", 1),
        "UNDONE: 1 certificate is active again; ended",
        "to do it again: bulkcert resume R --retry undone",
    ),
    (
        ["undone", "succeeded"],
        [ENDED, UNDO],
        ("ended", 1),
        "UNDONE: 1 of 2 certificates is active again; ended at 2027-01-15T08:01:02Z with 1",
        "to undo the rest: bulkcert undo R --include-unknown",
    ),
    (
        ["undone", row(claimed_by=2, sent=True)],
        [ENDED, UNDO],
        ("ended", 1),
        "UNDONE: 1 of 2 certificates is active again, 1 more perhaps; ended",
        "to undo the rest: bulkcert undo R",
    ),
    (
        ["undone", "succeeded"],
        [ENDED, session("undo", after_ms=60_000, ended=130, stopped="SIGINT received")],
        ("ended", 130),
        "UNDONE: 1 of 2 certificates is active again; the undo is not finished; ended at 2027-01-15T08:01:02Z with 130",
        "to resume the undo: bulkcert resume R",
    ),
    (
        ["succeeded", "failed", row(None, claimed_by=1), None],
        [KILLED],
        ("interrupted", 75),
        "process 4242 on made is gone; it began 2027-01-15T08:00:00Z, last sign of life 2027-01-15T08:00:01Z",
        "to resume: bulkcert resume R",
    ),
    (
        ["succeeded", row(claimed_by=2)],
        [ENDED, session("undo", after_ms=60_000, ended=None)],
        ("interrupted", 75),
        "interrupted while it undid: process 4242",
        "to resume the undo: bulkcert resume R",
    ),
    (
        ["succeeded", row(None, claimed_by=1)],
        [session(ended=None, exit_status=73, stopped="cannot write R: no space left on the disk", advice="Make room.")],
        ("interrupted", 73),
        "interrupted: cannot write R: no space left on the disk; it began 2027-01-15T08:00:00Z, last sign of life",
        "after that, to resume: bulkcert resume R",
    ),
    (
        ["succeeded", None],
        [KILLED, verify()],
        ("interrupted", 75),
        "interrupted: process 4242 on made is gone; it began 2027-01-15T08:00:00Z",
        "to resume: bulkcert resume R",
    ),
    (
        ["succeeded"],
        [ENDED, session("verify", after_ms=60_000, ended=None, options={"watch": 60.0})],
        ("ended", 0),
        "with 0",
        "to resume the watch: bulkcert resume R",
    ),
]
"""Rows, sessions, state and exit status, headline, and the way on."""


@pytest.mark.parametrize(("rows", "sessions", "stands", "words"), [(*each[:3], each[3:]) for each in STANDS])
def test_how_it_stands(tmp_path, rows, sessions, stands, words):
    """Each way in which a run can be that nobody holds has its state, exit status, headline and way on.

    ``report`` says the same, and neither calls a success what was undone.
    """
    (headline, steps), files = words, made_run(tmp_path, rows, sessions)
    said = here("status", "--json", files.results).ended(stands[1]).stdout
    text = here("status", files.results).ended(stands[1]).stdout
    told = json.loads(said)

    assert (told["state"], told["exit_status"], told["rows"]) == (*stands, len(rows))
    assert sum(told["outcomes"].values()) == len(rows)
    assert told["drifted"] <= sum(told["outcomes"].get(outcome, 0) for outcome in DESIRED), "a failure is counted once"
    assert headline in text.splitlines()[0]
    printed = text[text.index("results  ") :].splitlines()[1:]
    assert steps in "\n".join(printed).replace(str(files.results), "R")
    assert bool(steps) == bool(printed)
    assert "same command" not in text
    report = json.loads(here("report", files.results, "--format", "json").ended(0).stdout)
    assert (report["state"], report["exit_status"], report["outcomes"]) == (*stands, told["outcomes"])
    for name in ("undone", "maybe_undone", "in_doubt"):
        assert report["certificates"][name] == told[name]
    named = " ".join(report["verdict"]["steps"])
    assert all(step["command"] in named for step in told["next"])
    is_undone = told["undone"] + told["maybe_undone"] > 0
    assert (report["verdict"]["label"] == "UNDONE") == is_undone == ("undone" in text.lower())
    left = [f"{step['purpose']}: {step['command']}" for step in told["next"]]
    assert printed == left or (not left and printed == [f"to verify: bulkcert verify {files.results}"])


def test_one_step_for_what_a_resume_calls(tmp_path):
    """What a resume calls anyway is not named for another step: what is unknown since the run was stopped."""
    files = made_run(tmp_path, ["succeeded", row("unknown", again=1), "failed", None], [ended(130)])

    commands = [step.command.removeprefix(f"bulkcert resume {files.results}") for step in steps_of(status_of(files))]
    assert commands == ["", " --retry failed"]


def test_a_killed_run_in_full(tmp_path):
    """A killed run tells the rows of all sessions, those in doubt, its calls as a lower bound, and its last errors."""
    error = {"code": "Throttling.User", "message": "slow\ndown", "at": "2027-01-15T08:00:00Z", "count": 3, "row": 2}
    killed = session(after_ms=60_000, ended=None, figures={"calls": 5, "throttles": 3, "errors": [error]})
    files = made_run(tmp_path, ["succeeded", "failed", row(None, claimed_by=2), None], [ENDED, killed])
    text = here("status", files.results).ended(75).stdout

    assert re.search(r"^rows +2 of 4 have an outcome$", text, re.MULTILINE)
    assert re.search(r"^ +2 not_attempted$", text, re.MULTILINE)
    assert re.search(r"^in doubt +1 of the not_attempted: an interrupted session may have called", text, re.MULTILINE)
    assert re.search(r"^calls +at least 8 in 2 sessions, .*; 0 retries, 3 throttles$", text, re.MULTILINE)
    assert re.search(r"^errors +Throttling.User \(3 times, last .*, row 2\): slow\\ndown$", text, re.MULTILINE)
    assert [each["exit_status"] for each in shown_of(files)["sessions"]] == [0, None]
    assert shown_of(files)["in_doubt"] == 1


def shown_of(files):
    return json.loads(here("status", "--json", files.results).stdout)


@pytest.mark.parametrize("kind", ["run", "undo", "verify"])
def test_while_it_is_running(tmp_path, kind):
    """While a process holds the run its newest figures are told, with the kind of its session; the exit status is 0."""
    phase = {"run": "calling", "undo": "undoing", "verify": "verifying"}[kind]
    lanes = [{"address": "127.0.0.2", "rate": 7.0, "in_flight": 3}]
    figures = {"phase": phase, "rows": 4, "done": 2, "rate": 7.0, "lanes": lanes, "left_s": 65.0, "outages": 1}
    newest = session(kind, ended=None, beat_at=now_ms(), figures={**figures, "waiting_for": "limited to 494/s"})
    files = made_run(tmp_path, ["succeeded", "failed", None, None], [ENDED, newest])
    with lock.take(files.lock):
        text = here("status", files.results).ended(0).stdout
        told = shown_of(files)
        line = line_of(status_of(files))

    assert (told["state"], told["kind"], told["exit_status"]) == ("running", kind, 0)
    assert text.startswith(f"state         running, {phase}: process 4242 on made, since 2027-01-15T08:00:00Z\n")
    assert "127.0.0.2: 7/s, 3 in flight" in text
    assert re.search(r"^time +0 s so far, about 1 min 5 s left$", text, re.MULTILINE)
    assert "not_attempted" not in text
    assert told["silent_s"] < 60
    assert told["next"] == []
    assert re.match(rf"\S+Z {phase}: .*; 7/s; .*; 1 min 5 s left; limited to 494/s$", line)


def now_ms():
    return round(time.time() * 1000)


@pytest.mark.parametrize(
    ("rows", "ended", "colours"),
    [
        (["succeeded", "duplicate"], session(), {"green", "yellow"}),
        (["succeeded", None, "protected"], session(ended=129), {"yellow", "green"}),
        (["succeeded", None], session(ended=75), {"yellow", "green"}),
        (["succeeded", "failed"], session(ended=1), {"red", "green"}),
        (["succeeded", None], session(ended=69), {"red", "yellow", "green"}),
    ],
)
def test_red_is_for_what_is_amiss(tmp_path, rows, ended, colours):
    """What somebody has asked for is no alarm: a stop, rows that it left, serials that are protected."""
    shown = rows_of(status_of(made_run(tmp_path, rows, [ended])))

    assert {str(value.style) for _, value in shown if isinstance(value, Text)} - {""} == colours


@pytest.mark.parametrize(("row_ended", "style"), [(0, "yellow"), (3, "red")])
def test_an_error_that_a_repeat_has_put_right_is_not_red(row_ended, style):
    """As long as no row ended with it."""
    error = LastError("SystemOverFlow", "busy", datetime.now(UTC), count=5, row=row_ended)

    assert [str(text.style) for _, text in _errors([error])] == [style]


@pytest.mark.parametrize("undone_at", [None, 0])
def test_a_killed_undo_is_not_read_row_by_row(tmp_path, monkeypatch, undone_at):
    """Of a million rows that would take as long as all the rest; only what is left after an undo needs it."""
    counted = []
    monkeypatch.setattr(queries, "unknown_before", lambda _: counted.append(1) or 7)
    undo = session("undo", after_ms=60_000, ended=undone_at)
    files = made_run(tmp_path, ["undone", row(claimed_by=2, sent=True)], [ENDED, undo])
    assert status_of(files, brief=True).unknown_before == len(counted) * 7 == (7 if undone_at == 0 else 0)
    assert status_of(files).unknown_before == 7


def test_stalled(tmp_path):
    """A run that is held and has given no sign of life for a while is told as such, not as one that is running."""
    files = made_run(tmp_path, [None], [session(ended=None, started_at=1, beat_at=now_ms() - 30_000)])
    with lock.take(files.lock):
        files.lock.write_bytes(msgspec.json.encode(lock.Holder(4242, "made", 0.0)))  # it began its session after that
        status = status_of(files)
        text = here("status", files.results).ended(0).stdout

    assert status.state is State.STALLED
    assert re.match(
        r"state +stalled: no sign of life for 3\d s: process 4242 on made hangs or is stopped$", text, re.MULTILINE
    )
    assert [step.command for step in steps_of(status)] == [f"bulkcert resume {files.results}"]
    assert "no sign of life for 3" in line_of(status)


@pytest.mark.parametrize("sessions", [None, [ENDED], [session(ended=None, started_at=1)]])
def test_starting(tmp_path, sessions):
    """A process that holds the run and has begun no session is starting, whatever earlier ones have left."""
    files = made_run(tmp_path, ["succeeded"], sessions)
    if sessions is None:
        files.store.unlink()
    with lock.take(files.lock):
        text = here("status", files.results).ended(0).stdout
        told = shown_of(files)

    assert text.startswith("state         starting: process ")
    assert (told["state"], told["kind"]) == ("starting", None)
    assert told["done"] == (0 if sessions is None else 1)


@pytest.mark.parametrize("figures", [None, "{}", '{"phase":1}'])
def test_figures_that_are_missing_or_foreign(tmp_path, figures):
    """Without figures, or with those of another version, the rest is told all the same."""
    files = made_run(tmp_path, ["succeeded", None], [{**KILLED, "figures": figures}])

    assert re.search(r"^calls +at least 0; ", here("status", files.results).ended(75).stdout, re.MULTILINE)
    with lock.take(files.lock):
        assert status_of(files).is_held
        assert [name for name, _ in rows_of(status_of(files))][:3] == ["state", "action", "input"]
        assert shown(status_of(files)).session is None


@pytest.mark.parametrize("named", ["results", "folder", "store"])
def test_what_means_the_run(tmp_path, named):
    """The results, which need not be there, the folder and the store all mean the run; so does a folder elsewhere."""
    files = made_run(tmp_path)
    assert here("status", getattr(files, named)).ended(0).stdout
    (tmp_path / "state").mkdir()
    elsewhere = made_run(tmp_path, name="r.csv", state_dir=tmp_path / "state")
    where = ("--state-dir", tmp_path / "state")
    assert (
        f"verify {elsewhere.results} --state-dir {tmp_path / 'state'}"
        in here("status", elsewhere.results, *where).ended(0).stdout
    )
    assert "r.csv" in here("status", elsewhere.results).ended(66).stderr


def test_no_run(tmp_path):
    """Without a run: 66, what to name, and which runs there are beside; without a word, 2."""
    made_run(tmp_path, name="other.csv")
    refused = here("status", tmp_path / "none.csv").ended(66)

    assert "no run has written there" in refused.stderr
    assert "Runs there: other.csv." in refused.stderr
    assert refused.stdout == ""
    here("status").ended(2)


def test_it_writes_nothing(tmp_path):
    """Looking changes no file, and makes none."""
    files = made_run(tmp_path, ["succeeded"], [KILLED])
    before = contents(tmp_path)
    here("status", files.results).ended(75)
    here("status", "--follow", "--json", files.results).ended(75)

    assert contents(tmp_path) == before


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
