"""``bulkcert run``: the main job."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter
from rich.text import Text

from bulkcert import hand_off, question, terminal
from bulkcert.actions import ActionName
from bulkcert.api.credentials import ChainKeyring, Keyring
from bulkcert.batch.job import Job, Options, resolve
from bulkcert.batch.run import Run, check_input, open_run
from bulkcert.batch.session import Watch, fetch_credentials, together
from bulkcert.batch.snapshot_watch import of_run
from bulkcert.batch.summary import Summary
from bulkcert.batch.sweeping import sweep
from bulkcert.board import Board
from bulkcert.errors import ExitStatus, terminated
from bulkcert.job_file import STARTED
from bulkcert.telemetry.events import tell_checkpoint, tell_finished, tell_started, watch_checkpoints
from bulkcert.telemetry.log import bind, is_json
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
        print_json(summary)
    return ExitStatus(summary.exit_status)


def execute(job: Job, keyring: Keyring, *, ask: bool, resumable: bool = True) -> Summary:
    """Does a whole run, as a person or a timer sees it; prints its summary unless it is wanted as JSON.

    Args:
        job: What to do.
        keyring: What to sign with.
        ask: Whether somebody must agree first.
        resumable: Whether the same command would go on where this one ends.
    """
    terminal.show_log(verbose=job.options.verbose, quiet=job.options.quiet)
    bind(action=job.action.name, instance=job.instance)
    with recording(job, terminal.warn) as recorder:
        summary, calls = _executed(job, keyring, recorder.watch, ask=ask, resumable=resumable)
        recorder.summary = summary
    if not job.options.json:
        hand_off.show_summary(summary, calls=calls)
    hand_off.show_ending(
        summary, resumable=resumable, overwrite=job.options.overwrite, quiet=job.options.quiet or job.options.json
    )
    return summary


def _executed(job: Job, keyring: Keyring, record: Watch, *, ask: bool, resumable: bool) -> tuple[Summary, int]:
    """Does the run; returns what it came to in all, and how many calls were made now."""
    options, started = job.options, time.monotonic()
    opened = _open(job)
    bind(run=opened.run_id)
    snapshots = of_run(opened, terminal.same_command(overwrite=options.overwrite) if resumable else "")
    try:
        if opened.calls:
            leave = partial(terminal.leave, opened)
            anyio.run(fetch_credentials, keyring, leave)
            signal.signal(signal.SIGTERM, terminated)
            if (ask or not options.quiet) and not is_json():
                question.show_plan(opened, keyring.current)
            if ask:
                question.confirm(opened)
            tell_started(opened)
            try:
                anyio.run(opened.call, keyring, _watches(opened, snapshots.watch, record), leave)
            finally:
                tell_checkpoint(opened.journal.index.final)
            signal.signal(signal.SIGTERM, terminated)
            if not is_json():
                question.show_not_looked(opened.progress)
        elif not options.quiet:
            question.show_idle(opened)
        summary = opened.finish()
        tell_finished(summary, started)
        if options.keep is not None and resumable and summary.exit_status in (ExitStatus.OK, ExitStatus.INCOMPLETE):
            terminal.show_swept(sweep(job, STARTED.date()))
    except BaseException as error:
        if resumable:
            error.add_note(terminal.RESUMABLE)
        raise
    finally:
        snapshots.remove()
        opened.journal.close()
    return summary, opened.progress.sends.sends


def _watches(opened: Run, *others: Watch) -> Watch:
    """Returns all that watches a run: people on a terminal, or machines, and the others."""
    shown = watch_checkpoints(lambda: opened.journal.index.final) if is_json() else Board(opened).watch
    return together(shown, *others)


def print_json(product: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(product) + b"\n")


def _open(job: Job) -> Run:
    """Checks the input with a word on stderr where that takes long."""
    if job.options.quiet:
        return open_run(job, *check_input(job))
    with terminal.stderr.status(Text(f"checking {job.input}")) as status:
        checked = check_input(job, lambda rows: status.update(Text(f"checking {job.input}: {rows:,} rows")))
        return open_run(job, *checked)
