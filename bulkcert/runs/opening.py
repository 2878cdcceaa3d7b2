"""Opening a run: its folder locked, its list read and pinned, its store found or begun; no calls are made."""

import os
import sqlite3
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import msgspec
import polars as pl

from bulkcert.engine.preflight import is_old
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import (
    CA_SN,
    DEVICE_SN,
    Check,
    InvalidRow,
    PinnedList,
    annotated,
    load,
    open_protection,
    reasons,
)
from bulkcert.output.files import cannot_write, sync_directory
from bulkcert.output.results import prove_columns
from bulkcert.runs.job import WRONG_SIZE, Job, wrong_size
from bulkcert.runs.opened import OpenRun, confirm_own, pinned_of, remove_folder, same_service
from bulkcert.store import lock, queries
from bulkcert.store.database import reading
from bulkcert.store.lock import Lock
from bulkcert.store.outcome import Outcome
from bulkcert.store.paths import RunFiles
from bulkcert.store.schema import Asked
from bulkcert.store.store import Store, now_ms, unwritable


@dataclass(slots=True)
class Found:
    """What the opening of a run with a list has found.

    Attributes:
        check: What the pass over the list found.
        lifted: Certificates that a list has protected until now, and that are to be called.
        lifted_from: That list.
    """

    check: Check
    lifted: int = 0
    lifted_from: str = ""


def open_run(job: Job, on_progress: Callable[[int], None] | None = None) -> tuple[OpenRun, Found]:
    """Reads the list, checks it, and opens the run over it: an earlier one that it resumes, or a new one.

    Args:
        job: What was asked.
        on_progress: Called with the number of rows read so far.

    Raises:
        BulkcertError: The list cannot be used; the results cannot be written, or are those of another run.
    """
    files = job.files
    # os.path, since Path raises where it may not look; making the folder says why.
    if not os.path.exists(files.store):
        _confirm_free(job)
    made = make_folder(files)
    try:
        held = lock.take(files.lock)
    except OSError as error:
        raise cannot_write(files.folder, error) from error
    run_id = uuid4().hex
    try:
        pinned, check = pin(job, files.pinned(run_id), on_progress)
        opened, found = _opened(job, Found(check), held, pinned, run_id)
    except BaseException:
        with suppress(OSError):
            files.pinned(run_id).unlink(missing_ok=True)
            if made:
                remove_folder(files)
        held.close()
        raise
    return opened, found


def _confirm_free(job: Job) -> None:
    """Confirms that there are no results, where no store says whose they are.

    Raises:
        BulkcertError: CANNOT_WRITE: there are.
    """
    if os.path.exists(job.results) and not job.options.overwrite:
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"{job.results} exists, and no store ({job.files.folder.name}) says which run made it",
            "Name another results file with -o, or replace this one with --overwrite. No calls were made.",
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
        raise cannot_write(files.folder, error) from error
    return True


def pin(job: Job, pinned: Path, on_progress: Callable[[int], None] | None = None) -> tuple[PinnedList, Check]:
    """Reads, checks and pins the list of a job.

    Args:
        job: What was asked.
        pinned: The file to write.
        on_progress: Called with the number of rows read so far.

    Raises:
        BulkcertError: It cannot be used, or has rows that were not to be skipped.
    """
    options = job.options
    protection = None
    if options.protect is not None:
        protection = open_protection(
            options.protect,
            by_device=job.action.by_device,
            trust_serials=options.trust_serials,
            may_be_empty=not options.overwrite and _has_protected(job.files),
        )
    pinned_list, check = load(
        job.source,
        pinned,
        by_device=job.action.by_device,
        device_column=options.device_column or None,
        ca_column=options.ca_column or None,
        trust_serials=options.trust_serials,
        protection=protection,
        on_progress=on_progress,
    )
    if problem := wrong_size(options, job.list_name, check.rows):
        raise BulkcertError(ExitStatus.INPUT_INVALID, f"{problem}; no calls were made", WRONG_SIZE)
    if check.invalid and not options.skip_invalid:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{check.invalid} of {check.rows} rows are invalid; no calls were made"
            + _named(pinned_list, check.first_invalid, check.invalid),
            "Correct them, or leave them out with --skip-invalid (they get the outcome invalid).",
        )
    if check.protected and not options.skip_protected:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{check.protected} of {check.rows} rows are protected by {options.protect}; no calls were made"
            + _named(pinned_list, check.first_protected, check.protected, " "),
            "Take them out of the list, or leave them out with --skip-protected (they get the outcome protected).",
        )
    return pinned_list, check


