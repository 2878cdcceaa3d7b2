"""A run that was made, opened again from its results: what it called, and what is known of every row."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import polars as pl

from bulkcert.actions import ACTIONS, Action
from bulkcert.batch.beside import journal_of, summary_of
from bulkcert.batch.journal import Journal
from bulkcert.batch.lines import Header, session_line
from bulkcert.batch.outcome import Outcome, Row
from bulkcert.batch.recovery import header_of, open_journal, refuse_held, same_service
from bulkcert.batch.results import COLUMNS, VERIFIED_COLUMNS
from bulkcert.batch.rows import as_rows, only_callable
from bulkcert.batch.service import ServiceOptions, resolve_service
from bulkcert.batch.source import MESSAGE, OUTCOME, Check, Source, annotated, check, open_source, without_rows
from bulkcert.errors import BulkcertError, ExitStatus

_OURS = (*COLUMNS, *VERIFIED_COLUMNS)
_WRITE_ANEW = "Run its command again with --limit-rows 0: that calls nothing and writes the results anew."

Options = TypeVar("Options", bound=ServiceOptions)


@dataclass(frozen=True, slots=True)
class Finished:
    """A run, found by its results; its journal is held.

    Attributes:
        results: The results file.
        header: What the journal is the record of.
        source: The results, read as an input.
        check: What the pass over them found: the same rows are invalid and duplicates as in the input.
        journal: The open journal.
    """

    results: Path
    header: Header
    source: Source
    check: Check
    journal: Journal

    @property
    def action(self) -> Action:
        """What was asked for each row."""
        return ACTIONS[self.header.action]

    @property
    def summary(self) -> Path:
        """The summary, beside the results."""
        return summary_of(self.results)

    def annotated(self) -> Iterator[pl.DataFrame]:
        """Yields the input's own columns as the results hold them, annotated as the input was."""
        protected = pl.col("outcome") == Outcome.PROTECTED
        for batch in annotated(self.source, self.check):
            notes = batch.with_columns(
                pl.when(protected).then("outcome").otherwise(OUTCOME).alias(OUTCOME),
                pl.when(protected).then("message").otherwise(MESSAGE).alias(MESSAGE),
            )
            yield notes.drop(_OURS, strict=False)

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yields the rows that may be called, in order, as annotated."""
        return only_callable(self.annotated())

    def batches(self) -> Iterator[list[Row]]:
        """Yields the rows that may be called, in order."""
        return as_rows(self.frames(), self.action)

    def where(self, options: Options) -> Options:
        """Returns options that lead to where the run was made.

        Raises:
            BulkcertError: They name another instance or lead to another service.
        """
        header = self.header
        if options.instance and options.instance != header.instance:
            raise self._elsewhere(f"of the instance {header.instance}, not of {options.instance}", "--instance")
        there = replace(options, instance=header.instance)
        if not (options.endpoint or options.region):
            return replace(there, endpoint=header.endpoint)
        problems: list[str] = []
        endpoint = str(resolve_service(there, problems).endpoint)
        if not problems and not same_service(endpoint, header.endpoint):
            raise self._elsewhere(f"from {header.endpoint}, not from {endpoint}", "--endpoint and --region")
        return there

    def _elsewhere(self, told: str, options: str) -> BulkcertError:
        return BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{self.results}: these results are {told}",
            f"Leave {options} out, in the job file and the environment as well. Nothing was called.",
        )


def open_finished(results: Path, *, verifies: bool = False) -> Finished:
    """Opens a run from its results; writes nothing.

    Args:
        results: The results.
        verifies: Whether only rows that the run has called will be called, if any.

    Raises:
        BulkcertError: There are no such results, they are not those of their journal, or a run holds them.
    """
    if not results.name:
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE, f"{results}: a directory, not the results of a run", "Name the results file."
        )
    journal_path = journal_of(results)
    # While a run goes on its results are not there yet, or those of an earlier session.
    refuse_held(journal_path)
    header = header_of(journal_path, writes=False)
    if not os.path.exists(results):  # Path raises where it may not look
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE,
            f"{results} does not exist, but its journal does: the run was killed before it wrote results",
            "Run its command again with --limit-rows 0: that calls nothing and writes them.",
        )
    source = _open(results, header)
    checked = check(source, trust_serials=True, numbered="row")
    _confirm_same(results, header, checked)
    session = session_line(round(time.time() * 1000), version("bulkcert"), verifies=verifies)
    return Finished(results, header, source, checked, open_journal(journal_path, header, session))


def _open(results: Path, header: Header) -> Source:
    """Opens results as an input."""
    by_device = ACTIONS[header.action].by_device
    keys = header.result_keys or header.keys
    device, ca = keys[0] if by_device else None, keys[-1]
    if not header.rows and not results.stat().st_size:
        # NDJSON without a row names no columns.
        return without_rows(results, (*keys, *COLUMNS), device_column=device, ca_column=ca)
    try:
        source = open_source(results, by_device=by_device, device_column=device, ca_column=ca)
    except BulkcertError as error:
        # What helps with a list does not help with results.
        advice = _WRITE_ANEW if error.status is ExitStatus.INPUT_INVALID else error.advice
        raise BulkcertError(ExitStatus.INPUT_UNREADABLE, error.message, advice) from error
    if missing := [name for name in ("row", "outcome", "message") if name not in source.columns]:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{results} has no column {missing[0]}: not the file that was written",
            _WRITE_ANEW,
        )
    return source


def _confirm_same(results: Path, header: Header, checked: Check) -> None:
    """Confirms that results name the certificates that the run was about, row by row.

    Raises:
        BulkcertError: They do not.
    """
    if checked.rows != header.rows:
        told = f"has {checked.rows:,} rows, its journal tells of {header.rows:,}"
    elif checked.keys_sha256 != header.keys_sha256:
        told = f"names other certificates than its run was about: {' or '.join(header.result_keys)} was edited"
    else:
        return
    raise BulkcertError(ExitStatus.INPUT_INVALID, f"{results} {told}: not the file that was written", _WRITE_ANEW)
