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

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.actions import ACTIONS
from bulkcert.store import queries
from bulkcert.store.database import connect, make_tables, readable, reason_of, rest
from bulkcert.store.outcome import Outcome, Record
from bulkcert.store.schema import Asked, SessionKind

SYNC_AFTER_S = 0.2
"""Longest time that a finished row waits for its sync, in addition to the sync itself."""

SYNC_AFTER_ROWS = 256
"""Rows that are synced together at most before a sync is started."""

MOST_PENDING = 4096
"""Finished rows that may wait for a slow disk before the workers wait too."""

# Groups go to SQLite as JSON, each in one statement: a statement a row would hand the interpreter's lock to and fro
# with the calls, which costs ten times what the row does.
_COLUMNS = (
    *("row", "newest", "again", "changed", "session", "code", "message", "http_status", "request_id", "attempts"),
    *("sent_at", "finished_at", "latency_ms"),
)
_EACH = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(_COLUMNS)))
_OUTCOME = f"""INSERT INTO certificate ({", ".join(_COLUMNS)}) SELECT {_EACH} FROM json_each(?) WHERE true
ON CONFLICT (row) DO UPDATE SET newest = excluded.newest, again = excluded.again,
    changed = CASE WHEN excluded.newest = 'undone' THEN 0 ELSE changed OR excluded.changed END,
    session = excluded.session, code = excluded.code, message = excluded.message,
    http_status = excluded.http_status, request_id = excluded.request_id, attempts = excluded.attempts,
    sent_at = excluded.sent_at, finished_at = excluded.finished_at, latency_ms = excluded.latency_ms,
    verified = CASE WHEN excluded.attempts > 0 THEN NULL ELSE verified END,
    verified_at = CASE WHEN excluded.attempts > 0 THEN NULL ELSE verified_at END"""  # noqa: S608 - names of ours

_SETTLED = "DELETE FROM claim WHERE row IN (SELECT value FROM json_each(?))"
# What another session may have called is still in doubt after a call that a stop interrupted or an undo made in vain.
_OWN_SETTLED = f"{_SETTLED} AND session = ?"

_UNDO_SETTLED = "DELETE FROM claim WHERE row = ? AND session IN (SELECT id FROM session WHERE kind = 'undo')"

_UNDONE_AS_READ = """UPDATE certificate SET newest = 'undone', changed = 0, again = 0, code = NULL, http_status = NULL,
    request_id = NULL, attempts = 0, message = 'read back so after an undo that was not answered'
    WHERE row = ? AND newest NOT IN ('not_attempted', 'undone')"""

