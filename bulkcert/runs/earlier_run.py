"""An earlier run that is resumed: whether it is the same one, and what of it is called again."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import ROW, PinnedList, annotated
from bulkcert.runs.opened import OpenRun, pinned_of, remove, same_service
from bulkcert.store import queries, read_states
from bulkcert.store.outcome import Outcome
from bulkcert.store.schema import Asked


def resumed(new: OpenRun, earlier: Asked) -> OpenRun:
    """Returns the earlier run, which goes by the list that it has pinned; the one that was read just now goes.

    Args:
        new: What was asked now, over the store of the earlier run.
        earlier: What that run is of.

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
    resumed.prove()
    return resumed


_NAMES = {"action": "the action", "on": "the instance", "endpoint": "the endpoint", "keys_sha256": "the list"}


def differences_of(earlier: Asked, asked: Asked) -> list[str]:
    """Returns in what two runs differ, in words."""
    found = []
    for field_, name in _NAMES.items():
        before, now = getattr(earlier, field_), getattr(asked, field_)
        if field_ == "endpoint" and same_service(before, now):
            continue
        if before != now:
            shown = {"endpoint": "at"}.get(field_, field_)
            values = f"({getattr(earlier, shown)} there, {getattr(asked, shown)} now)"
            found.append(name if field_ == "keys_sha256" else f"{name} {values}")
    return found


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
