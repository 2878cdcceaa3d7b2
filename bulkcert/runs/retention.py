"""Removing the files of a job's earlier runs, whose results have a date in their name."""

import os
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.files import clear_left
from bulkcert.runs.converters import Problems
from bulkcert.store import lock, queries
from bulkcert.store.database import reading
from bulkcert.store.paths import SUFFIX, RunFiles
from bulkcert.store.sessions import Asked
from bulkcert.store.status import RunStatus, State, status_in

if TYPE_CHECKING:
    from bulkcert.runs.job import ResolvedJob

MOST_DAYS = 36_525
"""Days that files may be kept, a hundred years."""

DATE = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
"""A date as ``{date}`` of a job file writes it."""

_TIME = re.compile(r"(?<!\d)\d{2}-\d{2}-\d{2}(?!\d)")


def check_retention(days: int, name: str, problems: Problems) -> None:
    """Adds what is wrong with ``--retain-days`` for results of a name to the problems."""
    if not 1 <= days <= MOST_DAYS:
        problems.append(f"--retain-days must be from 1 to {MOST_DAYS:,} days, not {days}")
    if not DATE.search(name):
        message = f"--retain-days goes by the date in the names of results, and {name} has none"
        problems.append(f"{message}: put {{date}} into the results of the job file")


def remove_old(job: "ResolvedJob", exit_status: int, today: date) -> dict[Path, str]:
    """Removes what bulkcert has written of runs that are older than ``--retain-days`` allows, after one that finished.

    An earlier run of the job is one in the same directory whose name differs in date and time alone, and that is of
    the same action, instance and endpoint. It is removed only if it, and its undo, ended in order and nobody holds it.

    Returns:
        The results of the runs that are old enough, each with the reason why its files stay; empty if they are gone.
    """
    days, is_finished = job.options.retain_days, exit_status in (ExitStatus.OK, ExitStatus.INCOMPLETE)
    if days is None or job.rehearsal or not is_finished:
        return {}
    oldest, found = today - timedelta(days=days), {}
    try:
        earlier = [results for results, day in _earlier(job.files.results, job.options.state_dir) if day < oldest]
    except OSError as error:
        return {job.files.results.parent: str(error)}
    for results in earlier:
        try:
            found[results] = _remove(RunFiles(results, job.options.state_dir), job)
        except FileNotFoundError:
            found[results] = "there is no run in it"
        except (OSError, BulkcertError) as error:
            found[results] = str(error)
    return found


def _earlier(results: Path, state_dir: Path | None) -> Iterator[tuple[Path, date]]:
    """Yields the results of which there is a run and whose names differ in date and time alone, oldest first."""
    shape = _shape(results.name)
    for folder in sorted((state_dir or results.parent).iterdir()):
        name = folder.name.removesuffix(SUFFIX)
        found = DATE.search(name)
        if found is None or name in (folder.name, results.name) or _shape(name) != shape:
            continue
        try:
            yield results.with_name(name), date.fromisoformat(found[0])
        except ValueError:
            continue  # Such a day there never was, so it is not a date.


def _shape(name: str) -> str:
    """Returns the name of results without what may differ between the runs of one job: date and time."""
    return _TIME.sub("{time}", DATE.sub("{date}", name))


def _remove(files: RunFiles, job: "ResolvedJob") -> str:
    """Removes the files of a run, the store last; returns why they are kept, or an empty text."""
    if lock.is_held(files.lock):
        return "it is running"
    if not files.store.exists():
        raise FileNotFoundError(files.store)
    held = lock.take(files.lock)
    try:
        with reading(files.store) as db:
            reason = _kept(status_in(files, db, brief=True), queries.asked(db), job)
        # What a kill has left of a file may be there without the file.
        for path in [] if reason else [files.failed, files.report, *files.everything()]:
            clear_left(path)
            if path == files.folder:
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
    finally:
        held.close()
    return reason


def _kept(status: RunStatus, asked: Asked, job: "ResolvedJob") -> str:
    """Returns why a run that nobody holds is kept, or an empty text."""
    # What the job leaves to the rows of its lists may be another one each time.
    of_place = job.instance in ("", asked.instance) and str(job.endpoint) in ("", asked.endpoint)
    of_job = asked.action == job.action.name and of_place
    # Folders that are kept elsewhere may be of results in other directories.
    here = job.options.state_dir is None or asked.real_results == os.path.realpath(status.files.results)
    if not (of_job and here):
        return "it is the run of another job"
    return "it was interrupted and never resumed" if status.state is State.INTERRUPTED else ""
