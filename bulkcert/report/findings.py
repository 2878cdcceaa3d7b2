"""Findings: rows that are not in the desired state, by reason, each with samples and with what to do."""

import sqlite3

import polars as pl

from bulkcert.input import PinnedList
from bulkcert.report.figures import Finding
from bulkcert.report.rows import samples_of
from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.views.advice import Advice, meaning_of

MOST_FINDINGS = 40
"""Findings that are shown; a service that invents codes must not make the report endless."""
SAMPLES = 3
"""Rows that are named of each."""
_DONE = [outcome.value for outcome in DESIRED]
_KEY = ("outcome", "code", "read_back", "maybe_undone")


def findings_of(
    db: sqlite3.Connection, pinned: PinnedList, rows: pl.DataFrame, advice: Advice
) -> tuple[list[Finding], int]:
    """Returns what is not in the desired state, the most rows first, and the number of rows whose reason is left out.

    Args:
        db: The store, for the samples' texts.
        pinned: The list, for their serials.
        rows: As ``rows_of`` returns them.
        advice: What to do about them.
    """
    done = pl.col("outcome").is_in(_DONE)
    status, desired = pl.col("verified").cast(pl.String), advice.action.desired_status.value
    # What an undo may have changed back was read back before that, if at all.
    maybe = pl.col("undo_at").is_not_null() & (pl.col("verified_at") > pl.col("undo_at")).fill_null(value=False).not_()
    drifted = done & (status != desired).fill_null(value=False) & ~maybe
    right = pl.col("outcome").is_in([*_DONE, Outcome.DUPLICATE.value])
    wrong = (
        rows.lazy()
        .filter(~right | drifted | maybe)
        .select("row", "outcome", "code", "verified", "verified_at", "undo_at")
        .collect()
    )
    groups = (
        wrong.select(
            "row",
            pl.col("outcome").cast(pl.String),
            pl.col("code").cast(pl.String).fill_null(""),
            maybe_undone=maybe,
            read_back=pl.when(drifted).then(status).fill_null(""),
        )
        .group_by(_KEY)
        .agg(pl.len(), sample=pl.col("row").sort().head(SAMPLES))
        .sort(["len", *_KEY], descending=[True, *([False] * len(_KEY))])
    )
    shown = groups.head(MOST_FINDINGS)
    samples = samples_of(db, pinned, [row for sample in shown["sample"].to_list() for row in sample])
    findings = []
    for outcome, code, read_back, maybe_undone, count, sample in shown.iter_rows():
        meaning, todo = _said(Outcome(outcome), code, read_back, advice, maybe_undone=maybe_undone)
        shown_rows = [samples[row] for row in sample]
        findings.append(Finding(outcome, code, read_back, maybe_undone, count, meaning, todo, shown_rows))
    return findings, wrong.height - sum(finding.rows for finding in findings)


def _said(outcome: Outcome, code: str, read_back: str, advice: Advice, *, maybe_undone: bool) -> tuple[str, str]:
    """Returns what a finding means, and what to do."""
    if maybe_undone:
        return f"{outcome}, then perhaps undone: no answer to that is known", advice.on_maybe_undone()
    if read_back:
        return f"{outcome}, then read back as {read_back}", advice.on_read_back(read_back)
    return meaning_of(outcome, code), advice.on(outcome, code)