_ATTEMPT = """INSERT INTO attempt (session, row, outcome, code, message, http_status, request_id, attempts, sent_at,
    finished_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_CLAIM = "INSERT OR IGNORE INTO claim (row, session) SELECT value, ? FROM json_each(?)"
_SENT = """INSERT INTO claim (row, session, sent) SELECT value, ?, 1 FROM json_each(?) WHERE true
    ON CONFLICT DO UPDATE SET sent = 1"""

P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """The open store of a run; whoever has it holds the run's lock.

    While rows are called, ``commit_groups`` must run next to the workers.

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
        # Also where nobody closes it: SQLite alone would take the log away and leave the file in need of one.
        self._rest = weakref.finalize(self, rest, self.db)
        self._turn = threading.Lock()
        self._undoes = False
        self._pending: list[Record | int] = []
        self._taken = 0
        self._wanted, self._hurry, self._synced = anyio.Event(), anyio.Event(), anyio.Event()
        self.db.execute("BEGIN IMMEDIATE")
        self.was_empty = self.is_new
        """Whether there was no run in it when it was opened."""

    # The draft: what is written before a session begins is kept by its beginning, or not at all.

    @property
    def is_new(self) -> bool:
        """Whether there is no run in it yet."""
        return not self.db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]

    def describe(self, asked: Asked) -> None:
        """Makes it the store of a run of which nothing is known yet; what it has kept of another goes."""
        if self.is_new:
            make_tables(self.db)
        for table in ("run", "session", "certificate", "claim", "attempt"):
            self.db.execute(f"DELETE FROM {table}")  # noqa: S608 - ours
        self.db.execute("INSERT INTO run VALUES (1, ?)", (msgspec.json.encode(asked).decode(),))

    def correct(self, asked: Asked) -> None:
        """Puts another description of the same run in the place of what it has."""
        self.db.execute("UPDATE run SET asked = ?", (msgspec.json.encode(asked).decode(),))

    def leave_out(self, rows: Iterable[tuple[int, str, int | None, str]]) -> None:
        """Keeps which rows are not called; those that were skipped before and are not among them are called again.

        Args:
            rows: Row, outcome, the row that it repeats, and why in words.
        """
        self.db.execute("UPDATE certificate SET never = NULL, first_row = NULL, why = NULL WHERE never IS NOT NULL")
        self.db.executemany(
            """INSERT INTO certificate (row, never, first_row, why) VALUES (?, ?, ?, ?) ON CONFLICT (row) DO
            UPDATE SET never = excluded.never, first_row = excluded.first_row, why = excluded.why""",
            rows,
        )
        # What came of such a row so far is none of its outcome any more; the trigger keeps it.
        self.db.execute(
            """UPDATE certificate SET newest = NULL, again = 0, code = NULL, message = NULL, http_status = NULL,
            request_id = NULL, attempts = 0, sent_at = NULL, finished_at = NULL, latency_ms = NULL
            WHERE never IS NOT NULL AND newest = 'not_attempted'"""
        )

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
        try:
            statement = f"INSERT INTO session ({names}) VALUES ({places})"  # noqa: S608 - names of ours
            session = int(self.db.execute(statement, tuple(columns.values())).lastrowid or 0)
            self.db.execute("COMMIT")
            self.session = session
            # In the file itself: so a file whose log is lost is known by a session that has not ended.
            self.db.execute("PRAGMA wal_checkpoint").fetchall()
        except sqlite3.Error as error:
            raise unwritable(self.path, error) from error
        self._undoes = kind == "undo"

    def keep_draft(self) -> None:
        """Keeps what was drafted without a session: one that has nothing to call leaves no trace of its own.

        Raises:
            BulkcertError: CANNOT_WRITE.
        """
        try:
            self.db.execute("COMMIT")
        except sqlite3.Error as error:
            raise unwritable(self.path, error) from error

    def note(self, **columns: object) -> None:
        """Changes what the row of this session says; on disk when it returns.

        Raises:
            sqlite3.Error: The disk refuses.
        """
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
                self.note(ended_at=now_ms(), exit_status=int(exit_status), **more)

    # Outcomes, in groups.

    async def add(self, record: Record) -> None:
        """Adds an outcome to the next group; waits only while the disk is far behind."""
        await self._add(record)

    async def intend(self, row: int) -> None:
        """Keeps, before a call that must not be repeated blindly, that it may have been; on disk after ``sync``."""
        await self._add(row)

    async def _add(self, item: Record | int) -> None:
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
        """Writes what is added, group by group, until cancelled.

        Args:
            on_failure: Called once if the disk refuses; from then on nothing is written.
        """
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
        """Writes a group of outcomes and intents, in order: one transaction, on disk when it returns.

        Raises:
            sqlite3.Error: The disk refuses; nothing of the group is kept.
        """
        records: list[Record] = []
        vain: list[Record] = []
        for item in group:
            if isinstance(item, Record):
                # A call of an undo that has not changed a row back leaves what the run has made of it.
                (vain if self._undoes and item.outcome is not Outcome.UNDONE else records).append(item)
        lost = {record.row for record in vain if record.outcome is Outcome.UNKNOWN}
        sent = [row for row in (*group, *lost) if isinstance(row, int)]
        kept = [record.row for record in vain if record.row not in lost]
        kept += [record.row for record in records if record.outcome is Outcome.NOT_ATTEMPTED]
        settled = [record.row for record in records if record.outcome is not Outcome.NOT_ATTEMPTED]
        with self.transaction() as db:
            if sent:
                db.execute(_SENT, (self.session, _text(sent)))
            db.execute(_OUTCOME, (_text([self._row(record) for record in records]),))
            db.executemany(_ATTEMPT, (self._attempt(record) for record in vain if record.attempts))
            if kept:
                db.execute(_OWN_SETTLED, (_text(kept), self.session))
            db.execute(_SETTLED, (_text(settled),))

    def _row(self, record: Record) -> tuple[object, ...]:
        return (
            *(record.row, record.outcome.value, record.again, record.changed and record.outcome is not Outcome.UNDONE),
            *(self.session, record.code or None),
            *(record.message or None, record.http_status or None, record.request_id or None, record.attempts),
            *(record.sent_at or None, record.finished_at or None, record.latency_ms if record.attempts else None),
        )

    def _attempt(self, record: Record) -> tuple[object, ...]:
        return (
            *(self.session, record.row, record.outcome.value, record.code or None, record.message or None),
            *(record.http_status or None, record.request_id or None, record.attempts, record.sent_at or None),
            record.finished_at or None,
        )

    # What is written at once.

    def claim(self, rows: Iterable[int]) -> None:
        """Keeps which rows may be called from now on, before they are.

        Raises:
            sqlite3.Error: The disk refuses.
        """
        with self.transaction() as db:
            db.execute(_CLAIM, (self.session, _text(list(rows))))

    def keep_states(self, states: Iterable[tuple[str | None, str | None, int | None, int]], *, again: bool) -> None:
        """Keeps what was read of rows before they were called.

        Args:
            states: State before, ``unchanged`` where no call is needed, when it was read, and the row.
            again: Whether the rows were read before and found unchanged; what is not so any more is to be called.

        What a session may have called stays as it was: what is read of it now is not its state before.
        """
        reset = "newest = excluded.newest, again = 0" if again else "newest = COALESCE(excluded.newest, newest)"
        statement = f"""INSERT INTO certificate (before, newest, finished_at, row)
            SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM claim WHERE row = ?4)
            ON CONFLICT (row) DO UPDATE SET before = excluded.before, {reset}, finished_at = excluded.finished_at
            WHERE NOT changed AND (newest IS NULL OR newest IN ('unchanged', 'not_attempted'))"""  # noqa: S608 - ours
        with self.transaction() as db:
            db.executemany(statement, states)

    def forget_states(self) -> None:
        """Drops what a preflight has read that was interrupted: no call was made yet, and it may be long ago."""
        with self.transaction() as db:
            db.execute("UPDATE certificate SET before = NULL WHERE before IS NOT NULL")
            db.execute("UPDATE certificate SET newest = NULL, finished_at = NULL WHERE newest = 'unchanged'")

    def keep_read_back(self, states: Iterable[tuple[str, int, int]]) -> None:
        """Keeps what was read back of rows: status, Unix time in milliseconds, row."""
        statement = """INSERT INTO certificate (verified, verified_at, row) VALUES (?, ?, ?)
            ON CONFLICT (row) DO UPDATE SET verified = excluded.verified, verified_at = excluded.verified_at"""
        states = list(states)
        with self.transaction() as db:
            db.executemany(statement, states)
            # What an undo may have changed back without a trace is known by now.
            if maybe := set(queries.rows(db, queries.UNDO_CLAIMED)):
                restored = ACTIONS[queries.asked(db).action].before
                read = [(row, status) for status, _, row in states if row in maybe]
                db.executemany(_UNDONE_AS_READ, ((row,) for row, status in read if status == restored))
                db.executemany(_UNDO_SETTLED, ((row,) for row, _ in read))

    def reopen(self, condition: str, parameters: Iterable[object] = ()) -> int:
        """Takes up again rows that have an outcome; returns how many.

        Args:
            condition: Which, as SQL over ``certificate``.
            parameters: Of the condition.
        """
        statement = f"UPDATE certificate SET again = 1 WHERE newest IS NOT NULL AND NOT again AND ({condition})"  # noqa: S608 - ours
        with self.transaction() as db:
            return db.execute(statement, tuple(parameters)).rowcount

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Makes one transaction of its statements, on disk when it ends.

        Raises:
            sqlite3.Error: The disk refuses; nothing of it is kept.
        """
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
        """Asks a question on the writer's own connection, between two groups.

        Args:
            question: One of ``queries``.
            about: What it is about.
            more: The same by name.

        Raises:
            BulkcertError: CANNOT_WRITE: the store is damaged, or cannot be read any more.
        """
        with self._turn, readable(self.path, ExitStatus.CANNOT_WRITE):
            return question(self.db, *about, **more)

    def close(self) -> None:
        """Closes the file, which is one then; what was drafted and not kept is gone."""
        self._rest()


def _text(values: list[Any]) -> str:
    return msgspec.json.encode(values).decode()


def unwritable(path: Path, error: sqlite3.Error) -> BulkcertError:
    """Returns what to show the user when a store cannot be written before the first call."""
    return BulkcertError(
        ExitStatus.CANNOT_WRITE,
        f"cannot write {path}: {reason_of(error)}",
        "No calls were made. Name a results file with -o, in a directory that has room and can be written.",
    )


def now_ms() -> int:
    """Returns the time in Unix milliseconds."""
    return round(time.time() * 1000)
