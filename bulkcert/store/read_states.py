"""States of certificates, as they were read before the calls and read back after them, in the store of a run."""

import time
from collections.abc import Callable, Iterable, Mapping

from bulkcert.service.actions import ACTIONS
from bulkcert.store import queries, statements
from bulkcert.store.evidence import Serials, digest_of
from bulkcert.store.outcome import Outcome
from bulkcert.store.store import Store

BELIEVED_S = 15 * 60
"""How long a preflight is believed: long enough to call a few rows and see what came of them, too short for a night, in
which devices connect and others change what the run has not called."""


def is_old(preflight_at: int | None) -> bool:
    """Returns whether what was read at a time, Unix milliseconds, is not to be believed any more."""
    return preflight_at is None or not 0 <= time.time() * 1000 - preflight_at <= BELIEVED_S * 1000


def keep(store: Store, states: Iterable[tuple[int, Serials, str, int | None]]) -> None:
    """Keeps what was read of rows before they were called.

    ``states`` are row, serials, state, and when it was read if that is the desired one, which leaves it unchanged.
    """
    found = []
    for row, serials, state, unchanged_at in states:
        outcome = digest = None
        if unchanged_at is not None:
            outcome = Outcome.UNCHANGED
            digest = digest_of(serials, (row, outcome, None, None, None, None, 0, None, unchanged_at))
        found.append((state, outcome, unchanged_at, digest, row))
    with store.transaction() as db:
        db.executemany(statements.BEFORE, found)


def forget(store: Store) -> None:
    """Drops what a preflight has read that was interrupted: no call was made yet, and it may be long ago."""
    with store.transaction() as db:
        db.execute("UPDATE certificate SET before = NULL WHERE before IS NOT NULL")
    forget_unchanged(store)


def forget_unchanged(store: Store) -> None:
    """Drops that rows were found in the desired state, which is too long ago to be believed."""
    with store.transaction() as db:
        emptied = "before = NULL, newest = NULL, digest = NULL, again = 0, finished_at = NULL"
        db.execute(f"UPDATE certificate SET {emptied} WHERE newest = 'unchanged'")  # noqa: S608 - ours


def keep_later(
    store: Store, states: Iterable[tuple[str, int, int]], serials: Callable[[list[int]], Mapping[int, Serials]]
) -> None:
    """Keeps what was read back of rows after the calls: status, Unix time in milliseconds, row."""
    states = list(states)
    with store.transaction() as db:
        db.executemany(statements.READ_BACK, states)
        # What an undo may have changed back without a trace is known by now.
        if maybe := set(queries.rows(db, queries.UNDO_CLAIMED)):
            restored = ACTIONS[queries.asked(db).action].before
            undone = {row: at for status, at, row in states if row in maybe and status == restored}
            for row, of_row in (serials([*undone]) if undone else {}).items():
                call = (row, Outcome.UNDONE, None, statements.READ_SO, None, None, 0, None, undone[row])
                db.execute(statements.UNDONE_AS_READ, (undone[row], digest_of(of_row, call), row))
            db.executemany(statements.UNDO_SETTLED, ((row,) for _, _, row in states if row in maybe))
            db.execute(statements.TALLIED, (0,))
