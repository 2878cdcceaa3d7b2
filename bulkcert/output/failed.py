"""``RESULTS.failed.csv``: the rows that are not in the desired state, with what to do about each; an input for ``run``.

It is made from the pinned list and the store like the results, streamed, when a session has ended.
"""

import msgspec
import polars as pl

from bulkcert.input import OWN_PREFIX, ROW, PinnedList
from bulkcert.output.advice import Advice
from bulkcert.output.evidence import Ask
from bulkcert.output.formats import guarded
from bulkcert.output.results import WHAT_TO_DO, chosen, write_rows
from bulkcert.store import queries
from bulkcert.store.outcome import Outcome, deviation
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Asked

_MAYBE, _PAST, _MEANING = (f"{OWN_PREFIX}{name}" for name in ("maybe_undone", "past", "meaning"))
_KEY = ("outcome", "code", "verified_status", _MAYBE)
"""What decides whether a row is in the desired state, and what is said of it if not."""


class FailedRows(msgspec.Struct, frozen=True):
    """What is in the file: its name, and its rows."""

    file: str
    rows: int


def write_failed(files: RunFiles, asked: Asked, pinned: PinnedList, ask: Ask, *, guards: bool) -> FailedRows:
    """Writes the rows of a run that are not in the desired state, durable; there must be some.

    Raises:
        BulkcertError: It cannot be written.
    """
    chooser = _Chooser(Advice(files, asked), ask, guards=guards)
    write_rows(files.failed, pinned, chooser.failed)
    return FailedRows(str(files.failed), chooser.count)


class _Chooser:
    """Chooses rows batch by batch, says what to do about them, and counts them."""

    def __init__(self, advice: Advice, ask: Ask, *, guards: bool) -> None:
        self._advice, self._ask, self._guards = advice, ask, guards
        self.count = 0

    def failed(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Returns the rows of a batch that are not in the desired state, and are no duplicates."""
        span = (int(batch[ROW][0]), int(batch[ROW][-1])) if batch.height else (1, 0)
        undone = pl.Series(self._ask(queries.rows, queries.MAYBE_UNDONE, *span), dtype=pl.UInt32)
        rows = chosen(batch, self._ask(queries.window, *span), ".csv", verified=True)
        own = rows.columns[: rows.columns.index("row")]
        rows = rows.with_columns(
            pl.col("row").is_in(undone.implode()).alias(_MAYBE),
            pl.col("code", "verified_status").fill_null(""),
        )
        rows = rows.join(self._said(rows), on=_KEY, maintain_order="left")
        self.count += rows.height
        # What the service has answered holds no longer.
        message = pl.when(_PAST).then(_MEANING).otherwise(pl.coalesce("message", _MEANING)).alias("message")
        failed = rows.select(*own, "row", "outcome", pl.col("code").replace("", None), message, WHAT_TO_DO)
        return guarded(failed, ["code", "message"]) if self._guards else failed

    def _said(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Returns of rows that are not in the desired state whether they changed since, the meaning, what to do."""
        said, desired = [], self._advice.action.desired_status
        for key in rows.select(_KEY).unique().iter_rows():
            outcome, code, verified, maybe = Outcome(key[0]), *key[1:]
            read_back = deviation(outcome, verified or None, desired, maybe_undone=maybe)
            if read_back is not None:
                finding = self._advice.finding(outcome, code, read_back, maybe_undone=maybe)
                said.append((*key, maybe or read_back != "", *finding))
        more = {_PAST: pl.Boolean(), _MEANING: pl.String(), WHAT_TO_DO: pl.String()}
        return pl.DataFrame(said, {**rows.select(_KEY).schema, **more}, orient="row")
