"""The tables of a store, and what their rows come to."""


def _mirrored(**expressions: str) -> str:
    """Returns columns that hold copies of what expressions come to, and say whether one comes to that no longer.

    What is computed has no type: where it had one, whoever looks for damage would compute it to look at the type.
    """
    copies = "".join(f"{name} GENERATED ALWAYS AS ({each}) STORED,\n    " for name, each in expressions.items())
    are_others = " OR ".join(f"{name} IS NOT ({each})" for name, each in expressions.items())
    return f"{copies}altered GENERATED ALWAYS AS ({are_others}) VIRTUAL"


_OF_SESSION = """json_array(kind, options || '', user, host, version, access_key_id, credentials, started_at,
    preflight_at, ended_at, exit_status, stopped, advice, stop_code, verification, rows_digest)"""
_OF_CONTROL = "json_array(session, request, rate, per_address_rate, user, host, pid, asked_at, taken_at)"
_FLAGS = "COALESCE(session, -1) * 4 + again * 2 + changed"
_STATES = """CASE WHEN COALESCE(never, first_row, why, verified, verified_at) IS NULL THEN before
    ELSE json_array(never, first_row, why, before, verified, verified_at) END"""
"""With the flags what commands decide by beyond the digest of a row: SQL alone changes it, which cannot make digests.
JSON only where it has to be: of all that a proof takes it would take most."""

LOW = 2**31 - 1
"""Bits of a time that go into a sum: so that of many rows is no overflow."""

OUTCOMES = f"""COALESCE(SUM(attempts + (COALESCE(session, 0) << 8) + (COALESCE(finished_at, 0) & {LOW}))
    FILTER (WHERE attempts > 0), 0)"""
"""What ``tally`` has of outcomes of calls: over ``certificate`` and ``attempt``."""

CLAIMS = "COALESCE(SUM(mirror), 0)"
"""What it has of claims."""

MARKS = "COALESCE(SUM(mark), 0)"
"""What it has of ``certificate`` beyond outcomes of calls."""

SESSIONS = f"""COALESCE(SUM(id + (started_at & {LOW}) + 3 * (COALESCE(preflight_at, 0) & {LOW})
    + 5 * (COALESCE(ended_at, 0) & {LOW})), 0)"""
"""What it has of sessions."""

CONTROLS = f"COALESCE(SUM(id + (asked_at & {LOW}) + 3 * (COALESCE(taken_at, 0) & {LOW})), 0)"
"""What it has of what operators have asked."""


def _tallied(table: str, event: str, column: str, total: str) -> str:
    return f"""CREATE TRIGGER {column}_{event[:6].lower()} AFTER {event} ON {table} BEGIN
    UPDATE tally SET {column} = (SELECT {total} FROM {table});
END;
"""  # noqa: S608 - names of ours


