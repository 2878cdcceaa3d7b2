"""The store beside a small model: random histories are told to both, and every question has the same answer.

``BULKCERT_HISTORIES=2000`` tries more of them, ``BULKCERT_SEED`` begins with another one.
"""

import os
import random
from collections import Counter

from histories import OPEN, History, Row

from bulkcert.service.actions import Status
from bulkcert.store import queries
from bulkcert.store.database import reading
from bulkcert.store.evidence import confirm_mirrors, confirm_whole, proved
from bulkcert.store.outcome import Outcome, deviation

FIRST = int(os.environ.get("BULKCERT_SEED", "1"))
HISTORIES = int(os.environ.get("BULKCERT_HISTORIES", "100"))


class Confirmed(History):
    """A history whose store is asked everything."""

    def deviates(self, row: Row) -> bool:
        maybe_undone = bool(row.undos) and row.outcome not in (None, Outcome.UNDONE)
        outcome = row.outcome or Outcome.NOT_ATTEMPTED
        return deviation(outcome, row.verified, self.desired, maybe_undone=maybe_undone) is not None

    def confirm(self) -> None:
        with reading(self.path) as db:
            self.confirm_outcomes(db)
            self.confirm_changed(db)
            self.confirm_states(db)
            confirm_mirrors(db)
            confirm_whole(db, "")
            of_rows = zip(*map(self.serials, range(1, self.last + 1)), strict=True)
            assert len(proved(db, 1, *of_rows)[1]) == 8 * self.last

    def confirm_outcomes(self, db) -> None:
        rows = self.rows.values()
        outcomes = Counter(row.outcome or Outcome.NOT_ATTEMPTED for row in rows)
        outcomes += Counter({Outcome.INVALID: len(self.never)})
        assert queries.counts(db, self.last).outcomes == outcomes
        assert queries.counts(db, self.last).to_call == sum(not row.is_final for row in rows)
        assert queries.count(db, queries.UNCHANGED) == sum(
            row.outcome is Outcome.UNCHANGED and row.is_final for row in rows
        )
        final = self.never | {number for number, row in self.rows.items() if row.is_final}
        first = self.random.randint(1, self.last)
        assert set(queries.rows(db, queries.LEFT_ALONE, 1, self.last)) == final
        assert set(queries.rows(db, queries.LEFT_ALONE, first, self.last - 1)) == final & set(range(first, self.last))
        earlier = {
            number: (row.outcome, bool(row.intents) or row.outcome is Outcome.UNKNOWN)
            for number, row in self.rows.items()
        }
        told = queries.earlier(db, 1, self.last)
        assert {number: known for number, known in told.items() if number in self.rows} == {
            number: known for number, known in earlier.items() if any(known)
        }
        assert db.execute("SELECT COUNT(*) FROM attempt").fetchone()[0] == self.superseded

    def confirm_changed(self, db) -> None:
        rows = self.rows.values()
        assert queries.changed(db, self.desired.value, 1, self.last) == {
            number: row.before in (Status.ACTIVE, Status.INACTIVE)
            for number, row in self.rows.items()
            if row.may_be_changed and row.before is not self.desired
        }
        unknown = [row for row in rows if row.may_be_changed and row.before not in (Status.ACTIVE, Status.INACTIVE)]
        assert queries.unknown_before(db) == len(unknown)
        assert queries.in_doubt(db) == sum(bool(row.runs) and row.outcome in OPEN for row in rows)
        undone = [row for row in rows if row.undos and row.outcome not in (None, Outcome.UNDONE)]
        assert queries.count(db, queries.MAYBE_UNDONE) == len(undone)
        called = [row for row in rows if row.changed or (row.attempts and row.outcome not in OPEN)]
        assert queries.may_have_called(db) == any([called, *(row.runs or row.undos for row in rows)])

    def confirm_states(self, db) -> None:
        drifted = queries.count(db, queries.DRIFTED, self.desired.value), queries.drifted(db, self.desired.value)
        assert drifted == (sum(map(self.has_drifted, self.rows.values())),) * 2
        outcomes, maybe_undone = queries.counts(db, self.last).outcomes, queries.count(db, queries.MAYBE_UNDONE)
        counted = {"drifted": drifted[0], "maybe_undone": maybe_undone}
        left = sum(map(self.deviates, self.rows.values())) + len(self.never)
        assert queries.not_desired(db, outcomes, self.desired.value, **counted) == left
        told = {row[0]: dict(zip(queries.WINDOW, row, strict=True)) for row in queries.window(db, 1, self.last)}
        for number, row in self.rows.items():
            known = told.get(number, {})
            shown = [known.get(name) for name in ("outcome", "before", "verified", "verified_at")]
            assert shown == [row.outcome, row.before, row.verified, row.verified_at]


def test_histories(tmp_path):
    """Whatever happened to a run, and wherever it was killed: nothing that may have been done is left out or lost."""
    for seed in range(FIRST, FIRST + HISTORIES):
        history = Confirmed(tmp_path / f"{seed}.sqlite", random.Random(seed))
        try:
            history.confirm()
            for _ in range(history.random.randint(1, 8)):
                history.run_session()
                history.confirm()
        except BaseException as error:
            error.add_note(f"in the history of seed {seed}, after session {history.session}")
            raise
        for path in tmp_path.iterdir():
            path.unlink()
