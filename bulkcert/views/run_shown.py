"""What a run is about to do, and what was found of its list, on stderr."""

import time
from collections.abc import Iterator
from itertools import islice

from rich.text import Text

from bulkcert.engine.progress import Progress
from bulkcert.output.advice import on_unregistered
from bulkcert.runs.found import Found
from bulkcert.runs.run import Run
from bulkcert.service.actions import Action
from bulkcert.service.signing import Credentials
from bulkcert.views.confirm import kind_of, raised_limits
from bulkcert.views.console import say, stderr
from bulkcert.views.layout import change_rows, lane_rows, named_lanes, rehearsal_line, show
from bulkcert.views.plan import cas_of, instance_states
from bulkcert.views.plan_advice import CAS_NAMED, CAS_SHOWN, ca_named, on_devices, on_none
from bulkcert.views.plan_shown import columns_used, show_states
from bulkcert.words import about, counted, duration, later, local, tr


def show_plan(run: Run, credentials: Credentials) -> None:
    """Prints what a run is about to do, and as whom; a table of the CAs once it has looked."""
    show(_plan(run, credentials), stderr)
    if run.found is not None and run.found.by_ca:
        action = run.job.action
        instances = instance_states(action, run.found, run.job.instances)
        stderr.print()
        show_states(cas_of(action, run.found), len(run.found.by_ca), instances, run.found.states(action), stderr)
    if text := caution(run.job.action):
        say(text, style="bold red")


def caution(action: Action) -> str:
    """Returns what to know before an action that cannot be undone; empty for any other."""
    if action.inverse is not None:
        return ""
    if action.cascades != "deletes":
        return tr("{action} cannot be undone.", action=action.name)
    return tr(
        "{action} cannot be undone: with each CA every device certificate registered under it is deleted; while a CA "
        "of the same chain stays registered, such a device registers itself again, active.",
        action=action.name,
    )


def on_network(run: Run) -> str:
    """Returns what to know of a store that is across a network; empty where it is not."""
    if not run.opened.store.on_network:
        return ""
    return f"{run.job.files.folder} is on a file system of another machine; --state-dir names a local one"


def _plan(run: Run, credentials: Credentials) -> Iterator[tuple[str, str | Text]]:
    job, options = run.job, run.job.options
    yield from rehearsal_line() if job.rehearsal else ()
    yield tr("action"), f"{job.action.name}{tr(': ')}{tr(job.action.verb)}"
    yield tr("instance"), tr("{instance} at {endpoint}", instance=job.on, endpoint=job.at)
    used = zip(run.check.instance_columns, (options.instance, options.region), strict=True)
    yield from columns_used(*(None if given else column for column, given in used))
    source = tr(credentials.source or later("the default chain"))
    yield tr("credentials"), tr("access key {key}, from {source}", key=credentials.access_key_id, source=source)
    yield tr("input"), _input(run)
    if run.check.protection:
        yield tr("protected"), run.check.protection
    if run.lifted:
        said = later("{rows} that {file} protected until now: to be called")
        lifted = tr(said, rows=counted(run.lifted, "row"), file=run.opened.asked.protected_by)
        yield "", Text(lifted, style="yellow")
    if run.already_done:
        yield tr("done"), tr("{count:,} already finished; resuming", count=run.already_done)
    if run.found is None:
        yield tr("to call"), f"{counted(run.calls, kind_of(job.action))}{_preflight(run)}"
        yield tr("CAs"), _cas(run)
    else:
        yield from _found(run, run.found)
    limits = {"account": options.rate, "address": options.per_address_rate, "rate": job.rate}
    said = later("{account}/s for the account, {address}/s for an address: {rate:.0f}/s from {addresses}")
    yield tr("limits"), tr(said, **limits, addresses=counted(job.lane_count, "address"))
    if text := raised_limits(options):
        yield "", Text(text, style="yellow")
    yield from lane_rows(named_lanes(run.progress))
    yield tr("time"), about(run.left / job.rate)
    if options.deadline is not None:
        yield tr("deadline"), _deadline(options.deadline, run.left / job.rate)
    yield tr("results"), str(job.files.results)
    if run.replaces:
        yield "", tr("in place of those of another run, which has changed nothing")
    yield from change_rows(run.change)
    if options.overwrite and job.files.results.exists():
        dropped = tr("what an earlier run with these results has done is dropped (--overwrite)")
        yield "", Text(dropped, style="yellow")


