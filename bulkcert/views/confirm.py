"""What a run is about to do, in words on stderr, and whether somebody agrees."""

import sys
import time
from collections.abc import Iterator
from itertools import islice

from rich.text import Text

from bulkcert.engine.progress import Progress
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import Check
from bulkcert.log import is_json
from bulkcert.runs.job import change_of
from bulkcert.runs.options import ServiceOptions
from bulkcert.runs.rates import BLOCKED, above_documented
from bulkcert.runs.run import Run
from bulkcert.runs.undo import Undo
from bulkcert.service.actions import Action
from bulkcert.service.signing import Credentials
from bulkcert.telemetry.notify import waiting
from bulkcert.views.change import change_rows
from bulkcert.views.console import say, stderr, warn
from bulkcert.views.layout import show
from bulkcert.words import about, counted, duration, local, printable

ASK_FOR_COUNT = 1000
"""Above so many rows, and for every CA action, the number of rows must be typed."""

CAS_SHOWN, CAS_CHECKED = 3, 20
"""CAs that a plan names: of a list of devices, and of an action on CAs."""


def show_plan(run: Run, credentials: Credentials) -> None:
    """Prints what a run is about to do, and as whom."""
    show(_plan(run, credentials), stderr)
    if text := caution(run.job.action):
        say(text, style="bold red")


def caution(action: Action) -> str:
    """Returns what to know before an action that cannot be undone; empty for any other."""
    if action.inverse is not None:
        return ""
    if action.cascades != "deletes":
        return f"{action.name} cannot be undone."
    return (
        f"{action.name} cannot be undone: with each CA every device certificate registered under it is deleted; "
        "while a CA of the same chain stays registered, such a device registers itself again, active."
    )


def warn_of_mistakes(run: Run) -> None:
    """Warns, however quiet the run is, of protected serials that protect no row, and of a store across a network."""
    if text := mistake(run.check):
        warn(text)
    if run.opened.store.on_network:
        warn(f"{run.job.files.folder} is on a file system of another machine; --state-dir names a local one")


def _plan(run: Run, credentials: Credentials) -> Iterator[tuple[str, str | Text]]:
    job, options = run.job, run.job.options
    kind = "device" if job.action.by_device else "CA"
    yield "action", f"{job.action.name}: {job.action.verb}"
    yield "instance", f"{job.instance} at {job.endpoint}"
    yield "credentials", f"access key {credentials.access_key_id}, from {credentials.source or 'the default chain'}"
    yield "input", _input(run)
    if run.check.protection:
        yield "protected", run.check.protection
    if run.lifted:
        text = f"{counted(run.lifted, 'row')} that {run.opened.asked.protected_by} protected until now: to be called"
        yield "", Text(text, style="yellow")
    if run.already_done:
        yield "done", f"{run.already_done:,} already finished; resuming"
    yield "to call", f"{counted(run.calls, f'{kind} certificate')}{_preflight(run)}"
    yield "CAs", _cas(run)
    limits = f"{options.rate}/s for the account, {options.per_address_rate}/s for an address"
    yield "limits", f"{limits}: {job.rate:.0f}/s from {counted(len(job.addresses), 'address')}"
    if text := _raised(options):
        yield "", Text(text, style="yellow")
    yield "time", about(run.calls / job.rate)
    if options.deadline is not None:
        yield "deadline", _deadline(options.deadline, run.calls / job.rate)
    yield "results", str(job.results)
    yield from change_rows(run.change)
    if options.overwrite and job.results.exists():
        yield "", Text("what an earlier run with these results has done is dropped (--overwrite)", style="yellow")


def warn_of_limits(options: ServiceOptions) -> None:
    """Says what it costs if limits above the documented ones were not raised; nothing where it is quiet."""
    if not options.quiet and (text := _raised(options)):
        warn(text)


def _raised(options: ServiceOptions) -> str:
    above = [*above_documented(options.rate, options.per_address_rate)]
    return f"above the documented limits, which must have been raised. {BLOCKED}" if above else ""


def _deadline(deadline: float, needed_s: float) -> str | Text:
    left, when = deadline - time.time(), local(deadline)
    if left <= 0:
        return Text(f"{when}, which is over: no calls will be made", style="yellow")
    text = f"{when}, in {duration(left)}"
    return text if needed_s < left else Text(f"{text}: sooner than all can be called", style="yellow")


def _preflight(run: Run) -> str:
    """Says whether some of it may turn out to need no call."""
    if not run.preflights:
        return ""
    desired, preflight = run.job.action.desired, run.job.options.preflight
    if run.job.action.deletes:
        return f", those that preflight does not find as well (--preflight {preflight})"
    return f" at most: what is {desired} already gets no call (--preflight {preflight})"


