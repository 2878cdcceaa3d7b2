"""A run at random, made by the store's own writer, as its files were after each transaction; see damaged_stores.py."""

import sqlite3
from contextlib import closing, suppress
from itertools import count
from unittest.mock import patch

import polars as pl
from stored import CALLER

from bulkcert.input import annotated
from bulkcert.output.evidence import prove
from bulkcert.output.files import sha256_of
from bulkcert.runs.opened import pinned_of
from bulkcert.store import queries, read_states
from bulkcert.store.outcome import Outcome, Record
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Asked
from bulkcert.store.store import Store

ROWS = 120
COLUMNS = {"columns": ("DeviceSn", "CaSn"), "device_column": "DeviceSn", "ca_column": "CaSn", "version": "1"}


class Killed(Exception):  # noqa: N818 - nothing is wrong
    """The session ends here, without a word."""


class Copies:
    """A run as it was at each moment: its files (``FILES``).

    Args:
        directory: Where it is made.
        chance: What happens in it.
        run: ID of the run.
    """

    def __init__(self, directory, chance, run):
        self.files, self.chance, self.copies = RunFiles(directory / f"{run}.csv"), chance, []
        self.files.folder.mkdir()
        self.page, self.logged = chance.choice([512, 512, 1024, 4096]), chance.choice([0, 3, 10, 30, 1000])
        self.cached = chance.choice([5, 4000])  # the first: of a transaction that is not over some is on disk
        self.network, self.clock = chance.random() < 0.2, count(1_000)
        self.all_serials = {row: (f"{run}{row:07d}", f"ca{row % 3}") for row in range(1, ROWS + 1)}
        table = pl.DataFrame([*self.all_serials.values()], ["DeviceSn", "CaSn"], orient="row")
        table.write_parquet(self.files.pinned(run))
        of = dict.fromkeys(("keys_sha256", "sha256", "results", "directory"), "x")
        of["pinned_sha256"] = sha256_of(self.files.pinned(run))
        of |= {"instance": f"post-cn-{run}", "endpoint": f"https://{run}.example.com"}
        self.asked = Asked(run=run, action="inactivate-device", rows=ROWS, inputs=("l",), **of, **COLUMNS)
        (self.list,) = annotated(pinned_of(self.files, self.asked), own=False)
        self.serials = pl.DataFrame([*self.all_serials.values()], orient="row")
        with closing(sqlite3.connect(self.files.store)) as db:
            db.execute(f"PRAGMA page_size = {self.page}")
            db.execute("VACUUM")
        now = patch("bulkcert.store.store.now_ms", self.now)
        with now, patch("bulkcert.store.database.is_on_network", lambda _: self.network):
            for number in range(chance.randint(2, 6)):
                self.session(chance.choice(["run", "run", "verify", "undo"]) if number else "run")

    def now(self):
        return next(self.clock)

    def keep(self):
        """Keeps a copy of its files; the session may be killed then."""
        copy = copy_of(self.files.store)
        if not self.copies or copy != self.copies[-1]:
            self.copies.append(copy)
        if self.chance.random() < 0.02:
            raise Killed

    def session(self, kind):
        self.store = Store(self.files.store)
        self.store.db.execute(f"PRAGMA wal_autocheckpoint = {self.logged}")
        self.store.db.execute(f"PRAGMA cache_size = {self.cached}")
        if self.store.is_new:
            self.store.describe(self.asked)
        try:
            {"run": self.run, "verify": self.verify, "undo": self.undo}[kind]()
            self.end()
        except Killed:
            copy = self.copies[-1]
            self.store.close()
            put(self.files.store, copy)
        else:
            self.store.close()
            with suppress(Killed):
                self.keep()

    def begin(self, kind):
        self.store.begin(kind, "{}", **CALLER)
        self.keep()

    def end(self):
        note = self.store.note

        def noted(**columns):
            self.keep()
            note(**columns)

        self.store.note = noted
        self.store.end(0)
        self.keep()
        self.store.seal(prove(pinned_of(self.files, self.asked), self.store.read))
        self.keep()

    def run(self):
        store, chance = self.store, self.chance
        if queries.preflight_at(store.db) is None:
            read_states.forget(store)
        elif chance.random() < 0.3:
            store.reopen("newest = ?", (chance.choice(["failed", "undone", "unchanged"]),))
        store.leave_out((row, "invalid", None, "why") for row in range(7, ROWS, 30))
        if chance.random() < 0.3:
            read_states.forget_unchanged(store)
        early = chance.random() < 0.5  # somebody is asked
        if early:
            self.read_states()
        if len(self.copies) > 1:
            self.keep()
        self.begin("run")
        if not early:
            self.read_states()
        store.note(preflight_at=self.now())
        self.keep()
        if chance.random() < 0.3:
            self.control()
        self.call(self.to_call()[: chance.choice([ROWS, chance.randrange(ROWS)])], self.outcome)

    def to_call(self):
        left = {*queries.rows(self.store.db, queries.LEFT_ALONE)}
        return [row for row in range(1, ROWS + 1) if row not in left]

    def read_states(self):
        states = []
        for row in self.to_call():
            state = self.chance.choice(["active", "active", "inactive", None])
            if state:
                states.append((row, self.all_serials[row], state, self.now() if state == "inactive" else None))
        for first in range(0, len(states), 40):
            read_states.keep(self.store, states[first : first + 40])
            if self.store.session:
                self.keep()

    def call(self, rows, outcome):
        for first in range(0, len(rows), 15):
            some = rows[first : first + 15]
            self.store.claim(some)
            self.keep()
            intents = [row for row in some if self.chance.random() < 0.05]
            if intents:
                self.store.keep(intents)
                self.keep()
            self.store.keep([self.record(row, outcome()) for row in some if self.chance.random() < 0.95])
            self.keep()

    def outcome(self):
        rare = [Outcome.FAILED, Outcome.NOT_ATTEMPTED, Outcome.UNKNOWN]
        return self.chance.choices([Outcome.SUCCEEDED, *rare], [20, 5, 1, 1])[0]

    def record(self, row, outcome):
        device, ca = self.all_serials[row]
        of = {"device_sn": device, "ca": ca}
        if outcome is Outcome.NOT_ATTEMPTED:
            return Record(row, outcome, message="stopped", again=True, **of)
        more = {"code": "C", "message": "m" * self.chance.randrange(60)} if outcome is Outcome.FAILED else {}
        calls = {"attempts": 1, "sent_at": self.now(), "finished_at": self.now(), "latency_ms": 1.5}
        changed = outcome in (Outcome.SUCCEEDED, Outcome.UNKNOWN)
        return Record(row, outcome, request_id=f"R{row:030d}", **of, **more, **calls, changed=changed)

    def verify(self):
        self.begin("verify")
        rows = queries.rows(self.store.db, queries.REACHED)
        for first in range(0, len(rows), 30):
            some = rows[first : first + 30]
            states = [(self.chance.choice(["inactive"] * 9 + ["active"]), self.now(), row) for row in some]
            read_states.keep_later(self.store, states, lambda rows: {row: self.all_serials[row] for row in rows})
            self.keep()

    def undo(self):
        changed = [*queries.changed(self.store.db, "inactive", 1, ROWS)]
        self.begin("undo")
        kinds = [Outcome.UNDONE] * 8 + [Outcome.FAILED, Outcome.UNKNOWN, Outcome.NOT_ATTEMPTED]
        self.call(changed[: self.chance.randrange(ROWS)], lambda: self.chance.choice(kinds))

    def control(self):
        columns = "session, request, rate, per_address_rate, user, host, pid, asked_at"
        with self.store.transaction() as db:
            values = (self.store.session, "rate", 50, 30, "u", "h", 1, self.now())
            db.execute(f"INSERT INTO control ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        self.keep()
        with self.store.transaction() as db:
            db.execute("UPDATE control SET taken_at = ?", (self.now(),))
        self.keep()


FILES = ("", "-wal", "-journal")
"""What the names of the files of a store add to that of the store."""


def copy_of(store):
    """Returns what is in the files of a store; None for one that is missing."""
    paths = [store.with_name(store.name + end) for end in FILES]
    return tuple(path.read_bytes() if path.exists() else None for path in paths)


def put(store, copy):
    """Makes a store of the files of a copy."""
    store.with_name(f"{store.name}-shm").unlink(missing_ok=True)
    for end, content in zip(FILES, copy, strict=True):
        path = store.with_name(store.name + end)
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
