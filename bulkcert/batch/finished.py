"""A run that was made, opened again from its results: what it called, and what is known of every row."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import polars as pl

from bulkcert.actions import ACTIONS, Action
from bulkcert.batch.journal import Journal
from bulkcert.batch.lines import Header, session_line
from bulkcert.batch.outcome import Outcome, Row
from bulkcert.batch.recovery import header_of, open_journal
from bulkcert.batch.results import COLUMNS, RENAMED_PREFIX, VERIFIED_COLUMNS
from bulkcert.batch.service import ServiceOptions
from bulkcert.batch.source import CA_SN, DEVICE_SN, MESSAGE, OUTCOME, ROW, Check, Source, annotated, check, open_source
from bulkcert.errors import BulkcertError, ExitStatus

_OURS = (*COLUMNS, *VERIFIED_COLUMNS)

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
        return self.results.with_name(self.results.name + ".summary.json")

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
        """Yields the rows that may be called, in order."""
        return (batch.filter(pl.col(OUTCOME).is_null()) for batch in self.annotated())

    def batches(self) -> Iterator[list[Row]]:
        """Yields the rows that may be called, in order."""
        serials = (DEVICE_SN, CA_SN) if self.action.by_device else (pl.lit("").alias(DEVICE_SN), CA_SN)
        for batch in self.frames():
            yield [Row(*row) for row in batch.select(ROW, *serials).iter_rows()]

    def where(self, options: Options) -> Options:
        """Returns options that lead to where the run was made, unless they say another way to the same instance.

        Raises:
            BulkcertError: They name another instance.
        """
        if options.instance and options.instance != self.header.instance:
            raise BulkcertError(
                ExitStatus.INPUT_INVALID,
                f"{self.results} are of the instance {self.header.instance}, not of {options.instance}",
                "Leave --instance out. Nothing was called.",
            )
        elsewhere = options.endpoint or options.region
        return replace(
            options, instance=self.header.instance, endpoint=options.endpoint if elsewhere else self.header.endpoint
        )


def open_finished(results: Path) -> Finished:
    """Opens a run from its results; writes nothing.

    Raises:
        BulkcertError: There are no such results, they are not those of their journal, or a run holds them.
    """
    journal_path = results.with_name(results.name + ".journal")
    header = header_of(journal_path)
    if not results.exists():
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE,
            f"{results} does not exist, but its journal does: the run was killed before it wrote results",
            "Run its command again with --limit-rows 0: that calls nothing and writes them.",
        )
    keys = [RENAMED_PREFIX + key if key in _OURS else key for key in header.keys]
    by_device = ACTIONS[header.action].by_device
    source = open_source(results, by_device=by_device, device_column=keys[0] if by_device else None, ca_column=keys[-1])
    checked = check(source, trust_serials=True)
    if checked.rows != header.rows or not {"outcome", "message"} <= set(source.columns):
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{results} has {checked.rows} rows, its journal tells of {header.rows}: not the file that was written",
            "Run its command again with --limit-rows 0: that calls nothing and writes the results anew.",
        )
    journal = open_journal(journal_path, header, session_line(round(time.time() * 1000), version("bulkcert")))
    return Finished(results, header, source, checked, journal)
