"""Removing the files of a job's earlier runs, whose results have a date in their name."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from bulkcert.errors import BulkcertError
from bulkcert.output.files import clear_left
from bulkcert.runs.job import DATE, Job
from bulkcert.store import lock
from bulkcert.store.database import reading
from bulkcert.store.paths import SUFFIX, RunFiles
from bulkcert.store.status import RunStatus, State, status_in

_TIME = re.compile(r"(?<!\d)\d{2}-\d{2}-\d{2}(?!\d)")


@dataclass(slots=True)
class Retention:
    """What became of the earlier runs that are old enough.

    Attributes:
        removed: Results of the runs whose files are gone.
        kept: Those that stay, each with the reason.
    """

    removed: list[Path] = field(default_factory=list)
    kept: dict[Path, str] = field(default_factory=dict)


def remove_old(job: Job, today: date) -> Retention:
    """Removes what bulkcert has written of runs that are older than ``--retain-days`` allows.

    An earlier run of the job is one in the same directory whose name differs in date and time alone, and that is of
    the same action, instance and endpoint. It is removed only if it, and its undo, ended in order and nobody holds it.

    Args:
        job: The job that has just run; its ``keep`` is set.
        today: What age is counted from.
    """
    removed_runs = Retention()
    oldest = today - timedelta(days=job.options.retain_days or 0)
    try:
        earlier = [*_earlier(job.results, job.options.state_dir)]
    except OSError as error:
        removed_runs.kept[job.results.parent] = str(error)
        return removed_runs
    for results, day in earlier:
        if day >= oldest:
            continue
        try:
            reason = _remove(RunFiles(results, job.options.state_dir), job)
        except (OSError, BulkcertError) as error:
            reason = str(error)
        if reason:
            removed_runs.kept[results] = reason
        else:
            removed_runs.removed.append(results)
    return removed_runs


def _earlier(results: Path, state_dir: Path | None) -> Iterator[tuple[Path, date]]:
    """Yields the results of which there is a run and whose names differ in date and time alone, oldest first."""
    parts = re.split(f"({DATE.pattern}|{_TIME.pattern})", results.name)
    shape = "".join(_any_of_its_kind(part) for part in parts)
    names = re.compile(f"({shape}){re.escape(SUFFIX)}")
    for folder in sorted((state_dir or results.parent).iterdir()):
        matched = names.fullmatch(folder.name)
        if matched is None or matched[1] == results.name or (found := DATE.search(matched[1])) is None:
            continue
        try:
            yield results.with_name(matched[1]), date.fromisoformat(found[0])
        except ValueError:
            continue  # Such a day there never was, so it is not a date.


def _any_of_its_kind(part: str) -> str:
    kinds = (kind.pattern for kind in (DATE, _TIME) if kind.fullmatch(part))
    return next(kinds, re.escape(part))


def _remove(files: RunFiles, job: Job) -> str:
    """Removes the files of a run, the store last; returns why they are kept, or an empty text."""
    if lock.is_held(files.lock):
        return "it is running"
    if not files.store.exists():
        return "there is no run in it"
    held = lock.take(files.lock)
    try:
        with reading(files.store) as db:
            status = status_in(files, db)
        if reason := _kept(status, job):
            return reason
        found = list(files.everything())
        if any(path.is_dir() and path != files.folder for path in found):
            return f"there is a directory in {files.folder}, which bulkcert has not made"
        for path in found:
            clear_left(path)
            if path == files.folder:
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
    except FileNotFoundError:
        return "there is no run in it"
    finally:
        held.close()
    return ""


def _kept(status: RunStatus, job: Job) -> str:
    """Returns why a run that nobody holds is kept, or an empty text."""
    asked = status.asked
    if asked is None:
        return "no session of it has begun"
    of_job = (asked.action, asked.instance, asked.endpoint) == (job.action.name, job.instance, str(job.endpoint))
    # Folders that are kept elsewhere may be of results in other directories.
    if not of_job or (
        job.options.state_dir is not None and asked.real_results != os.path.realpath(status.files.results)
    ):
        return "it is the run of another job"
    return "it was interrupted and never resumed" if status.state is State.INTERRUPTED else ""
