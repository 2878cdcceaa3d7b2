"""``bulkcert resume``: continue whatever session of a run was interrupted, from its store alone."""

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict

from bulkcert.commands import undo, verify
from bulkcert.commands.run import execute
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs.job import resolve
from bulkcert.runs.opened import confirm_real
from bulkcert.runs.options import CallOptions, Options, ResumeOptions, VerifyOptions, carried, changed
from bulkcert.service.credentials import ChainCredentials
from bulkcert.store.paths import RunFiles, results_of
from bulkcert.store.schema import Session
from bulkcert.store.status import RunStatus, status_of
from bulkcert.views import console as terminal

_OF_ONE_START = frozenset(
    {"state_dir", "retry", "limit_rows", "deadline", "yes", "confirm_devices", "json", "quiet", "verbose"}
)
"""Options that a later start does not take over from an earlier one."""


def resume(results: Path, options: ResumeOptions) -> ExitStatus:
    """Continues the run, the undo or the watch that was interrupted; its list is not needed.

    What was typed at its start holds unless it is given again, or is of one start. On a run that has ended it calls
    what --retry names.
    """
    files = RunFiles(results_of(results), options.state_dir)
    status = status_of(files)
    if (asked := status.asked) is None:
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE, f"another process holds {files.folder}: {status.holder}", "Wait until it ends."
        )
    confirm_real(files, asked, "resume")
    session = None if options.retry else _interrupted(status)
    if session is not None and session.kind == "undo":
        return _undo(files, options, session)
    if session is not None and session.kind == "verify":
        return _verify(files, options, session)
    options = replace(options, instance=options.instance or asked.instance)
    if not (options.endpoint or options.region):
        options = replace(options, endpoint=asked.endpoint)
    action, pinned = asked.action, files.pinned(asked.run)
    inputs = tuple(map(Path, asked.inputs))
    typed = carried(Options, options, results=files.results)
    job = resolve(action, inputs, typed, command="resume", source=(pinned,))  # type: ignore[arg-type]
    came = execute(job, ChainCredentials())
    return terminal.ended(came.exit_status, came, as_json=options.json)


def _interrupted(status: RunStatus) -> Session | None:
    """Returns the session that did not reach its end: the newest, or the one that was read back since."""
    session = status.session
    if session is not None and session.kind == "verify" and (_is_over(session) or not _stored(session).get("watch")):
        session = status.doing
    return None if session is None or _is_over(session) else session


def _is_over(session: Session) -> bool:
    return session.exit_status in (ExitStatus.OK, ExitStatus.INCOMPLETE)


def _undo(files: RunFiles, options: ResumeOptions, session: Session) -> ExitStatus:
    include_unknown = bool(_stored(session).get("include_unknown"))
    own = carried(CallOptions, options)
    came = undo.execute(files, ChainCredentials(), own, include_unknown=include_unknown)
    return terminal.ended(came.exit_status, came, as_json=options.json)


def _verify(files: RunFiles, options: ResumeOptions, session: Session) -> ExitStatus:
    """Continues a watch for the time that it has left."""
    stored = _stored(session)
    left = max(0.0, float(stored["watch"]) - (time.time() - session.started_at / 1000))
    own = carried(VerifyOptions, options, watch=left, every=float(stored["every"]))
    came = verify.execute(files, ChainCredentials(), own)
    return terminal.ended(came.exit_status, came, as_json=options.json)


def _stored(session: Session) -> dict[str, Any]:
    return msgspec.json.decode(session.options, type=dict[str, Any])


def stored_options(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fills in, as the last layer of options, what an earlier session of the run that is meant was given."""
    if commands != ("resume",):
        return
    typed = {name: argument.tokens[0].value for argument in arguments for name in argument.names if argument.tokens}
    if "--results" not in typed:
        return
    state_dir = Path(typed["--state-dir"]) if "--state-dir" in typed else None
    # What is wrong with the run is said by the command itself.
    with suppress(BulkcertError):
        status = status_of(RunFiles(results_of(Path(typed["--results"])), state_dir))
        session = None if "--retry" in typed else _interrupted(status)
        # What was typed for an undo or a verification since is not meant for the run.
        session = session or next((each for each in reversed(status.sessions) if each.kind == "run"), None)
        given = changed(ResumeOptions, _stored(session), without=_OF_ONE_START) if session is not None else {}
        # Below the command: at the top the library ignores a key that has the name of a command, as cluster has.
        Dict({"resume": given}, source="the store", allow_unknown=True)(app, commands, arguments)
