"""What the store of a run says, and a store as a kill leaves it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
from made_store import seal, tally

from bulkcert.engine.figures import Stats
from bulkcert.store import queries
from bulkcert.store.database import reading
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Asked
from bulkcert.store.status import status_of

NEWEST = "WHERE id = (SELECT MAX(id) FROM session)"
ASKED = Asked("r", "inactivate-device", "i", "e", 10, "0", "0", "0", ("l",), "r", "d", ("CaSn",), None, "CaSn", "1")
CALLER = {"pid": 1, "host": "h", "user": "u", "version": "1", "access_key_id": "k", "credentials": "c"}
"""What a run is of, and who calls, where nothing depends on it."""


def status(results):
    """Returns how a run stands."""
    return status_of(RunFiles(Path(results)))


def figures(results):
    """Returns the live figures that each session of a run has left last; None where it has left none."""
    told = [session.figures for session in status(results).sessions]
    return [None if left is None else msgspec.convert(left, Stats) for left in told]


def ask(results, question, *about):
    """Returns what one of ``store.queries`` says of a run."""
    with reading(RunFiles(Path(results)).store) as db:
        return question(db, *about)


def change(results, statement, *values):
    """Changes the store of a run that nobody holds as its writer would, digests included; it is one file then."""
    files = RunFiles(Path(results))
    with closing(sqlite3.connect(files.store, isolation_level=None)) as db:
        db.execute("BEGIN")
        db.execute(statement, values)
        if "certificate" in statement:
            seal(db, files, queries.asked(db))
            db.execute("UPDATE session SET rows_digest = NULL")
        tally(db)
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = DELETE")


def killed(store):
    """Ends the session of an open store as a kill does: its files stay as they are."""
    files = {path: path.read_bytes() for path in (store.path, Path(f"{store.path}-wal"))}
    store.close()
    for path, content in files.items():
        path.write_bytes(content)


def kill(results):
    """Leaves the newest session of a run as a kill does: without its end."""
    change(results, f"UPDATE session SET ended_at = NULL, exit_status = NULL, logged = 0 {NEWEST}")
