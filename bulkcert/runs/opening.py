"""Preparing a run: its folder locked, its list read and pinned, its store found or begun; no calls are made."""

import os
import sqlite3
import stat
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from uuid import uuid4

from bulkcert import __version__
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import Check, PinnedList
from bulkcert.log import bind
from bulkcert.output.evidence import prove
from bulkcert.output.files import cannot_write, sha256_of, sync_directory
from bulkcert.output.results import prove_columns
from bulkcert.runs.approval import confirm_list
from bulkcert.runs.job import ResolvedJob, confirm_required
from bulkcert.runs.opened import OpenRun, pinned_of, remove, remove_folder
from bulkcert.runs.reading_list import pin
from bulkcert.runs.resuming import differences_of, protected_of, reopen, resume_earlier
from bulkcert.runs.run import Run
from bulkcert.runs.target import located
from bulkcert.store import lock, queries
from bulkcert.store.database import confirm_pages, unusable
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Asked
from bulkcert.store.status import no_run
from bulkcert.store.store import Store


def open_existing(files: RunFiles, *, proves: bool = True) -> OpenRun:
    """Opens a run that was begun, from its store alone, and proves that every row is as it was written, if wanted.

    Raises:
        NoRunError: There is none.
        BulkcertError: Another process holds it, it cannot be read or written, or is not as it was written.
    """
    if not os.path.exists(files.store):
        with suppress(OSError):  # who may not read there finds no run
            if lock.is_held(files.lock):
                raise lock.held(files.lock)
        raise no_run(files)
    with ExitStack() as failing:
        held = _lock(files)
        failing.callback(held.close)
        store = Store(files.store)
        failing.callback(store.close)
        if store.is_new:
            raise no_run(files)
        asked = store.read(queries.asked)
        _confirm_own(files, asked)
        opened = OpenRun(files, held, store, asked, pinned_of(files, asked))
        if proves:
            prove(opened.pinned, store.read)
        failing.pop_all()
    bind(run=asked.run, action=asked.action, instance=asked.instance or None, rehearsal=asked.rehearsal)
    return opened


def open_run(job: ResolvedJob) -> Run:
    """Reads the list, checks it, and opens the run over it: an earlier one that it resumes, or a new one.

    Args:
        job: What was asked.

    Raises:
        BulkcertError: The list cannot be used; the results cannot be written, or are those of another run.
    """
    files, run_id = job.files, uuid4().hex
    bind(action=job.action.name, instance=job.instance or None, rehearsal=job.rehearsal)
    made = make_folder(files)
    with ExitStack() as failing:
        held = _lock(files)
        failing.callback(held.close)
        if made:
            failing.callback(remove_folder, files)
        store = _to_overwrite(files) if job.options.overwrite else Store(files.store)
        failing.callback(store.close)
        failing.callback(remove, files.pinned(run_id))
        try:
            earlier = _earlier(job, store)
            may_be_empty = earlier is not None and bool(earlier.protected_by)
            pinned, check = pin(job, files.pinned(run_id), may_be_empty=may_be_empty)
            if check.instances:
                job = located(job, check, vpc=job.options.vpc)
            if job.plan is not None:
                confirm_list(job.plan, check, job)
            opened = OpenRun(files, held, store, _asked(job, check, pinned, run_id), pinned, is_new=True)
            run = _opened(job, opened, earlier, check)
        except sqlite3.Error as error:
            raise unusable(files.store, error, ExitStatus.CANNOT_WRITE) from error
        failing.pop_all()
    bind(run=run.opened.asked.run, instance=job.instance or None, ticket=job.options.ticket or None)
    return run


def _earlier(job: ResolvedJob, store: Store) -> Asked | None:
    """Returns what the run is of that was begun with these results, unless it is to be dropped.

    Raises:
        BulkcertError: CANNOT_WRITE: these are results of others.
    """
    if store.is_new:  # also where all of it was interrupted
        there = next((path for path in (job.files.results, job.files.failed) if os.path.exists(path)), None)
        if there is not None and not job.options.overwrite:
            raise BulkcertError(
                ExitStatus.CANNOT_WRITE,
                f"{there} exists, and no store ({job.files.folder.name}) says which run made it",
                "Name another results file with -o, or replace this one with --overwrite. No calls were made.",
            )
        return None
    earlier = queries.asked(store.db)
    _confirm_own(job.files, earlier)
    return None if job.options.overwrite else earlier


