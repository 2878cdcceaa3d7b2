"""Opening the file of a store: for its writer, and for whoever only reads; what is wrong with it is said in words.

A local file has a write-ahead log, with which readers need not wait. Across a network that log does not work: there
the store keeps a rollback journal (SQLite, "Write-Ahead Logging", section 1: all processes must be on one host).
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.store.paths import files_of
from bulkcert.store.tables import TABLES

APPLICATION = 0x62636572
"""Marks the file as a store (``PRAGMA application_id``): "bcer"."""

VERSION = 1
"""Of the tables (``PRAGMA user_version``); a store of another version is not read."""

NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "glusterfs", "ocfs2", "gfs2")
)
"""File systems of other machines, as the kernel names them; those of user space begin with ``fuse``."""

BUSY_S = 30.0
"""How long whoever meets a lock waits for it, in seconds: with a write-ahead log only who writes meets one."""

_REASONS = {
    sqlite3.SQLITE_FULL: "no space left on the disk",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_PERM: "it may not be opened",
    sqlite3.SQLITE_IOERR: "the disk does not read or write it",
    sqlite3.SQLITE_CORRUPT: "SQLite finds it malformed",
    sqlite3.SQLITE_NOTADB: "it is no store of bulkcert",
    sqlite3.SQLITE_BUSY: "another process holds it",
}


# What SQLite objects to in statements of ours that it has accepted before is what it finds (0: it is no UTF-8).
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH, 0)


def connect(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Opens a store for its writer, who holds the lock, in a transaction; one that is missing is made, without tables.

    Returns:
        The connection, and whether its file is on another machine, so that readers and the writer wait for each other.

    Raises:
        BulkcertError: CANNOT_WRITE: it is damaged, of another version, or cannot be opened.
    """
    was_killed = path.with_name(f"{path.name}-wal").exists() or path.with_name(f"{path.name}-journal").exists()
    network = is_on_network(path)
    with readable(path, ExitStatus.CANNOT_WRITE):
        if not os.path.lexists(path):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
            except OSError as error:
                raise _cannot_write(path, error.strerror or str(error)) from error
        db = _open(path, "rw", ExitStatus.CANNOT_WRITE)
        try:
            if was_killed:
                confirm_pages(db)
            db.execute(f"PRAGMA journal_mode = {'DELETE' if network else 'WAL'}")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA cache_size = -16000")
            db.execute("BEGIN IMMEDIATE")
        except BaseException:
            _leave(path, db)
            raise
    return db, network


def confirm_pages(db: sqlite3.Connection) -> None:
    """Confirms that the tables of a store can be read and written.

    Raises:
        sqlite3.DatabaseError: They cannot.
    """
    if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise Contradiction


def make_tables(db: sqlite3.Connection) -> None:
    """Makes the tables of an empty file, in the transaction that is open."""
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {VERSION}")
    for statement in TABLES:
        db.execute(statement)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a store for reading: nothing is written, nobody waits; all that is read is of one moment.

    Any thread may read, one at a time.

    Raises:
        BulkcertError: INPUT_UNREADABLE: it is damaged, of another version, or cannot be opened.
        FileNotFoundError: There is none, or one that has no run yet.
    """
    with readable(path, ExitStatus.INPUT_UNREADABLE):
        if not os.path.lexists(path):
            raise FileNotFoundError(path)
        try:
            opened = _open(path, "ro", ExitStatus.INPUT_UNREADABLE)
        except sqlite3.OperationalError as error:
            if _code_of(error) != sqlite3.SQLITE_READONLY or not path.with_name(f"{path.name}-journal").exists():
                raise
            # A session was killed while it changed the file itself: only who may write can take back what is half done.
            _open(path, "rw", ExitStatus.INPUT_UNREADABLE).close()
            opened = _open(path, "ro", ExitStatus.INPUT_UNREADABLE)
        with closing(opened) as db:
            db.execute("BEGIN")
            yield db


@contextmanager
def adding(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a store to write a line or two while its session runs; each statement is on disk when it is done.

    Raises:
        BulkcertError: See ``reading``; or it cannot be written.
        FileNotFoundError: There is none.
    """
    # A reader outlives this connection: the last one that could write would take away the log, which belongs to a
    # session that is killed just now.
    with reading(path), closing(_open(path, "rw", ExitStatus.INPUT_UNREADABLE)) as db:
        yield db


def _open(path: Path, mode: str, status: ExitStatus) -> sqlite3.Connection:
    """Opens a store that is what it seems to be, and for reading one that has tables.

    Raises:
        FileNotFoundError: It has none.
        BulkcertError: It is no regular file, of another version, cut, or its log is gone.
        sqlite3.Error: It cannot be opened.
    """
    # A pipe would be waited for, a link leads elsewhere, and what has another name would be changed under that, too.
    for each in files_of(path):
        with suppress(OSError):
            found = os.lstat(each)
            if not stat.S_ISREG(found.st_mode) or (found.st_nlink > 1 and (mode == "rw" or each != path)):
                message = f"{each} is not a regular file of its own"
                raise BulkcertError(status, message, "Put a copy in its place, or remove it; bulkcert has not made it.")
    address = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")
        db.execute("BEGIN")  # one moment: its writer may just be making the tables
        has_tables = _confirm_whole(path, db, status)
        db.execute("COMMIT")
    except BaseException:
        _leave(path, db)
        raise
    if mode == "ro" and not has_tables:
        db.close()
        raise FileNotFoundError(path)
    return db


