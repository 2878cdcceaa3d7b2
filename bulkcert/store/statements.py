"""What the writer of a store says to it, beyond one line.

Groups go to SQLite as JSON, each in one statement: a statement a row would hand the interpreter's lock to and fro with
the calls, which costs ten times what the row does.
"""

# ruff: noqa: S608 - all names are ours

from bulkcert.store.outcome import PROVED, SHOWN, Record
from bulkcert.store.tables import CLAIMS

_OF_RECORD = {name: f"value ->> {place}" for place, name in enumerate(Record.__struct_fields__)}
_DIGEST = {"digest": "substr(?3, key * 8 + 1, 8)"}  # as ``evidence.encoded`` has them
_REPLACED = {name: _OF_RECORD[name] for name in PROVED} | _DIGEST
_NEWEST = {name: _OF_RECORD[name] for name in (*SHOWN[2:], "again")} | _DIGEST | {"newest": _OF_RECORD["outcome"]}

OUTCOME = f"""WITH record AS MATERIALIZED (SELECT key, value FROM json_each(?2))
INSERT INTO certificate (session, row, changed, {", ".join(_NEWEST)})
SELECT ?1, {_OF_RECORD["row"]}, {_OF_RECORD["outcome"]} <> 'undone' AND ({_OF_RECORD["changed"]}
        OR EXISTS (SELECT 1 FROM claim WHERE claim.row = {_OF_RECORD["row"]} AND claim.session <> ?1)),
    {", ".join(_NEWEST.values())}
FROM record WHERE true
ON CONFLICT (row) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in ("session", *_NEWEST))},
    changed = CASE WHEN excluded.newest = 'undone' THEN 0 ELSE changed OR excluded.changed END,
    verified = CASE WHEN excluded.attempts > 0 THEN NULL ELSE verified END,
    verified_at = CASE WHEN excluded.attempts > 0 THEN NULL ELSE verified_at END"""
"""Keeps records: the session, and the records with their digests. What an earlier session may have called without a
trace may be changed, whatever came of its call now. Materialized, since ``json_each`` makes a value again for each of
its fields: a quarter of what a row costs."""

ATTEMPT = f"""INSERT INTO attempt (session, {", ".join(_REPLACED)})
SELECT ?1, {", ".join(_REPLACED.values())}
FROM json_each(?2) WHERE {_OF_RECORD["attempts"]}"""
"""Keeps records for audit alone: the session, and the records with their digests."""

_NO_ANSWER = ", ".join(f"{name} = NULL" for name in SHOWN[2:] if name != "attempts")
OUTCOME_DROPPED = f"""UPDATE certificate SET newest = NULL, digest = NULL, again = 0, attempts = 0, {_NO_ANSWER}
    WHERE never IS NOT NULL AND newest = 'not_attempted'"""
"""Drops what came of rows that a run stopped before, and that are not called any more."""

SETTLED = "DELETE FROM claim WHERE row IN (SELECT value FROM json_each(?))"
"""Drops all claims on rows."""

OWN_SETTLED = f"{SETTLED} AND session = ?"
"""Drops those of a session: what another one may have called is still in doubt after a call that a stop interrupted, or
an undo made in vain."""

TALLIED = f"UPDATE tally SET outcomes = outcomes + ?, claims = (SELECT {CLAIMS} FROM claim)"
"""Adds up what a transaction has changed: by how much outcomes of calls; claims are few, and counted."""

UNDO_SETTLED = "DELETE FROM claim WHERE row = ? AND session IN (SELECT id FROM session WHERE kind = 'undo')"
"""Drops those of undos on a row."""

READ_SO = "read back so after an undo that was not answered"
"""The message of a row that an undo has changed back without an answer."""

UNDONE_AS_READ = f"""UPDATE certificate SET newest = 'undone', changed = 0, again = 0, attempts = 0, {_NO_ANSWER},
    message = '{READ_SO}', finished_at = ?, digest = ?
    WHERE row = ? AND newest NOT IN ('not_attempted', 'undone')"""
"""Takes note that an undo has changed a row back, and when that was read."""

CLAIM = "INSERT OR IGNORE INTO claim (row, session) SELECT value, ? FROM json_each(?)"
"""Claims rows for a session."""

SENT = """INSERT INTO claim (row, session, sent) SELECT value, ?, 1 FROM json_each(?) WHERE true
    ON CONFLICT DO UPDATE SET sent = 1"""
"""Claims rows for a session beyond its orderly end."""

LEFT_OUT = """INSERT INTO certificate (row, never, first_row, why) VALUES (?, ?, ?, ?) ON CONFLICT (row) DO
    UPDATE SET never = excluded.never, first_row = excluded.first_row, why = excluded.why"""
"""Keeps that a row is not called."""

READ_BACK = """INSERT INTO certificate (verified, verified_at, row) VALUES (?, ?, ?)
    ON CONFLICT (row) DO UPDATE SET verified = excluded.verified, verified_at = excluded.verified_at"""
"""Keeps what was read back of a row."""

# What a session may have called stays as it was: what is read of it now is not its state before.
BEFORE = """INSERT INTO certificate (before, newest, finished_at, digest, row)
    SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM claim WHERE row = ?5)
    ON CONFLICT (row) DO UPDATE SET before = excluded.before, finished_at = excluded.finished_at,
    newest = excluded.newest, digest = excluded.digest WHERE NOT changed AND newest IS NULL"""
"""Keeps what was read of a row before it was called."""
