"""Writing results again, from the store and the pinned list, and proving that they are of it: no calls are made."""

import hashlib
import io
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import msgspec
import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.formats import SUFFIXES_SHOWN
from bulkcert.input import PinnedList, annotated
from bulkcert.output.evidence import Ask, Evidence, serials_in
from bulkcert.output.files import read_regular, refuse_taken, sha256_of
from bulkcert.output.formats import suffix_of
from bulkcert.output.results import Written, chosen, lazy, write_results
from bulkcert.runs.opened import pinned_of
from bulkcert.runs.opening import open_existing
from bulkcert.runs.session import summarize
from bulkcert.store import evidence, queries
from bulkcert.store.database import readable, reading
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import no_run, status_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

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
            proving = Evidence(ask, pinned.rows)
            for batch in annotated(pinned):
                yield chosen(batch, proving.rows(batch), ".parquet", verified=verified)

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


class Checked(NamedTuple):
    """What belongs together.

    Attributes:
        rows: Rows of the run.
        digest: Of all of them, in order (``output.evidence``).
        report: The report; None where there is none.
    """

    rows: int
    digest: str
    report: Path | None


class _Written(msgspec.Struct):
    """What a summary says that results were when they were written."""

    rows_digest: str
    results_sha256: str


class _Hash(io.BytesIO):
    """A file of which nothing is kept but the SHA-256."""

    def __init__(self) -> None:
        super().__init__()
        self.sha256 = hashlib.sha256()

    def write(self, content: "ReadableBuffer") -> int:
        self.sha256.update(content)
        return memoryview(content).nbytes


def check(files: RunFiles, report: Path | None = None) -> Checked:
    """Proves that every row of a run is as it was written, and that results, summary and report are of these rows.

    The report is the one next to the results, which need not be there, unless another is named.

    Raises:
        NoRunError: There is no such run.
        BulkcertError: STOPPED_EARLY: a session is running; INPUT_UNREADABLE: a file cannot be read, or the store is
            damaged; INPUT_INVALID: a file is not of the run as its store has it.
    """
    if status_of(files, brief=True).is_held:
        advice = f"Check it when the session has ended; until then: {files.command('status')}"
        raise BulkcertError(ExitStatus.STOPPED_EARLY, f"a session of {files.results} is running", advice)
    with _unreadable(files.results):
        results = sha256_of(files.results)
    with reading_run(files) as (pinned, ask):
        for batch in annotated(pinned, own=False):
            ask(evidence.confirm_attempts, dict(serials_in(batch)))
        given = ask(queries.guards)  # the likelier of the two, since each proves every row
        again = {guards: _Hash() for guards in (given, not given)}
        for guards, target in again.items():  # for people or for programs, whichever they were written for
            rows, digest, _ = write_results(files.results, pinned, ask, guards=guards, into=target)
            if results == target.sha256.hexdigest():
                break
        else:
            raise _other(files, files.results, "not what the store has")
    if _written(files.summary) != _Written(digest, results):
        raise _other(files, files.summary, "not the summary of these rows and results")
    if report is None and not files.report.exists():
        return Checked(rows.total(), digest, None)
    report = report or files.report
    if digest not in _text(report):
        remake = files.command("report", *([] if report == files.report else ["-o", str(report)]))
        raise _other(files, report, "not a report of these rows", remake)
    return Checked(rows.total(), digest, report)


def _other(files: RunFiles, path: Path, what: str, remake: str = "") -> BulkcertError:
    """Returns the error of a file that does not belong to the store."""
    message = f"{path} is {what}: it was changed, or a session was at work then, or was interrupted since"
    advice = f"Keep it if that may be evidence; made again: {remake or files.command('export')}"
    return BulkcertError(ExitStatus.INPUT_INVALID, message, advice)


def _written(summary: Path) -> _Written | None:
    try:
        return msgspec.json.decode(_text(summary), type=_Written)
    except msgspec.MsgspecError:
        return None


def _text(path: Path) -> str:
    with _unreadable(path):
        return read_regular(path, links=True).decode(errors="replace")


@contextmanager
def _unreadable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        advice = "Write the results again with export, and the report with report; then check."
        raise BulkcertError(ExitStatus.INPUT_UNREADABLE, message, advice) from error