def _has_protected(files: RunFiles) -> bool:
    """Returns whether a list has protected rows of the run, so that an empty one is meant: it lifts that."""
    # Opening it says what is wrong with it.
    with suppress(FileNotFoundError, BulkcertError), reading(files.store) as db:
        return bool(queries.asked(db).protected_by)
    return False


def _named(pinned: PinnedList, rows: Sequence[InvalidRow], count: int, between: str = ": ") -> str:
    """Returns the first of some rows, a line each."""
    named = [f"\n  {pinned.place(row.row, row.line)}: {row.column}{between}{row.reason}{row.shown}" for row in rows]
    return "".join(named) + (f"\n  and {count - len(named)} more" if count > len(named) else "")


def _opened(job: Job, found: Found, held: Lock, pinned: PinnedList, run_id: str) -> tuple[OpenRun, Found]:
    """Returns the run over a list that was read, in the draft of its store."""
    files = job.files
    store = _store(files, overwrite=job.options.overwrite)
    asked = _asked(job, found.check, pinned, run_id)
    try:
        if store.is_new:  # also where all of it was interrupted
            _confirm_free(job)
        else:
            confirm_own(files, queries.asked(store.db))
        earlier = None if store.is_new or job.options.overwrite else queries.asked(store.db)
        if earlier is not None and not queries.may_have_called(store.db):
            earlier = None if _differences(earlier, asked) else earlier
        opened = OpenRun(files, held, store, asked, pinned, is_new=earlier is None)
        if earlier is None:
            store.describe(asked)
        else:
            opened = _resumed(opened, earlier)
            _confirm_protection(opened, job.options.protect)
        _leave_out(opened, found)
        if not opened.is_new:
            _reopen(opened, job.options.retry)
        prove_columns(job.results, opened.pinned)
    except sqlite3.Error as error:
        store.close()
        raise unwritable(files.store, error) from error
    except BaseException:
        store.close()
        raise
    return opened, found


def _store(files: RunFiles, *, overwrite: bool) -> Store:
    """Opens the store; one that is damaged makes way where it is not wanted any more."""
    try:
        return Store(files.store)
    except BulkcertError:
        if not overwrite:
            raise
    files.remove_store()
    return Store(files.store)


def _asked(job: Job, check: Check, pinned: PinnedList, run_id: str) -> Asked:
    return Asked(
        run=run_id,
        action=job.action.name,
        instance=job.instance,
        endpoint=str(job.endpoint),
        rows=check.rows,
        keys_sha256=check.keys_sha256,
        sha256=check.sha256,
        inputs=tuple(map(str, job.inputs)),
        results=str(job.results),
        directory=_directory(),
        columns=pinned.columns,
        device_column=pinned.device_column,
        ca_column=pinned.ca_column,
        version=version("bulkcert"),
        created_at=now_ms(),
        rehearsal=job.rehearsal,
        protected_by=check.protected_by,
    )


def _directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return ""


