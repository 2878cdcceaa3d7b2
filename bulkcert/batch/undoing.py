"""Undoing: which rows a run has changed, as far as that is known, written as a list for the inverse action."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec
import polars as pl

from bulkcert.actions import ACTIONS
from bulkcert.batch.beside import journal_of, undo_list_of, undo_results_of
from bulkcert.batch.durable import make_durable, reason_of, sha256_of
from bulkcert.batch.finished import Finished
from bulkcert.batch.job import Job, Options, RunOptions, resolve
from bulkcert.batch.lines import STATUSES
from bulkcert.batch.outcome import Record
from bulkcert.batch.output import sink
from bulkcert.batch.recovery import header_of
from bulkcert.batch.source import CA_SN, DEVICE_SN, ROW
from bulkcert.batch.summary import utc
from bulkcert.errors import BulkcertError, ExitStatus

_decode_lines = msgspec.json.Decoder(Record).decode_lines


@dataclass(slots=True)
class Undone:
    """What there is to take back.

    Attributes:
        list_path: The list.
        results: Where the undo writes its results.
        rows: Rows in the list.
        known: Rows that the run has changed, or may have, and that were in the opposite state before.
        unknown: Rows that it has changed, or may have, whose state before is not known.
    """

    list_path: Path
    results: Path
    rows: int = 0
    known: int = 0
    unknown: int = 0


def list_changed(finished: Finished, options: RunOptions, *, include_unknown: bool | None) -> Undone:
    """Writes the list of the rows that a run has changed, for the inverse action; none if there are no such rows.

    Args:
        finished: The run.
        options: Those of the undo.
        include_unknown: Whether rows are taken back whose state before is not known; None if nobody has decided.

    Raises:
        BulkcertError: The action cannot be taken back, nobody has decided on rows of which too little is known, an
            undo of other rows stands where this one would, or the list cannot be written.
    """
    if finished.action.inverse is None:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"{finished.results}: {finished.action.name} cannot be undone: no operation takes it back",
            "Register the CA anew; its devices register themselves at their next connection, active.",
        )
    path = undo_list_of(finished.results)
    undone = Undone(path, _results(finished, path, options))
    temporary = path.with_name(f".{path.name}.part")
    try:
        _write(finished, undone, temporary, include_unknown=bool(include_unknown))
        if undone.unknown and include_unknown is None:
            raise _undecided(undone)
        if undone.rows:
            if not options.overwrite:
                _confirm_same_list(finished, undone, sha256_of(temporary))
            make_durable(temporary, path)
    except (OSError, pl.exceptions.PolarsError) as error:
        advice = "Make room where the results are, or let it be written there. Nothing was called."
        raise BulkcertError(ExitStatus.CANNOT_WRITE, f"cannot write {path}: {reason_of(error)}", advice) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return undone


def _results(finished: Finished, list_path: Path, options: RunOptions) -> Path:
    """Returns where the results of an undo go."""
    named = undo_results_of(finished.results)
    results = options.results or named
    for path in (finished.results, list_path):
        # os.path, since Path raises where it may not look.
        if os.path.realpath(results) == os.path.realpath(path):
            raise BulkcertError(
                ExitStatus.USAGE,
                f"--results {results} is what the undo is made from",
                f"Leave -o out: then the results go to {named}. Nothing was called.",
            )
    return results


def _undecided(undone: Undone) -> BulkcertError:
    return BulkcertError(
        ExitStatus.USAGE,
        f"what they were before is not known of {undone.unknown:,} row{'s' * (undone.unknown != 1)} that the run has "
        f"called, or may have ({undone.known:,} known); nothing was called",
        "--include-unknown takes them back as well, --no-include-unknown leaves them as they are.",
    )


def _confirm_same_list(finished: Finished, undone: Undone, sha256: str) -> None:
    """Confirms that an undo which stands where this one would be is of the very same rows, called no later.

    Raises:
        BulkcertError: It is not.
    """
    journal = journal_of(undone.results)
    if not os.path.exists(journal):
        return
    header = header_of(journal)
    if header.action == finished.action.inverse and header.sha256 != sha256:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{undone.results} is of another undo: since it began the run has called other rows, or rows again, or "
            "--include-unknown was chosen otherwise",
            "--overwrite undoes anew (what was taken back already is left alone where the look sees it); or name "
            "other results with -o. Nothing was called.",
        )


def _write(finished: Finished, undone: Undone, temporary: Path, *, include_unknown: bool) -> None:
    failures: list[BulkcertError] = []
    marks = finished.journal.index.changed(ACTIONS[finished.action.inverse or ""].wanted_status)

    def frames() -> Iterator[pl.DataFrame]:
        try:
            for batch in finished.frames():
                changed = _changed(finished, batch, marks)
                known = int(changed["known"].sum())
                undone.known += known
                undone.unknown += changed.height - known
                rows = changed if include_unknown else changed.filter("known")
                undone.rows += rows.height
                yield rows.drop("known")
        except BulkcertError as error:
            failures.append(error)
            raise

    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    names = ("DeviceSn", "CaSn") if finished.action.by_device else ("CaSn",)
    schema = pl.Schema({**dict.fromkeys(names, pl.String), "original_row": pl.UInt32, "original_call": pl.String})
    try:
        sink(frames(), schema, temporary)
    except Exception:
        if failures:
            raise failures[0] from None
        raise


def _changed(finished: Finished, batch: pl.DataFrame, marks: bytes) -> pl.DataFrame:
    """Returns those of some annotated rows that the run has changed, or may have."""
    schema = {"original_row": pl.UInt32, "original_call": pl.String, "known": pl.Boolean}
    numbers = pl.DataFrame(list(_judged(finished, batch[ROW], marks)), schema=schema, orient="row")
    serials = {"CaSn": pl.col(CA_SN)}
    if finished.action.by_device:
        serials = {"DeviceSn": pl.col(DEVICE_SN)} | serials
    rows = batch.select(original_row=pl.col(ROW), **serials)
    joined = numbers.join(rows, on="original_row", how="left", maintain_order="left")
    return joined.select(*serials, *schema)


def _judged(finished: Finished, rows: pl.Series, marks: bytes) -> Iterator[tuple[int, str, bool]]:
    """Yields the rows that may have been changed, when they were called, and whether it is known what they were."""
    if not len(rows):
        return
    index, wanted = finished.journal.index, finished.action.wanted_status
    opposite = ACTIONS[finished.action.inverse or ""].wanted_status
    lines = _decode_lines(finished.journal.lines(rows[0], rows[-1]))
    called = {record.row: record.finished_at for record in lines if record.attempts}
    for row in rows:
        prior = STATUSES[index.prior[row]]
        if prior != wanted and marks[row]:
            # A list that differs only in this is of another run, or of rows that were called again.
            # A list that differs only in this is of another run, or of rows that were called again.
            yield row, utc(called.get(row, index.sessions.killed_at) / 1000), prior == opposite


def undo_job(finished: Finished, undone: Undone, options: RunOptions) -> Job:
    """Returns the run that takes a run back, with options that lead to where it was made.

    Raises:
        BulkcertError: An option is wrong.
    """
    assert finished.action.inverse is not None  # noqa: S101 - list_changed has refused it
    typed = {field.name: getattr(options, field.name) for field in fields(options)}
    typed["results"] = undone.results
    # The serials were good enough for the run itself.
    return resolve(finished.action.inverse, undone.list_path, Options(**typed, trust_serials=True), command="undo")
