"""What is left of a run to resume: its own calls, an undo, or a watch; from its store alone."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs.carrying import carried, changed
from bulkcert.runs.command_options import VerifyOptions
from bulkcert.runs.job import ResolvedJob, resolve
from bulkcert.runs.opened import confirm_instance, confirm_real
from bulkcert.runs.options import CallOptions, Options, ResumeOptions
from bulkcert.store.paths import RunFiles
from bulkcert.store.schema import Asked, Session
from bulkcert.store.status import RunStatus, status_of

_OF_ONE_START = frozenset(
    {"state_dir", "retry", "limit_rows", "deadline", "yes", "confirm_devices", "json", "quiet", "verbose"}
)
"""Options that a later start does not take over from an earlier one."""

RunCame = TypeVar("RunCame")
UndoCame = TypeVar("UndoCame")
VerifyCame = TypeVar("VerifyCame")


def resumed(
    files: RunFiles,
    options: ResumeOptions,
    *,
    run: Callable[[ResolvedJob], RunCame],
    undo: Callable[[CallOptions, bool], UndoCame],
    verify: Callable[[VerifyOptions], VerifyCame],
) -> RunCame | UndoCame | VerifyCame:
    """Does again what was interrupted; on a run that has ended it calls what ``--retry`` names.

    Args:
        files: Of the run.
        options: As given now, or when it began (``stored_options``).
        run: Does a run.
        undo: Does an undo, of rows whose state before is not known as well or not.
        verify: Does a watch, for the time that it has left.

    Raises:
        BulkcertError: There is no such run, or another process holds it.
    """
    status = status_of(files)
    if (asked := status.asked) is None:
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE, f"another process holds {files.folder}: {status.holder}", "Wait until it ends."
        )
    confirm_real(files, asked, "resume")
    session = None if options.retry else _interrupted(status)
    if session is not None and session.kind == "undo":
        return undo(carried(CallOptions, options), bool(_stored(session).get("include_unknown")))
    if session is not None and session.kind == "verify":
        stored = _stored(session)
        left = max(0.0, float(stored["watch"]) - (time.time() - session.started_at / 1000))
        return verify(carried(VerifyOptions, options, watch=left, every=float(stored["every"])))
    return run(_job(files, asked, options))


def _job(files: RunFiles, asked: Asked, options: ResumeOptions) -> ResolvedJob:
    """Returns the job of a run, over the list that it has pinned."""
    if asked.instances:
        confirm_instance(files, asked, options.instance)
    options = replace(options, instance=options.instance or asked.instance)
    if not (options.endpoint or options.region):
        options = replace(options, endpoint=asked.endpoint)
    typed = carried(Options, options, results=files.results)
    inputs, pinned = tuple(map(Path, asked.inputs)), files.pinned(asked.run)
    return resolve(asked.action, inputs, typed, command="resume", source=(pinned,))  # type: ignore[arg-type]


def stored_options(status: RunStatus, *, retries: bool) -> dict[str, Any]:
    """Returns what the session was given that is to be resumed, by the names of options; nothing of a run without one.

    Args:
        status: Of the run.
        retries: Whether rows of a run are called again, whatever was interrupted since.
    """
    session = None if retries else _interrupted(status)
    # What was typed for an undo or a verification since is not meant for the run.
    session = session or next((each for each in reversed(status.sessions) if each.kind == "run"), None)
    return {} if session is None else changed(ResumeOptions, _stored(session), without=_OF_ONE_START)


def _interrupted(status: RunStatus) -> Session | None:
    """Returns the session that did not reach its end: the newest, or the one that was read back since."""
    session = status.session
    if session is not None and session.kind == "verify" and (_is_over(session) or not _stored(session).get("watch")):
        session = status.doing
    return None if session is None or _is_over(session) else session


def _is_over(session: Session) -> bool:
    return session.exit_status in (ExitStatus.OK, ExitStatus.INCOMPLETE)


def _stored(session: Session) -> dict[str, Any]:
    return msgspec.json.decode(session.options, type=dict[str, Any])
