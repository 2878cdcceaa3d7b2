"""Everything that is asked of a store: each answer is one query, for its writer and for whoever only reads."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from bulkcert.service.actions import ACTIONS
from bulkcert.store.database import Contradiction
from bulkcert.store.outcome import DESIRED, SHOWN, Outcome
from bulkcert.store.sessions import OF_JSON, Asked, Control, Session

_BEFORE = "({})".format(", ".join(sorted({repr(action.before) for action in ACTIONS.values()})))
"""States to which a call can change a certificate back."""

NEVER_CALLED = "never IS NOT NULL"
"""Rows that the list alone keeps from being called."""

PROTECTED = "never = 'protected'"
"""Those of them that a list protects."""

LEFT_ALONE = "(never IS NOT NULL OR (newest IS NOT NULL AND NOT again))"
"""Rows that the next session does not call."""

UNCHANGED = "outcome = 'unchanged' AND again = 0"
"""Rows that are not called since a preflight has found them in the desired state."""

REACHED = "never IS NULL AND newest IS NOT NULL AND newest NOT IN ('not_attempted', 'undone')"
"""Rows that the run has finished and no undo has undone."""

READ_BACK = "verified IS NOT NULL"
"""Rows that were read back."""

DRIFTED = "outcome IN ('succeeded', 'unchanged') AND verified <> ?1"
"""Rows that were brought into the desired state, which is the parameter, or found in it, and read back in another."""

UNDO_CLAIMED = "row IN (SELECT row FROM claim JOIN session ON session.id = claim.session WHERE session.kind = 'undo')"
"""Rows that an undo may have called without a trace; nobody is calling when this is asked."""

MAYBE_UNDONE = f"newest IS NOT NULL AND newest <> 'undone' AND {UNDO_CLAIMED}"
"""Rows that an undo may have changed back without a trace."""

_IN_DOUBT = "(SELECT row FROM claim JOIN session ON session.id = claim.session WHERE session.kind <> 'undo')"
"""Rows that a killed session of the run may have called without a trace; nobody is calling when this is asked."""

_ANSWER = ", ".join(f"c.{name}" for name in SHOWN[2:] if name != "attempts")
_CALLED = f"c.attempts IS NOT 0 OR COALESCE(c.newest, {_ANSWER}) IS NOT NULL"
"""Rows of which something has come; ``c`` is the certificate."""

_SAID = "COALESCE(CASE outcome WHEN never THEN why ELSE message END, '')"
"""The message of the last answer to a row, or why it is not called."""

WINDOW = (*SHOWN, "before", "verified", "verified_at", "digest", "altered")
"""Columns of ``window``."""

_AS_SHOWN = {
    **dict.fromkeys(WINDOW, "c.{0}"),
    "message": "CASE c.outcome WHEN c.never THEN c.why ELSE c.message END",
    "altered": f"c.altered OR CASE WHEN c.digest IS NULL THEN {_CALLED} ELSE c.newest IS NULL END",
    **dict.fromkeys(("before", "verified", "verified_at"), "COALESCE(o.{0}, c.{0})"),
}
_OF_WINDOW = f"""SELECT {", ".join(column.format(name) for name, column in _AS_SHOWN.items())}
    FROM certificate c LEFT JOIN certificate o ON o.row = c.first_row WHERE c.row BETWEEN ? AND ?"""  # noqa: S608 - names of ours


def asked(db: sqlite3.Connection) -> Asked:
    """Returns what the run is of."""
    try:
        (text,) = db.execute("SELECT asked FROM run").fetchone() or ("",)
        found = msgspec.json.decode(text, type=Asked)
    except (msgspec.MsgspecError, TypeError) as error:
        raise Contradiction from error
    if found.action not in ACTIONS:
        raise Contradiction
    return found


def sessions(db: sqlite3.Connection) -> list[Session]:
    """Returns the sessions, the newest last."""
    names = Session.__struct_fields__
    statement = f"SELECT {', '.join(names)} FROM session ORDER BY id"  # noqa: S608 - names of ours
    found = []
    try:
        for row in db.execute(statement):
            columns = dict(zip(names, row, strict=True))
            json = {name: columns[name] and msgspec.json.decode(columns[name]) for name in OF_JSON}
            found.append(msgspec.convert(columns | json, Session))
    except (msgspec.MsgspecError, TypeError) as error:
        raise Contradiction from error
    return found


def guards(db: sqlite3.Connection) -> bool:
    """Returns whether the run's CSV files are for people, whose spreadsheets run cells, by its newest start."""
    newest = "SELECT json_extract(options, '$.formula_guard') FROM session WHERE kind = 'run' ORDER BY id DESC LIMIT 1"
    return (db.execute(newest).fetchone() or (None,))[0] in (None, True)


