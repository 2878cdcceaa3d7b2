"""How far a run is, as it is shown, and what is said of an error that should not be."""

from types import SimpleNamespace

import pytest

from bulkcert import terminal
from bulkcert.batch.outcome import Outcome
from bulkcert.batch.progress import Progress
from bulkcert.batch.waiting import left_s
from bulkcert.board import Board


def board(calls, limit):
    options = SimpleNamespace(limit_rows=limit, quiet=False)
    return Board(SimpleNamespace(calls=calls, job=SimpleNamespace(options=options, rate=100.0)))


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
