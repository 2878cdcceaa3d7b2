"""``bulkcert undo``: the inverse action for what a run has changed."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bulkcert import question, terminal
from bulkcert.api.credentials import ChainKeyring, Keyring
from bulkcert.batch.finished import open_finished
from bulkcert.batch.job import Options, RunOptions
from bulkcert.batch.service import LOOK
from bulkcert.batch.summary import Summary
from bulkcert.batch.undoing import list_changed, undo_job
from bulkcert.commands.run import execute, print_json
from bulkcert.errors import ExitStatus


def undo(
    results: Path,
    /,
    *,
    include_unknown: Annotated[bool | None, Parameter(group=LOOK)] = None,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
) -> ExitStatus:
    """Does the inverse action for exactly the rows that a run has changed; plans, asks and writes results as run does.

    Args:
        results: The results of the run; its journal stands beside them.
        include_unknown: Take back what was called though it is not known what it was before; --no-… leaves it.
        options: See below; the instance and the endpoint are those of the run unless given.
    """
    terminal.warn_of_unknown(os.environ, (*Options.__dataclass_fields__, "action", "input", "job", "include_unknown"))
    summary = take_back(results, ChainKeyring(), options, include_unknown=include_unknown, ask=not options.yes)
    if summary is None:
        return ExitStatus.OK
    if options.json:
        print_json(summary)
    return ExitStatus(summary.exit_status)


def take_back(
    results: Path, keyring: Keyring, options: RunOptions, *, include_unknown: bool | None, ask: bool
) -> Summary | None:
    """Undoes a run, as a person or a timer sees it; None if there was nothing to take back.

    Args:
        results: The results of the run.
        keyring: What to sign with.
        options: As typed.
        include_unknown: Whether rows are taken back whose state before is not known; None if nobody has decided.
        ask: Whether somebody must agree first.
    """
    finished = open_finished(results)
    try:
        undone = list_changed(finished, include_unknown=include_unknown)
        job = undo_job(finished, undone, options) if undone.rows else None
    finally:
        finished.journal.close()
    if not options.quiet:
        question.show_undone(finished.results, undone, include_unknown=bool(include_unknown))
    return execute(job, keyring, ask=ask) if job else None
