"""``bulkcert run``: the main job."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.text import Text

from bulkcert.commands import calling
from bulkcert.engine.session import Observer
from bulkcert.errors import ExitStatus
from bulkcert.job_file import STARTED
from bulkcert.log import bind, is_json
from bulkcert.output.summary import Summary
from bulkcert.runs.approval import planned_of
from bulkcert.runs.job import Job, resolve
from bulkcert.runs.opening import open_run
from bulkcert.runs.options import RunOptions
from bulkcert.runs.retention import remove_old
from bulkcert.runs.run import Run
from bulkcert.service.actions import ActionName
from bulkcert.service.credentials import ChainCredentials, CredentialProvider
from bulkcert.store.status import status_of
from bulkcert.telemetry.events import log_finished, log_started
from bulkcert.telemetry.notify import notifying
from bulkcert.telemetry.recorder import recording
from bulkcert.views import confirm as question
from bulkcert.views import console as terminal
from bulkcert.views import ending
from bulkcert.views.layout import show
from bulkcert.views.live import board, reading_list
from bulkcert.words import counted


def run(action: ActionName, inputs: tuple[Path, ...], options: RunOptions) -> ExitStatus:
    """Calls the service once for each row of a list, and writes what became of every row."""
    plan = planned_of(options)
    if plan is not None and plan.signed_by:
        options = replace(options, approved_by=plan.signed_by)
    came = execute(resolve(action, inputs, options, plan=plan), ChainCredentials())
    return terminal.ended(came.exit_status, came, as_json=options.json)


def execute(job: Job, provider: CredentialProvider) -> Summary:
    """Does a whole run, as a person or a timer sees it; prints its summary unless JSON is asked for.

    Args:
        job: What to do.
        provider: What to sign with.
    """
    terminal.show_log(verbose=job.options.verbose, quiet=job.options.quiet)
    bind(action=job.action.name, instance=job.instance, rehearsal=job.rehearsal)
    with (
        ExitStack() as last,
        notifying(job.options.notify, "run", job.files, terminal.warn, rehearsal=job.rehearsal) as ends_with,
    ):
        summary = _recorded(job, provider, last)
        ends_with(summary.exit_status)
    return summary


def _recorded(job: Job, provider: CredentialProvider, last: ExitStack) -> Summary:
    with recording(job, terminal.warn) as recorder:
        watches = [recorder.watch] if recorder else []
        summary, calls = _executed(job, provider, watches, last)
        if recorder:
            recorder.summary = summary
    status = status_of(job.files)
    if not job.options.json:
        show(ending.summary_rows(summary, status, calls=calls))
    ending.show_ending(summary, status, quiet=job.options.quiet or job.options.json)
    return summary


def _executed(
    job: Job, provider: CredentialProvider, watches: Sequence[Observer], last: ExitStack
) -> tuple[Summary, int]:
    """Does the run; returns what it came to in all, and how many calls were made now.

    Args:
        job: What to do.
        provider: What to sign with.
        watches: Run next to the calls.
        last: Takes what is logged when there is nothing more to say.
    """
    options, started = job.options, time.monotonic()
    opened = _open(job)
    bind(run=opened.opened.asked.run, ticket=options.ticket or None)
    with calling.held(opened.opened):
        if opened.calls:
            leave = partial(calling.leave_writing, opened.opened, opened.progress)
            calling.prepare(provider, leave)
            if not (options.yes and options.quiet) and not is_json():
                question.show_plan(opened, provider.current)
            question.warn_of_mistakes(opened)
            if not options.yes:
                question.confirm(opened.check.rows, by_device=job.action.by_device)
            log_started(opened)
            shown = [] if options.quiet or is_json() else [board]
            calling.call(opened.call, provider, leave, *shown, *watches)
            if not is_json():
                question.show_no_preflight(opened.progress)
        elif not options.quiet:
            question.show_idle(opened)
        summary = opened.finish()
        last.callback(log_finished, summary, opened.progress, started)
        if (
            options.retain_days is not None
            and not job.rehearsal
            and summary.exit_status in (ExitStatus.OK, ExitStatus.INCOMPLETE)
        ):
            _show_swept(remove_old(job, STARTED.date()))
    return summary, opened.progress.sends.sends


def _show_swept(found: dict[Path, str]) -> None:
    """Prints which earlier runs were removed, and which were not, on stderr."""
    if removed := [results for results, reason in found.items() if not reason]:
        count, oldest = len(removed), removed[0].name
        terminal.stderr.print(Text(f"removed {counted(count, 'earlier run')}, the oldest {oldest}"))
    for results, reason in found.items():
        if reason:
            terminal.stderr.print(Text(f"kept {results}, though it is old enough: {reason}"))


def _open(job: Job) -> Run:
    try:
        with reading_list(job.list_name, quiet=job.options.quiet) as on_progress:
            return open_run(job, on_progress)
    except BaseException as error:
        error.add_note(terminal.WayOn())
        raise
