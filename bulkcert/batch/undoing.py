"""Undoing: which rows a run has changed, as far as that is known, written as a list for the inverse action."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import polars as pl

from bulkcert.actions import ACTIONS
from bulkcert.batch.finished import Finished
from bulkcert.batch.index import Index
from bulkcert.batch.job import Job, Options, RunOptions, resolve
from bulkcert.batch.look.sightings import STATUSES
from bulkcert.batch.outcome import Outcome
from bulkcert.batch.results import write_small
from bulkcert.batch.source import CA_SN, DEVICE_SN, ROW
from bulkcert.errors import BulkcertError, ExitStatus

_CALLED = frozenset({Outcome.SUCCEEDED, Outcome.UNKNOWN})
"""Outcomes of rows that the run has changed, or may have."""


@dataclass(frozen=True, slots=True)
class Undone:
    """What there is to take back.

    Attributes:
        rows: Rows in the list.
        known: Rows that the run has changed, or may have, and that were in the opposite state before.
        unknown: Rows that it has changed, or may have, whose state before is not known.
        list_path: The list.
    """

    rows: int
    known: int
    unknown: int
    list_path: Path


def list_changed(finished: Finished, *, include_unknown: bool | None) -> Undone:
    """Writes the list of the rows that a run has changed, for the inverse action; none if there are no such rows.

    A list that an undo has begun with stays as it is.

    Args:
        finished: The run.
        include_unknown: Whether rows are taken back whose state before is not known; None if nobody has decided.

    Raises:
        BulkcertError: The action cannot be taken back, nobody has decided on rows of which too little is known, or the
            list cannot be written.
    """
    if finished.action.inverse is None:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"{finished.results}: {finished.action.name} cannot be undone: no operation takes it back",
            "Register the CA anew; its devices register themselves at their next connection, active.",
        )
    parts = [_changed(finished, frame) for frame in finished.frames()]
    changed = pl.concat(parts)
    known, unknown = changed.filter("known").height, changed.filter(~pl.col("known")).height
    if unknown and include_unknown is None:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"of {unknown:,} rows that the run has called, or may have, it is not known what they were before "
            f"({known:,} are known); nothing was called",
            "--include-unknown takes them back as well, --no-include-unknown leaves them as they are.",
        )
    rows = changed if include_unknown else changed.filter("known")
    path = finished.results.with_name(f"{finished.results.stem}.undo-list.csv")
    if rows.height and not _results(finished).with_name(_results(finished).name + ".journal").exists():
        write_small(path, rows.drop("known").write_csv().encode())
    return Undone(rows.height, known, unknown, path)


def _changed(finished: Finished, frame: pl.DataFrame) -> pl.DataFrame:
    """Returns those of some rows that the run has changed, or may have."""
    found = list(_judged(finished, frame[ROW].to_list()))
    numbers = pl.DataFrame(found, schema={"original_row": pl.UInt32, "known": pl.Boolean}, orient="row")
    serials = {"CaSn": pl.col(CA_SN)}
    if finished.action.by_device:
        serials = {"DeviceSn": pl.col(DEVICE_SN)} | serials
    rows = frame.select(original_row=pl.col(ROW), **serials)
    return numbers.join(rows, on="original_row", how="left", maintain_order="left").select(
        *serials, "original_row", "known"
    )


def _judged(finished: Finished, rows: list[int]) -> Iterator[tuple[int, bool]]:
    """Yields the rows that may have been changed, and whether it is known what they were before."""
    index = finished.journal.index
    inverse = ACTIONS[finished.action.inverse or ""]
    killed = index.ended < index.sessions
    for row in rows:
        prior = STATUSES[index.prior[row]]
        if prior == finished.action.wanted_status:
            continue
        if index.outcome(row) in _CALLED:
            yield row, prior == inverse.wanted_status
        elif killed and _unsettled(index, row):
            # A session that was killed may have called it and not come to note the outcome.
            yield row, False


def _unsettled(index: Index, row: int) -> bool:
    return index.outcome(row) in (None, Outcome.NOT_ATTEMPTED)


def _results(finished: Finished) -> Path:
    return finished.results.with_name(f"{finished.results.stem}.undo{finished.results.suffix}")


def undo_job(finished: Finished, undone: Undone, options: RunOptions) -> Job:
    """Returns the run that takes a run back.

    Raises:
        BulkcertError: An option is wrong.
    """
    assert finished.action.inverse is not None  # noqa: S101 - list_changed has refused it
    there = finished.where(options)
    typed = {field.name: getattr(there, field.name) for field in fields(there)}
    typed["results"] = options.results or _results(finished)
    # The serials were good enough for the run itself.
    return resolve(finished.action.inverse, undone.list_path, Options(**typed, trust_serials=True))
