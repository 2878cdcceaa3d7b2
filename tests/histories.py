"""A run at random, as its store's own writer and a small model have it: sessions, calls, kills, in any order."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, get_args

import msgspec
from stored import ASKED, CALLER, killed

from bulkcert.service.actions import ACTIONS, Status
from bulkcert.store import queries, read_states
from bulkcert.store.outcome import DESIRED, Outcome, Record, Retried
from bulkcert.store.sessions import Asked
from bulkcert.store.store import Store

RETRIED = [Outcome(name) for name in get_args(Retried) if name != "drifted"]
OPEN = (None, Outcome.NOT_ATTEMPTED)


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

    Attributes:
        actions: What may be done.
        most: Rows that are claimed, and outcomes that are kept, at a time.

    Args:
        path: Where the store is to be.
        random_: What happens.
        last: Number of rows; any up to 30 unless it is given.
        asked: What the run is of, but for the action.
    """

    actions: ClassVar[tuple[str, ...]] = ("inactivate-device", "activate-device", "activate-device", "delete-ca")
    most: ClassVar[tuple[int, int]] = (8, 3)

    def __init__(self, path: Path, random_: random.Random, last: int = 0, asked: Asked = ASKED) -> None:
        self.random, self.path, self.at, self.session = random_, path, 1_000, 0
        action = ACTIONS[random_.choice(self.actions)]
        self.asked = msgspec.structs.replace(asked, action=action.name)
        self.deletes, self.desired, self.opposite = action.deletes, action.desired_status, Status(action.before)
        self.last = last or random_.randint(1, 30)
        self.never = {row for row in range(1, self.last + 1) if random_.random() < 0.1}
        self.rows = {row: Row() for row in range(1, self.last + 1) if row not in self.never}
        self.preflight_over, self.superseded = False, 0
        store = Store(path)
        store.describe(self.asked)
        store.leave_out((row, "invalid", None, "why") for row in self.never)
        store.keep_draft()
        store.close()

    def serials(self, row: int) -> tuple[str, str]:
        return f"{row:08d}", "00ca"

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
            self.end()
        except Killed:
            self.kill()
        else:
            self.store.close()
            for row in self.rows.values():
                row.settle({self.session} - row.intents)

    def end(self) -> None:
        self.store.end(0)

    def kill(self) -> None:
        killed(self.store)

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

    def has_drifted(self, row: Row) -> bool:
        return row.outcome in DESIRED and row.verified is not None and row.verified is not self.desired

    # What they do.

    def run(self) -> None:
        if not self.preflight_over or self.maybe(0.5):
            self.preflight()
        self.may_be_killed()
        rows = [row for row, known in self.rows.items() if not known.is_final]
        while rows and self.maybe(0.9):
            count = self.random.randint(1, self.most[0])
            self.call(rows[:count])
            del rows[:count]

    def preflight(self) -> None:
        read_states.forget_unchanged(self.store)
        for known in self.rows.values():
            if known.outcome is Outcome.UNCHANGED:
                known.before, known.outcome, known.again = None, None, False
        self.may_be_killed(0.02)
        rows = [*self.rows]
        while rows:
            self.see(rows[: self.most[1]])
            del rows[: self.most[1]]
        self.store.note(preflight_at=self.now())
        self.preflight_over = True
        self.may_be_killed(0.02)

    def see(self, rows: list[int]) -> None:
        """Reads the states of rows, as far as they are shown."""
        seen = []
        for row in rows:
            known, status = self.rows[row], self.random.choice((*Status, None, self.desired, self.opposite))
            unchanged = status is self.desired and not self.deletes
            if status is None:
                continue
            seen.append((row, self.serials(row), status.value, self.now() if unchanged else None))
            if not (known.runs or known.undos or known.changed) and known.outcome is None:
                known.before = status
                known.outcome = Outcome.UNCHANGED if unchanged else None
        read_states.keep(self.store, seen)
        self.may_be_killed(0.02)

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
            some = answered[: self.most[1]]
            group = [self.record(row) for row in some if not self.announces() or self.intended(row)]
            del answered[: len(some)]
            self.may_be_killed()
            self.store.keep(group)
            for record in group:
                self.note(record)
            self.may_be_killed(0.02)

    def announces(self) -> bool:
        """Returns whether the intent of a call is kept before it is made."""
        return self.deletes

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
        device, ca = self.serials(row)
        said = {"code": "C", "message": "m" * self.random.randrange(60)} if outcome is Outcome.FAILED else {}
        said |= {"request_id": f"R{row:030d}", "sent_at": self.now(), "finished_at": self.now(), "latency_ms": 1.5}
        calls = {"attempts": attempts, "again": again, "changed": changed}
        return Record(row, outcome, device_sn=device, ca=ca, **said, **calls)

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
            read_states.keep_later(self.store, states, lambda rows: {row: self.serials(row) for row in rows})
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
