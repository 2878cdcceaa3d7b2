"""The store as its one writer sees it: outcomes in groups, each group one transaction that is on disk when it counts.

What is written is written off the event loop. Who reads opens the file for itself (``queries``) and neither waits nor
disturbs.
"""

import contextlib
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
import anyio.to_thread
import msgspec

from bulkcert.errors import ExitStatus
from bulkcert.store import statements
from bulkcert.store.database import connect, make_tables, readable, rest
from bulkcert.store.evidence import encoded
from bulkcert.store.outcome import Outcome, Record
from bulkcert.store.sessions import Asked, SessionKind
from bulkcert.store.tables import LOW

SYNC_AFTER_S = 0.2
"""Longest time that a finished row waits for its sync, in addition to the sync itself."""

SYNC_AFTER_ROWS = 256
"""Rows that are synced together at most before a sync is started."""

MOST_PENDING = 4096
"""Finished rows that may wait for a slow disk before the workers wait too."""

P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """The open store of a run; whoever has it holds the run's lock.

    While rows are called, ``commit_groups`` must run next to the workers. What writes raises ``sqlite3.Error`` where
    the disk refuses; nothing of its transaction is kept then.

    Args:
        path: The file, with its tables.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: sqlite3.Error | None = None
        """Why nothing can be written any more."""
        self.session = 0
        """Number of the session that writes; 0 before it begins."""
        self.db, self.on_network = connect(path)
        """The second: whether its file is on another machine, so that readers and the writer wait for each other."""
        # Also where nobody calls it: SQLite alone would take the log away and leave the file in need of one.
        self.close = weakref.finalize(self, rest, path, self.db)
        """Closes the file, which is one then; what was drafted and not kept is gone."""
        self._turn = threading.Lock()
        self._undoes = False
        self._pending: list[Record | int] = []
        self._taken = 0
        self._wanted, self._hurry, self._synced = anyio.Event(), anyio.Event(), anyio.Event()
        self.is_new = not self.db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
        """Whether there is no run in it yet."""
        self.was_empty = self.is_new
        """Whether there was none when it was opened."""

    # The draft: what is written before a session begins is kept by its beginning, or not at all.

    def describe(self, asked: Asked) -> None:
        """Makes it the store of a run of which nothing is known yet; what it has kept of another goes."""
        if self.is_new:
            make_tables(self.db)
            self.is_new = False
        for table in ("run", "session", "certificate", "claim", "attempt", "control", "tally"):
            self.db.execute(f"DELETE FROM {table}")  # noqa: S608 - ours
        self.db.execute("INSERT INTO run VALUES (1, ?)", (_text(asked),))
        self.db.execute("INSERT INTO tally (id) VALUES (1)")

    def correct(self, asked: Asked) -> None:
        """Puts another description of the same run in the place of what it has."""
        self.db.execute("UPDATE run SET asked = ?", (_text(asked),))

    def leave_out(self, rows: Iterable[tuple[int, str, int | None, str]]) -> None:
        """Keeps which rows are not called; those that were skipped before and are not among them are called again.

        Args:
            rows: Row, outcome, the row that it repeats, and why in words.
        """
        self.db.execute("UPDATE certificate SET never = NULL, first_row = NULL, why = NULL WHERE never IS NOT NULL")
        self.db.executemany(statements.LEFT_OUT, rows)
        # What came of such a row so far is none of its outcome any more; the trigger keeps it.
        self.db.execute(statements.OUTCOME_DROPPED)

    # A session: its beginning, its signs of life, its end.

    def begin(self, kind: SessionKind, options: str, **caller: object) -> None:
        """Begins a session; on disk when it returns, with all that was drafted.

        Args:
            kind: What it does.
            options: As given, JSON.
            caller: pid, host, user, version, access_key_id, credentials.

        Raises:
            BulkcertError: CANNOT_WRITE.
        """
        columns = {"kind": kind, "options": options, "started_at": now_ms(), **caller}
        names, places = ", ".join(columns), ", ".join("?" * len(columns))
        statement = f"INSERT INTO session ({names}) VALUES ({places})"  # noqa: S608 - names of ours
        with readable(self.path, ExitStatus.CANNOT_WRITE):
            session = int(self.db.execute(statement, tuple(columns.values())).lastrowid or 0)
            self.db.execute("COMMIT")
            self.session = session
            # In the file itself: so a file whose log is lost is known by a session that has not ended.
            self.db.execute("PRAGMA wal_checkpoint").fetchall()
        self._undoes = kind == "undo"

    def keep_draft(self) -> None:
        """Keeps what was drafted without a session: one that has nothing to call leaves no trace of its own.

        Raises:
            BulkcertError: CANNOT_WRITE.
        """
        with readable(self.path, ExitStatus.CANNOT_WRITE):
            self.db.execute("COMMIT")

    def note(self, **columns: object) -> None:
        """Changes what the row of this session says; on disk when it returns."""
        names = ", ".join(f"{name} = ?" for name in columns)
        with self._turn:
            self.db.execute(f"UPDATE session SET {names} WHERE id = ?", (*columns.values(), self.session))  # noqa: S608 - names of ours

    def end(self, exit_status: int, **more: str) -> None:
        """Notes that no call of this session is without an outcome, and how it ended; what cannot be written is left.

        Args:
            exit_status: Of the command.
            more: Further columns of the session: stopped, advice, stop_code, verification.
        """
        if self.session and self.failure is None and not self._pending:
            with contextlib.suppress(sqlite3.Error):
                with self.transaction() as db:
                    db.execute("DELETE FROM claim WHERE session = ? AND NOT sent", (self.session,))
                    db.execute(statements.TALLIED, (0,))
                self.note(ended_at=now_ms(), exit_status=int(exit_status), **more)

    def stopped(self, exit_status: int, message: str, advice: str) -> None:
        """Notes how this session has stopped whose end cannot be kept; a full disk often takes so little."""
        if self.session:
            with contextlib.suppress(sqlite3.Error):
                self.note(exit_status=int(exit_status), stopped=message, advice=advice)

    def seal(self, digest: str) -> None:
        """Keeps the digest of all rows, which stay as they are until another session begins; what cannot be is left."""
        with self._turn, contextlib.suppress(sqlite3.Error):
            self.db.execute("UPDATE session SET rows_digest = ? WHERE id = (SELECT MAX(id) FROM session)", (digest,))
            if self.db.in_transaction:
                self.db.execute("COMMIT")

    # Outcomes, in groups.

    async def add(self, item: Record | int) -> None:
        """Adds to the next group; waits only while the disk is far behind.

        Args:
            item: An outcome; or a row whose call must not be repeated blindly, and may be made once ``sync`` returns.
        """
        while len(self._pending) >= MOST_PENDING and self.failure is None:
            await self._synced.wait()
        self._pending.append(item)
        if len(self._pending) == 1:
            self._wanted.set()
        elif len(self._pending) == SYNC_AFTER_ROWS:
            self._hurry.set()

    async def sync(self) -> None:
        """Waits until all that was added so far is on disk, or cannot be written (see ``failure``)."""
        wanted = self._taken + len(self._pending)
        while self._taken < wanted and self.failure is None:
            self._hurry.set()
            await self._synced.wait()

    async def commit_groups(self, on_failure: Callable[[sqlite3.Error], None]) -> None:
        """Writes what is added, group by group, until cancelled; if the disk refuses, says so once."""
        while self.failure is None:
            await self._wanted.wait()
            with anyio.move_on_after(SYNC_AFTER_S):
                await self._hurry.wait()
            self._wanted, self._hurry = anyio.Event(), anyio.Event()
            group = tuple(self._pending)
            try:
                await anyio.to_thread.run_sync(self.keep, group)
            except sqlite3.Error as error:
                self.failure = error
                on_failure(error)
            else:
                del self._pending[: len(group)]
                self._taken += len(group)
                if self._pending:
                    self._wanted.set()
                if len(self._pending) >= SYNC_AFTER_ROWS:
                    self._hurry.set()
            self._synced.set()
            self._synced = anyio.Event()

    def keep(self, group: Sequence[Record | int]) -> None:
        """Writes a group of outcomes and intents, in order: one transaction, on disk when it returns."""
        records = [item for item in group if isinstance(item, Record)]
        sent = [item for item in group if isinstance(item, int)]
        by = self.session << 8  # as ``tables.OUTCOMES`` adds them up
        called = sum(each.attempts + by + ((each.finished_at or 0) & LOW) for each in records if each.attempts)
        # A call of an undo that has not changed a row back leaves what the run has made of it.
        vain = [record for record in records if record.outcome is not Outcome.UNDONE] if self._undoes else []
        if vain:
            records = [record for record in records if record.outcome is Outcome.UNDONE]
        sent += [record.row for record in vain if record.outcome is Outcome.UNKNOWN]
        own = [record.row for record in vain if record.outcome is not Outcome.UNKNOWN]
        own += [record.row for record in records if record.outcome is Outcome.NOT_ATTEMPTED]
        settled = [record.row for record in records if record.outcome is not Outcome.NOT_ATTEMPTED]
        with self.transaction() as db:
            if sent:
                db.execute(statements.SENT, (self.session, _text(sent)))
            db.execute(statements.OUTCOME, (self.session, *encoded(records)))
            if vain:
                db.execute(statements.ATTEMPT, (self.session, *encoded(vain)))
            if own:
                db.execute(statements.OWN_SETTLED, (_text(own), self.session))
            db.execute(statements.SETTLED, (_text(settled),))
            db.execute(statements.TALLIED, (called,))

    # What is written at once.

    def claim(self, rows: Iterable[int]) -> None:
        """Keeps which rows may be called from now on, before they are."""
        with self.transaction() as db:
            db.execute(statements.CLAIM, (self.session, _text([*rows])))
            db.execute(statements.TALLIED, (0,))

    def reopen(self, condition: str, parameters: Iterable[object] = ()) -> int:
        """Takes up again rows that have an outcome, by a condition over ``certificate``; returns how many."""
        statement = f"UPDATE certificate SET again = 1 WHERE newest IS NOT NULL AND NOT again AND ({condition})"  # noqa: S608 - ours
        with self.transaction() as db:
            return db.execute(statement, tuple(parameters)).rowcount

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Makes one transaction of its statements, on disk when it ends."""
        with self._turn:
            if not self.session:  # the draft is one transaction
                yield self.db
                return
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
                self.db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self.db.execute("ROLLBACK")
                raise

    def read(self, question: Callable[Concatenate[sqlite3.Connection, P], T], *about: P.args, **more: P.kwargs) -> T:
        """Asks one of ``queries`` on the writer's own connection, between two groups.

        Raises:
            BulkcertError: CANNOT_WRITE: the store is damaged, or cannot be read any more.
        """
        with self._turn, readable(self.path, ExitStatus.CANNOT_WRITE):
            return question(self.db, *about, **more)


def _text(values: Any) -> str:
    return msgspec.json.encode(values).decode()


def now_ms() -> int:
    """Returns the time in Unix milliseconds."""
    return round(time.time() * 1000)
