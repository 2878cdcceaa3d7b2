"""Rows are counted by way of the index, and what is counted so is what counting every row gives."""

import random
import sqlite3
from contextlib import closing

import pytest

from bulkcert.store import queries
from bulkcert.store.database import make_tables
from bulkcert.store.outcome import NEVER_CALLED, Outcome

CALLED = [None, *(outcome.value for outcome in Outcome if outcome not in NEVER_CALLED)]


@pytest.mark.parametrize("seed", range(50))
def test_counts(seed):
    """However rows were left out, called, taken up again or protected since, the counts are exact."""
    chance, rows = random.Random(seed), seed
    with closing(sqlite3.connect(":memory:")) as db:
        make_tables(db)
        for row in (row for row in range(1, rows + 1) if chance.random() < 0.8):
            never = chance.choice([None] * 4 + [outcome.value for outcome in NEVER_CALLED])
            known = (row, never, chance.choice(CALLED), chance.random() < 0.3, chance.choice([0, 1, 2]))
            db.execute("INSERT INTO certificate (row, never, newest, again, attempts) VALUES (?, ?, ?, ?, ?)", known)
        found = db.execute("SELECT outcome, never, newest, again FROM certificate").fetchall()
        outcomes, to_call = queries.counts(db, rows).outcomes, queries.counts(db, rows).to_call

    for outcome in set(Outcome) - {Outcome.NOT_ATTEMPTED}:
        assert outcomes[outcome] == sum(name == outcome for name, *_ in found)
    assert outcomes.total() == rows
    assert list(outcomes) == [outcome for outcome in Outcome if outcome in outcomes]
    assert to_call == rows - sum(bool(never or (newest and not again)) for _, never, newest, again in found)


def test_an_outcome_that_nobody_has_written():
    """What is no outcome is damage, and counts as nothing."""
    with closing(sqlite3.connect(":memory:")) as db:
        make_tables(db)
        db.execute("INSERT INTO certificate (row, newest) VALUES (1, 'succeeded'), (2, 'sUcceeded')")
        with pytest.raises(sqlite3.DatabaseError):
            queries.counts(db, 2)
