"""Removing the files of a job's earlier runs, whose results have a date in their name."""

import fcntl
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from bulkcert.batch.beside import journal_of, undo_results_of
from bulkcert.batch.ended import own_end
from bulkcert.batch.job import Job
from bulkcert.batch.recovery import header_of
from bulkcert.batch.schedule import DATE
from bulkcert.errors import BulkcertError

_BESIDE = (".summary.json", ".status.json", ".status.json.part", ".undo-list.csv", ".report.html")
"""What bulkcert writes beside results; what others have put there stays."""

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
    """Removes what bulkcert has written of runs that are older than ``--keep`` allows, and of their undoing.

    An earlier run of the job is one in the same directory whose name differs in date and time alone, and whose journal
    tells of the same action, instance and endpoint. It is removed only if it, and its undo, ended in order and
    nobody holds it.

    Args:
        job: The job that has just run; its ``keep`` is set.
        today: What age is counted from.
    """
    swept = Swept()
    oldest = today - timedelta(days=job.options.keep or 0)
    try:
        earlier = [*_earlier(job.results)]
    except OSError as error:
        swept.kept[job.results.parent] = str(error)
        return swept
    for results, day in earlier:
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
    """Removes the files of a run and of its undo, journals last; returns why they are kept, or an empty text."""
    header = header_of(journal_of(results))
    if (header.action, header.instance, header.endpoint) != (job.action.name, job.instance, str(job.endpoint)):
        return "it is the run of another job"
    undo = undo_results_of(results)
    runs = [undo, results] if journal_of(undo).exists() else [results]
    with ExitStack() as held:
        for run in runs:
            whose = "its undo" if run == undo else "it"
            try:
                fcntl.flock(held.enter_context(journal_of(run).open("rb")), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return f"{whose} is going on"
            if own_end(journal_of(run)) is None:
                return f"{whose} was cut off and never gone on with"
        for run in runs:
            for path in [run, *(run.with_name(run.name + suffix) for suffix in _BESIDE), journal_of(run)]:
                path.unlink(missing_ok=True)
    return ""
