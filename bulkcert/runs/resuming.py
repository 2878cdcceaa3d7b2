"""Resuming: whether an earlier run is the same one, what of it is called again, and what was interrupted."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import ROW, PinnedList, annotated
from bulkcert.output.evidence import prove
from bulkcert.runs.converters import carried, changed
from bulkcert.runs.job import ResolvedJob, resolve
from bulkcert.runs.opened import OpenRun, confirm_instance, confirm_real, pinned_of, remove
from bulkcert.runs.options import OF_ONE_START, CallOptions, Options, ResumeOptions
from bulkcert.service.regions import same_service
from bulkcert.store import lock, queries, read_states
from bulkcert.store.outcome import Outcome
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Asked, Session
from bulkcert.store.status import RunStatus, status_of

if TYPE_CHECKING:
    from bulkcert.runs.other_options import VerifyOptions


def left_of(files: RunFiles, options: ResumeOptions) -> "ResolvedJob | VerifyOptions | tuple[CallOptions, bool]":
    """Returns what is to be done again, with the options that are given now or were when it began (``stored_options``).

    That is a run; a watch for the time that it has left; or an undo, and whether it is also of rows whose state before
    is not known. On a run that has ended it is the run, which calls what ``--retry`` names.

    Raises:
        BulkcertError: There is no such run, or another process holds it.
    """
    status = status_of(files, brief=True)
    if (asked := status.asked) is None:
        raise lock.held(files.lock)
    confirm_real(files, asked, "resume")
    session = None if options.retry else _interrupted(status)
    if session is not None and session.kind == "undo":
        return carried(CallOptions, options), bool(session.options.get("include_unknown"))
    if session is not None and session.kind == "verify":
        from bulkcert.runs.other_options import VerifyOptions  # noqa: PLC0415 - for a watch alone

        left = max(0.0, float(session.options["watch"]) - (time.time() - session.started_at / 1000))
        return carried(VerifyOptions, options, watch=left, every=float(session.options["every"]))
    return _job(files, asked, options)


def _job(files: RunFiles, asked: Asked, options: ResumeOptions) -> ResolvedJob:
    """Returns the job of a run, over the list that it has pinned."""
    if asked.instances:
        confirm_instance(files, asked, options.instance)
    endpoint = options.endpoint or ("" if options.region else asked.endpoint)
    instance = options.instance or asked.instance
    typed = carried(Options, options, results=files.results, instance=instance, endpoint=endpoint)
    inputs, pinned = tuple(map(Path, asked.inputs)), files.pinned(asked.run)
    return resolve(asked.action, inputs, typed, command="resume", source=(pinned,))  # type: ignore[arg-type]


def stored_options(status: RunStatus, *, retries: bool) -> dict[str, Any]:
    """Returns what the session was given that is to be resumed, by the names of options; nothing of a run without one.

    Where rows of a run are called again it is the run, whatever was interrupted since.
    """
    session = None if retries else _interrupted(status)
    # What was typed for an undo or a verification since is not meant for the run.
    session = session or next((each for each in reversed(status.sessions) if each.kind == "run"), None)
    return {} if session is None else changed(ResumeOptions, session.options, without=OF_ONE_START)


def _interrupted(status: RunStatus) -> Session | None:
    """Returns the session that did not reach its end: the newest, or the one that was read back since."""
    session = status.session
    if session is not None and session.kind == "verify" and (_is_over(session) or not session.options.get("watch")):
        session = status.doing
    return None if session is None or _is_over(session) else session


def _is_over(session: Session) -> bool:
    return session.exit_status in (ExitStatus.OK, ExitStatus.INCOMPLETE)


def resume_earlier(new: OpenRun, earlier: Asked) -> OpenRun:
    """Returns the earlier run, which goes by the list that it has pinned; the one that was read just now goes.

    Raises:
        BulkcertError: INPUT_INVALID: it is another run.
    """
    files, store, asked, pinned = new.files, new.store, new.asked, new.pinned
    before = pinned_of(files, earlier)
    if earlier.rehearsal:
        message = f"{files.results} is of a rehearsal, which is no run against the service"
        raise BulkcertError(ExitStatus.INPUT_INVALID, message, "No calls were made. Name other results with -o.")
    if differences := differences_of(earlier, asked):
        lists = _compared(before, pinned) if earlier.keys_sha256 != asked.keys_sha256 else ""
        advice = (
            f"{files.command('resume')} finishes it with its own list, if rows are left; for this one name "
            "other results with -o. --overwrite drops what that run has done."
        )
        if earlier.action == asked.action and not lists:
            advice = (
                "Leave out what names another service, in the job file and the environment as well; a run there wants "
                "other results (-o)."
            )
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{files.results} is of another run; it differs in {', '.join(differences)}{lists}",
            f"No calls were made. {advice}",
        )
    remove(pinned.path)
    if asked.protected_by:
        store.correct(msgspec.structs.replace(earlier, protected_by=asked.protected_by, spares_cas=asked.spares_cas))
    resumed = msgspec.structs.replace(new, asked=earlier, pinned=before, is_new=False)
    prove(before, store.read)
    return resumed


def differences_of(earlier: Asked, asked: Asked) -> list[str]:
    """Returns in what two runs differ, in words."""
    values = {"the action": (earlier.action, asked.action), "the instance": (earlier.on, asked.on)}
    if not same_service(earlier.endpoint, asked.endpoint):
        values["the endpoint"] = (earlier.at, asked.at)
    found = [f"{name} ({before} there, {now} now)" for name, (before, now) in values.items() if before != now]
    return [*found, "the list"] if earlier.keys_sha256 != asked.keys_sha256 else found


def _compared(before: PinnedList, now: PinnedList) -> str:
    """Returns how many rows of a list are new, gone or the same, against the one of the run."""
    keys = [pl.concat(annotated(pinned, own=False)).drop(ROW) for pinned in (before, now)]
    if keys[0].columns != keys[1].columns:
        return ""
    there, here = (frame.with_columns(pl.all().fill_null("")).unique() for frame in keys)
    same = here.join(there, on=here.columns, how="semi").height
    if same == here.height == there.height:
        return ": the same certificates, in another order or number"
    return f": new certificates: {here.height - same:,}, gone: {there.height - same:,}, the same: {same:,}"


def protected_of(opened: OpenRun, protect: Path | None) -> list[int]:
    """Returns the rows of a run that are protected; one that is resumed does not forget them.

    Raises:
        BulkcertError: INPUT_INVALID: no list is given, and rows are protected.
    """
    rows = queries.rows(opened.store.db, queries.PROTECTED)
    if not rows or protect is not None:
        return rows
    raise BulkcertError(
        ExitStatus.INPUT_INVALID,
        f"{len(rows):,} row{' of this run is' if len(rows) == 1 else 's of this run are'} protected by "
        f"{opened.asked.protected_by}, and --protect is not given; no calls were made",
        "Give --protect and --skip-protected again; to have these rows called, name an empty list with --protect.",
    )


def reopen(opened: OpenRun, retry: Sequence[str]) -> None:
    """Takes up again what ``--retry`` names."""
    store, desired = opened.store, opened.action.desired_status
    if preflight_missing := queries.preflight_at(store.db) is None:
        read_states.forget(store)
    for kind in () if preflight_missing else retry:
        if kind == "drifted":
            store.reopen(queries.DRIFTED, (desired.value,))
        else:
            store.reopen("newest = ?", (kind,))
        if kind == Outcome.UNDONE:
            store.reopen(queries.UNDO_CLAIMED)