def controls(db: sqlite3.Connection, condition: str = "true", *parameters: object) -> list[Control]:
    """Returns what operators have asked of sessions, the newest last; the condition is SQL over ``control``."""
    names = ", ".join(Control.__struct_fields__)
    statement = f"SELECT {names} FROM control WHERE {condition} ORDER BY id"  # noqa: S608 - ours
    try:
        return [Control(*row) for row in db.execute(statement, parameters)]
    except msgspec.MsgspecError as error:
        raise Contradiction from error


def count(db: sqlite3.Connection, condition: str, *parameters: object) -> int:
    """Returns for how many certificates a condition holds: one of those above, or another over their columns."""
    statement = f"SELECT COUNT(*) FROM certificate WHERE {condition}"  # noqa: S608 - ours
    return int(db.execute(statement, parameters).fetchone()[0])


def drifted(db: sqlite3.Connection, desired: str) -> int:
    """Returns how many rows are ``DRIFTED``: by two ranges of the index, since nearly all rows may be done."""
    done = "outcome IN ('succeeded', 'unchanged') AND again IN (0, 1) AND verified"
    return sum(count(db, f"{done} {side} ?1", desired) for side in "<>")


def not_desired(
    db: sqlite3.Connection, outcomes: Counter[Outcome], desired: str, *, drifted: int, maybe_undone: int
) -> int:
    """Returns how many rows, of so many by outcome, are not in the desired state by ``outcome.deviation``."""
    in_it = sum(outcomes[outcome] for outcome in (*DESIRED, Outcome.DUPLICATE))
    if maybe_undone:
        doubtful = "newest IN ('succeeded', 'unchanged') AND (verified IS NULL OR verified = ?1)"
        in_it -= count(db, f"{doubtful} AND {UNDO_CLAIMED}", desired)
    if outcomes[Outcome.NOT_ATTEMPTED]:
        without_outcome = f"(outcome IS NULL OR (outcome = 'not_attempted' AND NOT {UNDO_CLAIMED}))"
        in_it += count(db, f"verified = ?1 AND {without_outcome}", desired)
    return outcomes.total() - in_it + drifted


def rows(db: sqlite3.Connection, condition: str, first: int = 1, last: int = 2**63 - 1) -> list[int]:
    """Returns the rows from ``first`` to ``last``, both included, for which a condition holds, in order."""
    statement = f"SELECT row FROM certificate WHERE row BETWEEN ? AND ? AND {condition}"  # noqa: S608 - ours
    return [row for (row,) in db.execute(statement, (first, last))]


def states_before(db: sqlite3.Connection) -> Iterator[tuple[int, str]]:
    """Yields rows that no call can have changed with the state that a preflight has found them in."""
    statement = """SELECT row, before FROM certificate
        WHERE before IS NOT NULL AND NOT changed AND row NOT IN (SELECT row FROM claim)"""
    yield from db.execute(statement)


class RowCounts(NamedTuple):
    """Rows of a list by outcome, in their order: all, and what the next session leaves alone; and how many it calls."""

    outcomes: Counter[Outcome]
    left_alone: Counter[Outcome]
    to_call: int


