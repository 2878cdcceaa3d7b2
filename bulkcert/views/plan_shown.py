"""A plan on a terminal: names and values, the CAs as a table, and what is to be said about it."""

from collections.abc import Iterator, Mapping

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from bulkcert.runs.found import States
from bulkcert.store.sessions import ChangeRecord
from bulkcert.views.console import say, stdout
from bulkcert.views.layout import GAP, change_rows, columns, lane_rows, show
from bulkcert.views.plan import CaStates, Plan
from bulkcert.views.plan_advice import CAS_SHOWN, share_of
from bulkcert.words import about, counted, endpoints_in_words, instances_in_words, later, printable, spaced, tr

CLOCK_GRAIN_S = 2.0
"""The service gives its time in whole seconds, and an answer takes a while."""


def show_plan(plan: Plan) -> None:
    """Prints a plan on stdout: names and values, a table of the CAs, and advice."""
    show(_facts(plan))
    stdout.print()
    instances = {each.instance: each for each in plan.instances}
    show_states(plan.cas, plan.cas_total, instances, plan.totals, stdout)
    if plan.advice:
        stdout.print()
    for advice in plan.advice:
        say(Text(f"→ {advice}", style="yellow"), stdout, indent=2)


TableRow = tuple[str, str, States, str]
"""The name of a CA or an instance, the instance that is named above it, if any, the states of its rows, and its
devices as far as they were counted."""


def show_states(
    cas: list[CaStates], cas_total: int, instances: Mapping[str, States], totals: States, console: Console
) -> None:
    """Prints what is known of the rows of each instance, if a list names several, and of each CA.

    Args:
        cas: Those with most rows first.
        cas_total: How many there are.
        instances: Those that a list names, if they are several.
        totals: The states of all rows.
        console: Where to.
    """
    if instances:
        named = [(instance, "", states, "") for instance, states in [*instances.items()][:CAS_SHOWN]]
        _show_table(tr("instance"), named, (tr("all instances"), len(instances), totals), console)
        console.print()
    largest = cas[:CAS_SHOWN]
    order = list(dict.fromkeys(ca.instance for ca in largest))
    together = sorted(largest, key=lambda ca: order.index(ca.instance))
    rows: list[TableRow] = [(printable(ca.ca_sn), ca.instance, ca, _registered(ca)) for ca in together]
    _show_table("CA", rows, (tr("all CAs"), cas_total, totals), console)


def _show_table(heading: str, rows: list[TableRow], of_all: tuple[str, int, States], console: Console) -> None:
    """Prints a table; its last line is that of all, with their name, how many there are, and their states."""
    name, total, totals = of_all
    *lines, last = _lines(heading, [*rows, (name, "", totals, "")], console.width if console.is_terminal else None)
    console.print(Text(lines[0], style="bold"))
    above = ""
    for line, (_, instance, *_) in zip(lines[1:], rows, strict=True):
        if instance != above:
            console.print(Text(above := instance, style="bold"))
        console.print(Text(line))
    if total > CAS_SHOWN:
        console.print(tr("and {count:,} more", count=total - CAS_SHOWN))
    if total > 1:
        console.print(last)


def _lines(heading: str, rows: list[TableRow], width: int | None) -> Iterator[str]:
    """Yields the lines of the table; before a serial is cut, the share and columns of zeros make room for it."""
    by_name = {heading: [name for name, *_ in rows]}
    all_states = [states for *_, states, _ in rows]
    for field in States.__struct_fields__:
        figures = [getattr(states, field) for states in all_states]
        if field != "not_read" or any(figures):
            by_name[spaced(field)] = [f"{figure:,}" for figure in figures]
    *own, totals = all_states
    by_name[tr("of rows")] = [*(share_of(states.rows, totals.rows) for states in own), ""]
    if any(devices for *_, devices in rows):
        by_name[tr("devices")] = [devices for *_, devices in rows]
    for name in (tr("of rows"), *(name for name, cells in tuple(by_name.items()) if set(cells) == {"0"})):
        widths = [max(map(cell_len, (key, *cells))) + GAP for key, cells in by_name.items()]
        if width is not None and sum(widths) - GAP > width:
            del by_name[name]
    return columns([list(by_name), *zip(*by_name.values(), strict=True)], width, figures_from=1)