TABLES = (
    f"""
-- What was asked: one row.
CREATE TABLE run (
    id INTEGER PRIMARY KEY CHECK (id = 1), asked TEXT NOT NULL,
    {_mirrored(mirror="asked")}) WITHOUT ROWID;
""",
    f"""
-- One start of a command. 'preflight_at' is when the states before its calls were read, or a run continued without;
-- 'figures' are the newest live ones. One that has not ended was killed, unless it is the newest and its lock is held.
-- 'rows_digest' is of all rows in order as it has left them (``evidence``); null while others may come.
-- 'logged': part of what it has done may be in the log next to the file, which must be there then.
CREATE TABLE session (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, options TEXT NOT NULL, pid INT NOT NULL, host TEXT NOT NULL,
    user TEXT NOT NULL, version TEXT NOT NULL, access_key_id TEXT NOT NULL, credentials TEXT NOT NULL,
    started_at INT NOT NULL, preflight_at INT, beat_at INT, figures TEXT, ended_at INT, exit_status INT,
    stopped TEXT NOT NULL DEFAULT '', advice TEXT NOT NULL DEFAULT '', stop_code TEXT NOT NULL DEFAULT '',
    verification TEXT, logged INT NOT NULL DEFAULT 1, rows_digest TEXT,
    {_mirrored(mirror=_OF_SESSION)});
""",
    f"""
-- A row of the list, once something is known of it beyond its serials, which stand in the pinned list: 'never' and
-- 'why' it is not called, its newest outcome, whether the next session takes it up 'again' all the same, whether a call
-- may have 'changed' the certificate, and the state that was 'verified' since. 'digest' is of what came of the row, and
-- of its serials (``evidence``).
CREATE TABLE certificate (
    row INTEGER PRIMARY KEY, never TEXT, first_row INT, why TEXT, before TEXT, newest TEXT,
    again INT NOT NULL DEFAULT 0, changed INT NOT NULL DEFAULT 0, session INT, code TEXT, message TEXT,
    http_status INT, request_id TEXT, attempts INT NOT NULL DEFAULT 0, sent_at INT, finished_at INT, latency_ms REAL,
    verified TEXT, verified_at INT, digest BLOB,
    {_mirrored(mirror=_FLAGS, states_mirror=_STATES)},
    -- Of what is no outcome of a call: it changes where one of these does.
    mark GENERATED ALWAYS AS (row * (LENGTH(COALESCE(before, '')) + 32 * (never IS NOT NULL) + 64 * again)
        + (COALESCE(verified_at, 0) & {LOW})
        + CASE WHEN attempts = 0 AND newest IS NOT NULL
            THEN 1 + (COALESCE(session, 0) << 8) + (COALESCE(finished_at, 0) & {LOW}) ELSE 0 END) STORED,
    -- A row that was called keeps what came of it, though a list protects it now.
    outcome GENERATED ALWAYS AS (CASE
        WHEN never = 'protected' AND attempts > 0 AND newest <> 'not_attempted' THEN newest
        ELSE COALESCE(never, newest) END) VIRTUAL);
""",
    """
CREATE INDEX certificate_outcome ON certificate (outcome, again, verified);
""",
    f"""
-- The rows that a session is calling: on disk before it does, gone once the outcome is there or the session has ended.
-- What a killed session has left here it may have called without a trace. 'sent' rows stay after an orderly end:
-- the intent to make a call that must not be repeated blindly, and a call of an undo that was never answered.
-- Each session has its own claim on a row: what settles one does not settle what another may have done.
CREATE TABLE claim (
    row INT NOT NULL, session INT NOT NULL, sent INT NOT NULL DEFAULT 0,
    {_mirrored(mirror="row * 2 + sent + (session << 33)")}, PRIMARY KEY (row, session)) WITHOUT ROWID;
""",
    """
-- Outcomes of calls that newer ones have replaced, and calls of an undo that have changed nothing back: for audit.
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY, session INT, row INT NOT NULL, outcome TEXT NOT NULL, code TEXT, message TEXT,
    http_status INT, request_id TEXT, attempts INT NOT NULL, sent_at INT, finished_at INT, digest BLOB);
""",
    f"""
-- What an operator asked of a session while it was running; the rates are those that are to hold from then on.
-- 'taken_at' is when the session did it; null until then.
CREATE TABLE control (
    id INTEGER PRIMARY KEY, session INT NOT NULL, request TEXT NOT NULL, rate INT, per_address_rate INT,
    user TEXT NOT NULL, host TEXT NOT NULL, pid INT NOT NULL, asked_at INT NOT NULL, taken_at INT,
    {_mirrored(mirror=_OF_CONTROL)});
""",
    """
-- What all rows of each table come to: so pages that are as they once were, beside newer ones, are noticed.
CREATE TABLE tally (
    id INTEGER PRIMARY KEY CHECK (id = 1), outcomes INT NOT NULL DEFAULT 0, claims INT NOT NULL DEFAULT 0,
    marks INT NOT NULL DEFAULT 0, sessions INT NOT NULL DEFAULT 0, controls INT NOT NULL DEFAULT 0);
""",
    """
CREATE TRIGGER marks_insert AFTER INSERT ON certificate WHEN NEW.attempts = 0 OR NEW.again BEGIN
    UPDATE tally SET marks = marks + NEW.mark;
END;
""",
    """
CREATE TRIGGER marks_update AFTER UPDATE ON certificate WHEN NEW.mark <> OLD.mark BEGIN
    UPDATE tally SET marks = marks + NEW.mark - OLD.mark;
END;
""",
    _tallied("session", "INSERT", "sessions", SESSIONS),
    _tallied("session", "UPDATE OF preflight_at, ended_at", "sessions", SESSIONS),
    _tallied("control", "INSERT", "controls", CONTROLS),
    _tallied("control", "UPDATE", "controls", CONTROLS),
    """
CREATE TRIGGER superseded BEFORE UPDATE OF newest ON certificate WHEN OLD.attempts > 0 OR OLD.newest = 'undone' BEGIN
    INSERT INTO attempt (session, row, outcome, code, message, http_status, request_id, attempts, sent_at, finished_at,
        digest)
    VALUES (OLD.session, OLD.row, OLD.newest, OLD.code, OLD.message, OLD.http_status, OLD.request_id, OLD.attempts,
        OLD.sent_at, OLD.finished_at, OLD.digest);
END;
""",
)
"""The statements that make the tables of an empty file."""
