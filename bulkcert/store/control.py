"""What an operator asks of a session that is running: written by who asks, taken by the session."""

import os
import socket

from bulkcert.store import queries
from bulkcert.store.database import adding
from bulkcert.store.lock import this_user
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Control, Limits, Request
from bulkcert.store.store import Store, now_ms


def ask(files: RunFiles, session: int, request: Request, limits: Limits | None) -> Control:
    """Asks something of a session, by its number, that is running; returns it as it is in the store.

    Limits are those that are to hold from then on, where that is what is asked.

    Raises:
        BulkcertError: INPUT_UNREADABLE: the store cannot be written.
    """
    columns: dict[str, object] = {"session": session, "request": request, "asked_at": now_ms()}
    columns |= {"user": this_user(), "host": socket.gethostname(), "pid": os.getpid()}
    columns |= {"rate": limits.rate, "per_address_rate": limits.per_address_rate} if limits else {}
    names, places = ", ".join(columns), ", ".join("?" * len(columns))
    with adding(files.store) as db:
        statement = f"INSERT INTO control ({names}) VALUES ({places})"  # noqa: S608 - names of ours
        number = db.execute(statement, tuple(columns.values())).lastrowid
        (asked,) = queries.controls(db, "id = ?", number)
        return asked


def waiting(store: Store) -> list[Control]:
    """Returns what was asked of the session that writes, and that it has not taken yet."""
    return store.read(queries.controls, "session = ? AND taken_at IS NULL", store.session)


def take(store: Store, control: Control) -> None:
    """Keeps that a session does what was asked of it.

    Raises:
        sqlite3.Error: The disk refuses.
    """
    with store.transaction() as db:
        db.execute("UPDATE control SET taken_at = ? WHERE id = ?", (now_ms(), control.id))