def _opened(job: ResolvedJob, new: OpenRun, earlier: Asked | None, check: Check) -> Run:
    """Returns a run in the draft of its store: the one over the list that was read, or an earlier one of the same."""
    store, opened, protected, replaces = new.store, new, list[int](), False
    if earlier is not None and not queries.may_have_called(store.db) and differences_of(earlier, new.asked):
        earlier, replaces = None, True
    if earlier is None:
        store.describe(new.asked)
    else:
        opened = resume_earlier(new, earlier)
        protected = protected_of(opened, job.options.protect)
    store.leave_out(check.reasons().iter_rows())
    lifted = set(protected) - set(queries.rows(store.db, queries.LEFT_ALONE)) if protected else ()
    plan = job.plan.record if job.plan is not None else None
    if earlier is not None:
        reopen(opened, job.options.retry)
        plan = plan or opened.plan
    prove_columns(job.files.results, opened.pinned)
    if job.options.require:
        confirm_required(job.options, plan)
    return Run(job, opened, check, len(lifted), plan, replaces)


def _lock(files: RunFiles) -> FileIO:
    """Takes the lock of a run whose files can be written, as far as can be seen before a call is made."""
    for path in (files.results, files.failed, files.summary):
        if os.path.isdir(path):  # noqa: PTH112 - Path raises where it may not look
            advice = "Remove it, or name other results with -o. No calls were made."
            raise BulkcertError(ExitStatus.CANNOT_WRITE, f"{path} is a directory", advice)
    try:
        return lock.take(files.lock)
    except OSError as error:
        raise cannot_write(files.folder, error, folder_of=files) from error


def _confirm_own(files: RunFiles, asked: Asked) -> None:
    """Confirms that a folder which is kept elsewhere is of these results, not of some of the same name.

    Raises:
        BulkcertError: CANNOT_WRITE: it is of others.
    """
    if files.state_dir is not None and asked.real_results != os.path.realpath(files.results):
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"{files.folder} is of the run of other results, {asked.real_results}",
            "No calls were made. Name other results with -o, or another --state-dir. If those were moved, move the "
            "folder beside them, and omit --state-dir.",
        )


def make_folder(files: RunFiles) -> bool:
    """Makes the folder of a run unless it is there; returns whether it was made.

    Raises:
        BulkcertError: CANNOT_WRITE: it cannot be made, or what is there is not a directory of one's own.
    """
    try:
        files.folder.mkdir(mode=0o700)
        sync_directory(files.folder.parent)
    except FileExistsError:
        found = files.folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            return False
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"{files.folder} is not a directory of your own",
            "Remove it, or name other results with -o. No calls were made.",
        ) from None
    except OSError as error:
        raise cannot_write(files.folder, error, folder_of=files) from error
    return True


def _to_overwrite(files: RunFiles) -> Store:
    """Opens a store that is not wanted any more; one that is damaged makes way."""
    store = None
    try:
        store = Store(files.store)
        if not store.is_new:
            store.read(confirm_pages)
            store.read(queries.asked)
    except BulkcertError:
        if store is not None:
            store.close()
    else:
        return store
    try:
        files.remove_store()
    except OSError as error:
        raise cannot_write(files.store, error, folder_of=files) from error
    return Store(files.store)


def _asked(job: ResolvedJob, check: Check, pinned: PinnedList, run_id: str) -> Asked:
    try:
        directory = str(Path.cwd())
    except OSError:  # it was removed
        directory = ""
    with pinned.reading():
        pinned_sha256 = sha256_of(pinned.path)
    return Asked(
        run=run_id,
        action=job.action.name,
        instance=job.instance,
        endpoint=str(job.endpoint),
        rows=check.rows,
        keys_sha256=check.keys_sha256,
        sha256=check.sha256,
        pinned_sha256=pinned_sha256,
        inputs=tuple(map(str, job.inputs)),
        results=str(job.files.results),
        directory=directory,
        columns=pinned.columns,
        device_column=pinned.device_column,
        ca_column=pinned.ca_column,
        version=__version__,
        rehearsal=job.rehearsal,
        protected_by=check.protected_by,
        spares_cas=check.spares_cas,
        instances={instance: str(endpoint) for instance, endpoint in job.instances.items()},
        instance_column=pinned.instance_column,
    )