def counts(db: sqlite3.Connection, rows: int) -> RowCounts:
    """Returns how many of so many rows there are of each kind; they are counted by the index, not one by one."""
    every, again = Counter[Outcome](), Counter[Outcome]()
    name, following = "", "SELECT MIN(outcome) FROM certificate WHERE outcome > ?"  # one step into the index
    while (name := db.execute(following, (name,)).fetchone()[0]) is not None:
        outcome = _outcome(name)
        again[outcome] = count(db, "outcome = ? AND again = 1 AND never IS NULL", name)
        if outcome is not Outcome.SUCCEEDED:  # counted by what is left over, which takes half the time
            every[outcome] = count(db, "outcome = ?", name)
    with_outcome = count(db, "true") - count(db, "outcome IS NULL")
    every[Outcome.SUCCEEDED] = with_outcome - every.total()
    left_alone = every - again
    every[Outcome.NOT_ATTEMPTED] += rows - with_outcome
    in_order = Counter({outcome: every[outcome] for outcome in Outcome if every[outcome]})
    return RowCounts(in_order, left_alone, rows - left_alone.total())


def to_change(db: sqlite3.Connection, rows: int, plan: str) -> int:
    """Returns how many of so many rows sessions under a plan (its SHA-256) have called, or the next is going to change.

    A row whose state is not known is going to be changed; one that is not registered cannot be.
    """
    absent = count(db, f"NOT {LEFT_ALONE} AND before = 'not_registered'")
    under = "SELECT id FROM session WHERE json_extract(options, '$.plan.sha256') = ?"
    called = count(db, f"newest NOT IN ('unchanged', 'not_registered') AND NOT again AND session IN ({under})", plan)
    return counts(db, rows).to_call - absent + called


def preflight_at(db: sqlite3.Connection) -> int | None:
    """Returns when the newest preflight of the run was over, Unix milliseconds; None if calls were never come to."""
    return db.execute("SELECT MAX(preflight_at) FROM session WHERE kind = 'run'").fetchone()[0]  # type: ignore[no-any-return]


def may_have_called(db: sqlite3.Connection) -> bool:
    """Returns whether a call may have changed anything; a store of which that is not so binds nobody."""
    called = "changed OR (attempts > 0 AND newest <> 'not_attempted')"
    statement = f"SELECT EXISTS (SELECT 1 FROM claim) OR EXISTS (SELECT 1 FROM certificate WHERE {called})"  # noqa: S608 - ours
    return bool(db.execute(statement).fetchone()[0])


def changed(db: sqlite3.Connection, desired: str, first: int, last: int) -> dict[int, bool]:
    """Returns the rows that a call may have changed, each with whether it is known that it was otherwise before.

    Those that a killed session may have called without a trace are among them; those that were in the desired state
    before are not. Nobody is calling when this is asked.
    """
    statement = f"""SELECT row, before IN {_BEFORE} FROM (
            SELECT row, before FROM certificate
            WHERE row BETWEEN :first AND :last AND (changed OR row IN {_IN_DOUBT})
            UNION SELECT row, NULL FROM claim WHERE row BETWEEN :first AND :last AND row IN {_IN_DOUBT}
                AND row NOT IN (SELECT row FROM certificate WHERE row BETWEEN :first AND :last))
        WHERE before IS NOT :desired ORDER BY row"""  # noqa: S608 - ours
    found = db.execute(statement, {"desired": desired, "first": first, "last": last})
    return {row: bool(known) for row, known in found}


def unknown_before(db: sqlite3.Connection) -> int:
    """Returns how many rows a call may have changed of which nobody knows what they were before."""
    claimed = f"""SELECT COUNT(DISTINCT row) FROM claim LEFT JOIN certificate USING (row)
        WHERE row IN {_IN_DOUBT} AND NOT COALESCE(changed, 0) AND never IS NULL
        AND (before IS NULL OR before NOT IN {_BEFORE})"""  # noqa: S608 - ours
    called = count(db, f"changed AND (before IS NULL OR before NOT IN {_BEFORE})")
    return called + int(db.execute(claimed).fetchone()[0])


def in_doubt(db: sqlite3.Connection) -> int:
    """Returns how many rows without an outcome a killed session may have called."""
    statement = f"""SELECT COUNT(DISTINCT row) FROM claim LEFT JOIN certificate USING (row)
        WHERE row IN {_IN_DOUBT} AND (newest IS NULL OR newest = 'not_attempted')"""  # noqa: S608 - ours
    return int(db.execute(statement).fetchone()[0])