def _found(run: Run, found: Found) -> Iterator[tuple[str, str | Text]]:
    action, states, options = run.job.action, found.states(run.job.action), run.job.options
    certificates = counted(run.changing, kind_of(action))
    is_most = states.not_read > 0 or run.changing < states.may_change
    yield tr("will change"), Text(tr("at most {what}", what=certificates) if is_most else certificates, style="bold")
    if run.changing < states.may_change:
        said = later("of {count:,}: no more than {limit:,} are called (--limit-rows)")
        yield "", tr(said, count=states.may_change, limit=options.limit_rows)
    if states.already:
        said = later("{count:,} {state} already: no call is made")
        yield tr("unchanged"), tr(said, count=states.already, state=tr(action.desired))
    if states.not_registered:
        words = on_unregistered(action, protected=run.check.spares_cas)
        said = later("{count:,} called all the same; {what}")
        yield tr("unregistered"), Text(tr(said, count=states.not_registered, what=words), style="yellow")
    if text := on_none(action, found):
        yield "", Text(text, style="bold yellow")
    if states.not_read:
        said = later("{count:,} called, whatever they are now{why}")
        yield tr("not read"), Text(tr(said, count=states.not_read, why=_unread(run)), style="yellow")
    if run.changing and (text := on_devices(action, found)):
        yield tr("devices"), Text(text, style="bold red" if action.cascades else "")
    read = run.progress.sends.sends
    reads = tr("; {reads} so far", reads=counted(read, "read")) if read else ""
    yield tr("calls"), f"{counted(run.left, 'write')}{reads}"


def _unread(run: Run) -> str:
    if run.progress.unread_because:
        return f"{tr(': ')}{run.progress.unread_because.removesuffix('.')}"
    # Of what an earlier session has called, or may have, no state is kept from before.
    return "" if run.already_done and run.mode != "never" else f" (--preflight {run.mode})"


def _deadline(deadline: float, needed_s: float) -> str | Text:
    left, when = deadline - time.time(), local(deadline)
    if left <= 0:
        return Text(tr("{when}, which is over: no calls will be made", when=when), style="yellow")
    text = tr("{when}, in {time}", when=when, time=duration(left))
    return text if needed_s < left else Text(tr("{when}: sooner than all can be called", when=text), style="yellow")


def _preflight(run: Run) -> str:
    if not run.preflights:
        return ""
    desired, preflight = run.job.action.desired, run.job.options.preflight
    if run.job.action.deletes:
        return tr(", those that preflight does not find as well (--preflight {mode})", mode=preflight)
    said = later(" at most: what is {state} already gets no call (--preflight {mode})")
    return tr(said, state=tr(desired), mode=preflight)


def _input(run: Run) -> str:
    check = run.check
    left_out = [tr("{count:,} invalid", count=check.invalid)] if check.invalid else []
    if check.protected:
        left_out.append(tr("{count:,} protected", count=check.protected))
    if check.duplicates:
        again = tr("{count:,} of a CA already named", count=check.duplicates)
        left_out.append(counted(check.duplicates, "duplicate") if run.job.action.by_device else again)
    rows = f"{run.job.list_name}{tr(': ')}{counted(check.rows, 'row')}"
    return rows + (f" ({tr(', ').join(left_out)})" if left_out else "")


def show_no_preflight(progress: Progress) -> None:
    """Prints why states could not be read before the first call."""
    begins = "not all states were read" if progress.pages or progress.reads else "no preflight"
    text = f"{begins}: {progress.unread_because.removesuffix('.')}; rows whose state is not known are called"
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
    check, total = run.check, run.check.ca_count
    largest = islice(check.rows_by_ca.items(), CAS_NAMED if run.job.action.by_device else CAS_SHOWN)
    named = [f"{ca_named(ca)} ({counted(rows, 'row')})" for ca, rows in largest]
    more = f" {tr('and {count:,} more', count=total - len(named))}" if total > len(named) else ""
    count = f"{len(check.rows_by_ca):,}" + tr(" or more") * (total > len(check.rows_by_ca))
    return f"{count}{tr(': ')}{tr(', ').join(named)}{more}"
