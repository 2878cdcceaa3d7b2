"""Findings: rows that are not in the wanted state, by reason, each with samples and with what to do."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from bulkcert.actions import Action
from bulkcert.batch.outcome import WANTED, Outcome
from bulkcert.batch.summary import utc
from bulkcert.report.advice import advice_for, advice_read_back, meaning_of
from bulkcert.report.figures import Finding, Sample
from bulkcert.report.reading import Results

MOST_FINDINGS = 40
"""Findings that are told of; a service that invents codes must not make the report endless."""
SAMPLES = 3
"""Rows that are named of each."""
_NOT_DONE = [str(outcome) for outcome in (Outcome.FAILED, Outcome.NOT_ATTEMPTED)]
_SETTLED = [str(outcome) for outcome in (*WANTED, Outcome.DUPLICATE)]


def findings_of(results: Results, rows: pl.DataFrame, action: Action) -> tuple[list[Finding], int]:
    """Returns what is not as wanted, the most rows first, and the number of rows whose reason is left out.

    Args:
        results: The opened results, for the samples' texts.
        rows: What was kept of them, as ``known.with_back`` returns them; what was done, or may have been, and was taken
            back is no finding.
        action: What was asked.
    """
    drifted = pl.col("verified_status").cast(pl.String) != str(action.wanted_status)
    done = pl.col("outcome").is_in([str(outcome) for outcome in WANTED])
    told = rows.with_columns(
        code=pl.col("code").cast(pl.String).fill_null(""),
        read_back=pl.when(done & drifted).then(pl.col("verified_status").cast(pl.String)).fill_null(""),
        outcome=pl.col("outcome").cast(pl.String),
    ).filter(~pl.col("outcome").is_in(_SETTLED) | (pl.col("read_back") != ""))
    # That a row was not done, or not come to, is told whatever became of the run afterwards.
    told = told.filter(~pl.col("back") | pl.col("outcome").is_in(_NOT_DONE))
    groups = (
        told.group_by("outcome", "code", "read_back")
        .agg(pl.len(), sample=pl.col("row").head(SAMPLES))
        .sort(["len", "outcome", "code", "read_back"], descending=[True, False, False, False])
    )
    shown = groups.head(MOST_FINDINGS)
    wanted = [row for sample in shown["sample"].to_list() for row in sample]
    texts = results.texts(wanted) if wanted else {}
    protected = (rows["outcome"].cast(pl.String) == str(Outcome.PROTECTED)).any()
    findings = [_finding(group, texts, action, protected=protected) for group in shown.iter_rows(named=True)]
    return findings, told.height - sum(finding.rows for finding in findings)


def _finding(
    group: Mapping[str, Any], texts: Mapping[int, Mapping[str, Any]], action: Action, *, protected: bool
) -> Finding:
    outcome, code, read_back = Outcome(group["outcome"]), group["code"], group["read_back"]
    if read_back:
        meaning = f"{outcome}, then read back as {read_back}"
        advice = advice_read_back(read_back, action, protected=protected)
    else:
        meaning, advice = meaning_of(outcome, code), advice_for(outcome, code, action, protected=protected)
    samples = [_sample(texts[row]) for row in group["sample"] if row in texts]
    return Finding(str(outcome), code, read_back, group["len"], meaning, advice, samples)


def _sample(row: Mapping[str, Any]) -> Sample:
    at = row["finished_at"]
    return Sample(
        row=row["row"],
        device_sn=row["device"] or "",
        ca_sn=row["ca"] or "",
        http_status=row["http_status"],
        request_id=row["request_id"] or "",
        message=row["message"] or "",
        at=None if at is None else utc(at / 1000),
    )
