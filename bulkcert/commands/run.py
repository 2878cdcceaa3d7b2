"""``bulkcert run``: the main job."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import Parameter
from rich.text import Text

from bulkcert import hand_off, question, terminal
from bulkcert.actions import ActionName
from bulkcert.api.credentials import ChainKeyring, Keyring
from bulkcert.batch.job import Job, Options, resolve
from bulkcert.batch.opening import check_input, open_run
from bulkcert.batch.run import Run
from bulkcert.batch.session import Watch
from bulkcert.batch.snapshot_watch import of_run
from bulkcert.batch.summary import Summary
from bulkcert.batch.sweeping import Swept, sweep
from bulkcert.board import Board
from bulkcert.commands import calling
from bulkcert.errors import ExitStatus
from bulkcert.job_file import STARTED
from bulkcert.log import bind, is_json
from bulkcert.telemetry.events import tell_checkpoint, tell_finished, tell_started, watch_checkpoints
from bulkcert.telemetry.recorder import recording


def run(
    action: ActionName,
    input_: Annotated[Path, Parameter(name="input")],
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> ExitStatus:
    """Calls the service once for each row of a list, and writes what became of every row.

    Args:
        action: What to do with each row.
        input_: The list: .csv, .csv.gz, .csv.zst, .parquet or .ndjson with the columns DeviceSn and CaSn.
        options: See below.
    """
    terminal.warn_of_unknown(os.environ, (*Options.__dataclass_fields__, "action", "input", "job"))
    summary = execute(resolve(action, input_, options), ChainKeyring(), ask=not options.yes)
    if options.json:
        calling.print_json(summary)
    return ExitStatus(summary.exit_status)


def execute(
    job: Job, keyring: Keyring, *, ask: bool, resumable: bool = True, before_calls: Callable[[], None] | None = None
) -> Summary:
    """Does a whole run, as a person or a timer sees it; prints its summary unless it is wanted as JSON.

    Args:
        job: What to do.
        keyring: What to sign with.
        ask: Whether somebody must agree first.
        resumable: Whether the same command would go on where this one ends.
        before_calls: Called once looking is over, before anything is changed.
    """
    terminal.show_log(verbose=job.options.verbose, quiet=job.options.quiet)
    bind(action=job.action.name, instance=job.instance)
    with recording(job, terminal.warn) as recorder:
        summary, calls = _executed(job, keyring, recorder.watch, before_calls, ask=ask, resumable=resumable)
        recorder.summary = summary
    if not job.options.json:
        hand_off.show_summary(summary, calls=calls)
    hand_off.show_ending(
        summary, resumable=resumable, overwrite=job.options.overwrite, quiet=job.options.quiet or job.options.json
    )
    return summary


def _executed(
    job: Job, keyring: Keyring, record: Watch, before_calls: Callable[[], None] | None, *, ask: bool, resumable: bool
) -> tuple[Summary, int]:
    """Does the run; returns what it came to in all, and how many calls were made now."""
    options, started = job.options, time.monotonic()
    opened = _open(job)
    bind(run=opened.run_id)
    snapshots = of_run(opened, terminal.same_command(overwrite=options.overwrite) if resumable else "")
    try:
        if opened.calls:
            leave = partial(_leave, opened)
            calling.prepare(keyring, leave)
            if (ask or not options.quiet) and not is_json():
                question.show_plan(opened, keyring.current)
            question.warn_of_mistake(opened)
            if ask:
                question.confirm(opened)
            tell_started(opened)
            try:
                call = partial(opened.call, before_calls=before_calls)
                calling.call(call, keyring, leave, _shown(opened), snapshots.watch, record)
            finally:
                tell_checkpoint(opened.journal.index.final)
            if not is_json():
                question.show_not_looked(opened.progress)
        elif not options.quiet:
            question.show_idle(opened)
        summary = opened.finish()
        tell_finished(summary, started)
        if options.keep is not None and resumable and summary.exit_status in (ExitStatus.OK, ExitStatus.INCOMPLETE):
            _show_swept(sweep(job, STARTED.date()))
    except BaseException as error:
        if resumable:
            error.add_note(terminal.RESUMABLE)
        raise
    finally:
        snapshots.remove()
        opened.journal.close()
    return summary, opened.progress.sends.sends


def _shown(opened: Run) -> Watch:
    """Returns what people see of a run on a terminal, or machines of its journal."""
    return watch_checkpoints(lambda: opened.journal.index.final) if is_json() else Board(opened).watch


def _leave(opened: Run, number: int) -> NoReturn:
    """Ends a run at once, on the signal of this number: the journal is safe, nothing else is tidied up."""
    if not opened.progress.sends.sends:
        opened.journal.close()
        terminal.leave(number, "left; nothing was called")
    again = terminal.same_command(overwrite=opened.job.options.overwrite)
    terminal.leave(
        number,
        f"left at once; {opened.progress.in_flight:,} calls in flight were not waited for",
        f"Results and summary are not up to date. Calls without an answer are made again by: {again}",
    )


def _show_swept(swept: Swept) -> None:
    """Prints which earlier runs were removed, and which were not, on stderr."""
    if swept.removed:
        count, oldest = len(swept.removed), swept.removed[0].name
        terminal.stderr.print(Text(f"removed {count:,} earlier run{'s' * (count > 1)}, the oldest {oldest}"))
    for results, reason in swept.kept.items():
        terminal.stderr.print(Text(f"kept {results}, though it is old enough: {reason}"))


def _open(job: Job) -> Run:
    """Checks the input with a word on stderr where that takes long."""
    if job.options.quiet:
        return open_run(job, *check_input(job))
    with terminal.stderr.status(Text(f"checking {job.input}")) as status:
        checked = check_input(job, lambda rows: status.update(Text(f"checking {job.input}: {rows:,} rows")))
        return open_run(job, *checked)
