"""``RESULTS.failed.csv``: the rows that are not in the desired state, with what to do about each; an input for ``run``.

It is made from the pinned list and the store like the results, streamed, when a session has ended.
"""

from collections import Counter

import msgspec
import polars as pl

from bulkcert.input import CA_SN, OWN_PREFIX, ROW, PinnedList, ca_keys
from bulkcert.output.advice import Advice
from bulkcert.output.evidence import Ask
from bulkcert.output.formats import guarded
from bulkcert.output.results import WHAT_TO_DO, chosen, write_rows
from bulkcert.service.actions import of_ca_key
from bulkcert.store import queries
from bulkcert.store.outcome import Outcome, deviation
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Asked

DRIFTED, MAYBE_UNDONE = "drifted", "maybe_undone"
"""Kinds of rows whose outcome says otherwise than what is known since."""

MOST_GROUPS = 10_000
"""Groups that are counted singly; rows of further CAs are counted together, by kind and code."""

GROUPS_KEPT = 20
"""Groups that a summary names, the largest."""

_MAYBE, _KIND, _MEANING = (f"{OWN_PREFIX}{name}" for name in ("maybe_undone", "kind", "meaning"))
_KEY = ("outcome", "code", "verified_status", _MAYBE)
"""What decides whether a row is in the desired state, and what is said of it if not."""


class Group(msgspec.Struct, frozen=True):
    """Rows that are not in the desired state for the same reason, under the same CA.

    Attributes:
        kind: Their outcome; or ``drifted``, ``maybe_undone``; of rows without an outcome what they were read back as.
        code: Code of the last answer; empty without one.
        ca_sn: Their CA; empty where they are of several, or CAs themselves.
        instance: Their instance, where the list names several; empty where they are of several.
    """

    kind: str
    code: str
    ca_sn: str
    rows: int
    instance: str = ""


class FailedRows(msgspec.Struct, frozen=True):
    """What is in the file: its name, its rows, and the largest groups of them, the largest first."""

    file: str
    rows: int
    groups: list[Group]


def write_failed(files: RunFiles, asked: Asked, pinned: PinnedList, ask: Ask, *, guards: bool) -> FailedRows:
    """Writes the rows of a run that are not in the desired state, durable; there must be some.

    Raises:
        BulkcertError: It cannot be written.
    """
    chooser = _Chooser(Advice(files, asked), ask, guards=guards)
    write_rows(files.failed, pinned, chooser.failed)
    order = sorted(chooser.groups.items(), key=lambda group: (-group[1], group[0]))
    groups = [Group(kind, code, ca_sn, rows, instance) for (kind, code, ca_sn, instance), rows in order[:GROUPS_KEPT]]
    return FailedRows(str(files.failed), chooser.groups.total(), groups)


class _Chooser:
    """Chooses rows batch by batch, says what to do about them, and counts them by kind, code and CA."""

    def __init__(self, advice: Advice, ask: Ask, *, guards: bool) -> None:
        self._advice, self._ask, self._guards = advice, ask, guards
        self.groups: Counter[tuple[str, str, str, str]] = Counter()

    def failed(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Returns the rows of a batch that are not in the desired state, and are no duplicates."""
        span = (int(batch[ROW][0]), int(batch[ROW][-1])) if batch.height else (1, 0)
        undone = pl.Series(self._ask(queries.rows, queries.MAYBE_UNDONE, *span), dtype=pl.UInt32)
        rows = chosen(batch, self._ask(queries.window, *span), ".csv", verified=True)
        own = rows.columns[: rows.columns.index("row")]
        rows = rows.with_columns(
            ca_keys(batch).fill_null("").alias(CA_SN),
            pl.col("row").is_in(undone.implode()).alias(_MAYBE),
            pl.col("code", "verified_status").fill_null(""),
        )
        rows = rows.join(self._said(rows), on=_KEY, maintain_order="left")
        self._count(rows)
        is_past = pl.when(pl.col(_KIND) != pl.col("outcome"))  # what the service has answered holds no longer
        message = is_past.then(_MEANING).otherwise(pl.coalesce("message", _MEANING)).alias("message")
        failed = rows.select(*own, "row", "outcome", pl.col("code").replace("", None), message, WHAT_TO_DO)
        return guarded(failed, ["code", "message"]) if self._guards else failed

    def _said(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Returns of the rows that are not in the desired state, by their key, kind, meaning and what to do."""
        said, desired = [], self._advice.action.desired_status
        for key in rows.select(_KEY).unique().iter_rows():
            outcome, code, verified, maybe = Outcome(key[0]), *key[1:]
            read_back = deviation(outcome, verified or None, desired, maybe_undone=maybe)
            if read_back is not None:
                kind = DRIFTED if read_back and outcome is not Outcome.NOT_ATTEMPTED else read_back
                kind = MAYBE_UNDONE if maybe else kind or outcome.value
                said.append((*key, kind, *self._advice.finding(outcome, code, read_back, maybe_undone=maybe)))
        texts = dict.fromkeys((_KIND, _MEANING, WHAT_TO_DO), pl.String())
        return pl.DataFrame(said, {**rows.select(_KEY).schema, **texts}, orient="row")

    def _count(self, rows: pl.DataFrame) -> None:
        by_kind = rows.group_by(_KIND, "code", CA_SN, maintain_order=True).len()
        for kind, code, ca, count in by_kind.iter_rows():
            ca_sn, instance = of_ca_key(ca)
            key = (kind, code, ca_sn if self._advice.action.by_device else "", instance)
            is_counted = key in self.groups or len(self.groups) < MOST_GROUPS
            self.groups[key if is_counted else (kind, code, "", "")] += count
