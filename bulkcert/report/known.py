"""What is known of every certificate now: what was read back, else its outcome, unless an undo has taken it back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from bulkcert.actions import Action
from bulkcert.batch.outcome import WANTED, Outcome
from bulkcert.batch.summary import TakenBack, millis, utc
from bulkcert.batch.taken_back import is_back

_DONE = [str(outcome) for outcome in WANTED]


@dataclass(frozen=True, slots=True)
class Known:
    """Certificates of the list by what is known of them now, duplicates left out.

    Attributes:
        good: In the wanted state.
        unread: Those of them that have a good outcome and were not read back since; 0 if nothing was read back.
        statuses: Read back in another state, by status.
        outcomes: Not read back, by an outcome that is not good.
        back: Taken back by an undo, and not done again.
        seen_back: Those of them that were read back since, as the undo has left them.
        doubtful: Without an outcome, and perhaps called by a session that was killed.
        again: Done, or seen to be done, after the undo.
        again_at: When the last of them was, UTC; None if there are none.
    """

    good: int
    unread: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    back: int = 0
    seen_back: int = 0
    doubtful: int = 0
    again: int = 0
    again_at: str | None = None


def with_back(rows: pl.DataFrame, action: Action, undo: TakenBack | None, *, foreseen: int) -> pl.DataFrame:
    """Returns the rows with a column ``back``: whether an undo has taken a row back, and it was not done again since.

    Args:
        rows: All rows, times in Unix milliseconds.
        action: What was asked.
        undo: The undo of the run, if there was one.
        foreseen: The last row that a killed session may have called without a trace, which is undone as well; or 0.
    """
    return rows.with_columns(back=is_back(undo, action, foreseen=foreseen))


def known_of(rows: pl.DataFrame, action: Action, undo: TakenBack | None, *, foreseen: int) -> Known:
    """Returns what is known of the certificates of a list.

    Args:
        rows: As ``with_back`` returns them.
        action: What was asked.
        undo: The undo of the run, if there was one.
        foreseen: As for ``with_back``.
    """
    own = rows.filter(pl.col("outcome") != Outcome.DUPLICATE)
    back, kept = own.filter("back"), own.filter(~pl.col("back"))
    done = kept.filter(pl.col("verified_at").is_null() & pl.col("outcome").is_in(_DONE))
    statuses = _counts(kept.filter(pl.col("verified_at").is_not_null())["verified_status"])
    seen = statuses.pop(str(action.wanted_status), 0)
    others = _counts(kept.filter(pl.col("verified_at").is_null() & ~pl.col("outcome").is_in(_DONE))["outcome"])
    again = _again(kept, action, undo)
    return Known(
        good=seen + done.height,
        unread=done.height if own["verified_at"].count() else 0,
        statuses=statuses,
        outcomes={str(outcome): others[outcome] for outcome in Outcome if outcome in others},
        back=back.height,
        seen_back=0 if undo is None else back.filter(pl.col("verified_at") > millis(undo.finished)).height,
        doubtful=own.filter(outcome=str(Outcome.NOT_ATTEMPTED)).filter(pl.col("row") <= foreseen).height,
        again=len(again),
        again_at=utc(int(again.max()) / 1000) if len(again) else None,  # type: ignore[arg-type]
    )


def _again(kept: pl.DataFrame, action: Action, undo: TakenBack | None) -> pl.Series:
    """Returns when rows were done, or seen to be done, after an undo."""
    wanted = pl.col("verified_status").cast(pl.String) == str(action.wanted_status)
    newest = pl.max_horizontal("finished_at", pl.when(wanted).then("verified_at"))
    done = kept.filter((pl.col("outcome") == Outcome.SUCCEEDED) & (wanted | pl.col("verified_at").is_null()))
    times = done.select(at=newest)["at"].drop_nulls()
    return times.filter(times > millis(undo.finished)) if undo else times.clear()


def _counts(column: pl.Series) -> dict[str, int]:
    return dict(column.cast(pl.String).value_counts(sort=True).rows())