def _input(run: Run) -> str:
    check = run.check
    left_out = [f"{check.invalid:,} invalid"] if check.invalid else []
    if check.protected:
        left_out.append(f"{check.protected:,} protected")
    if check.duplicates:
        again = f"{check.duplicates:,} of a CA already named"
        left_out.append(counted(check.duplicates, "duplicate") if run.job.action.by_device else again)
    return f"{run.job.list_name}: {counted(check.rows, 'row')}" + (f" ({', '.join(left_out)})" if left_out else "")


def show_no_preflight(progress: Progress) -> None:
    """Prints why states could not be read before the first call, if they could not."""
    if progress.unread_because:
        text = f"no preflight: {progress.unread_because.removesuffix('.')}; rows whose state is not known are called"
        say(text, style="yellow")


def show_idle(run: Run) -> None:
    """Prints that there is nothing to call, so that nobody takes an earlier session's figures for this one's."""
    if run.is_undone:
        say("nothing to call: the run was undone", style="yellow")
    elif not run.check.rows:
        say(f"nothing to call: {run.job.list_name} has no rows")
    else:
        done = f"all {run.already_done:,} already finished" if run.already_done else "no row may be called"
        say(f"nothing to call: {done}; a run with --overwrite starts from scratch")


def _cas(run: Run) -> str:
    """Names the CAs of the list: the largest few, or for an action on CAs as many as a person can check."""
    check = run.check
    total = len(check.rows_by_ca) + bool(check.rows_of_other_cas)
    largest = islice(check.rows_by_ca.items(), CAS_SHOWN if run.job.action.by_device else CAS_CHECKED)
    named = [f"{printable(ca)} ({counted(rows, 'row')})" for ca, rows in largest]
    more = f" and {total - len(named):,} more" if total > len(named) else ""
    return f"{len(check.rows_by_ca):,}{' or more' * bool(check.rows_of_other_cas)}: {', '.join(named)}{more}"


def confirm(rows: int, *, by_device: bool = True) -> None:
    """Asks whether to continue; of many rows, and for every action on CAs, the number must be typed.

    Args:
        rows: That are changed.
        by_device: Whether each is a device.

    Raises:
        BulkcertError: The answer was no, or there is no terminal to ask.
    """
    why = "with --log-format json nothing is asked" if is_json() else "there is no terminal to ask for confirmation"
    if is_json() or not (sys.stdin.isatty() and sys.stderr.isatty()):
        advice = "Add --yes to run without being asked."
        raise BulkcertError(ExitStatus.USAGE, f"{why}; no calls were made", advice)
    if rows > ASK_FOR_COUNT or not by_device:
        wanted = str(rows)
        typed = _answer(f"Type the number of rows ({rows}) to continue: ")
        agreed = typed.replace(",", "") == wanted
    else:
        wanted = "y or yes"
        typed = _answer("Continue? [y/N] ")
        agreed = typed.lower() in ("y", "yes")
    if not agreed:
        text = f"not confirmed: '{printable(typed)}' was typed, not {wanted}" if typed else "not confirmed"
        raise BulkcertError(ExitStatus.USAGE, text, "No calls were made.")


def show_undo(undo: Undo) -> None:
    """Prints what an undo is about to do, on stderr."""
    results = undo.opened.files.results
    unknown = f"{counted(undo.unknown, 'row')} whose state before is not known"
    if undo.rows:
        what = f"{counted(undo.rows, 'row')} of {results}, {undo.action.name} ({undo.action.verb})"
        say(f"to undo: {what}; {about(undo.calls / undo.service.rate)}")
        show(change_rows(change_of(undo.options)), stderr)
        if undo.unknown:
            say(f"{'included' if undo.include_unknown else 'not undone'}: {unknown}", style="yellow")
    elif undo.unknown:
        say(f"nothing to undo: all that {results} has changed are {unknown}, so they are not undone", style="yellow")
    elif undone := undo.opened.status().undone:
        say(f"nothing to undo: all that {results} has changed, {counted(undone, 'row')}, is undone already")
    else:
        say(f"nothing to undo: {results} has no row that its run has changed")


def _answer(question: str) -> str:
    stderr.print(Text(question), end="")
    try:
        with waiting():
            line = sys.stdin.readline()
    except KeyboardInterrupt:
        stderr.print()
        raise BulkcertError(ExitStatus.INTERRUPTED, "interrupted", "No calls were made.") from None
    except UnicodeDecodeError:
        line = ""
    if not line:
        stderr.print()
    return line.strip()


def mistake(check: Check) -> str:
    """Returns which protected serials were meant for rows that they do not protect; empty if none is likely to be.

    What is merely in no row is no mistake: a list that does not change is given to run after run.
    """
    if not (count := len(check.mistaken)):
        return ""
    first = f"'{printable(check.mistaken[0])}'"
    serials = f"serial {first} is" if count == 1 else f"{count:,} serials, the first {first}, are"
    return (
        f"{check.protected_by}: the {serials} in no row exactly, but rows differ from "
        f"{'it' if count == 1 else 'them'} only in letter case or leading zeros, and are NOT protected; write the list "
        "as the rows have it"
    )
