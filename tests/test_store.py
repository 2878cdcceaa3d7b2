"""The store of a run: its lock, its groups, its readers, its undo, and what is wrong with a file."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import anyio
import msgspec
import pytest
from made_store import made_run, row
from stored import ASKED, CALLER, change, killed

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.store import database, lock, queries
from bulkcert.store.database import make_tables
from bulkcert.store.outcome import NEVER_CALLED, Outcome, Record
from bulkcert.store.status import status_of
from bulkcert.store.store import SYNC_AFTER_ROWS, Store

ROWS = 10
HOLDER = """
import sys
from pathlib import Path
from bulkcert.store import lock
held = lock.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    """Returns the store of a run that no session has begun."""
    path = tmp_path / "store.sqlite"
    store = Store(path)
    store.describe(ASKED)
    store.keep_draft()
    store.close()
    return path


def session(path, kind="run", *, preflight=True):
    """Returns a store with a session that has begun."""
    store = Store(path)
    store.begin(kind, "{}", **CALLER)
    if preflight:
        store.note(preflight_at=1)
    return store


def ended(store):
    """Ends a session in order."""
    store.end(0)
    store.close()


def record(row, outcome=Outcome.SUCCEEDED, *, changed=None, **more):
    """Returns what came of a call."""
    attempts = more.pop("attempts", 1)
    is_changed = bool(attempts) and outcome is not Outcome.NOT_REGISTERED if changed is None else changed
    return Record(row, outcome, attempts=attempts, finished_at=5, changed=is_changed, **more)


def asked(path, question, *parameters):
    """Returns what a reader is told."""
    with database.reading(path) as db:
        return question(db, *parameters)


def changed(path):
    """Returns the rows that the run may have changed."""
    return list(asked(path, queries.changed, "inactive", 1, ROWS))


def run_with(path, *records):
    """Makes a run that has called rows."""
    store = session(path)
    store.claim([one.row for one in records])
    store.keep(records)
    ended(store)


# The lock.


def test_one_process_writes_and_the_other_is_told_which(tmp_path):
    """A second writer is refused, with the name of the first; asking takes no lock, and a kill gives it up."""
    path = tmp_path / "lock"
    assert not lock.is_held(path)
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout.readline() == "held\n"
        assert lock.is_held(path)
        assert lock.holder_of(path).pid == child.pid
        with pytest.raises(BulkcertError, match=f"process {child.pid} on ") as refused:
            lock.take(path)
        assert refused.value.status is ExitStatus.CANNOT_WRITE
        child.kill()
    assert not lock.is_held(path)
    with lock.take(path):
        assert lock.holder_of(path).pid == os.getpid()


def test_whoever_asks_is_not_in_the_way(tmp_path):
    """While somebody asks whether a run is held, its writer can start."""
    path = tmp_path / "lock"
    lock.take(path).close()
    reader = os.open(path, os.O_RDONLY)
    assert not lock.is_held(path)
    with lock.take(path):
        assert lock.is_held(path)  # of this process too
    os.close(reader)


def test_a_lock_whose_file_is_gone_is_not_taken(tmp_path, monkeypatch):
    """What is removed between opening and locking is not written to: that would be gone with it."""
    path = tmp_path / "lock"
    take = lock.fcntl.fcntl

    def removed(descriptor, command, argument):
        path.unlink()
        return take(descriptor, command, argument)

    monkeypatch.setattr(lock.fcntl, "fcntl", removed)
    with pytest.raises(BulkcertError, match="just removed"):
        lock.take(path)


def test_a_link_is_no_store(tmp_path, path):
    """A store is a file of its own: another one that a link leads to is neither read nor written."""
    run_with(path, record(1))
    link = tmp_path / "link.sqlite"
    link.symlink_to(path)
    for opens in (Store, partial(asked, question=queries.sessions)):
        with pytest.raises(BulkcertError, match="not a regular file"):
            opens(link)


def test_a_store_that_is_not_there(tmp_path):
    """Who reads is told apart that there is none, and makes none; so is one that never came to begin."""
    path = tmp_path / "s"
    for made in (False, True):
        with pytest.raises(FileNotFoundError):
            asked(path, queries.sessions)
        assert path.exists() == made
        store = Store(path)
        assert store.is_new
        store.describe(ASKED)
        store.close()
    with pytest.raises(BulkcertError, match=r"cannot write .*: No such file"):
        Store(tmp_path / "nowhere" / "s")


# The draft.


