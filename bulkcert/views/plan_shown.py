"""A plan on a terminal: names and values, the CAs as a table, and what is to be said about it."""

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from bulkcert.runs.found import States
from bulkcert.store.schema import ChangeRecord
from bulkcert.views.change import change_rows
from bulkcert.views.console import say, stdout
from bulkcert.views.layout import GAP, columns, show
from bulkcert.views.plan import CAS_SHOWN, CLOCK_GRAIN_S, CaStates, Plan, share_of
from bulkcert.words import about, counted, printable


def show_plan(plan: Plan) -> None:
    """Prints a plan on stdout: names and values, a table of the CAs, and advice."""
    show(_facts(plan))
    stdout.print()
    show_table(CaTable(plan.cas, plan.totals, plan.cas_total), stdout)
    if plan.advice:
        stdout.print()
    for advice in plan.advice:
        say(Text(f"→ {advice}", style="yellow"), stdout, indent=2)


class CaTable(NamedTuple):
    """What is known of the rows of each CA, and of all."""

    cas: list[CaStates]
    totals: States
    cas_total: int


def show_table(plan: CaTable, console: Console) -> None:
    """Prints what is known of the rows of each CA."""
    for number, line in enumerate(_table(plan, console.width if console.is_terminal else None)):
        console.print(Text(line, style="" if number else "bold"))
    if plan.cas_total > CAS_SHOWN:
        console.print(f"and {plan.cas_total - CAS_SHOWN:,} more")


def _table(plan: CaTable, width: int | None) -> Iterator[str]:
    """Yields the lines of the table; before a serial is cut, the share and columns of zeros make room for it."""
    rows = [(printable(ca.ca_sn), ca, _registered(ca)) for ca in plan.cas[:CAS_SHOWN]]
    by_name = {"CA": [name for name, *_ in rows] + ["all CAs"]}
    for field in States.__struct_fields__:
        figures = [getattr(states, field) for states in (*(states for _, states, _ in rows), plan.totals)]
        if field != "not_read" or any(figures):
            by_name[field.replace("_", " ")] = [f"{figure:,}" for figure in figures]
    by_name["of rows"] = [share_of(states.rows, plan.totals.rows) for _, states, _ in rows] + [""]
    if any(registered for *_, registered in rows):
        by_name["devices"] = [registered for *_, registered in rows] + [""]
    for name in ("of rows", *(name for name, cells in tuple(by_name.items()) if set(cells) == {"0"})):
        widths = [max(map(len, (key, *cells))) + GAP for key, cells in by_name.items()]
        if width is not None and sum(widths) - GAP > width:
            del by_name[name]
    return columns([list(by_name), *zip(*by_name.values(), strict=True)], width, figures_from=1)


def _facts(plan: Plan) -> Iterator[tuple[str, str]]:
    key, may = plan.credentials, plan.permissions
    refused = may.read_one is False and may.read_pages is False
    unread = "not known: reading was refused" if refused and plan.instance_ok is None else ""
    yield "action", plan.action
    reachable = unread or _known(plan.instance_ok, "reachable", "not known")
    yield "instance", f"{plan.instance} at {plan.endpoint}: {reachable}"
    yield "credentials", f"access key {key.access_key_id}, from {key.source}{', temporary' * key.temporary}"
    yield "permissions", f"to read {_known(may.read_one, 'yes', 'no')}, to list {_known(may.read_pages, 'yes', 'no')}"
    yield "", f"the permission to change shows only in changing; the run needs {', '.join(may.needed)}"
    for name in may.needed:
        if name.startswith("mq:Unregister"):
            yield "", f"{name} is the vendor's name of the permission to inactivate; it deletes nothing"
    yield "clock", _clock(plan.clock_ahead_s)
    left_out = f"{plan.invalid:,} invalid, {counted(plan.duplicates, 'duplicate')}, {plan.protected:,} protected"
    yield "input", f"{plan.input}: {counted(plan.rows, 'row')} ({left_out})"
    if plan.protection:
        yield "protected", plan.protection
    yield from change_rows(ChangeRecord(plan.options.get("ticket", ""), plan.options.get("reason", "")))
    calls = plan.calls
    yield "calls", f"{calls.total:,}: {counted(calls.changing, 'write')}, {counted(calls.reading, 'read')}"
    addresses = counted(plan.time.source_addresses, "source address")
    yield "time", f"{about(plan.time.seconds)} from {addresses} ({plan.time.rate:,.0f}/s)"
    ready = f"the run could start{', if it may change what it may not read' * refused}"
    ready = "the run would not start; see below" if plan.exit_status else ready
    yield "exit status", f"{plan.exit_status}: {ready}"


def _known(found: bool | None, yes: str, no: str) -> str:
    return "not tried" if found is None else yes if found else no


def _clock(ahead_s: float | None) -> str:
    if ahead_s is None:
        return "difference to the service's not known"
    if abs(ahead_s) <= CLOCK_GRAIN_S:
        return "the same as the service's, within about 2 s"
    return f"{abs(ahead_s):,.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the service's (15 minutes are allowed)"


def _registered(ca: CaStates) -> str:
    """Returns how many device certificates a CA has, as far as they were counted."""
    if ca.registered_at_least is None:
        return ""
    return f"{'at least ' * (ca.registered is None)}{ca.registered_at_least:,}"
