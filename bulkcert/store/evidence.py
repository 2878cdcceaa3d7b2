"""Evidence: each row of a store says twice what anybody decides by, so that a byte that was changed is noticed.

What came of a row has a digest, over its serials as well, which only the list has. What SQL alone changes (flags,
states that were read, why a row is not called) has a copy next to it, which costs no hashing (``tables``).
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, compress
from operator import itemgetter, ne
from typing import Any

import msgspec

from bulkcert.store import queries
from bulkcert.store.database import Contradiction
from bulkcert.store.outcome import PROVED, Outcome, Record
from bulkcert.store.tables import CLAIMS, CONTROLS, MARKS, OUTCOMES, SESSIONS

_packed = msgspec.msgpack.Encoder().encode
_empty = blake2b(digest_size=8).copy  # a copy is made in less time than another

_CALL = itemgetter(slice(len(PROVED)))
"""Takes of ``queries.WINDOW``, and of the fields of a record, what a digest is over beside the serials."""

_DEVICE, _CA = map(itemgetter, map(Record.__struct_fields__.index, ("device_sn", "ca")))
_OUTCOME, _DIGEST, _ALTERED = map(itemgetter, map(queries.WINDOW.index, ("outcome", "digest", "altered")))

_NOTHING = (Outcome.NOT_ATTEMPTED, None, None, None, None, 0, None, None)
"""What they are of a row of which a store has nothing, but for its number."""

_HIDDEN = "row = ? AND outcome IS never"
"""A row that a list keeps from being called, whatever came of it before."""

TALLIED = f"""SELECT outcomes + (SELECT {OUTCOMES} FROM attempt), (SELECT {CLAIMS} FROM claim), marks,
    (SELECT {SESSIONS} FROM session), (SELECT {CONTROLS} FROM control)
    FROM (SELECT {OUTCOMES} AS outcomes, {MARKS} AS marks FROM certificate)"""  # noqa: S608 - names of ours
"""What all rows of each table come to."""

_TALLY = "SELECT outcomes, claims, marks, sessions, controls FROM tally"
"""What they have to come to."""

Serials = tuple[str, str]
"""Serial of the device, empty in actions on CAs, and key of the CA (``service.actions.ca_key``)."""


def digest_of(serials: Serials, call: Sequence[object]) -> bytes:
    """Returns the digest of a row: 8 bytes of BLAKE2b.

    Args:
        serials: Its serials.
        call: Its number, its outcome and, each None where there is none, code, message, HTTP status, request ID,
            attempts, and when its last attempt was sent and finished.
    """
    device, ca = serials
    return _digests([tuple(call)], [device], [ca])[0]


def _digests(calls: Iterable[tuple[Any, ...]], devices: Iterable[str], cas: Iterable[str]) -> list[bytes]:
    # As few calls for each as it takes: these are a million rows. One by one, so that what each takes is in the cache.
    digests = []
    for packed in map(_packed, zip(calls, devices, cas, strict=True)):
        digest = _empty()
        digest.update(packed)
        digests.append(digest.digest())
    return digests


def encoded(records: Sequence[Record]) -> tuple[str, bytes]:
    """Returns records as a statement takes them: JSON of their fields, and their digests one behind the other."""
    fields = [*map(msgspec.structs.astuple, records)]
    # The others are none of the digest: flags have their copy, and a latency proves nothing.
    digests = _digests(map(_CALL, fields), map(_DEVICE, fields), map(_CA, fields))
    return msgspec.json.encode(records).decode(), b"".join(digests)


def proved(
    db: sqlite3.Connection, first: int, devices: Sequence[str], cas: Sequence[str]
) -> tuple[list[tuple[Any, ...]], bytes]:
    """Returns what a store has of consecutive rows, each as it was written.

    Args:
        db: The store.
        first: Number of the first row.
        devices: Serial of the device of each row; empty in actions on CAs.
        cas: Key of the CA of each row.

    Returns:
        The columns of ``queries.WINDOW`` of rows of which it has anything; digests of all of them, as they are shown.

    Raises:
        sqlite3.DatabaseError: A row is not as it was written, or is of other serials.
    """
    end = first + len(devices)
    rows = queries.window(db, first, end - 1)
    if len(rows) == len(devices) and None not in map(_OUTCOME, rows):
        digests = of_rows = _digests(map(_CALL, rows), devices, cas)
    else:
        reached = {row[0]: _CALL(row) for row in rows if _OUTCOME(row) is not None}
        calls = (reached.get(row) or (row, *_NOTHING) for row in range(first, end))
        digests = _digests(calls, devices, cas)
        of_rows = [digests[row[0] - first] for row in rows]
    others = compress(rows, map(ne, of_rows, map(_DIGEST, rows)))
    for row in chain(filter(_ALTERED, rows), others):
        # Where a list keeps a row from being called, what came of it before is not shown.
        if _ALTERED(row) or (_DIGEST(row) is not None and not queries.count(db, _HIDDEN, row[0])):
            raise Contradiction(f"row {row[0]:,} is not as it was written, or not of these serials")
    return rows, b"".join(digests)


def confirm_mirrors(db: sqlite3.Connection) -> None:
    """Confirms that what a store has of the run, its sessions, its claims and its controls is as it was written.

    Raises:
        sqlite3.DatabaseError: It is not.
    """
    for table in ("run", "session", "claim", "control"):
        if db.execute(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE altered)").fetchone()[0]:  # noqa: S608 - ours
            raise Contradiction(f"a {table} in it is not as it was written")


def confirm_attempts(db: sqlite3.Connection, serials: Mapping[int, Serials]) -> None:
    """Confirms that replaced outcomes of consecutive rows of the list are as they were written.

    Raises:
        sqlite3.DatabaseError: One is not, or it is of other serials.
    """
    statement = f"SELECT {', '.join(_CALL(queries.WINDOW))}, digest FROM attempt WHERE row BETWEEN ? AND ?"  # noqa: S608 - ours
    for *call, written in db.execute(statement, (min(serials, default=1), max(serials, default=0))):
        if written != digest_of(serials[call[0]], call):
            raise Contradiction(
                f"an earlier outcome of row {call[0]:,} is not as it was written, or not of these serials"
            )


def confirm_whole(db: sqlite3.Connection, digest: str) -> None:
    """Confirms that tables and indexes say the same, and are of one time: the newest, by the digest of all rows.

    Raises:
        sqlite3.DatabaseError: They do not, or are not: each row is as it was written, but some at another time, or
            they are missing.
    """
    if db.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
        raise Contradiction("its indexes and its tables contradict each other")
    (left,) = db.execute("SELECT rows_digest FROM session ORDER BY id DESC LIMIT 1").fetchone() or (None,)
    if left not in (None, digest) or db.execute(_TALLY).fetchone() != db.execute(TALLIED).fetchone():
        raise Contradiction("rows are missing, or are of another time than the others")
