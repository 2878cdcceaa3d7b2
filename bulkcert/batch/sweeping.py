"""Removing the files of a job's earlier runs, whose results have a date in their name."""

import fcntl
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from bulkcert.batch.ended import own_end
from bulkcert.batch.job import Job
from bulkcert.batch.recovery import header_of
from bulkcert.batch.schedule import DATE
from bulkcert.errors import BulkcertError

_TIME = re.compile(r"(?<!\d)\d{2}-\d{2}-\d{2}(?!\d)")


@dataclass(slots=True)
class Swept:
    """What became of the earlier runs that are old enough.

    Attributes:
        removed: Results of the runs whose files are gone.
        kept: Those that stay, each with the reason.
    """

    removed: list[Path] = field(default_factory=list)
    kept: dict[Path, str] = field(default_factory=dict)


def sweep(job: Job, today: date) -> Swept:
    """Removes results, journal and all that stands beside them of runs that are older than ``--keep`` allows.

    An earlier run of the job is one in the same directory whose name differs in date and time alone, and whose journal
    tells of the same action, instance and endpoint. It is removed only if it ended in order and nobody holds it.

    Args:
        job: The job that has just run; its ``keep`` is set.
        today: What age is counted from.
    """
    swept = Swept()
    oldest = today - timedelta(days=job.options.keep or 0)
    for results, day in _earlier(job.results):
        if day >= oldest:
            continue
        try:
            reason = _remove(results, job)
        except (OSError, BulkcertError) as error:
            reason = str(error)
        if reason:
            swept.kept[results] = reason
        else:
            swept.removed.append(results)
    return swept


def _earlier(results: Path) -> Iterator[tuple[Path, date]]:
    """Yields the results of which there is a journal and whose names differ in date and time alone, oldest first."""
    parts = re.split(f"({DATE.pattern}|{_TIME.pattern})", results.name)
    shape = "".join(_any_of_its_kind(part) for part in parts)
    names = re.compile(f"({shape})\\.journal")
    for journal in sorted(results.parent.iterdir()):
        matched = names.fullmatch(journal.name)
        if matched is None or matched[1] == results.name or (found := DATE.search(matched[1])) is None:
            continue
        try:
            yield journal.with_name(matched[1]), date.fromisoformat(found[0])
        except ValueError:
            continue  # Such a day there never was, so it is not a date.


def _any_of_its_kind(part: str) -> str:
    kinds = (kind.pattern for kind in (DATE, _TIME) if kind.fullmatch(part))
    return next(kinds, re.escape(part))


def _remove(results: Path, job: Job) -> str:
    """Removes the files of a run, the journal last; returns why they are kept, or an empty text."""
    journal = results.with_name(results.name + ".journal")
    header = header_of(journal)
    if (header.action, header.instance, header.endpoint) != (job.action.name, job.instance, str(job.endpoint)):
        return "it is the run of another job"
    with journal.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "it is going on"
        if own_end(journal) is None:
            return "it was cut off and never gone on with"
        beside = [path for path in results.parent.iterdir() if path.name.startswith(results.name + ".")]
        for path in [results, *(path for path in beside if path != journal), journal]:
            path.unlink(missing_ok=True)
    return ""
