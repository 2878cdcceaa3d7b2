"""How far a run is, as it is shown, and what is said of an error that should not be."""

from types import SimpleNamespace
from unittest.mock import patch

import pytest

from bulkcert import terminal
from bulkcert.batch.index import Index
from bulkcert.batch.outcome import Outcome
from bulkcert.batch.progress import Progress
from bulkcert.batch.snapshot_watch import SnapshotWatch, Watched
from bulkcert.batch.waiting import left_s
from bulkcert.board import Board


def board(calls, limit):
    options = SimpleNamespace(limit_rows=limit, quiet=False)
    job = SimpleNamespace(options=options, rate=100.0, workers=20, addresses=(None,))
    return Board(SimpleNamespace(calls=calls, job=job))


def progress(**outcomes):
    made = Progress()
    made.outcomes.update({Outcome(name): count for name, count in outcomes.items()})
    return made


def test_what_needs_no_call_does_not_count_against_a_limit():
    """With --limit-rows 20, of 250 rows that are as wanted and two that were called, two are done."""
    assert board(20, 20)._done(progress(unchanged=250, succeeded=2)) == 2
    assert board(300, None)._done(progress(unchanged=250, succeeded=2)) == 252


@pytest.mark.parametrize("limit", [None, 10])
def test_the_time_left_is_never_below_nothing(limit):
    """Whatever was counted."""
    assert left_s(progress(unchanged=5, succeeded=12), 10, 1.0, 100.0, limited=limit is not None) == 0


def test_the_time_left_goes_by_the_cap_until_there_is_a_rate():
    """What the first answers took to come says nothing about the others; after that the slower of the two counts."""
    assert left_s(progress(succeeded=3), 6000, 1.0, 300.0, limited=False) == pytest.approx(5997 / 300)
    assert left_s(progress(succeeded=1000), 6000, 10.0, 300.0, limited=False) == pytest.approx(50)
    assert left_s(progress(succeeded=4000), 6000, 10.0, 300.0, limited=False) == pytest.approx(2000 / 300)


def test_looking_does_not_count_as_calling():
    """The time left is told from when calls began, though something was shown before looking began, too."""
    made, shown, clock = progress(), board(3000, None), SimpleNamespace(now=1000.0)
    made.outage = SimpleNamespace(ongoing=False)
    with patch("time.monotonic", lambda: clock.now):
        shown._figures(made)
        made.looking, clock.now = True, 1100.0
        assert "left" not in shown._figures(made)
        made.looking, clock.now = False, 1200.0
        shown._figures(made)
        made.outcomes[Outcome.SUCCEEDED], clock.now = 1000, 1210.0
        assert "; 20 s left; " in shown._figures(made)


def test_the_snapshot_counts_no_look_as_calling_either(tmp_path):
    """Nor what comes before the look: no time left is told until calls begin, and from then on it is theirs."""
    index, made = Index(6000), progress(succeeded=1000)
    service = SimpleNamespace(rate=300.0)
    watched = Watched("", tmp_path / "d.csv", tmp_path / "r.csv", service, index, 6000, {}, 6000, "")
    watch = SnapshotWatch(watched)
    assert watch._left_s(made, 1000.0) is None
    index.looked = True
    assert watch._left_s(made, 1100.0) == pytest.approx(5000 / 300)
    made.looking = True
    assert watch._left_s(made, 1200.0) is None
    made.looking = False
    assert watch._left_s(made, 1300.0) == pytest.approx(5000 / 300)
    assert watch._left_s(made, 1310.0) == pytest.approx(50)


@pytest.mark.parametrize("noted", [True, False])
def test_the_journal_is_named_where_there_is_one(capsys, noted):
    """An internal error says that the same command goes on only where a journal was open."""
    error = RuntimeError("odd")
    if noted:
        error.add_note(terminal.RESUMABLE)
    terminal.show_internal(error)

    said = capsys.readouterr().err
    assert ("the same command goes on" in said) == noted
    assert "Please report this" in said