def called_by(db: sqlite3.Connection, session: int) -> dict[int, Outcome]:
    """Returns the rows that a session has called and that were not read back since, with their outcomes."""
    statement = "SELECT row, newest FROM certificate WHERE session = ? AND verified IS NULL"
    return {row: _outcome(newest) for row, newest in db.execute(statement, (session,))}


def earlier(db: sqlite3.Connection, first: int, last: int) -> dict[int, tuple[Outcome | None, bool]]:
    """Returns, of rows that have one, the outcome, and whether an attempt was made whose answer is not known."""
    statement = """SELECT row, newest, newest = 'unknown' OR row IN (SELECT row FROM claim WHERE sent)
        FROM certificate WHERE row BETWEEN ? AND ? AND newest IS NOT NULL
        UNION SELECT row, NULL, 1 FROM claim WHERE row BETWEEN ? AND ? AND sent
            AND row NOT IN (SELECT row FROM certificate WHERE newest IS NOT NULL AND row BETWEEN ? AND ?)"""
    found = db.execute(statement, (first, last) * 3)
    return {row: (_outcome(outcome) if outcome else None, bool(sent)) for row, outcome, sent in found}


def window(db: sqlite3.Connection, first: int, last: int) -> list[tuple[Any, ...]]:
    """Returns what is known of the rows from ``first`` to ``last``, both included: the columns of ``WINDOW``.

    The message of a row that was not called is why. A duplicate was before, and was read back, as the row it repeats.
    """
    return db.execute(_OF_WINDOW, (first, last)).fetchall()


def figures(db: sqlite3.Connection, first: int, last: int) -> list[tuple[object, ...]]:
    """Returns what a report counts of the rows from ``first`` to ``last``, both included."""
    statement = """SELECT row, outcome, code, sent_at, finished_at, latency_ms, verified, verified_at FROM certificate
        WHERE row BETWEEN ? AND ?"""
    return db.execute(statement, (first, last)).fetchall()


def kinds(db: sqlite3.Connection) -> list[tuple[str, str, int, int, str, str]]:
    """Returns for each outcome and code how many rows have both, and of the first its row, message and request.

    Rows that are invalid or protected have no code: they are together whose reason is the same.
    """
    statement = f"""SELECT outcome, COALESCE(code, ''), number, row, {_SAID}, COALESCE(request_id, '')
        FROM (SELECT COUNT(*) AS number, MIN(row) AS row FROM certificate WHERE outcome IS NOT NULL
            GROUP BY outcome, code, CASE WHEN outcome IN ('invalid', 'protected') THEN why END)
        JOIN certificate USING (row) ORDER BY row"""  # noqa: S608 - names of ours
    return db.execute(statement).fetchall()


def sample(db: sqlite3.Connection, row: int) -> tuple[str, str, int | None]:
    """Returns of a row the message of its last answer, or why it is not called, its last request, and HTTP status."""
    statement = f"SELECT {_SAID}, COALESCE(request_id, ''), http_status FROM certificate WHERE row = ?"  # noqa: S608 - ours
    return db.execute(statement, (row,)).fetchone() or ("", "", None)


def calls(db: sqlite3.Connection) -> dict[int, int]:
    """Returns for each session that called rows how many calls their outcomes took, replaced outcomes included."""
    statement = """SELECT session, SUM(attempts) FROM (SELECT session, attempts FROM certificate
        UNION ALL SELECT session, attempts FROM attempt) WHERE session IS NOT NULL GROUP BY session"""
    return dict(db.execute(statement).fetchall())


def latencies(db: sqlite3.Connection) -> list[float]:
    """Returns the latency of the last attempt of each called row, in milliseconds."""
    return [latency for (latency,) in db.execute("SELECT latency_ms FROM certificate WHERE latency_ms IS NOT NULL")]


def _outcome(name: str) -> Outcome:
    try:
        return Outcome(name)
    except ValueError as error:
        raise Contradiction from error
