"""A plan as it is read: one JSON object, the same as a table, and what is to be said about it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec
from rich.text import Text

from bulkcert.engine.pacer import bucket_rate, lane_cap
from bulkcert.errors import ExitStatus
from bulkcert.input import printable
from bulkcert.runs.job import WRONG_SIZE, wrong_size
from bulkcert.runs.plan import MANY_ROWS, MOST_SHARE, NEARLY_ALL, Inquiry
from bulkcert.service.actions import Action
from bulkcert.service.certificates import Status
from bulkcert.service.operations import INSTANCE_ACCESS
from bulkcert.service.signing import Credentials
from bulkcert.views.advice import on_unregistered
from bulkcert.views.confirm import mistake
from bulkcert.views.console import say, stdout
from bulkcert.views.layout import columns, show
from bulkcert.words import about, counted

CAS_LISTED = 1000
"""CAs that the JSON names, most rows first."""

CLOCK_GRAIN_S = 2.0
"""The service gives its time in whole seconds, and an answer takes a while."""


CAS_SHOWN, CAS_NAMED = 20, 3
"""CAs that the table and one piece of advice name, most rows first."""


class States(msgspec.Struct, frozen=True):
    """How many rows that may be called are in each state; ``rows`` is their sum."""

    rows: int
    already: int
    not_registered: int
    to_change: int
    not_read: int


class CaStates(States, frozen=True, kw_only=True):
    """The same for the rows of one CA.

    Attributes:
        ca_sn: The CA.
        registered: Its device certificates; None where not all of them were counted.
        registered_at_least: Those that were counted, though there may be more; None where none were.
    """

    ca_sn: str
    registered: int | None
    registered_at_least: int | None


class PlannedCalls(msgspec.Struct, frozen=True):
    """What the run would call."""

    changing: int
    reading: int
    total: int


class Pace(msgspec.Struct, frozen=True):
    """How long the calls take from so many source addresses at the caps."""

    source_addresses: int
    rate: float
    seconds: float


class Key(msgspec.Struct, frozen=True):
    """What calls are signed with."""

    access_key_id: str
    source: str
    temporary: bool


class Permissions(msgspec.Struct, frozen=True):
    """What may be read; ``needed`` are the RAM actions of the run. Null is not known."""

    read_one: bool | None
    read_pages: bool | None
    needed: list[str]


class Plan(msgspec.Struct, frozen=True):
    """What a run would find and do; every figure of the table is here too."""

    action: str
    instance: str
    endpoint: str
    input: str
    input_sha256: str
    preflight: str
    rows: int
    invalid: int
    duplicates: int
    protected: int
    protection: str
    totals: States
    cas_total: int
    cas: list[CaStates]
    calls: PlannedCalls
    times: list[Pace]
    credentials: Key
    permissions: Permissions
    instance_ok: bool | None
    clock_ahead_s: float | None
    unread_because: str
    advice: list[str]
    exit_status: int


def make_plan(inquiry: Inquiry, credentials: Credentials) -> Plan:
    """Returns the plan that an inquiry comes to."""
    question, checked, found = inquiry.question, inquiry.check, inquiry.findings
    action, options = question.action, question.options
    named = {ca: counted for ca, counted in found.by_ca.items() if ca is not None}
    largest = sorted(named, key=lambda ca: (-named[ca].total(), ca))
    totals = _states(inquiry, sum(found.by_ca.values(), Counter()))
    changing = totals.rows - totals.already
    calls = PlannedCalls(changing, found.reading, changing + found.reading)
    refused = (checked.invalid and not options.skip_invalid) or (checked.protected and not options.skip_protected)
    size = wrong_size(options, question.list_name, checked.rows)
    cas_total = len(checked.rows_by_ca) + bool(checked.rows_of_other_cas)
    plan = Plan(
        action=action.name,
        instance=question.instance,
        endpoint=str(question.endpoint),
        input=question.list_name,
        input_sha256=checked.sha256,
        preflight=options.preflight,
        rows=checked.rows,
        invalid=checked.invalid,
        duplicates=checked.duplicates,
        protected=checked.protected,
        protection=checked.protection,
        totals=totals,
        cas_total=cas_total,
        cas=[_ca(inquiry, ca, named[ca]) for ca in largest[:CAS_LISTED]],
        calls=calls,
        times=_times(inquiry, calls.total),
        credentials=Key(
            credentials.access_key_id,
            credentials.source or "the default chain",
            credentials.security_token is not None,
        ),
        permissions=Permissions(found.may_read, found.may_list, _needed(inquiry)),
        instance_ok=found.knows_instance,
        clock_ahead_s=None if found.clock_ahead_s is None else round(found.clock_ahead_s, 1),
        unread_because=found.unread_because,
        advice=[],
        exit_status=int(ExitStatus.INPUT_INVALID if refused or size else ExitStatus.OK),
    )
    return msgspec.structs.replace(plan, advice=list(_advice(plan, inquiry, credentials)))


def _states(inquiry: Inquiry, counted: Counter[Status | None]) -> States:
    wanted, rows = inquiry.question.action.desired_status, counted.total()
    absent, unseen = counted[Status.NOT_REGISTERED], counted[None]
    # What is not registered is deleted all the same: the call costs little, and "not found" is an outcome of its own.
    already = counted[wanted] if wanted is not Status.NOT_REGISTERED else 0
    return States(rows, already, absent, rows - already - unseen - absent, unseen)


def _ca(inquiry: Inquiry, ca: str, counted: Counter[Status | None]) -> CaStates:
    registered = inquiry.findings.registered.get(ca)
    return CaStates(
        **msgspec.structs.asdict(_states(inquiry, counted)),
        ca_sn=ca,
        registered=registered.devices if registered and registered.whole else None,
        registered_at_least=registered.devices if registered else None,
    )


def _times(inquiry: Inquiry, calls: int) -> list[Pace]:
    options, own = inquiry.question.options, len(inquiry.question.addresses)
    paces: list[Pace] = []
    for addresses in sorted({1, 2, own}):
        cap = lane_cap(options.rate, options.per_address_rate, addresses)
        if cap >= 1:
            rate = bucket_rate(cap) * addresses
            pace = Pace(addresses, round(rate, 2), round(calls / rate, 1))
            # More addresses are worth naming where they are faster, or are those of the run.
            if addresses == own or not paces or rate > paces[-1].rate:
                paces.append(pace)
    return paces


def _needed(inquiry: Inquiry) -> list[str]:
    action, preflight = inquiry.question.action, inquiry.question.options.preflight
    operations = [action.operation]
    operations += [action.listing] * (preflight != "never") + [action.reading] * (preflight == "always")
    access = [INSTANCE_ACCESS] * any(operation.needs_instance_access for operation in operations)
    return [*[operation.ram_action for operation in operations], *access]


def _advice(plan: Plan, inquiry: Inquiry, credentials: Credentials) -> Iterator[str]:
    if plan.exit_status:
        yield "the run would not start (65): see below"
    if text := wrong_size(inquiry.question.options, inquiry.question.list_name, plan.rows):
        yield f"{text}. {WRONG_SIZE}"
    yield from _on_left_out(plan, inquiry)
    action = inquiry.question.action
    if action.cascades:
        yield from _on_cascading(action, plan.cas[:CAS_SHOWN])
    # What may be under any CA may be under this one.
    if action.name == "inactivate-device" and not inquiry.check.unplaced:
        worth = [ca for ca in plan.cas[:CAS_SHOWN] if _is_worth_a_call(inquiry, ca, plan.totals.rows)]
        yield from (_on_inactivating(ca, plan.totals.rows) for ca in worth[:CAS_NAMED])
    if plan.totals.not_registered:
        yield _on_unregistered(plan, inquiry)
    if plan.unread_because:
        yield f"states cannot be read, so a run calls every row whose state was not read: {plan.unread_because}"
    needed = next(pace for pace in plan.times if pace.source_addresses == len(inquiry.question.addresses)).seconds
    if credentials.security_token is not None:
        yield (
            "these credentials are temporary, and a token that was set by hand cannot be renewed by the run "
            f"({about(needed)}); if they end first, it stops and can be resumed"
        )


def _on_cascading(action: Action, cas: Sequence[CaStates]) -> Iterator[str]:
    """Yields what an action on CAs does to the device certificates registered under them."""
    hit = [ca for ca in cas if ca.registered_at_least]
    if hit:
        named = [f"of {printable(ca.ca_sn)} {_registered(ca)}" for ca in hit[:CAS_NAMED]]
        named[0] = f"of {printable(hit[0].ca_sn)} {action.cascades} {_registered(hit[0])} device certificate"
        named[0] += "s" * (hit[0].registered_at_least != 1)
        more = f"; {len(hit) - CAS_NAMED:,} more CAs are in the table" * (len(hit) > CAS_NAMED)
        yield f"{action.name} {', '.join(named)}{more}{'; nothing brings them back' * action.deletes}"
    if uncounted := sum(ca.registered_at_least is None for ca in cas):
        yield f"{action.name} {action.cascades} device certificates of {counted(uncounted, 'CA')} that were not counted"


def _is_worth_a_call(inquiry: Inquiry, ca: CaStates, rows: int) -> bool:
    """Returns whether one inactivate-ca might do in place of many calls, and touch nothing that is protected."""
    if ca.rows <= MANY_ROWS or ca.already == ca.rows or ca.ca_sn in inquiry.check.protected_cas:
        return False
    nearly_all = ca.registered is not None and 0 < NEARLY_ALL * ca.registered <= ca.already + ca.to_change
    return nearly_all or ca.rows / rows >= MOST_SHARE


def _on_inactivating(ca: CaStates, rows: int) -> str:
    # What was not looked at may be among the registered ones.
    others = max(0, (ca.registered_at_least or 0) - ca.already - ca.to_change - ca.not_read)
    whole = ca.registered is not None and not ca.not_read
    devices = f"{'at least ' * (not whole)}{counted(others, 'registered device')}" if others or whole else "uncounted"
    return (
        f"{_share(ca.rows, rows)} of the rows share CA {printable(ca.ca_sn)}: one inactivate-ca would refuse all of "
        f"its devices at once, also those that are not registered yet; devices that are not listed: {devices}"
    )


def _registered(ca: CaStates) -> str:
    """Returns how many device certificates a CA has, as far as they were counted."""
    if ca.registered_at_least is None:
        return ""
    return f"{'at least ' * (ca.registered is None)}{ca.registered_at_least:,}"


def _share(part: int, whole: int) -> str:
    return f"{int(100 * part / whole)} %" if whole else ""


def _on_left_out(plan: Plan, inquiry: Inquiry) -> Iterator[str]:
    """Yields which rows are not to be called, and what is doubtful about that."""
    options = inquiry.question.options
    if plan.invalid:
        first = inquiry.check.first_invalid[0]
        place = f"{plan.input}:{first.line or first.row}: {first.column}: {first.reason}{first.shown}"
        rows = "1 row is" if plan.invalid == 1 else f"{plan.invalid:,} rows are"
        skipped = (
            "skipped (--skip-invalid)" if options.skip_invalid else "correct what is wrong, or give --skip-invalid"
        )
        yield f"{rows} invalid, the first: {place}; {skipped}"
    if plan.protected:
        rows = "1 row is" if plan.protected == 1 else f"{plan.protected:,} rows are"
        taken_out = f"take {'it' if plan.protected == 1 else 'them'} out of the list, or give --skip-protected"
        skipped = "skipped (--skip-protected)" if options.skip_protected else taken_out
        yield f"{rows} protected by {inquiry.check.protected_by}; {skipped}"
    if text := mistake(inquiry.check):
        yield text


def _on_unregistered(plan: Plan, inquiry: Inquiry) -> str:
    count, checked = plan.totals.not_registered, inquiry.check
    absent = f"{count:,} serial{' is' if count == 1 else 's are'} not registered"
    protected = bool(checked.protected_cas or checked.unplaced)
    return f"{absent}: {on_unregistered(inquiry.question.action, protected=protected)}"


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def show_plan(plan: Plan) -> None:
    """Prints a plan on stdout: names and values, a table of the CAs, and advice."""
    show(_facts(plan))
    stdout.print()
    for number, line in enumerate(_table(plan, stdout.width if stdout.is_terminal else None)):
        stdout.print(Text(line, style="" if number else "bold"))
    if plan.cas_total > CAS_SHOWN:
        stdout.print(f"and {plan.cas_total - CAS_SHOWN:,} more")
    if plan.advice:
        stdout.print()
    for advice in plan.advice:
        say(Text(f"→ {advice}", style="yellow"), stdout, indent=2)


def _table(plan: Plan, width: int | None) -> Iterator[str]:
    """Yields the lines of the table; a column in which nothing stands is left out."""
    rows = [(printable(ca.ca_sn), ca, _registered(ca)) for ca in plan.cas[:CAS_SHOWN]]
    by_name = {"CA": [name for name, *_ in rows] + ["all CAs"]}
    for field in States.__struct_fields__:
        figures = [getattr(states, field) for states in (*(states for _, states, _ in rows), plan.totals)]
        if field != "not_read" or any(figures):
            by_name[field.replace("_", " ")] = [f"{figure:,}" for figure in figures]
    by_name["share"] = [_share(states.rows, plan.totals.rows) for _, states, _ in rows] + [""]
    if any(registered for *_, registered in rows):
        by_name["devices"] = [registered for *_, registered in rows] + [""]
    heads = list(by_name)
    sizes = [max(map(len, [head, *cells])) for head, cells in by_name.items()]
    table = [heads, *map(list, zip(*by_name.values(), strict=True))]
    aligned = [
        [cell.rjust(size) if place else cell for place, (cell, size) in enumerate(zip(cells, sizes, strict=True))]
        for cells in table
    ]
    return columns(aligned, width, {0: 12})


def _facts(plan: Plan) -> Iterator[tuple[str, str]]:
    key, may = plan.credentials, plan.permissions
    refused = may.read_one is False and may.read_pages is False
    unread = "not known: reading was refused" if refused and plan.instance_ok is None else ""
    yield "action", plan.action
    yield (
        "instance",
        f"{plan.instance} at {plan.endpoint}: {unread or _known(plan.instance_ok, 'reachable', 'not known')}",
    )
    temporary = ", temporary" if key.temporary else ""
    yield "credentials", f"access key {key.access_key_id}, from {key.source}{temporary}"
    yield "permissions", f"to read {_known(may.read_one, 'yes', 'no')}, to list {_known(may.read_pages, 'yes', 'no')}"
    yield "", f"the permission to change shows only in changing; the run needs {', '.join(may.needed)}"
    yield "clock", _clock(plan.clock_ahead_s)
    left_out = f"{plan.invalid:,} invalid, {counted(plan.duplicates, 'duplicate')}, {plan.protected:,} protected"
    yield "input", f"{plan.input}: {counted(plan.rows, 'row')} ({left_out})"
    if plan.protection:
        yield "protected", plan.protection
    calls = plan.calls
    yield "calls", f"{calls.total:,}: {calls.changing:,} writes, {calls.reading:,} reads"
    for position, pace in enumerate(plan.times):
        addresses = f"{pace.source_addresses} source address{'es' * (pace.source_addresses > 1)}"
        yield "" if position else "time", f"{about(pace.seconds)} from {addresses} ({pace.rate:,.0f}/s)"
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
