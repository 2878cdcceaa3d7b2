"""Which rows an undo has taken back, and nobody has done again since: the one rule, row by row."""

import polars as pl

from bulkcert.actions import ACTIONS, Action
from bulkcert.batch.index import Index
from bulkcert.batch.outcome import Outcome
from bulkcert.batch.summary import TakenBack, millis


def is_back(undo: TakenBack | None, action: Action, *, foreseen: int, was_read: bool = True) -> pl.Expr:
    """Returns what tells of a row whether an undo has taken it back and it was not done, or seen to be done, again.

    It reads the columns ``row``, ``outcome``, ``attempts`` and ``finished_at``, and ``verified_status`` and
    ``verified_at`` if any row was read back; times in Unix milliseconds.

    Args:
        undo: The undo of the run, if there was one.
        action: What the run asked for.
        foreseen: The last row that a killed session may have called without a trace, which is undone as well; or 0.
        was_read: Whether the columns are there that say what was read back.
    """
    if undo is None or action.inverse is None:
        return pl.lit(value=False)
    at = millis(undo.finished)
    # As the undo itself goes by: what was refused in the end may have been done by an earlier attempt, but not where
    # the only call met what has stopped the run.
    called = pl.col("attempts") > pl.when(pl.col("outcome") == Outcome.NOT_ATTEMPTED).then(1).otherwise(0)
    called &= pl.col("outcome") != Outcome.NOT_REGISTERED
    unnoted = (pl.col("outcome") == Outcome.NOT_ATTEMPTED) & (pl.col("row") <= foreseen)
    changed = (called | unnoted) & (pl.col("finished_at") <= at).fill_null(value=True)
    if not was_read:
        return changed
    restored = pl.col("verified_status").cast(pl.String) == str(ACTIONS[action.inverse].wanted_status)
    not_seen_since = pl.col("verified_at").is_null() | (pl.col("verified_at") <= at)
    return changed & (not_seen_since | restored.fill_null(value=False))


def undone_up_to(undo: TakenBack | None, foreseen: int, killed_at: int) -> int:
    """Returns the last row of which an undo has taken back what left no trace; 0 for none.

    Args:
        undo: The undo of the run, if there was one.
        foreseen: The last row that a killed session may have called without a trace.
        killed_at: When the newest killed session was started, Unix time in milliseconds.
    """
    # What was killed after the undo has called what the undo has not taken back.
    return foreseen if undo is not None and killed_at <= millis(undo.finished) else 0


def still_back(undo: TakenBack | None, action: Action, index: Index) -> pl.Expr | None:
    """Returns ``is_back`` for the rows of a run whose journal is open; None without an undo."""
    if undo is None:
        return None
    foreseen = undone_up_to(undo, index.sessions.foreseen, index.sessions.killed_at)
    return is_back(undo, action, foreseen=foreseen, was_read=index.seen is not None)
