"""Evidence: each row of a store says twice what anybody decides by, so that a byte that was changed is noticed.

What came of a row has a digest, over its serials as well, which only the list has. What SQL alone changes (flags,
states that were read, why a row is not called) has a copy next to it, which costs no hashing (``schema``).
"""

import sqlite3
import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from bulkcert.store import queries
from bulkcert.store.database import contradiction
from bulkcert.store.outcome import Outcome, Record

_encode = msgspec.json.Encoder().encode

_CALL = slice(1, 9)
"""Where ``queries.WINDOW`` has what a digest is over, from the outcome to when it was finished."""

_NOTHING = (Outcome.NOT_ATTEMPTED, None, None, None, None, 0, None, None)
"""The same of a row of which the store has none."""

Serials = tuple[str, str]
"""Serial of the device, empty in actions on CAs, and of the CA."""


def digest_of(number: int, serials: Serials, call: Sequence[object]) -> int:
    """Returns the digest of a row: 8 bytes of BLAKE2b, as the signed number that a store has.

    Args:
        number: Of the row.
        serials: Its serials.
        call: Its outcome and, each None where there is none, code, message, HTTP status, request ID, attempts, and
            when its last attempt was sent and finished.
    """
    content = _encode((number, *serials, *call))
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big", signed=True)


def digest_of_record(record: Record) -> int:
    """Returns the digest of the row that a record makes."""
    answer = (record.code or None, record.message or None, record.http_status or None, record.request_id or None)
    times = (record.attempts, record.sent_at or None, record.finished_at or None)
    return digest_of(record.row, (record.device_sn, record.ca_sn), (record.outcome, *answer, *times))


def encoded(records: Iterable[Record]) -> str:
    """Returns records as JSON for a statement: the fields of each, and its digest behind them."""
    # Each is a list: one more value in it costs less than another list around it.
    return "[" + ",".join(f"{_encode(each)[:-1].decode()},{digest_of_record(each)}]" for each in records) + "]"


class Proved(NamedTuple):
    """What a store has of some rows of the list.

    Attributes:
        rows: Those of which it has anything: the columns of ``queries.WINDOW``.
        digests: One for each row of the list, as it is shown.
    """

    rows: list[tuple[object, ...]]
    digests: bytes


def proved(db: sqlite3.Connection, first: int, serials: Sequence[Serials]) -> Proved:
    """Returns what a store has of consecutive rows, each as it was written.

    Args:
        db: The store.
        first: Number of the first row.
        serials: Of each row.

    Raises:
        sqlite3.DatabaseError: A row is not as it was written, or is of other serials.
    """
    rows = queries.window(db, first, first + len(serials) - 1)
    digests, found = [], iter(rows)
    row = next(found, None)
    for number, of_row in enumerate(serials, first):
        if row is None or row[0] != number:
            digests.append(digest_of(number, of_row, _NOTHING))
            continue
        outcome, (newest, written, altered) = row[1], row[-3:]
        digest = digest_of(number, of_row, row[_CALL] if outcome is not None else _NOTHING)
        # A row that a list keeps from being called shows nothing of what came of it before.
        expected = None if newest is None else digest if newest == outcome else written
        if altered or written != expected:
            raise contradiction(f"row {number:,} is not as it was written, or not of these serials")
        digests.append(digest)
        row = next(found, None)
    return Proved(rows, struct.pack(f">{len(digests)}q", *digests))


def confirm_mirrors(db: sqlite3.Connection) -> None:
    """Confirms that what a store has of the run, its sessions and its claims is as it was written.

    Raises:
        sqlite3.DatabaseError: It is not.
    """
    for table in ("run", "session", "claim"):
        if db.execute(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE altered)").fetchone()[0]:  # noqa: S608 - ours
            raise contradiction(f"a {table} in it is not as it was written")
