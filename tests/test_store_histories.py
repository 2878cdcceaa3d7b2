"""The store beside a small model: random histories are told to both, and every question has the same answer.

``BULKCERT_HISTORIES=2000`` tries more of them, ``BULKCERT_SEED`` begins with another one.
"""

import os
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import msgspec
from stored import ASKED, CALLER, killed

from bulkcert.service.actions import ACTIONS, Status
from bulkcert.store import queries, read_states
from bulkcert.store.database import reading
from bulkcert.store.evidence import confirm_mirrors, confirm_whole, proved
from bulkcert.store.outcome import DESIRED, Outcome, Record, Retried, deviation
from bulkcert.store.store import Store

RETRIED = [Outcome(name) for name in get_args(Retried) if name != "drifted"]
FIRST = int(os.environ.get("BULKCERT_SEED", "1"))
HISTORIES = int(os.environ.get("BULKCERT_HISTORIES", "100"))
OPEN = (None, Outcome.NOT_ATTEMPTED)


def made(path: Path, never: Iterable[int], action: str = "inactivate-device") -> None:
    """Makes a store in which nothing has happened yet."""
    store = Store(path)
    store.describe(msgspec.structs.replace(ASKED, action=action))
    store.leave_out((row, "invalid", None, "why") for row in never)
    store.keep_draft()
    store.close()


def serials(row):
    return f"{row:08d}", "00ca"


@dataclass
class Row:
    """What the model knows of a row.

    ``runs`` and ``undos`` are the sessions that may have called it without a trace, ``intents`` those of them whose
    call was announced, or sent by an undo and never answered.
    """

    outcome: Outcome | None = None
    again: bool = False
    changed: bool = False
    attempts: int = 0
    before: Status | None = None
    verified: Status | None = None
    verified_at: int | None = None
    runs: set[int] = field(default_factory=set)
    undos: set[int] = field(default_factory=set)
    intents: set[int] = field(default_factory=set)

    @property
    def is_final(self) -> bool:
        return self.outcome is not None and not self.again

    @property
    def may_be_changed(self) -> bool:
        return self.changed or bool(self.runs)

    def settle(self, sessions: set[int] | None = None) -> None:
        """Takes note that no call of some sessions, or of any, is without an answer."""
        for claims in (self.runs, self.undos, self.intents):
            claims.difference_update(claims.copy() if sessions is None else sessions)


class Killed(Exception):  # noqa: N818 - nothing is wrong
    """The session ends here, without a word."""


