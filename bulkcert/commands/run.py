"""``bulkcert run``: the main job."""

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from bulkcert.commands import calling
from bulkcert.engine.session import Observer
from bulkcert.errors import ExitStatus
from bulkcert.job_file import STARTED
from bulkcert.log import is_json
from bulkcert.output.summary import Summary
from bulkcert.runs.approval import signature_of
from bulkcert.runs.converters import carried
from bulkcert.runs.job import ResolvedJob, resolve
from bulkcert.runs.opening import open_run
from bulkcert.runs.options import PlanOptions, RunOptions
from bulkcert.runs.retention import remove_old
from bulkcert.runs.run import Run
from bulkcert.runs.target import refuse, sending
from bulkcert.service.actions import ActionName
from bulkcert.service.credentials import ChainCredentials, CredentialProvider
from bulkcert.store.status import status_of
from bulkcert.telemetry.events import log_finished, log_started
from bulkcert.telemetry.notify import Notifier
from bulkcert.views import confirm as question
from bulkcert.views import console as terminal
from bulkcert.views import ending, run_shown
from bulkcert.views.errors import WayOn
from bulkcert.views.layout import show
from bulkcert.views.live import board, reading, reading_list, shown
from bulkcert.views.plan_advice import mistake
from bulkcert.words import counted, speaking

if TYPE_CHECKING:
    from bulkcert.telemetry.metrics import Recorder


def run(action: ActionName, inputs: tuple[Path, ...], options: RunOptions) -> ExitStatus:
    """Calls the service once for each row of a list, and writes what became of every row."""
    if options.dry_run and options.plan is not None:
        refuse(["--dry-run and --plan exclude each other: the plan that is kept says what the run does"], "run")
    job = resolve(action, inputs, options)
    if options.plan and not options.approver_key and os.path.exists(signature := signature_of(options.plan)):
        terminal.warn(f"the signature {signature} is not checked: --approver-key FILE says who may sign, and checks it")
    if options.dry_run:
        from bulkcert.commands.plan import plan as plan_instead  # noqa: PLC0415 - no run needs it

        return plan_instead(action, inputs, carried(PlanOptions, options, overwrite=False))
    came = execute(job, ChainCredentials())
    if options.json:
        terminal.print_json(came)
    return ExitStatus(came.exit_status)


def execute(job: ResolvedJob, provider: CredentialProvider) -> Summary:
    """Does a whole run, as a person or a timer sees it; prints its summary unless JSON is asked for.

    Args:
        job: What to do.
        provider: What to sign with.
    """
    options, warn = job.options, terminal.warn
    notified: AbstractContextManager[Notifier | None] = nullcontext()
    recorded: AbstractContextManager[Recorder | None] = nullcontext()
    if options.notify:
        about = f"{job.action.name} on {job.on}"
        notified = Notifier(options.notify, "run", job.files, warn, about=about, rehearsal=job.rehearsal)
    with ExitStack() as last, notified as notifier:
        if options.metrics_file is not None:
            from bulkcert.telemetry import metrics  # noqa: PLC0415 - what few runs need, and costs each start

            recorded = metrics.Recorder(job, options.metrics_file, warn)
        with recorded as recorder:
            summary, calls = _executed(job, provider, [recorder.watch] if recorder else [], last)
            if recorder:
                recorder.exit_status = summary.exit_status
        status = status_of(job.files)
        with speaking(options.language):
            if not options.json:
                show(ending.summary_rows(summary, status, calls=calls))
            ending.show_ending(summary, status, quiet=options.quiet or options.json)
        if notifier:
            notifier.exit_status = summary.exit_status
    return summary


def _executed(
    job: ResolvedJob, provider: CredentialProvider, watches: Sequence[Observer], last: ExitStack
) -> tuple[Summary, int]:
    """Does the run; returns what it came to in all, and how many calls were made now.

    ``watches`` run next to the calls; ``last`` takes what is logged when there is nothing more to say.
    """
    options, started = job.options, time.monotonic()
    opened = _open(job)
    with calling.held(opened.opened), sending(opened.job, terminal.warn):
        if opened.calls:
            leave = partial(calling.leave_writing, opened.opened, opened.progress)
            calling.prepare(provider, leave)
            if opened.check.mistaken:
                terminal.warn(mistake(opened.check))
            if opened.opened.store.on_network:
                terminal.warn(run_shown.on_network(opened))
            _confirm(opened, provider, leave, watches)
            boards = [] if options.quiet or is_json() else [board]
            calling.call(opened.call, provider, leave, *boards, *watches)
            if opened.progress.unread_because and not is_json() and opened.found is None:
                run_shown.show_no_preflight(opened.progress)
        elif not options.quiet:
            run_shown.show_idle(opened)
        summary = opened.finish()
        last.callback(log_finished, summary, opened.progress, started)
        if options.retain_days is not None:
            _show_swept(remove_old(job, summary.exit_status, STARTED.date()))
    return summary, opened.progress.sends.sends


def _confirm(run: Run, provider: CredentialProvider, leave: calling.Leave, watches: Sequence[Observer]) -> None:
    """Reads states, shows what was found, and asks.

    Where nobody is asked they are read first only for an action on CAs, since what it hits must be known, and under a
    plan, which must not be exceeded.
    """
    options, is_quiet = run.job.options, run.job.options.quiet or is_json()
    is_shown = not (options.yes and options.quiet) and not is_json()
    may_start = options.yes or question.is_somebody_there()
    if (options.yes and not run.reads_first) or not may_start:
        if is_shown:
            _show_plan(run, provider)
        if not may_start:
            question.confirm_somebody_is_there()
        log_started(run)
        return
    log_started(run)
    while run.found is None or run.is_out_of_date:
        if run.is_out_of_date:
            terminal.say("the answer came too late to believe the states that were read: they are read again")
        calling.call(run.preflight, provider, leave, *([] if is_quiet else [shown(reading)]), *watches)
        if is_shown:
            _show_plan(run, provider)
        if run.left:
            question.confirm_devices(run)
            if not options.yes:
                with speaking(options.language):
                    question.confirm_run(run)


def _show_plan(run: Run, provider: CredentialProvider) -> None:
    with speaking(run.job.options.language):
        run_shown.show_plan(run, provider.current)


def _show_swept(found: dict[Path, str]) -> None:
    """Prints which earlier runs were removed, and which were not, on stderr."""
    if removed := [results for results, reason in found.items() if not reason]:
        count, oldest = len(removed), removed[0].name
        terminal.stderr.print(Text(f"removed {counted(count, 'earlier run')}, the oldest {oldest}"))
    for results, reason in found.items():
        if reason:
            terminal.stderr.print(Text(f"kept {results}, though it is old enough: {reason}"))


def _open(job: ResolvedJob) -> Run:
    try:
        with nullcontext() if job.options.quiet else reading_list(job.list_name):
            return open_run(job)
    except BaseException as error:
        error.add_note(WayOn())
        raise