def _resumed(new: OpenRun, earlier: Asked) -> OpenRun:
    """Returns the earlier run, which goes by the list that it has pinned; the one that was read just now goes.

    Args:
        new: What was asked now, over the store of the earlier run.
        earlier: What that run is of.

    Raises:
        BulkcertError: INPUT_INVALID: it is another run.
    """
    files, store, asked, pinned = new.files, new.store, new.asked, new.pinned
    before = pinned_of(files, earlier)
    if differences := _differences(earlier, asked):
        lists = _compared(before, pinned) if earlier.keys_sha256 != asked.keys_sha256 else ""
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{files.results} is of another run; it differs in {', '.join(differences)}{lists}",
            f"No calls were made. {files.command('resume')} finishes it with its own list; for this one name other "
            "results with -o. --overwrite drops what that run has done.",
        )
    pinned.path.unlink(missing_ok=True)
    store.correct(msgspec.structs.replace(earlier, protected_by=asked.protected_by or earlier.protected_by))
    return replace(new, asked=earlier, pinned=before)


_NAMES = {"action": "the action", "instance": "the instance", "endpoint": "the endpoint", "keys_sha256": "the list"}


def _differences(earlier: Asked, asked: Asked) -> list[str]:
    """Returns in what two runs differ, in words."""
    found = []
    for field_, name in _NAMES.items():
        before, now = getattr(earlier, field_), getattr(asked, field_)
        if field_ == "endpoint" and same_service(before, now):
            continue
        if before != now:
            found.append(name if field_ == "keys_sha256" else f"{name} ({before} there, {now} now)")
    return found


def _compared(before: PinnedList, now: PinnedList) -> str:
    """Returns how many rows of a list are new, gone or the same, against the one of the run."""
    keys = [
        pl.concat(annotated(pinned, own=False)).select(pl.col(*([DEVICE_SN] if pinned.device_column else []), CA_SN))
        for pinned in (before, now)
    ]
    if keys[0].columns != keys[1].columns:
        return ""
    there, here = (frame.with_columns(pl.all().fill_null("")).unique() for frame in keys)
    same = here.join(there, on=here.columns, how="semi").height
    if same == here.height == there.height:
        return ": the same certificates, in another order or number"
    return f": new certificates: {here.height - same:,}, gone: {there.height - same:,}, the same: {same:,}"


def _confirm_protection(opened: OpenRun, protect: Path | None) -> None:
    """Confirms that a run which is resumed does not forget that rows of it are protected.

    Raises:
        BulkcertError: INPUT_INVALID: no list is given, and rows are protected.
    """
    rows = queries.never(opened.store.db, Outcome.PROTECTED)
    if not rows or protect is not None:
        return
    raise BulkcertError(
        ExitStatus.INPUT_INVALID,
        f"{rows:,} row{' of this run is' if rows == 1 else 's of this run are'} protected by "
        f"{opened.asked.protected_by}, and --protect is not given; no calls were made",
        "Give --protect and --skip-protected again; to have these rows called, name an empty list with --protect.",
    )


def _leave_out(opened: OpenRun, found: Found) -> None:
    """Keeps which rows are not called, and counts those that were protected until now and are to be called."""
    db, check = opened.store.db, found.check
    protected = set() if opened.is_new else queries.protected(db)
    opened.store.leave_out(reasons(opened.pinned, check.settled, check.protected_by).iter_rows())
    if protected:
        found.lifted = queries.lifted(db, protected)
        found.lifted_from = opened.asked.protected_by


def _reopen(opened: OpenRun, retry: Sequence[str]) -> None:
    """Takes up again what ``--retry`` names."""
    store, desired = opened.store, opened.action.desired_status
    if preflight_missing := queries.preflight_at(store.db) is None:
        store.forget_states()
    for kind in () if preflight_missing else retry:
        if kind == "drifted":
            store.reopen(queries.DRIFTED, (desired.value,))
        else:
            store.reopen("newest = ?", (kind,))
        if kind == Outcome.UNDONE:
            store.reopen(queries.MAYBE_UNDONE)


def preflights_again(opened: OpenRun) -> bool:
    """Returns whether what was found unchanged is too old to be believed, while other rows are to be called."""
    db, rows = opened.store.db, opened.asked.rows
    at = queries.preflight_at(db)
    return at is not None and is_old(at) and queries.unchanged(db) > 0 and queries.to_call(db, rows) > 0
