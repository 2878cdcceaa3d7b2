"""``RESULTS.failed.csv``: the rows that are not in the desired state, with what to do about each; an input for ``run``.

It is made from the pinned list and the store like the results, streamed, when a session has ended.
"""

from collections import Counter
from typing import cast

import msgspec
import polars as pl

from bulkcert.input import CA_SN, OWN_PREFIX, ROW, PinnedList, ca_keys
from bulkcert.output.advice import Advice
from bulkcert.output.evidence import Ask
from bulkcert.output.files import cannot_write, clear_left
from bulkcert.output.formulas import guarded
from bulkcert.output.results import MAKE_ROOM, WHAT_TO_DO, chosen, write_rows
from bulkcert.service.certificates import of_ca_key
from bulkcert.store import queries
from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.store.sessions import Asked
from bulkcert.store.status import RunStatus

DRIFTED, MAYBE_UNDONE = "drifted", "maybe_undone"
"""Kinds of rows whose outcome says otherwise than what is known since."""

MOST_GROUPS = 10_000
"""Groups that are counted singly; rows of further CAs are counted together, by kind and code."""

GROUPS_KEPT = 20
"""Groups that a summary names, the largest."""

_READ_BACK, _MAYBE, _MEANING = (f"{OWN_PREFIX}{name}" for name in ("read_back", "maybe_undone", "meaning"))
_KEY = ("outcome", "code", _READ_BACK, _MAYBE)
_IS_READ = pl.col(_READ_BACK).str.len_bytes() > 0
_IS_OPEN = pl.col("outcome") == Outcome.NOT_ATTEMPTED.value


class Group(msgspec.Struct, frozen=True):
    """Rows that are not in the desired state for the same reason, under the same CA.

    Attributes:
        kind: Their outcome; or ``drifted``, ``maybe_undone``; of rows without an outcome what they were read back as.
        code: Code of the last answer; empty without one.
        ca_sn: Their CA; empty where they are of several, or CAs themselves.
        rows: How many.
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


def write_failed(status: RunStatus, pinned: PinnedList, ask: Ask, *, guards: bool = True) -> FailedRows | None:
    """Writes the rows of a run that are not in the desired state, durable; without any the file of before is removed.

    Returns:
        What is in it; None where there are no such rows.

    Raises:
        BulkcertError: It cannot be written, or not removed.
    """
    path, asked = status.files.failed, status.asked
    if asked is None or not status.not_desired:
        clear_left(path)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error, MAKE_ROOM) from error
        return None
    chooser = _Chooser(asked, Advice(status.files, asked), ask, guards=guards)
    write_rows(path, pinned, chooser.failed)
    groups = [
        Group(kind, code, ca_sn, rows, instance)
        for (kind, code, ca_sn, instance), rows in sorted(
            chooser.groups.items(), key=lambda group: (-group[1], group[0])
        )
    ]
    return FailedRows(str(path), chooser.groups.total(), groups[:GROUPS_KEPT])


class _Chooser:
    """Chooses rows batch by batch, says what to do about them, and counts them by kind, code and CA."""

    def __init__(self, asked: Asked, advice: Advice, ask: Ask, *, guards: bool) -> None:
        self._guards = guards
        self._advice, self._ask, self._by_ca = advice, ask, asked.device_column is not None
        self.groups: Counter[tuple[str, str, str, str]] = Counter()

    def failed(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Returns the rows of a batch that are not in the desired state, and are no duplicates."""
        span = (int(batch[ROW][0]), int(batch[ROW][-1])) if batch.height else (1, 0)
        rows = chosen(batch, self._ask(queries.window, *span), ".csv", verified=True)
        undone = pl.Series(self._ask(queries.rows, queries.MAYBE_UNDONE, *span), dtype=pl.UInt32)
        desired, is_desired = self._advice.action.desired_status.value, pl.col("outcome").is_in([*DESIRED])
        state = pl.col("verified_status")
        rows = rows.with_columns(
            ca_keys(batch).fill_null("").alias(CA_SN),
            pl.when((is_desired | _IS_OPEN) & (state != desired)).then(state).otherwise(pl.lit("")).alias(_READ_BACK),
            pl.col("row").is_in(undone.implode()).alias(_MAYBE),
            pl.col("code").fill_null(""),
        )
        is_other = ~pl.col("outcome").is_in([*DESIRED, Outcome.DUPLICATE])
        is_found_so = _IS_OPEN & (state == desired).fill_null(value=False)
        rows = rows.filter((is_other & ~is_found_so) | _IS_READ | pl.col(_MAYBE))
        self._count(rows)
        own = rows.columns[: rows.columns.index("row")]
        is_past = pl.when(_IS_READ | pl.col(_MAYBE))  # what the service has answered holds no longer
        message = is_past.then(_MEANING).otherwise(pl.coalesce("message", _MEANING)).alias("message")
        said = rows.join(self._said(rows), on=_KEY, how="left", maintain_order="left")
        failed = said.select(*own, "row", "outcome", pl.col("code").replace("", None), message, WHAT_TO_DO)
        return guarded(failed, ["code", "message"]) if self._guards else failed

    def _said(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Returns for each kind of the rows what it means and what to do."""
        keys = [cast("tuple[str, str, str, bool]", key) for key in rows.select(_KEY).unique().iter_rows()]
        found = [self._advice.finding(Outcome(key[0]), *key[1:3], maybe_undone=key[3]) for key in keys]
        schema = {name: rows.schema[name] for name in _KEY} | {_MEANING: pl.String(), WHAT_TO_DO: pl.String()}
        return pl.DataFrame([(*key, *said) for key, said in zip(keys, found, strict=True)], schema, orient="row")

    def _count(self, rows: pl.DataFrame) -> None:
        kinds = pl.when(_MAYBE).then(pl.lit(MAYBE_UNDONE)).when(_IS_READ & _IS_OPEN).then(_READ_BACK)
        kind = kinds.when(_IS_READ).then(pl.lit(DRIFTED)).otherwise("outcome").alias("kind")
        by_kind = rows.group_by(kind, "code", CA_SN, maintain_order=True).len()
        for kind_, code, ca, count in by_kind.iter_rows():
            ca_sn, instance = of_ca_key(ca)
            key = (kind_, code, ca_sn if self._by_ca else "", instance)
            is_counted = key in self.groups or len(self.groups) < MOST_GROUPS
            self.groups[key if is_counted else (kind_, code, "", "")] += count
