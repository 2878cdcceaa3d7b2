"""``bulkcert undo``: the inverse action for what a run has changed."""

import os
import time
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from bulkcert import question, terminal
from bulkcert.actions import ActionName
from bulkcert.api.credentials import ChainKeyring, Keyring
from bulkcert.batch.finished import Finished, open_finished
from bulkcert.batch.job import Job, Options, RunOptions
from bulkcert.batch.service import LOOK
from bulkcert.batch.summarizing import add_taken_back
from bulkcert.batch.summary import Summary, TakenBack, earlier_summary, utc
from bulkcert.batch.undoing import Undone, list_changed, undo_job
from bulkcert.commands.calling import print_json
from bulkcert.commands.run import execute
from bulkcert.commands.which_run import results_meant
from bulkcert.errors import BulkcertError, ExitStatus


def undo(
    run_results: Path | None = None,
    *,
    include_unknown: Annotated[bool | None, Parameter(group=LOOK)] = None,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    action: Annotated[ActionName | None, Parameter(show=False)] = None,
    input_: Annotated[Path | None, Parameter(name="input", show=False)] = None,
) -> ExitStatus:
    """Does the inverse action for exactly the rows that a run has changed; plans, asks and writes results as run does.

    Args:
        run_results: The results of the run; its journal stands beside them. With --job those of the job.
        include_unknown: Take back what was called though it is not known what it was before; --no-… leaves it.
        options: See below; the instance and the endpoint are those of the run unless given.
        action: Of the job file.
        input_: Of the job file.
    """
    known = (*Options.__dataclass_fields__, "action", "input", "job", "include_unknown", "run_results")
    terminal.warn_of_unknown(os.environ, known)
    results = results_meant(run_results, action, input_)
    came = take_back(results, ChainKeyring(), options, include_unknown=include_unknown, ask=not options.yes)
    if options.json:
        print_json(came)
    return ExitStatus(came.exit_status)


class NothingTakenBack(msgspec.Struct, frozen=True):
    """What came of an undo that had nothing to take back; ``unknown`` rows were left as they are."""

    rows: int
    unknown: int
    exit_status: int


def take_back(
    results: Path,
    keyring: Keyring,
    options: RunOptions,
    *,
    include_unknown: bool | None,
    ask: bool,
    resumable: bool = True,
) -> Summary | NothingTakenBack:
    """Undoes a run, as a person or a timer sees it.

    Args:
        results: The results of the run.
        keyring: What to sign with.
        options: As typed.
        include_unknown: Whether rows are taken back whose state before is not known; None if nobody has decided.
        ask: Whether somebody must agree first.
        resumable: Whether the same service can be asked again later; that of a rehearsal cannot.
    """
    finished = open_finished(results)
    # Held to the end: the run must not go on while it is taken back.
    try:
        options = finished.where(options)
        undone = list_changed(finished, options, include_unknown=include_unknown)
        if not options.quiet:
            question.show_undone(finished.results, undone, include_unknown=bool(include_unknown))
        if not undone.rows:
            return NothingTakenBack(0, undone.unknown, int(ExitStatus.OK))
        return _execute(finished, undone, undo_job(finished, undone, options), keyring, ask=ask, resumable=resumable)
    finally:
        finished.journal.close()


def _execute(finished: Finished, undone: Undone, job: Job, keyring: Keyring, *, ask: bool, resumable: bool) -> Summary:
    """Does the inverse action, and notes beside the run that it was taken back, wholly or in part."""
    begun = False

    def note_begun() -> None:
        # One that is killed must have left its mark: from the first call on the run is no success any more.
        nonlocal begun
        begun = True
        _note(finished, undone, utc(time.time()), ExitStatus.STOPPED_EARLY)

    try:
        summary = execute(job, keyring, ask=ask, resumable=resumable, before_calls=note_begun)
    except BulkcertError as error:
        if begun:
            _note(finished, undone, utc(time.time()), error.status)
        raise
    earlier = earlier_summary(finished.summary)
    goes_on = earlier and earlier.taken_back and earlier.taken_back.results == str(undone.results)
    # One that has called nothing, and has something left to call, has taken nothing back.
    if begun or goes_on or summary.exit_status == ExitStatus.OK:
        _note(finished, undone, summary.finished, summary.exit_status)
    return summary


def _note(finished: Finished, undone: Undone, at: str, status: int) -> None:
    add_taken_back(finished.summary, TakenBack(at, str(undone.results), undone.rows, int(status)))
