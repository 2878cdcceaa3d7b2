"""What a run is about to do, in words on stderr, and whether somebody agrees."""

import select
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from rich.text import Text

from bulkcert.actions import Action
from bulkcert.api.signing import Credentials
from bulkcert.batch.progress import Progress
from bulkcert.batch.protected_rows import doubt, mistake
from bulkcert.batch.run import Run
from bulkcert.batch.source import printable
from bulkcert.batch.summary import TakenBack
from bulkcert.batch.undoing import Undone
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import is_json
from bulkcert.terminal import show, stderr, warn
from bulkcert.words import about, counted, duration

SIGNALS_EVERY_S = 0.2
"""How often signals are looked for while an answer is waited for."""

ASK_FOR_COUNT = 1000
"""Above so many rows, and for every CA action, the number of rows must be typed."""

ACCOUNT_LIMIT, ADDRESS_LIMIT = 500, 300
"""The documented limits in calls per second (reference, section 2)."""

CAS_SHOWN, CAS_CHECKED = 3, 20
"""CAs that a plan names: of a list of devices, and of an action on CAs."""


def show_plan(run: Run, credentials: Credentials) -> None:
    """Prints what a run is about to do, and as whom."""
    show(_plan(run, credentials), stderr)
    if run.job.action.inverse is None:
        stderr.print(
            Text(
                "delete-ca cannot be undone: with each CA every device certificate registered under it is deleted; "
                "while a CA of the same chain stays registered, such a device registers itself again, active.",
                style="bold red",
            )
        )


def warn_of_mistake(run: Run) -> None:
    """Warns of protected serials that were meant for rows which they do not protect, however quiet the run is."""
    if told := mistake(run.check):
        warn(told)


def _plan(run: Run, credentials: Credentials) -> Iterator[tuple[str, str | Text]]:
    job, options = run.job, run.job.options
    kind = "device" if job.action.by_device else "CA"
    yield "action", f"{job.action.name}: {job.action.verb}"
    yield "instance", f"{job.instance} at {job.endpoint}"
    yield "credentials", f"access key {credentials.access_key_id}, from {credentials.source or 'the default chain'}"
    yield "input", _input(run)
    if run.check.protection:
        yield "protected", run.check.protection
    if told := doubt(run.check, job.action):
        yield "", Text(told, style="yellow")
    if run.lifted:
        told = f"{counted(run.lifted, 'row')} that {run.journal.index.protected_by} protected until now: to be called"
        yield "", Text(told, style="yellow")
    if run.already_done:
        yield "done", f"{run.already_done:,} by earlier sessions; this one goes on"
    yield "to call", f"{run.calls:,} {kind} certificate{'s' * (run.calls != 1)}{_looking(run)}"
    yield "CAs", _cas(run)
    lanes = f"{len(job.addresses)} address{'es' * (len(job.addresses) > 1)}"
    caps = f"{options.rate}/s for the account, {options.per_address_rate}/s for an address"
    yield "caps", f"{caps}: {job.rate:.0f}/s from {lanes}"
    if options.rate > ACCOUNT_LIMIT or options.per_address_rate > ADDRESS_LIMIT:
        caution = f"above the documented limits of {ACCOUNT_LIMIT}/s and {ADDRESS_LIMIT}/s the service throttles and"
        yield "", Text(f"{caution} blocks addresses, unless yours were raised", style="yellow")
    yield "time", about(run.calls / job.rate)
    if options.deadline is not None:
        yield "deadline", _deadline(options.deadline, run.calls / job.rate)
    yield "results", str(job.results)
    if options.overwrite and job.results.exists():
        yield "", Text("the earlier results and their journal are dropped (--overwrite)", style="yellow")
    if damaged := run.journal.damaged_lines:
        yield "journal", f"{len(damaged)} damaged lines, the first is line {damaged[0]}; their rows are called again"


def _deadline(deadline: float, needed_s: float) -> str | Text:
    left, when = deadline - time.time(), datetime.fromtimestamp(deadline)  # noqa: DTZ006 - as it was typed
    if left <= 0:
        return Text(f"{when:%Y-%m-%d %H:%M:%S}, which is over: nothing will be called", style="yellow")
    told = f"{when:%Y-%m-%d %H:%M:%S}, in {duration(left)}"
    return told if needed_s < left else Text(f"{told}: sooner than all can be called", style="yellow")


def _looking(run: Run) -> str:
    """Says whether some of it may turn out to need no call."""
    if not run.looks:
        return ""
    wanted, look_first = run.job.action.wanted, run.job.options.look_first
    if wanted == "deleted":
        return f", those that a look does not find as well (--look-first {look_first})"
    return f" at most: what a look finds {wanted} already is left alone (--look-first {look_first})"