def _confirm_whole(path: Path, db: sqlite3.Connection, status: ExitStatus) -> bool:
    """Confirms that a file is a store of this version, and all there: its pages, or the log that a killed session left.

    Returns:
        Whether it has tables, which one that never came to begin has not.
    """
    names = ("application_id", "user_version")
    version = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    if version == (0, 0) and not db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
        return False
    if version != (APPLICATION, VERSION):
        advice = "Name other results, or use the version that has made it."
        raise BulkcertError(status, f"{path} is not a store of this version of bulkcert", advice)
    log = path.with_name(f"{path.name}-wal")
    newest = db.execute("SELECT ended_at, logged FROM session ORDER BY id DESC LIMIT 1").fetchone()
    if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        (pages,), (size,) = (db.execute(f"PRAGMA page_{name}").fetchone() for name in ("count", "size"))
        if path.stat().st_size < pages * size:
            raise damaged(path, "its end is missing", status)
    # That a session has begun is in the file before all else; and opening it makes an empty log where there is none.
    elif newest == (None, 1) and not (log.exists() and log.stat().st_size):
        raise damaged(path, f"{log.name}, which belongs to it, is missing or empty", status)
    return True


def rest(path: Path, db: sqlite3.Connection) -> None:
    """Closes the file of a writer; at rest it is one, which can be copied, and read where nothing may be written."""
    puts_away = True
    with suppress(sqlite3.Error):  # nothing was drafted
        db.execute("ROLLBACK")
    try:
        # What a killed session has left in the log is in the file from now on.
        db.execute("UPDATE session SET logged = 0 WHERE ended_at IS NULL AND logged")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # There are no tables; else the log stays, since the file says that it has one.
        puts_away = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    if puts_away:
        with suppress(sqlite3.Error):
            db.execute("PRAGMA journal_mode = DELETE")
    _leave(path, db)


def _leave(path: Path, db: sqlite3.Connection) -> None:
    """Closes a file whose log stays, if it has one: that of a session that was killed, which is damaged without it.

    The last connection that could write would take it away. A reader cannot, and outlives this one.
    """
    address = f"{path.absolute().as_uri()}?mode=ro"
    with suppress(sqlite3.Error, UnicodeDecodeError), closing(sqlite3.connect(address, uri=True)) as reader:
        reader.execute("PRAGMA busy_timeout = 0")
        reader.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        db.close()
    db.close()


@contextmanager
def readable(path: Path, status: ExitStatus) -> Iterator[None]:
    """Turns what SQLite can raise about a file into an error for the user."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise unusable(path, error, status) from error
    except UnicodeDecodeError as error:
        # What SQLite says of damaged tables quotes them.
        raise damaged(path, _REASONS[sqlite3.SQLITE_CORRUPT], status) from error
    except MemoryError as error:
        message = f"{path} takes more memory than there is, or is damaged"
        advice = "Free some memory; if it is damaged, put it back from a copy."
        raise BulkcertError(status, message, advice, again=True) from error


def unusable(path: Path, error: sqlite3.Error, status: ExitStatus) -> BulkcertError:
    """Returns what to show the user about a store that SQLite does not read or write, before the first call."""
    code = _code_of(error)
    if code in _DAMAGED:
        return damaged(path, reason_of(error), status)
    if code == sqlite3.SQLITE_BUSY:
        advice = f"It was waited for during {BUSY_S:g} s: perhaps its session is frozen, or the disk is slow."
        return BulkcertError(ExitStatus.STOPPED_EARLY, f"cannot use {path}: {reason_of(error)}", advice, again=True)
    if status == ExitStatus.CANNOT_WRITE and code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _cannot_write(path, reason_of(error))
    advice = "A run's files can be read and written by their owner only: ask as the user who started it."
    does = "write" if status == ExitStatus.CANNOT_WRITE else "read"
    return BulkcertError(status, f"cannot {does} {path}: {reason_of(error)}", advice)


def damaged(path: Path, reason: str, status: ExitStatus) -> BulkcertError:
    """Returns what to show the user about a store that cannot be believed."""
    return BulkcertError(
        status,
        f"{path} is damaged: {reason}; nothing is concluded from it",
        "Put it back from a copy. Without one start from scratch with --overwrite: states are read again; what is in "
        "the desired state is not called.",
    )


def _cannot_write(path: Path, reason: str) -> BulkcertError:
    return BulkcertError(
        ExitStatus.CANNOT_WRITE,
        f"cannot write {path}: {reason}",
        "No calls were made. Name a results file with -o, in a directory that has room and can be written.",
    )


class Contradiction(sqlite3.DatabaseError):
    """A store holds what nobody has written; its text says what."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def __init__(self, reason: str = "it holds what nobody has written") -> None:
        super().__init__(reason)


def _code_of(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def reason_of(error: sqlite3.Error) -> str:
    """Returns why a store could not be read or written, in words."""
    return str(error) if isinstance(error, Contradiction) else _REASONS.get(_code_of(error), str(error))


def is_on_network(path: Path) -> bool:
    """Returns whether a file, or the directory that it will be in, is on a file system of another machine."""
    with suppress(OSError):
        device = (path if path.exists() else path.parent).stat().st_dev
        name = f"{os.major(device)}:{os.minor(device)}"
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            fields = line.split()
            if fields[2] == name:
                kind = fields[fields.index("-") + 1]
                return kind in NETWORK or kind.startswith("fuse.")
    return False
