"""Opening a run: its input is checked, its journal found or begun; nothing is called."""

import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from uuid import uuid4

from bulkcert.batch.index import Index
from bulkcert.batch.job import Job
from bulkcert.batch.journal import Journal
from bulkcert.batch.lines import Header, session_line
from bulkcert.batch.look.first import is_old
from bulkcert.batch.outcome import RETRIED, Outcome
from bulkcert.batch.protected_rows import confirm_protection, lifted, to_keep
from bulkcert.batch.recovery import has_protected, header_of, open_journal
from bulkcert.batch.results import prove_columns, renamed
from bulkcert.batch.rows import open_list
from bulkcert.batch.run import Run
from bulkcert.batch.schedule import WRONG_SIZE, wrong_size
from bulkcert.batch.source import Check, InvalidRow, Source, annotated
from bulkcert.errors import BulkcertError, ExitStatus


def check_input(job: Job, on_progress: Callable[[int], None] | None = None) -> tuple[Source, Check]:
    """Reads the whole input once and checks every row.

    Args:
        job: What was asked.
        on_progress: Told the number of rows checked so far.

    Raises:
        BulkcertError: The input cannot be used, or has invalid rows that were not to be skipped.
    """
    options = job.options
    source, checked = open_list(
        job.input,
        job.action,
        columns=(options.device_column, options.ca_column),
        trust_serials=options.trust_serials,
        protect=options.protect,
        lifts=options.protect is not None and not options.overwrite and has_protected(job.journal),
        on_progress=on_progress,
    )
    if told := wrong_size(options, job.input, checked.rows):
        raise BulkcertError(ExitStatus.INPUT_INVALID, f"{told}; nothing was called", WRONG_SIZE)
    if checked.invalid and not options.skip_invalid:
        raise _invalid(job, checked)
    if checked.protected and not options.skip_protected:
        raise _protected(job, checked)
    return source, checked


def open_run(job: Job, source: Source, checked: Check) -> Run:
    """Opens the journal of a run; calls nothing.

    Args:
        job: What was asked.
        source: The input.
        checked: What the pass over it found.

    Raises:
        BulkcertError: The results cannot be written, or are those of another run.
    """
    # os.path, since Path raises where it may not look; opening the journal says why.
    exists = os.path.exists
    if exists(job.results) and not exists(job.journal) and not job.options.overwrite:
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"{job.results} exists, and no journal ({job.journal.name}) says which run made it",
            "Name another results file with -o, or replace this one with --overwrite. Nothing was called.",
        )
    release = version("bulkcert")
    header = _header(job, source, checked, release)
    session = session_line(round(time.time() * 1000), release)
    journal = open_journal(job.journal, header, session, anew=job.options.overwrite)
    try:
        return _opened(job, source, checked, journal, header)
    except BaseException:
        journal.close()
        raise


def _header(job: Job, source: Source, checked: Check, release: str) -> Header:
    """Returns the first line of the journal of a run that begins."""
    names = renamed(source.columns)
    return Header(
        job.action.name,
        job.instance,
        str(job.endpoint),
        checked.sha256,
        checked.rows,
        source.key_columns,
        release,
        checked.keys_sha256,
        tuple(names.get(key, key) for key in source.key_columns),
        uuid4().hex,
    )


def _opened(job: Job, source: Source, checked: Check, journal: Journal, header: Header) -> Run:
    """Returns the run of an open journal, whose first line is the header if it is new."""
    index = journal.index
    if job.options.retry_failed:
        index.reopen(RETRIED)
        index.reopen_rows(index.read_back_otherwise(job.action.wanted_status))
    confirm_protection(index, job.options.protect)
    # What cannot be written must not show after the calls.
    prove_columns(job.results, annotated(source, checked), journal)
    to_call, unchanged = _to_call(index, checked), _unchanged(index, checked)
    looks_again = to_call > 0 and unchanged > 0 and is_old(index.looked_at)
    run_id = header.run if journal.is_new else header_of(job.journal).run
    to_call += unchanged * looks_again
    kept = to_keep(index, checked)
    return Run(job, source, checked, journal, to_call, looks_again, run_id, kept, lifted(index, checked))


def _to_call(index: Index, checked: Check) -> int:
    """Returns how many rows may be called and have no final outcome yet."""
    return checked.callable - index.final + sum(map(index.is_final, checked.protected_rows))


def _unchanged(index: Index, checked: Check) -> int:
    """Returns how many rows that may be called a look has settled."""
    return index.unchanged - sum(index.outcome(row) is Outcome.UNCHANGED for row in checked.protected_rows)


def _invalid(job: Job, checked: Check) -> BulkcertError:
    return BulkcertError(
        ExitStatus.INPUT_INVALID,
        f"{checked.invalid} of {checked.rows} rows are invalid; nothing was called"
        + _named(job, checked.first_invalid, checked.invalid),
        "Correct them, or leave them out with --skip-invalid (they get the outcome invalid).",
    )


def _protected(job: Job, checked: Check) -> BulkcertError:
    return BulkcertError(
        ExitStatus.INPUT_INVALID,
        f"{checked.protected} of {checked.rows} rows are protected by {job.options.protect}; nothing was called"
        + _named(job, checked.first_protected, checked.protected, " "),
        "Take them out of the list, or leave them out with --skip-protected (they get the outcome protected).",
    )


def _named(job: Job, rows: Sequence[InvalidRow], count: int, between: str = ": ") -> str:
    """Returns the first of some rows, a line each."""
    named = [f"\n  {job.input}:{row.line or row.row}: {row.column}{between}{row.reason} ({row.value})" for row in rows]
    return "".join(named) + (f"\n  and {count - len(named)} more" if count > len(named) else "")
