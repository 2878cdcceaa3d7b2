"""``bulkcert undo``: the inverse action for what a run has changed."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
from cyclopts import Parameter

from bulkcert.commands import calling
from bulkcert.commands.which_run import results_meant
from bulkcert.errors import ExitStatus
from bulkcert.log import bind, is_json
from bulkcert.output.summary import Summary
from bulkcert.runs.job import CallOptions, Options
from bulkcert.runs.opening import open_existing
from bulkcert.runs.options import PREFLIGHT
from bulkcert.runs.undo import Undo, open_undo
from bulkcert.service.actions import ActionName
from bulkcert.service.credentials import ChainCredentials, CredentialProvider
from bulkcert.store.outcome import Outcome
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import status_of
from bulkcert.telemetry.events import log_finished
from bulkcert.views import confirm as question
from bulkcert.views import console as terminal
from bulkcert.views import ending
from bulkcert.views.live import Board


def undo(
    results: Annotated[Path | None, Parameter(name=["--results", "-o"])] = None,
    *,
    include_unknown: Annotated[bool | None, Parameter(group=PREFLIGHT, negative="--no-include-unknown")] = None,
    options: CallOptions = CallOptions(),  # noqa: B008 - frozen
    action: Annotated[ActionName | None, Parameter(show=False)] = None,
    input_: Annotated[list[Path] | None, Parameter(name="input", show=False)] = None,
) -> ExitStatus:
    """Does the inverse action for exactly the rows that a run has changed; the results show them as undone.

    Args:
        results: The results of the run. With --job those of the job.
        include_unknown: Undo what was called though it is not known what it was before; --no-… leaves it.
        options: See below; the instance and the endpoint are those of the run unless given.
        action: Of the job file.
        input_: Of the job file.
    """
    known = (*Options.__dataclass_fields__, "action", "input", "job", "include_unknown")
    terminal.warn_of_unknown(os.environ, known)
    files = RunFiles(results_meant(results, action, input_), options.state_dir)
    came = execute(files, ChainCredentials(), options, include_unknown=include_unknown, ask=not options.yes)
    if options.json:
        calling.print_json(came)
    return ExitStatus(came.exit_status)


class UndoResult(msgspec.Struct, frozen=True):
    """What came of an undo.

    Attributes:
        rows: Rows that were to be undone.
        undone: Rows that were.
        unknown: Rows of which nobody knows what they were before; not undone unless --include-unknown.
        exit_status: Of the undo: 0 if all of it is undone.
        run: What the run has come to now, with an exit status of its own, 1: its rows are undone; null if there was
            nothing to undo.
    """

    rows: int
    undone: int
    unknown: int
    exit_status: int
    run: Summary | None = None


def execute(
    files: RunFiles,
    provider: CredentialProvider,
    options: CallOptions,
    *,
    include_unknown: bool | None,
    ask: bool,
) -> UndoResult:
    """Undoes a run, as a person or a timer sees it.

    Args:
        files: Of the run.
        provider: What to sign with.
        options: As typed.
        include_unknown: Whether rows are undone whose state before is not known; None if nobody has decided.
        ask: Whether somebody must agree first.
    """
    terminal.show_log(verbose=options.verbose, quiet=options.quiet)
    started = time.monotonic()
    opened = open_existing(files)
    bind(run=opened.asked.run, action=opened.asked.action, instance=opened.asked.instance)
    try:
        undo_ = open_undo(opened, opened.where(options), include_unknown=include_unknown)
        if not options.quiet:
            question.show_undo(undo_)
        if not undo_.rows and not undo_.has_to_end:
            return UndoResult(0, 0, undo_.unknown, int(ExitStatus.OK))
        if undo_.rows:
            leave = partial(_leave, undo_)
            calling.prepare(provider, leave)
            if ask:
                question.confirm_undo(undo_)
            watches = [] if is_json() else [Board(quiet=options.quiet).watch]
            calling.call(undo_.call, provider, leave, *watches)
        summary = undo_.finish()
        log_finished(summary, undo_.progress, started)
    except BaseException as error:
        calling.note_way_on(error, opened)
        raise
    finally:
        opened.close()
    if not options.json:
        ending.show_undone(summary, undo_)
    ending.show_ending(summary, status_of(files), quiet=options.quiet or options.json)
    undone = undo_.progress.outcomes[Outcome.UNDONE]
    return UndoResult(undo_.rows, undone, undo_.unknown, summary.latest.exit_status or 0, summary)


def _leave(undo_: Undo, number: int) -> NoReturn:
    """Ends an undo at once, on the signal of this number: the store is safe, nothing else is tidied up."""
    if not undo_.opened.store.session:
        undo_.opened.close()
        terminal.leave(number, "left; no calls were made")
    terminal.leave(
        number,
        f"left at once; {undo_.progress.in_flight:,} calls in flight were not waited for",
        "The results are not up to date.",
        resume=undo_.opened.files.command("resume"),
    )
