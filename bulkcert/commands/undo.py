"""``bulkcert undo``: the inverse action for what a run has changed."""

import time
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path

from bulkcert.commands import calling
from bulkcert.errors import ExitStatus
from bulkcert.log import is_json
from bulkcert.runs.opened import confirm_real
from bulkcert.runs.opening import open_existing
from bulkcert.runs.options import CallOptions
from bulkcert.runs.target import sending
from bulkcert.runs.undo import Undo, UndoResult, open_undo
from bulkcert.service.credentials import ChainCredentials, CredentialProvider
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import status_of
from bulkcert.telemetry.events import log_finished
from bulkcert.telemetry.notify import Notifier
from bulkcert.views import confirm as question
from bulkcert.views import console as terminal
from bulkcert.views import ending
from bulkcert.views.layout import show
from bulkcert.views.live import board, reading, shown
from bulkcert.views.plan_advice import on_devices
from bulkcert.words import speaking


def undo(results: Path, options: CallOptions, *, include_unknown: bool | None) -> ExitStatus:
    """Does the inverse action for exactly the rows that a run has changed; the results show them as undone."""
    files = RunFiles.named_by(results, options.state_dir)
    came = execute(files, ChainCredentials(), options, include_unknown=include_unknown)
    if options.json:
        terminal.print_json(came)
    return ExitStatus(came.exit_status)


def execute(
    files: RunFiles,
    provider: CredentialProvider,
    options: CallOptions,
    *,
    include_unknown: bool | None,
    rehearsal: bool = False,
) -> UndoResult:
    """Undoes a run, as a person or a timer sees it.

    Args:
        files: Of the run.
        provider: What to sign with.
        options: As typed.
        include_unknown: Whether rows are undone whose state before is not known; None if nobody has decided.
        rehearsal: Whether the emulator of a rehearsal still answers.
    """
    notified = Notifier(options.notify, "undo", files, terminal.warn) if options.notify else nullcontext()
    with ExitStack() as last, notified as notifier:
        result = _executed(files, provider, options, last, include_unknown=include_unknown, rehearsal=rehearsal)
        if notifier:
            notifier.exit_status = result.exit_status
    return result


def _executed(
    files: RunFiles,
    provider: CredentialProvider,
    options: CallOptions,
    last: ExitStack,
    *,
    include_unknown: bool | None,
    rehearsal: bool,
) -> UndoResult:
    started = time.monotonic()
    opened = open_existing(files)
    with calling.held(opened):
        if not rehearsal:
            confirm_real(files, opened.asked, "undo")
        undo_ = open_undo(opened, options, include_unknown=include_unknown)
        if not options.quiet:
            with speaking(options.language):
                question.show_undo(undo_)
        if undo_.is_over:
            return undo_.nothing()
        if undo_.rows:
            last.enter_context(sending(undo_.service, terminal.warn))
            leave = partial(calling.leave_writing, opened, undo_.progress)
            question.warn_of_limits(options)
            calling.prepare(provider, leave)
            if not options.yes:
                _show_devices(undo_, provider, leave)
                with speaking(options.language):
                    question.confirm(undo_.calls, by_device=undo_.action.by_device)
            watches = [] if options.quiet or is_json() else [board]
            calling.call(undo_.call, provider, leave, *watches)
        summary = undo_.finish()
        last.callback(log_finished, summary, undo_.progress, started)
    with speaking(options.language):
        if not options.json:
            show(ending.undone_rows(summary, undo_))
        ending.show_ending(summary, status_of(files), quiet=options.quiet or options.json)
    return undo_.result(summary)


def _show_devices(undo_: Undo, provider: CredentialProvider, leave: calling.Leave) -> None:
    """Shows what an undo of an action on CAs hits, to somebody who is asked."""
    if undo_.action.by_device or not question.is_somebody_there():
        return
    calling.call(undo_.count_devices, provider, leave, shown(reading))
    with speaking(undo_.options.language):
        terminal.say(on_devices(undo_.action, undo_.found))