def test_what_was_drafted_is_kept_by_the_beginning_of_a_session(path):
    """Whatever is written before a session begins is kept whole with it, or not at all; meanwhile nobody sees it."""
    run_with(path, record(1), record(2, Outcome.FAILED))
    for begins in (False, True):
        store = Store(path)
        store.leave_out([(3, "invalid", None, "why")])
        store.reopen("newest = ?", ("failed",))
        assert asked(path, queries.rows, queries.LEFT_ALONE, 1, ROWS) == [1, 2]
        if begins:
            store.begin("run", "{}", **CALLER)
        store.close()
        assert asked(path, queries.rows, queries.LEFT_ALONE, 1, ROWS) == ([1, 3] if begins else [1, 2])


def test_another_run_in_its_place(path):
    """What was kept of an earlier run is gone once the session of another has begun, and not before."""
    run_with(path, record(1))
    for begins in (False, True):
        store = Store(path)
        store.describe(msgspec.structs.replace(ASKED, run="other"))
        if begins:
            store.begin("run", "{}", **CALLER)
        store.close()
        assert asked(path, queries.asked).run == ("other" if begins else "r")
        assert asked(path, queries.may_have_called) != begins
        assert len(asked(path, queries.sessions)) == 1


def test_rows_left_out_and_called_after_all(path):
    """What is not left out any more is to be called, unless it was; only the newest reasons count."""
    run_with(path, record(2))
    for rows, alone in (((1, 2, 3), [1, 2, 3]), ((3,), [2, 3]), ((), [2])):
        store = Store(path)
        store.leave_out((row, "protected", None, "why") for row in rows)
        store.keep_draft()
        store.close()
        assert asked(path, queries.rows, queries.LEFT_ALONE, 1, ROWS) == alone


# Groups.


async def test_a_group_waits_for_few_rows_and_not_for_long(path):
    """The first unsynced row waits 0.2 s at most, a full group not at all; what is acknowledged is on disk."""
    store = session(path)
    async with anyio.create_task_group() as group:
        group.start_soon(store.commit_groups, lambda error: None)
        began = time.monotonic()
        await store.add(record(1))
        while not asked(path, queries.rows, queries.LEFT_ALONE, 1, 1):  # noqa: ASYNC110 - it is the file that is looked at
            await anyio.sleep(0.01)
        assert 0.15 < time.monotonic() - began < 1
        for row in range(2, SYNC_AFTER_ROWS + 2):
            await store.add(record(row))
        with anyio.fail_after(1):
            await store.sync()
        assert asked(path, queries.counts, SYNC_AFTER_ROWS + 1).outcomes == {Outcome.SUCCEEDED: SYNC_AFTER_ROWS + 1}
        group.cancel_scope.cancel()
    ended(store)


def test_a_group_is_kept_whole_or_not_at_all(path):
    """What fails in the middle leaves nothing of its transaction, and the next one is possible."""
    store = session(path)
    statement = "INSERT INTO claim (row, session) VALUES (?, 1)"
    with pytest.raises(sqlite3.Error), store.transaction() as db:
        db.executemany(statement, [(1,), (1,)])
    store.claim([2])
    assert asked(path, queries.in_doubt) == 1
    store.close()


async def test_a_full_disk(path):
    """Nothing of the group that does not fit is kept, what was kept stays, and why it failed is told in words."""
    store = session(path)
    pages = store.db.execute("PRAGMA page_count").fetchone()[0]
    store.db.execute(f"PRAGMA max_page_count = {pages + 3}")
    failures = []
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(store.commit_groups, failures.append)
            row = 0
            while store.failure is None:
                row += 1
                await store.add(record(row, message="m" * 100))
                if row % 16 == 0:
                    await store.sync()
            group.cancel_scope.cancel()
    assert len(failures) == 1
    assert database.reason_of(failures[0]) == "no space left on the disk"
    kept = len(asked(path, queries.rows, queries.LEFT_ALONE, 1, 10_000))
    assert 0 < kept < row
    assert kept % 16 == 0
    assert not store.db.in_transaction
    store.end(73)
    killed(store)
    assert asked(path, queries.sessions)[0].ended_at is None


# Readers.


def test_readers_see_whole_groups_and_nobody_waits(path):
    """A reader sees one moment for as long as it reads; the writer goes on meanwhile."""
    store = session(path)
    store.keep([record(1), record(2)])
    with database.reading(path) as db:
        assert queries.rows(db, queries.LEFT_ALONE, 1, ROWS) == [1, 2]
        began = time.monotonic()
        for row in range(3, 9, 2):
            store.keep([record(row), record(row + 1)])
        store.claim([9])
        assert time.monotonic() - began < 5
        assert queries.rows(db, queries.LEFT_ALONE, 1, ROWS) == [1, 2]
    assert asked(path, queries.rows, queries.LEFT_ALONE, 1, ROWS) == [*range(1, 9)]
    ended(store)


