"""``status`` and ``report`` say the same of a run, and what is: no success that was undone, no step that misleads."""

import json

import pytest
from made_store import made_run, row, session
from program import here

pytestmark = pytest.mark.usefixtures("inside")

UNDO = session("undo", after_ms=5000, ended=0)
RUNS = {
    "ended": (["succeeded", "unchanged", row("duplicate", first_row=1)], None),
    "empty": ([], None),
    "failed": (["succeeded", "failed", "unknown", "not_registered"], [session(ended=1)]),
    "stopped": (["succeeded", None], [session(ended=69, stopped="the service is silent")]),
    "killed": ([row(), row(None, claimed_by=1), None], [session(ended=None, figures={"calls": 22})]),
    "undone": (["undone", "undone"], [session(), UNDO]),
    "undone in part": (["undone", row(claimed_by=2, sent=True), "failed"], [session(), UNDO]),
    "done again": (["succeeded"], [session(), UNDO, session(after_ms=9000)]),
    "undo killed": (["undone", row(claimed_by=2)], [session(), session("undo", after_ms=5000, ended=None)]),
    "read back": ([row(verified="active", verified_at=1)], [session(), session("verify", after_ms=9000, ended=1)]),
}


@pytest.mark.parametrize("case", RUNS)
def test_both_say_the_same(tmp_path, case):
    """The same state, exit status and numbers; UNDONE and what is in doubt in both or in neither."""
    rows, sessions = RUNS[case]
    made_run(tmp_path, rows, sessions, name="r.csv")
    report = json.loads(here("report", "r.csv", "--format", "json").ended(0).stdout)
    text = here("report", "r.csv", "--format", "text").ended(0).stdout
    status = json.loads(here("status", "r.csv", "--json").ended(report["exit_status"]).stdout)
    shown = here("status", "r.csv").ended(report["exit_status"]).stdout

    known = report["certificates"]
    for name in ("undone", "maybe_undone", "in_doubt"):
        assert known[name] == status[name]
    assert report["state"] == status["state"]
    assert report["outcomes"] == status["outcomes"]
    assert [start["kind"] for start in report["starts"]] == [each["kind"] for each in status["sessions"]]
    is_undone = known["undone"] + known["maybe_undone"] > 0
    assert text.startswith("UNDONE: ") == is_undone
    assert ("undone" in shown.lower()) == is_undone
    if is_undone:
        assert "every row is in the" not in text + shown
        assert ("bulkcert undo" in text) == (case == "undone in part"), "what may be undone can be made sure of"
    for printed in (text, shown):
        assert "same command" not in printed
        assert ("at least 22" in printed) == (case == "killed")
    assert ("nothing to do: the list was empty" in text) == (case == "empty")
    assert ("the service is silent" in text) == (case == "stopped") == ("the service is silent" in shown)
