"""``report`` of a run that was undone, wholly, in part, or perhaps: one number for each certificate, and the way on."""

import pytest
from made_store import START, made_run, row, session

from bulkcert.report.counting import count
from bulkcert.report.rendering import render

ENDED = [session(), session("undo", after_ms=5000, ended=0)]
IN_PART = [session(), session("undo", after_ms=5000, ended=1)]
KILLED = [session(), session("undo", after_ms=5000, ended=None)]
READ = [*IN_PART, session("verify", after_ms=9000, ended=1)]

MAYBE = {"claimed_by": 2, "sent": True}
BEFORE, AFTER = START + 1000, START + 9500


def seen(outcome="succeeded", *, status="inactive", at=AFTER, **columns):
    return row(outcome, verified=status, verified_at=at, **columns)


CASES = {
    "all of it": (
        (["undone"] * 3, ENDED),
        "3 of 3 certificates are active again.",
        {"undone": 3},
    ),
    "one": (([row("undone")], ENDED), "1 of 1 certificate is active again.", {"undone": 1}),
    "in part": (
        (["undone", "succeeded", "failed"], IN_PART),
        "1 of 3 certificates is active again; 1 is inactive; 1 is neither: 1 failed.",
        {"undone": 1, "desired": 1, "outcomes": {"failed": 1}},
    ),
    "perhaps": (
        ([row("undone"), row(**MAYBE), row("unknown", **MAYBE), row("duplicate", first_row=1)], KILLED),
        "1 of 3 certificates is active again; 2 may be: no answer to the undo is known.",
        {"undone": 1, "maybe_undone": 2},
    ),
    "perhaps all": (
        ([row(**MAYBE), row()], IN_PART),
        "0 of 2 certificates are active again; 1 may be: no answer to the undo is known; 1 is inactive.",
        {"maybe_undone": 1, "desired": 1},
    ),
    "read back before the undo, which proves nothing": (
        ([seen(at=BEFORE, **MAYBE), row("undone")], IN_PART),
        "1 of 2 certificates is active again; 1 may be: no answer to the undo is known.",
        {"undone": 1, "maybe_undone": 1},
    ),
    "read back after the undo": (
        ([seen(status="active", **MAYBE), seen(**MAYBE), seen("undone", status="active"), seen()], READ),
        "2 of 4 certificates are active again; 2 are inactive.",
        {"undone": 2, "desired": 2},
    ),
    "deleted since": (
        ([seen("undone", status="not_registered"), row("undone")], READ),
        "1 of 2 certificates is active again; 1 is neither: 1 not registered.",
        {"undone": 1, "statuses": {"not_registered": 1}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_headline(tmp_path, case):
    """UNDONE, with the number of certificates that are in the opposite state again, and those that may be."""
    (rows, sessions), line, known = CASES[case]
    files = made_run(tmp_path, rows, sessions)
    counted = count(files)
    assert (counted.verdict.label, counted.verdict.line) == ("UNDONE", line)
    assert counted.verdict.tone == ("open" if sessions is KILLED else "bad")
    assert counted.exit_status == (75 if sessions is KILLED else 1)
    found = counted.certificates
    assert {name: value for name in known if (value := getattr(found, name))} == known
    listed = counted.asked.rows - sum(each.rows for each in counted.outcomes if each.outcome == "duplicate")
    counts = (found.desired, found.undone, found.maybe_undone, *found.statuses.values(), *found.outcomes.values())
    assert sum(counts) == listed
    for format_ in ("text", "md", "html", "json"):
        assert b"UNDONE" in render(counted, format_)


def test_the_way_on(tmp_path):
    """The command that does it again; an undo only for what one has left, and a killed one is resumed."""
    ended = made_run(tmp_path, ["undone", "succeeded"], IN_PART)
    assert [step.partition("bulkcert ")[2] for step in count(ended).verdict.steps] == [
        f"resume {ended.results} --retry undone",
        f"undo {ended.results} --include-unknown",
    ]
    whole = made_run(tmp_path, ["undone", "undone"], ENDED, name="whole.csv")
    assert not any("bulkcert undo" in step for step in count(whole).verdict.steps)
    killed = made_run(tmp_path, ["undone", row(**MAYBE)], KILLED, name="killed.csv")
    verdict = count(killed).verdict
    assert [step.partition("bulkcert ")[2] for step in verdict.steps][:2] == [
        f"resume {killed.results}",
        f"resume {killed.results} --retry undone",
    ]
    assert "The undo was interrupted: killed, or its machine went down." in verdict.notes


def test_an_undo_that_has_undone_nothing(tmp_path):
    """One that was stopped is resumed by the command that would otherwise call the rows that the run has left."""
    sessions = [session(ended=75), session("undo", after_ms=5000, ended=77, stopped="denied")]
    files = made_run(tmp_path, ["succeeded", None], sessions)
    verdict = count(files).verdict
    assert (verdict.label, verdict.steps[0]) == (
        "Not all inactive",
        f"To resume the undo: bulkcert resume {files.results}",
    )
    assert not any("not reached" in step for step in verdict.steps)
    assert "The undo stopped early: denied" in verdict.notes


def test_findings(tmp_path):
    """What was undone, or may have been, is named with what to do; nobody is blamed for the state that it is in."""
    rows = [row("undone"), seen("undone", status="active"), row(**MAYBE), seen(at=BEFORE, status="active", **MAYBE)]
    files = made_run(tmp_path, rows, READ)
    counted = count(files)
    found = {(each.outcome, each.read_back, each.maybe_undone): each for each in counted.findings}
    assert {key: each.rows for key, each in found.items()} == {
        ("undone", "", False): 2,
        ("succeeded", "", True): 2,
    }
    for each in found.values():
        assert f"bulkcert resume {files.results} --retry undone" in each.advice
    assert "audit log" not in render(counted, "text").decode()


def test_each_session_by_its_name(tmp_path):
    """Run, undo and verification are told apart, each with its own calls; those of the undo count."""
    sessions = [session(figures={"calls": 9}), session("undo", figures={"calls": 4}), session("verify", ended=1)]
    counted = count(made_run(tmp_path, ["undone"], sessions))
    assert [start.kind for start in counted.starts] == ["run", "undo", "verify"]
    assert counted.calls.run == 13
    text = render(counted, "text").decode()
    assert [kind for kind in ("run", "undo", "verify") if f"Command     {kind}\n" in text] == ["run", "undo", "verify"]


def test_done_again(tmp_path):
    """When all is done again nothing says undone any more but the list of sessions."""
    counted = count(made_run(tmp_path, ["succeeded"] * 2, [*ENDED, session(after_ms=9000)]))
    assert (counted.verdict.label, counted.exit_status) == ("All inactive", 0)
    assert "undone" not in counted.verdict.line
