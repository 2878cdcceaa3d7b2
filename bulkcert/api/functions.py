"""The Python API: what the commands do, as functions to await; ``bulkcert`` itself has their names.

Each strings the same steps together as its command, without anybody to show them to or to ask: nothing is printed, no
signal is taken, and what is logged goes through the standard library's logger ``bulkcert``. A cancellation stops a
session as a signal stops a command: no more calls are sent, those in flight are waited for, the results are written,
and then the cancellation is raised; the run can be resumed.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import polars as pl
from anyio import to_thread

from bulkcert.api.context import CallContext, OnProgress, drained
from bulkcert.api.job import Job, Of, confirm_list, converted, files_of, options_of
from bulkcert.log import event
from bulkcert.output.summary import Summary
from bulkcert.runs import exporting
from bulkcert.runs.job import ResolvedJob, resolve
from bulkcert.runs.opened import confirm_real
from bulkcert.runs.opening import open_existing, open_run
from bulkcert.runs.options import CallOptions, PlanOptions, ResumeOptions, RunOptions
from bulkcert.runs.other_options import VerifyOptions
from bulkcert.runs.plan import inquiry, resolve_question
from bulkcert.runs.resuming import left_of, stored_options
from bulkcert.runs.retention import remove_old
from bulkcert.runs.undo import UndoResult, open_undo
from bulkcert.runs.verify import Verifier, resolve_reading
from bulkcert.service.signing import Credentials
from bulkcert.store.outcome import Retried
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Verification
from bulkcert.store.status import status_of
from bulkcert.telemetry.events import log_finished, log_started, log_verified
from bulkcert.views import confirm
from bulkcert.views.plan import Plan, make_plan
from bulkcert.views.plan_advice import mistake
from bulkcert.views.run_shown import on_network

if TYPE_CHECKING:
    from bulkcert.telemetry.metrics import Recorder


async def plan(job: Job, *, on_progress: OnProgress | None = None, credentials: Credentials | None = None) -> Plan:
    """Finds out what a run would do and cost; changes nothing.

    Args:
        job: What would be done.
        on_progress: Takes the figures of the reading.
        credentials: What to sign with; without them the vendor's default chain finds some.

    Raises:
        BulkcertError: The list or an option cannot be used, or the run would be refused like this.
    """
    confirm_list(job)

    async def work(context: CallContext) -> Plan:
        with ExitStack() as held:
            question = resolve_question(job.action, job.source, options_of(PlanOptions, job))
            asked = await to_thread.run_sync(held.enter_context, inquiry(question))
            await context.call(asked.make)
            return await to_thread.run_sync(make_plan, asked, context.provider.current)

    return await drained(work, on_progress, credentials)


async def run(job: Job, *, on_progress: OnProgress | None = None, credentials: Credentials | None = None) -> Summary:
    """Calls the service once for each row that is not in the desired state; resumes the run of the same results.

    Args:
        job: What to do.
        on_progress: Takes the figures of the session.
        credentials: What to sign with; without them the vendor's default chain finds some.

    Returns:
        What the run has come to; its ``exit_status`` is 0 if every row is in the desired state.

    Raises:
        BulkcertError: No calls were made, or the results cannot be written.
    """
    confirm_list(job)

    async def work(context: CallContext) -> Summary:
        resolved = await to_thread.run_sync(resolve, job.action, job.source, options_of(RunOptions, job))
        return await _run(resolved, context)

    return await drained(work, on_progress, credentials)


async def verify(
    of: Of,
    *,
    watch: float = 0.0,
    every: float = 30.0,
    on_progress: OnProgress | None = None,
    credentials: Credentials | None = None,
) -> Verification:
    """Reads back the state of every row of a run into its results.

    Args:
        of: The run.
        watch: For how long to keep reading, in seconds, and to call again what is not in the desired state.
        every: Pause between two rounds, in seconds.
        on_progress: Takes the figures of the session.
        credentials: What to sign with; without them the vendor's default chain finds some.

    Returns:
        What was read; its ``exit_status`` is 0 if every row is in the desired state.

    Raises:
        BulkcertError: There is no such run, an option is wrong, or the results cannot be written.
    """
    options = options_of(VerifyOptions, of, watch=watch, every=every)
    return await drained(partial(_verify, files_of(of), options), on_progress, credentials)


async def undo(
    of: Of,
    *,
    include_unknown: bool | None = None,
    on_progress: OnProgress | None = None,
    credentials: Credentials | None = None,
) -> UndoResult:
    """Does the inverse action for exactly the rows that a run has changed.

    Args:
        of: The run.
        include_unknown: Whether rows are undone whose state before is not known; None refuses where there are some.
        on_progress: Takes the figures of the session.
        credentials: What to sign with; without them the vendor's default chain finds some.

    Returns:
        What came of it; its ``exit_status`` is 0 if all is undone.

    Raises:
        BulkcertError: There is no such run, it cannot be undone, or the results cannot be written.
    """
    options = options_of(CallOptions, of)
    return await drained(partial(_undo, files_of(of), options, include_unknown), on_progress, credentials)


async def resume(
    of: Of,
    *,
    retry: Sequence[Retried] = (),
    limit_rows: int | None = None,
    deadline: float | None = None,
    confirm_devices: int | None = None,
    on_progress: OnProgress | None = None,
    credentials: Credentials | None = None,
) -> Summary | UndoResult | Verification:
    """Resumes whatever session of a run was interrupted, with the options that it had; its list is not needed.

    Args:
        of: The run.
        retry: Outcomes of rows that are called again.
        limit_rows: Most rows that are called now.
        deadline: Unix time in seconds after which nothing is sent.
        confirm_devices: Device certificates under the CAs; see ``Job``.
        on_progress: Takes the figures of the session.
        credentials: What to sign with; without them the vendor's default chain finds some.

    Returns:
        What came of it: of a run, an undo or a watch.

    Raises:
        BulkcertError: There is no such run, or see there.
    """
    files, now = files_of(of), {"retry": retry, "limit_rows": limit_rows, "deadline": deadline}

    async def work(context: CallContext) -> Summary | UndoResult | Verification:
        given = stored_options(status_of(files, brief=True), retries=bool(retry))
        stored = {name.replace("-", "_"): value for name, value in given.items()}
        options = converted(ResumeOptions, stored | now | {"confirm_devices": confirm_devices, "yes": True})
        match await to_thread.run_sync(left_of, files, options):
            case ResolvedJob() as resolved:
                return await _run(resolved, context)
            case VerifyOptions() as own:
                return await _verify(files, own, context)
            case own, unknown:
                return await _undo(files, own, unknown, context)

    return await drained(work, on_progress, credentials)


def results(of: Of) -> pl.LazyFrame:
    """Returns the rows of a run, in order, with their own columns and what became of them; read when collected.

    They come from the store, as it is then: a session may be running, and the results file need not be there.

    Raises:
        BulkcertError: There is no such run.
    """
    return exporting.scan(files_of(of))


async def _run(job: ResolvedJob, context: CallContext) -> Summary:
    started = time.monotonic()
    with _recorded(job) as recorder:
        run = await to_thread.run_sync(open_run, job)
        with closing(run.opened):
            log_started(run)
            if run.calls:
                _warn(confirm.raised_limits(job.options), mistake(run.check), on_network(run))
                watches = [recorder.watch] if recorder else []
                if run.reads_first:
                    await context.call(run.preflight, *watches)
                    if run.left:
                        confirm.confirm_devices(run)
                await context.call(run.call, *watches)
            summary = await to_thread.run_sync(run.finish)
            if job.options.retain_days is not None:
                today = datetime.now().astimezone().date()
                for results, why in (await to_thread.run_sync(remove_old, job, summary.exit_status, today)).items():
                    if why:
                        _warn(f"kept {results}, though it is old enough: {why}")
        if recorder:
            recorder.exit_status = summary.exit_status
    log_finished(summary, run.progress, started)
    return summary


def _recorded(job: ResolvedJob) -> AbstractContextManager["Recorder | None"]:
    if job.options.metrics_file is None:
        return nullcontext()
    from bulkcert.telemetry.metrics import Recorder  # noqa: PLC0415 - what few runs need, and costs each start

    return Recorder(job, job.options.metrics_file, _warn)


async def _verify(files: RunFiles, options: VerifyOptions, context: CallContext) -> Verification:
    started = time.monotonic()
    with closing(await to_thread.run_sync(open_existing, files)) as opened:
        confirm_real(files, opened.asked, "verify")
        verifier = Verifier(opened, resolve_reading(opened, options), options)
        _warn(confirm.raised_limits(options))
        await context.call(verifier.read)
        verification = await to_thread.run_sync(verifier.finish)
    log_verified(verification, started)
    return verification


async def _undo(
    files: RunFiles, options: CallOptions, include_unknown: bool | None, context: CallContext
) -> UndoResult:
    started = time.monotonic()
    with closing(await to_thread.run_sync(open_existing, files)) as opened:
        confirm_real(files, opened.asked, "undo")
        there = partial(open_undo, opened, options, include_unknown=include_unknown)
        undoing = await to_thread.run_sync(there)
        if undoing.is_over:
            return await to_thread.run_sync(undoing.nothing)
        if undoing.rows:
            _warn(confirm.raised_limits(options))
            await context.call(undoing.call)
        summary = await to_thread.run_sync(undoing.finish)
    log_finished(summary, undoing.progress, started)
    return undoing.result(summary)


def _warn(*texts: str) -> None:
    """Logs what is amiss; an empty text is nothing."""
    for text in filter(None, texts):
        event("warning", text, logging.WARNING)
