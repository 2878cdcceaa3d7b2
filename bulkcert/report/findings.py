"""What is not in the desired state: kinds of rows, what each means, and which certificates they are."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection

import msgspec
import polars as pl

from bulkcert.input import CA_SN, DEVICE_SN, INSTANCE, ROW, PinnedList, annotated
from bulkcert.output.advice import Advice
from bulkcert.report.figures import Finding, Sample
from bulkcert.store import queries
from bulkcert.store.outcome import Outcome, deviation
from bulkcert.store.paths import RunFiles

MOST_NAMED = 500
"""Rows that are not in the desired state and are named singly; where there are more, the fewer of a kind first."""


class RowKind(msgspec.Struct, frozen=True):
    """The rows of which the same is known; where they are ``maybe_undone`` what was read says nothing."""

    outcome: Outcome
    code: str
    verified: str | None
    maybe_undone: bool
    rows: int
    first: list[int]


def kinds_of(rows: pl.DataFrame) -> list[RowKind]:
    """Returns the kinds of certificates: of all rows but the duplicates."""
    own = rows.filter(pl.col("outcome") != Outcome.DUPLICATE.value)
    grouped = own.group_by("outcome", "code", "verified", "maybe_undone", maintain_order=True).agg(
        pl.len(), pl.col("row").head(MOST_NAMED)
    )
    return [RowKind(Outcome(outcome), code or "", *more) for outcome, code, *more in grouped.iter_rows()]


def findings_of(db: sqlite3.Connection, pinned: PinnedList, kinds: list[RowKind], advice: Advice) -> list[Finding]:
    """Returns what is not in the desired state, the most rows first."""
    desired = advice.action.desired_status
    counts: Counter[tuple[Outcome, str, str, bool]] = Counter()
    first: defaultdict[tuple[Outcome, str, str, bool], list[int]] = defaultdict(list)
    for kind in kinds:
        read_back = deviation(kind.outcome, kind.verified, desired, maybe_undone=kind.maybe_undone)
        if read_back is not None:
            key = (kind.outcome, kind.code, read_back, kind.maybe_undone)
            counts[key] += kind.rows
            first[key] += kind.first
    left = MOST_NAMED
    for number, key in enumerate(sorted(counts, key=lambda key: counts[key])):
        # What the kinds with fewer rows do not need is there for those with more.
        first[key] = sorted(first[key])[: max(1, left // (len(counts) - number))]
        left -= len(first[key])
    samples = _samples(db, pinned, {row for rows in first.values() for row in rows})
    return [
        Finding(
            *key,
            counts[key],
            *advice.finding(*key[:3], maybe_undone=key[3]),
            export="" if key[2] or key[3] else _exporting(advice.files, key[0], key[1]),
            samples=[samples[row] for row in first[key]],
        )
        for key in sorted(counts, key=lambda key: (-counts[key], key))
    ]


def _exporting(files: RunFiles, outcome: Outcome, code: str) -> str:
    by_code = ["--code", code] if code.replace(".", "").isalnum() else []
    return files.command("export", "--outcome", outcome.value, *by_code, "-o", f"{files.results}.{outcome}.csv")


def _samples(db: sqlite3.Connection, pinned: PinnedList, wanted: Collection[int]) -> dict[int, Sample]:
    samples = {}
    for frame in annotated(pinned, own=False):
        for found in frame.filter(pl.col(ROW).is_in(wanted)).iter_rows(named=True):
            row = found[ROW]
            message, request_id, http_status = queries.sample(db, row)
            device, ca, instance = (found.get(name) or "" for name in (DEVICE_SN, CA_SN, INSTANCE))
            samples[row] = Sample(row, device, ca, http_status, request_id, message, instance)
    return samples