SESSIONS = f"""
import sys, msgspec
from pathlib import Path
from bulkcert.store.sessions import Asked
from bulkcert.store.store import Store
for number in range(60):
    for _ in range(2):
        store = Store(Path(sys.argv[1], str(number)))
        if store.is_new:
            store.describe(msgspec.convert({msgspec.to_builtins(ASKED)}, Asked))
        store.begin("run", "{{}}", **{CALLER})
        store.claim([1])
        store.end(0)
        store.close()
    sys.stdin.readline()
"""


def test_readers_while_stores_are_made_and_sessions_come_and_go(tmp_path):
    """Whoever reads meanwhile is told that there is none yet, or what is in it; never that something is wrong."""
    reads = 0
    with subprocess.Popen([sys.executable, "-c", SESSIONS, tmp_path], stdin=-1) as child:
        for number in range(60):
            found = 0
            while found < 2:
                with suppress(FileNotFoundError):
                    found = len(asked(tmp_path / f"{number}", queries.sessions))
                    reads += 1
            child.stdin.write(b"\n")
            child.stdin.flush()
    assert (child.returncode, reads > 120) == (0, True)


def test_at_rest_it_is_one_file(path):
    """A store that nobody writes is one file, readable where nothing may be written; so is one that nobody closed."""
    run_with(path, record(1))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        assert asked(path, queries.rows, queries.LEFT_ALONE, 1, ROWS) == [1]
    finally:
        path.parent.chmod(0o700)
        path.chmod(0o600)
    store = session(path)
    del store
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert len(asked(path, queries.sessions)) == 2


def test_on_a_network_file_system(path, monkeypatch):
    """There no write-ahead log is used, before or after a kill; the answers are the same."""
    killed(session(path))
    monkeypatch.setattr(database, "is_on_network", lambda _: True)
    store = session(path)
    assert store.on_network
    assert store.db.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    store.claim([1, 2])
    store.keep([record(1)])
    assert not Path(f"{path}-wal").exists()
    assert asked(path, queries.rows, queries.LEFT_ALONE, 1, ROWS) == [1]
    ended(store)
    assert changed(path) == [1]


# Outcomes.


CALLED = {
    "succeeded": ({"outcome": Outcome.SUCCEEDED}, "succeeded"),
    "not registered": ({"outcome": Outcome.NOT_REGISTERED}, "not_registered"),
    "stopped": ({"outcome": Outcome.NOT_ATTEMPTED, "again": True}, "protected"),
    "not called": (None, "protected"),
}


@pytest.mark.parametrize("case", CALLED)
def test_a_row_that_is_protected_later(path, case):
    """A row that was called keeps what came of it, though a list protects it now; it is left alone all the same."""
    made, outcome = CALLED[case]
    if made:
        run_with(path, record(1, **made))
    store = session(path)
    with store.transaction() as db:
        db.execute(
            "INSERT INTO certificate (row, never) VALUES (1, 'protected') ON CONFLICT DO UPDATE SET never = 'protected'"
        )
    ended(store)
    assert asked(path, queries.counts, 1).outcomes == {Outcome(outcome): 1}
    assert asked(path, queries.rows, queries.LEFT_ALONE, 1, 1) == [1]
    assert asked(path, queries.counts, 1).to_call == 0


NEWEST = [None, *(outcome.value for outcome in Outcome if outcome not in NEVER_CALLED)]


@pytest.mark.parametrize("seed", range(50))
def test_counts(seed):
    """However rows were left out, called, taken up again or protected since, the counts are exact."""
    chance, rows = random.Random(seed), seed
    with closing(sqlite3.connect(":memory:")) as db:
        make_tables(db)
        for row in (row for row in range(1, rows + 1) if chance.random() < 0.8):
            never = chance.choice([None] * 4 + [outcome.value for outcome in NEVER_CALLED])
            known = (row, never, chance.choice(NEWEST), chance.random() < 0.3, chance.choice([0, 1, 2]))
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


# What is wrong with a file.


def refused(path, why):
    """Confirms that a store is refused in words, with a way on: to who reads, and to who would write."""
    for opens, status in ((partial(asked, question=queries.sessions), 66), (Store, 73)):
        with pytest.raises(BulkcertError, match=why) as said:
            opens(path)
        assert said.value.status == status
        assert said.value.advice


@pytest.fixture
def full(tmp_path):
    """Returns a store with what a run leaves, in many pages."""
    return made_run(tmp_path, [row("failed", message="m" * 200)] * 600).store