def _facts(plan: Plan) -> Iterator[tuple[str, str]]:
    key, may = plan.credentials, plan.permissions
    refused = may.read_one is False and may.read_pages is False
    unread = tr("not known: reading was refused") if refused and plan.instance_ok is None else ""
    yield tr("action"), plan.action
    reachable = unread or _known(plan.instance_ok, tr("reachable"), tr("not known"))
    endpoints = {each.instance: each.endpoint for each in plan.instances}
    on, at = instances_in_words(plan.instance, endpoints), endpoints_in_words(plan.endpoint, endpoints)
    where = tr("{instance} at {endpoint}", instance=on, endpoint=at)
    yield tr("instance"), f"{where}{tr(': ')}{reachable}"
    yield from columns_used(plan.instance_column, plan.region_column)
    signed = tr("access key {key}, from {source}", key=key.access_key_id, source=tr(key.source))
    yield tr("credentials"), signed + tr(", temporary") * key.temporary
    yes, no = tr("yes"), tr("no")
    reads = {"read": _known(may.read_one, yes, no), "list": _known(may.read_pages, yes, no)}
    yield tr("permissions"), tr("to read {read}, to list {list}", **reads)
    needed = ", ".join(may.needed)
    yield "", tr("the permission to change shows only in changing; the run needs {permissions}", permissions=needed)
    for name in may.needed:
        if name.startswith("mq:Unregister"):
            yield "", tr("{name} is the vendor's name of the permission to inactivate; it deletes nothing", name=name)
    yield tr("clock"), _clock(plan.clock_ahead_s)
    counts = {"invalid": plan.invalid, "protected": plan.protected, "duplicates": counted(plan.duplicates, "duplicate")}
    left_out = tr("{invalid:,} invalid, {duplicates}, {protected:,} protected", **counts)
    yield tr("input"), f"{plan.input}{tr(': ')}{counted(plan.rows, 'row')} ({left_out})"
    if plan.protection:
        yield tr("protected"), plan.protection
    yield from change_rows(ChangeRecord(plan.options.get("ticket", ""), plan.options.get("reason", "")))
    calls = plan.calls
    both = f"{counted(calls.changing, 'write')}{tr(', ')}{counted(calls.reading, 'read')}"
    yield tr("calls"), f"{calls.total:,}{tr(': ')}{both}"
    addresses, time = counted(plan.time.source_addresses, "source address"), about(plan.time.seconds)
    pace = tr("{time} from {addresses} ({rate:,.0f}/s)", time=time, addresses=addresses, rate=plan.time.rate)
    yield from lane_rows(plan.lanes)
    yield tr("time"), pace
    ready = tr("the run could start") + tr(", if it may change what it may not read") * refused
    ready = tr("the run would not start; see below") if plan.exit_status else ready
    yield tr("exit status"), f"{plan.exit_status}{tr(': ')}{ready}"


def columns_used(instance: str | None, region: str | None) -> Iterator[tuple[str, str]]:
    """Yields which columns of the list say instance and region, if any does."""
    if instance is not None and region is not None:
        yield "", tr("by the columns {instance} and {region} of the list", instance=instance, region=region)
    elif (column := instance or region) is not None:
        yield "", tr("by the column {column} of the list", column=column)


def _known(found: bool | None, yes: str, no: str) -> str:
    return tr("not tried") if found is None else yes if found else no


def _clock(ahead_s: float | None) -> str:
    if ahead_s is None:
        return tr("difference to the service's not known")
    if abs(ahead_s) <= CLOCK_GRAIN_S:
        return tr("the same as the service's, within about 2 s")
    ahead = later("{seconds:,.0f} s ahead of the service's (15 minutes are allowed)")
    behind = later("{seconds:,.0f} s behind the service's (15 minutes are allowed)")
    return tr(ahead if ahead_s > 0 else behind, seconds=abs(ahead_s))


def _registered(ca: CaStates) -> str:
    if ca.registered_at_least is None:
        return ""
    counted_so_far = f"{ca.registered_at_least:,}"
    return tr("at least {what}", what=counted_so_far) if ca.registered is None else counted_so_far
