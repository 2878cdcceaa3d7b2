"""Checking that store, results, summary and report of a run belong together; nothing is written, no calls are made."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import annotated
from bulkcert.output.evidence import serials_in
from bulkcert.output.files import read_regular, sha256_of
from bulkcert.output.results import write_results
from bulkcert.runs.exporting import reading_run
from bulkcert.store import evidence, queries
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import status_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


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
    message = f"{path} is {what}: it was changed, or a session since was interrupted"
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