def test_a_store_that_is_empty(full):
    """A file of no bytes is a store that never came to begin: no run is read from it."""
    for length in (0, 1):
        full.write_bytes(full.read_bytes()[:length])
        with pytest.raises(FileNotFoundError):
            asked(full, queries.sessions)
        store = Store(full)
        assert store.is_new
        store.close()


@pytest.mark.parametrize("length", [50, 100, 4096, 5000, -4096, -1])
def test_a_store_that_was_cut(full, length):
    """It is refused in words, with a way on."""
    full.write_bytes(full.read_bytes()[:length])
    refused(full, r"damaged|not a store of this version|does not read")


def test_own_text_that_is_no_text(full):
    """A store whose tables' own texts are damaged is refused and closed: whoever comes next need not wait for it."""
    content = full.read_bytes()
    full.write_bytes(content.replace(b"exit_status, stopped,", b"exit_status, \xfftopped,"))
    with pytest.raises(BulkcertError, match="damaged") as said:
        Store(full)
    assert str(full) not in map(os.path.realpath, Path("/proc/self/fd").iterdir())
    assert said.value.advice  # and while somebody holds the error, which holds all that was there


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE run SET asked = '{}'",
        "UPDATE run SET asked = json_set(asked, '$.action', 'nonsense')",
        "UPDATE session SET options = '[1]'",
        "UPDATE session SET figures = '{'",
        "UPDATE session SET kind = 'rum'",
        "DELETE FROM session",
        "DELETE FROM run",
    ],
)
def test_a_text_that_nobody_has_written(tmp_path, damage):
    """It is damage, not a traceback: for who reads, and for who would resume."""
    files = made_run(tmp_path)
    change(files.results, damage)
    with pytest.raises(BulkcertError, match="damaged") as told:
        status_of(files)
    assert told.value.status is ExitStatus.INPUT_UNREADABLE


@pytest.mark.parametrize("empty", [False, True])
def test_a_log_that_is_lost(path, empty):
    """A file without the log that a killed session has left with it is not believed: calls may be missing from it."""
    run_with(path, record(1))
    store = session(path)
    store.claim([2, 3])
    killed(store)
    Path(f"{path}-wal").unlink()
    if empty:
        Path(f"{path}-wal").touch()
    for _ in range(2):
        refused(path, r"store\.sqlite-wal, which belongs to it, is missing")


@pytest.mark.parametrize("fails", ["opening", "closing"])
def test_whoever_fails_takes_no_log_away(path, monkeypatch, fails):
    """A signal or the disk ends a command while it opens or closes the file of a killed session: it is whole still."""
    store = session(path)
    store.claim([2, 3])
    if fails == "closing":
        store.db.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        store.close()
    else:
        killed(store)
        with monkeypatch.context() as broken:
            broken.setattr(database, "confirm_pages", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                Store(path)

    assert asked(path, queries.in_doubt) == 2
    ended(session(path))
    assert not Path(f"{path}-wal").exists()


def test_a_log_that_was_put_away_by_halves(path):
    """What cannot be noted of a killed session when its log is put away leaves the log: nobody takes it for lost."""
    store = session(path)
    store.claim([2, 3])
    denied = {sqlite3.SQLITE_UPDATE: sqlite3.SQLITE_DENY}
    store.db.set_authorizer(lambda what, *_: denied.get(what, sqlite3.SQLITE_OK))
    store.close()
    following = Store(path)

    assert asked(path, queries.in_doubt) == 2
    following.close()
    assert asked(path, queries.in_doubt) == 2
    assert not Path(f"{path}-wal").exists()


def test_another_version(path):
    """A store of other tables is not read."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 2")
    db.close()
    refused(path, "not a store of this version")


def test_something_else(tmp_path):
    """A file that is no database is told as such."""
    path = tmp_path / "s"
    path.write_text("row,outcome\n" * 1000)
    refused(path, "no store of bulkcert")


HALF_DONE = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN")
db.execute("UPDATE certificate SET message = printf('%500s', 'half done')")
os._exit(9)
"""


def test_killed_while_the_file_itself_was_changed(tmp_path):
    """As at the end of a session, when the log is put away: who reads it sees what was there before."""
    files = made_run(tmp_path, ["failed"] * 500)
    subprocess.run([sys.executable, "-c", HALF_DONE, files.store], check=False)
    assert files.store.with_name(f"{files.store.name}-journal").stat().st_size
    assert b"half done" in files.store.read_bytes()

    assert status_of(files).outcomes == {Outcome.FAILED: 500}
    assert b"half done" not in files.store.read_bytes()