def _input(run: Run) -> str:
    check = run.check
    left_out = [f"{check.invalid:,} invalid"] if check.invalid else []
    if check.protected:
        left_out.append(f"{check.protected:,} protected")
    if check.duplicates:
        by_device = run.job.action.by_device
        repeated = (
            counted(check.duplicates, "duplicate") if by_device else f"{check.duplicates:,} of a CA already named"
        )
        left_out.append(repeated)
    return f"{run.job.input}: {counted(check.rows, 'row')}" + (f" ({', '.join(left_out)})" if left_out else "")


def show_not_looked(progress: Progress) -> None:
    """Prints why states could not be read before the first call, if they could not."""
    if progress.not_looked:
        told = f"not looked at first: {progress.not_looked.removesuffix('.')}; rows that were not seen are called"
        stderr.print(Text(told, style="yellow"))


def show_idle(run: Run) -> None:
    """Prints that there is nothing to call, so that nobody takes an earlier session's figures for this one's."""
    if run.to_call:
        stderr.print(Text(f"nothing is called (--limit-rows 0); {run.to_call:,} are left to call"))
        return
    if not run.check.rows:
        stderr.print(Text(f"nothing to call: {run.job.input} has no rows"))
        return
    done = f"all {run.already_done:,} were settled by earlier sessions" if run.already_done else "no row may be called"
    stderr.print(Text(f"nothing to call: {done}; --overwrite starts anew"))


def _cas(run: Run) -> str:
    """Names the CAs of the list: the largest few, or for an action on CAs as many as a person can check."""
    check = run.check
    total = len(check.rows_by_ca) + bool(check.rows_of_other_cas)
    largest = islice(check.rows_by_ca.items(), CAS_SHOWN if run.job.action.by_device else CAS_CHECKED)
    named = [f"{printable(ca)} ({counted(rows, 'row')})" for ca, rows in largest]
    more = f" and {total - len(named):,} more" if total > len(named) else ""
    return f"{len(check.rows_by_ca):,}{' or more' * bool(check.rows_of_other_cas)}: {', '.join(named)}{more}"


def confirm(run: Run) -> None:
    """Asks whether to go on.

    Raises:
        BulkcertError: The answer was no, or there is no terminal to ask.
    """
    _confirm_terminal()
    rows = run.check.rows
    if rows > ASK_FOR_COUNT or not run.job.action.by_device:
        agreed = _answer(f"Type the number of rows ({rows}) to go on: ").replace(",", "") == str(rows)
    else:
        agreed = _answer("Go on? [y/N] ").lower() in ("y", "yes")
    if not agreed:
        raise BulkcertError(ExitStatus.USAGE, "not confirmed; nothing was called")


def confirm_watch(action: Action, rows: int, watch_s: float, undone: TakenBack | None) -> None:
    """Asks whether certificates may be changed while they are watched.

    Args:
        action: What is asked for those that are not as wanted.
        rows: That are watched.
        watch_s: How long, in seconds.
        undone: The undo of the run, if rows were not called after it.

    Raises:
        BulkcertError: The answer was no, or there is no terminal to ask.
    """
    stderr.print(Text(f"to watch for {duration(watch_s)}: {counted(rows, 'row')}; {action.verb} where they are not"))
    if undone is not None:
        told = f"the run was {told_undo(undone)}: what was restored would be called again"
        stderr.print(Text(told, style="bold red"))
    _confirm_terminal()
    if _answer("Go on? [y/N] ").lower() not in ("y", "yes"):
        raise BulkcertError(ExitStatus.USAGE, "not confirmed; nothing was called")


def told_undo(undone: TakenBack) -> str:
    """Returns in words that a run was taken back, when and by what."""
    return f"taken back on {undone.finished} by {undone.results}"


def _confirm_terminal() -> None:
    why = "with --log-format json nothing is asked" if is_json() else "there is no terminal to ask whether to go on"
    if is_json() or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BulkcertError(
            ExitStatus.USAGE,
            f"{why}; nothing was called",
            "Add --yes to run without being asked.",
        )


def _answer(question: str) -> str:
    stderr.print(Text(question), end="")
    try:
        # A signal that comes just before a read would not end it.
        while not select.select([sys.stdin], [], [], SIGNALS_EVERY_S)[0]:
            pass
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        raise BulkcertError(ExitStatus.INTERRUPTED, "interrupted; nothing was called") from None
    except UnicodeDecodeError:
        line = ""
    if not line:
        stderr.print()
    return line.strip()


def show_undone(results: Path, undone: Undone, *, include_unknown: bool) -> None:
    """Prints what an undo takes back, on stderr."""
    unknown = f"{counted(undone.unknown, 'row')} whose state before is not known"
    if undone.rows:
        stderr.print(Text(f"to take back: {counted(undone.rows, 'row')} of {results}, listed in {undone.list_path}"))
        if undone.unknown:
            stderr.print(Text(f"{'among them' if include_unknown else 'left alone'}: {unknown}", style="yellow"))
    elif undone.unknown:
        told = f"nothing to undo: all that {results} tells of are {unknown}, left alone"
        stderr.print(Text(told, style="yellow"))
    else:
        stderr.print(Text(f"nothing to undo: {results} tells of no row that its run has changed"))
