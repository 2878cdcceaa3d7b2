"""Writing results again, from the store and the pinned list: no calls are made."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import PinnedList, annotated
from bulkcert.output.evidence import Ask, Evidence
from bulkcert.output.files import refuse_taken
from bulkcert.output.formats import SUFFIXES_SHOWN, suffix_of
from bulkcert.output.results import Written, chosen, lazy, write_results
from bulkcert.runs.opened import pinned_of
from bulkcert.runs.opening import open_existing
from bulkcert.runs.session import summarize
from bulkcert.store import queries
from bulkcert.store.database import readable, reading
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import no_run

_OTHER = "Name another file with -o. Nothing was written."
_ELSEWHERE = "Name a file with -o in a directory that is there, has room and can be written."


def export(
    files: RunFiles,
    output: Path,
    only: Mapping[str, Collection[str]],
    *,
    overwrite: bool,
    guards: bool,
    into: BinaryIO | None = None,
) -> Written:
    """Writes rows of a run into another file, while a session may be running.

    Args:
        files: Of the run.
        output: The file; its suffix decides on the format.
        only: See ``write_results``.
        overwrite: Whether it may replace a file that is not of a run.
        guards: See ``write_results``.
        into: What takes them in place of the file, whose name counts for messages and format alone.

    Raises:
        NoRunError: There is no such run.
        BulkcertError: The file cannot be written, or is one that must not be replaced.
    """
    if not suffix_of(output):
        raise BulkcertError(ExitStatus.USAGE, f"--output {output} must end in {SUFFIXES_SHOWN}", _OTHER)
    if os.path.realpath(output.parent) == os.path.realpath(files.folder):
        raise BulkcertError(ExitStatus.CANNOT_WRITE, f"{output} would be in the folder of the run", _OTHER)
    if os.path.realpath(output) == os.path.realpath(files.failed):
        raise BulkcertError(ExitStatus.CANNOT_WRITE, f"{output} is the failed rows of the run", _OTHER)
    if into is None:
        refuse_taken(output, overwrite=overwrite)
    with reading_run(files) as (pinned, ask):
        return write_results(output, pinned, ask, only, guards=guards, advice=_ELSEWHERE, into=into)


def scan(files: RunFiles) -> pl.LazyFrame:
    """Returns the rows of a run as its store has them whenever the table is collected.

    Raises:
        NoRunError: There is no such run.
    """
    with reading_run(files) as (pinned, ask):
        verified = ask(queries.count, queries.READ_BACK) > 0
        schema = chosen(next(annotated(pinned)).clear(), [], ".parquet", verified=verified).schema

    def frames() -> Iterator[pl.DataFrame]:
        with reading_run(files) as (pinned, ask):
            evidence = Evidence(ask, pinned.rows)
            for batch in annotated(pinned):
                yield chosen(batch, evidence.rows(batch), ".parquet", verified=verified)

    return lazy(frames, schema)


@contextmanager
def reading_run(files: RunFiles) -> Iterator[tuple[PinnedList, Ask]]:
    """Opens the list and the store of a run, while a session may be running.

    Raises:
        NoRunError: There is no such run.
    """

    def ask(question: Callable[..., Any], *about: object) -> Any:
        with readable(files.store, ExitStatus.INPUT_UNREADABLE):
            return question(db, *about)

    try:
        with reading(files.store) as db:
            yield pinned_of(files, queries.asked(db)), ask
    except FileNotFoundError:
        raise no_run(files) from None


def rewrite(files: RunFiles, *, guards: bool) -> Written:
    """Writes the results of a run again, for people if the run says so too, its failed rows, and its summary.

    Raises:
        NoRunError: There is no such run.
        BulkcertError: A session is running, or they cannot be written.
    """
    with closing(open_existing(files, proves=False)) as opened:
        written = opened.write_results(guards=guards)
        summarize(opened, written)
    return written
