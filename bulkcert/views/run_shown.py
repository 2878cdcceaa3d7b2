"""What a run is about to do, and what was found of its list, on stderr."""

import time
from collections.abc import Iterator
from itertools import islice

from rich.text import Text

from bulkcert.engine.progress import Progress
from bulkcert.input import Check
from bulkcert.output.advice import on_unregistered
from bulkcert.runs.found import Found
from bulkcert.runs.run import Run
from bulkcert.service.actions import Action
from bulkcert.service.signing import Credentials
from bulkcert.views.change import change_rows
from bulkcert.views.confirm import raised_limits
from bulkcert.views.console import say, stderr, warn
from bulkcert.views.layout import rehearsal_line, show
from bulkcert.views.plan import cas_of, mistake, on_devices, on_none
from bulkcert.views.plan_shown import CaTable, show_table
from bulkcert.words import about, counted, duration, local, printable

CAS_SHOWN, CAS_CHECKED = 3, 20
"""CAs that a plan names: of a list of devices, and of an action on CAs."""


def show_plan(run: Run, credentials: Credentials) -> None:
    """Prints what a run is about to do, and as whom; a table of the CAs once it has looked."""
    show(_plan(run, credentials), stderr)
    if run.found is not None and run.found.by_ca:
        action = run.job.action
        cas = CaTable(cas_of(action, run.found), run.found.states(action), _cas_in_all(run.check))
        show_table(cas, stderr)
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
    yield from rehearsal_line(rehearsal=job.rehearsal)
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
    if run.found is None:
        yield "to call", f"{counted(run.calls, f'{kind} certificate')}{_preflight(run)}"
        yield "CAs", _cas(run)
    else:
        yield from _found(run, run.found)
    limits = f"{options.rate}/s for the account, {options.per_address_rate}/s for an address"
    yield "limits", f"{limits}: {job.rate:.0f}/s from {counted(job.lane_count, 'address')}"
    if text := raised_limits(options):
        yield "", Text(text, style="yellow")
    yield "time", about(run.left / job.rate)
    if options.deadline is not None:
        yield "deadline", _deadline(options.deadline, run.left / job.rate)
    yield "results", str(job.results)
    yield from change_rows(run.change)
    if options.overwrite and job.results.exists():
        yield "", Text("what an earlier run with these results has done is dropped (--overwrite)", style="yellow")


def _found(run: Run, found: Found) -> Iterator[tuple[str, str | Text]]:
    """Yields what was found, and what will be made of it."""
    action, states, options = run.job.action, found.states(run.job.action), run.job.options
    kind = "device" if action.by_device else "CA"
    at_most = "at most " * (states.not_read > 0 or run.changing < states.may_change)
    yield "will change", Text(f"{at_most}{counted(run.changing, f'{kind} certificate')}", style="bold")
    if run.changing < states.may_change:
        yield "", f"of {states.may_change:,}: no more than {options.limit_rows:,} are called (--limit-rows)"
    if states.already:
        yield "unchanged", f"{states.already:,} {action.desired} already: no call is made"
    if states.not_registered:
        words = on_unregistered(action, protected=run.check.spares_cas)
        yield "unregistered", Text(f"{states.not_registered:,} called all the same; {words}", style="yellow")
    if text := on_none(action, found, run.opened.pinned):
        yield "", Text(text, style="bold yellow")
    if states.not_read:
        yield "not read", Text(f"{states.not_read:,} called, whatever they are now{_unread(run)}", style="yellow")
    if text := on_devices(action, found):
        yield "devices", Text(text, style="bold red" if action.cascades else "")
    read = run.progress.sends.sends
    yield "calls", f"{counted(run.left, 'write')}" + (f"; {counted(read, 'read')} so far" if read else "")


def _unread(run: Run) -> str:
    """Returns why the states of some rows are not known."""
    if run.progress.unread_because:
        return f": {run.progress.unread_because.removesuffix('.')}"
    # Of what an earlier session has called, or may have, no state is kept from before.
    return "" if run.already_done and run.mode != "never" else f" (--preflight {run.mode})"


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


def _cas_in_all(check: Check) -> int:
    return len(check.rows_by_ca) + bool(check.rows_of_other_cas)


def _cas(run: Run) -> str:
    """Names the CAs of the list: the largest few, or for an action on CAs as many as a person can check."""
    check, total = run.check, _cas_in_all(run.check)
    largest = islice(check.rows_by_ca.items(), CAS_SHOWN if run.job.action.by_device else CAS_CHECKED)
    named = [f"{printable(ca)} ({counted(rows, 'row')})" for ca, rows in largest]
    more = f" and {total - len(named):,} more" if total > len(named) else ""
    return f"{len(check.rows_by_ca):,}{' or more' * bool(check.rows_of_other_cas)}: {', '.join(named)}{more}"