class History:
    """One run as the store and as the model have it.

    Args:
        path: Where the store is to be.
        random_: What happens.
    """

    def __init__(self, path: Path, random_: random.Random) -> None:
        self.random, self.path, self.at, self.session = random_, path, 1_000, 0
        action = ACTIONS[random_.choice(("inactivate-device", "activate-device", "activate-device", "delete-ca"))]
        self.deletes, self.desired, self.opposite = action.deletes, action.desired_status, Status(action.before)
        self.last = random_.randint(1, 30)
        self.never = {row for row in range(1, self.last + 1) if random_.random() < 0.1}
        self.rows = {row: Row() for row in range(1, self.last + 1) if row not in self.never}
        self.preflight_over, self.superseded = False, 0
        made(path, self.never, action.name)

    def now(self) -> int:
        self.at += 1
        return self.at

    def maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def some(self, rows: Iterable[int], chance: float) -> list[int]:
        return [row for row in rows if self.maybe(chance)]

    def may_be_killed(self, chance: float = 0.12) -> None:
        if self.maybe(chance):
            raise Killed

    # Sessions.

    def run_session(self) -> None:
        kind = self.random.choices(("run", "verify", "undo"), (5, 3, 0 if self.deletes else 1))[0]
        self.store = Store(self.path)
        forgets, retries = not self.preflight_over, kind == "run" and self.maybe(0.3)
        self.draft(forgets=forgets, retries=retries)
        if self.maybe(0.05):  # nobody has agreed
            self.store.close()
            return
        self.session += 1
        self.store.begin(kind, "{}", **CALLER)
        self.begun(forgets=forgets, retries=retries)
        try:
            {"run": self.run, "verify": self.verify, "undo": self.undo}[kind]()
        except Killed:
            killed(self.store)
        else:
            self.store.end(0)
            self.store.close()
            for row in self.rows.values():
                row.settle({self.session} - row.intents)

    def draft(self, *, forgets: bool, retries: bool) -> None:
        if forgets:
            read_states.forget(self.store)
        if retries:
            for outcome in RETRIED:
                self.store.reopen("newest = ?", (outcome.value,))
            self.store.reopen(queries.DRIFTED, (self.desired.value,))

    def begun(self, *, forgets: bool, retries: bool) -> None:
        for row in self.rows.values():
            if forgets:
                row.before = None
                row.outcome = None if row.outcome is Outcome.UNCHANGED else row.outcome
            if retries and (row.outcome in RETRIED or self.has_drifted(row)):
                row.again = True

    # What they do.

    def run(self) -> None:
        if not self.preflight_over or self.maybe(0.5):
            self.preflight()
        self.may_be_killed()
        rows = [row for row, known in self.rows.items() if not known.is_final]
        while rows and self.maybe(0.9):
            count = self.random.randint(1, 8)
            self.call(rows[:count])
            del rows[:count]

    def preflight(self) -> None:
        read_states.forget_unchanged(self.store)
        for known in self.rows.values():
            if known.outcome is Outcome.UNCHANGED:
                known.before, known.outcome, known.again = None, None, False
        for row, known in self.rows.items():
            status = self.random.choice((*Status, None, self.desired, self.opposite))
            unchanged = status is self.desired and not self.deletes
            if status is None:
                continue
            read_states.keep(self.store, [(row, serials(row), status.value, self.now() if unchanged else None)])
            if not (known.runs or known.undos or known.changed) and known.outcome is None:
                known.before = status
                known.outcome = Outcome.UNCHANGED if unchanged else None
            self.may_be_killed(0.01)
        self.store.note(preflight_at=self.now())
        self.preflight_over = True

    def claim(self, rows: list[int], kind: str) -> None:
        self.store.claim(rows)
        for row in rows:
            getattr(self.rows[row], kind).add(self.session)
        self.may_be_killed()

    def call(self, rows: list[int]) -> None:
        self.claim(rows, "runs")
        answered = self.some(rows, 0.8)
        self.random.shuffle(answered)
        while answered:
            group = [self.record(row) for row in answered[:3] if not self.deletes or self.intended(row)]
            del answered[:3]
            self.may_be_killed()
            self.store.keep(group)
            for record in group:
                self.note(record)

    def intended(self, row: int) -> bool:
        """Keeps the intent; returns whether there is an answer to the call."""
        self.store.keep([row])
        self.rows[row].intents.add(self.session)
        self.may_be_killed()
        return self.maybe(0.9)

    def record(self, row: int, outcomes: Iterable[Outcome] = ()) -> Record:
        """Returns the outcome of a call."""
        called = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.UNKNOWN, Outcome.NOT_REGISTERED, Outcome.NOT_ATTEMPTED)
        outcome = self.random.choice((*(outcomes or (Outcome.SUCCEEDED,) * 2), *called))
        again = outcome is Outcome.NOT_ATTEMPTED or (outcome is Outcome.UNKNOWN and self.maybe(0.5))
        changed = outcome is not Outcome.NOT_REGISTERED and (outcome is not Outcome.NOT_ATTEMPTED or self.maybe(0.5))
        attempts = self.random.randint(1, 2)
        kept = {"device_sn": serials(row)[0], "ca": serials(row)[1], "finished_at": self.now()}
        return Record(row, outcome, attempts=attempts, again=again, changed=changed, **kept)

    def note(self, record: Record) -> None:
        row = self.rows[record.row]
        self.superseded += row.attempts > 0
        row.outcome, row.again, row.attempts = record.outcome, record.again, record.attempts
        in_doubt = bool((row.runs | row.undos) - {self.session})
        row.changed = record.outcome is not Outcome.UNDONE and (row.changed or record.changed or in_doubt)
        row.verified = row.verified_at = None
        row.settle({self.session} if record.outcome is Outcome.NOT_ATTEMPTED else None)

    def verify(self) -> None:
        for _ in range(self.random.randint(1, 3)):
            seen = {row: (self.random.choice(tuple(Status)), self.now()) for row in self.some(self.rows, 0.6)}
            states = [(status.value, at, row) for row, (status, at) in seen.items()]
            read_states.keep_later(self.store, states, lambda rows: {row: serials(row) for row in rows})
            for row, (status, at) in seen.items():
                known = self.rows[row]
                known.verified, known.verified_at = status, at
                if known.undos and status is self.opposite and known.outcome not in (*OPEN, Outcome.UNDONE):
                    self.superseded += known.attempts > 0
                    known.outcome, known.again, known.changed, known.attempts = Outcome.UNDONE, False, False, 1
                known.intents -= known.undos
                known.undos = set()
            self.may_be_killed()
            rows = [row for row, (status, _) in seen.items() if status is self.opposite]
            rows = [row for row in rows if self.rows[row].outcome not in OPEN]
            if rows and self.maybe(0.6):
                self.call(rows)

    def undo(self) -> None:
        rows = self.some(self.store.read(queries.changed, self.desired.value, 1, self.last), 0.8)
        self.claim(rows, "undos")
        for row in self.some(rows, 0.8):
            record = self.record(row, (Outcome.UNDONE,) * 4)
            if record.outcome is Outcome.SUCCEEDED:
                continue
            self.store.keep([record])
            if record.outcome is Outcome.UNDONE:
                self.note(record)
            else:
                self.superseded += 1
                if record.outcome is Outcome.UNKNOWN:
                    self.rows[row].intents.add(self.session)
                else:
                    self.rows[row].settle({self.session})
            self.may_be_killed()

    # What is asked.

    def has_drifted(self, row: Row) -> bool:
        return row.outcome in DESIRED and row.verified is not None and row.verified is not self.desired

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
            of_rows = zip(*map(serials, range(1, self.last + 1)), strict=True)
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
        history = History(tmp_path / f"{seed}.sqlite", random.Random(seed))
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
