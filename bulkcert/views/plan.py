"""A plan as it is read: one JSON object, the same as a table, and what is to be said about it."""

from collections import Counter
from collections.abc import Iterator

import msgspec
from rich.text import Text

from bulkcert.engine.pacer import bucket_rate, lane_cap
from bulkcert.errors import ExitStatus
from bulkcert.runs.job import WRONG_SIZE, wrong_size
from bulkcert.runs.plan import MANY_ROWS, MOST_SHARE, NEARLY_ALL, Inquiry
from bulkcert.runs.policy import operations, ram_actions
from bulkcert.service.actions import Action
from bulkcert.service.certificates import Status
from bulkcert.service.signing import Credentials
from bulkcert.views.advice import on_unregistered
from bulkcert.views.confirm import mistake
from bulkcert.views.console import say, stdout
from bulkcert.views.layout import GAP, columns, show
from bulkcert.words import about, are, counted, printable

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
    needed = operations(action, options.preflight, verify=False, undo=False)
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
        permissions=Permissions(found.may_read, found.may_list, ram_actions(needed)),
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


def _advice(plan: Plan, inquiry: Inquiry, credentials: Credentials) -> Iterator[str]:
    if plan.exit_status:
        yield "the run would not start (65): see below"
    if text := wrong_size(inquiry.question.options, inquiry.question.list_name, plan.rows):
        yield f"{text}. {WRONG_SIZE}"
    yield from _on_left_out(plan, inquiry)
    action = inquiry.question.action
    if action.cascades:
        yield _on_cascading(action, plan)
    # What may be under any CA may be under this one.
    if action.name == "inactivate-device" and not inquiry.check.unplaced:
        worth = [ca for ca in plan.cas[:CAS_SHOWN] if _is_worth_a_call(inquiry, ca, plan.totals.rows)]
        yield from (_on_inactivating(ca, plan.totals.rows) for ca in worth[:CAS_NAMED])
    if plan.totals.not_registered:
        protected = bool(inquiry.check.protected_cas or inquiry.check.unplaced)
        absent = f"{are(plan.totals.not_registered, 'serial')} not registered"
        yield f"{absent}: {on_unregistered(action, protected=protected)}"
    if plan.unread_because:
        yield f"states cannot be read, so a run calls every row whose state was not read: {plan.unread_because}"
    needed = next(pace for pace in plan.times if pace.source_addresses == len(inquiry.question.addresses)).seconds
    if credentials.security_token is not None:
        yield (
            "these credentials are temporary, and a token that was set by hand cannot be renewed by the run "
            f"({about(needed)}); if they end first, it stops and can be resumed"
        )


def _on_cascading(action: Action, plan: Plan) -> str:
    """Returns what an action on CAs does to the device certificates registered under them."""
    devices, known = sum(ca.registered_at_least or 0 for ca in plan.cas), [ca.registered is not None for ca in plan.cas]
    least = "at least " * (not all(known) or plan.cas_total > len(known))
    hit = f"{least}{counted(devices, 'device certificate')}, by CA in the table" if devices or any(known) else ""
    irrevocable = "; nothing brings them back" * action.deletes
    return f"{action.name} {action.cascades} {hit or 'device certificates that were not counted'}{irrevocable}"


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
    unlisted = "" if whole else "; devices that are not listed were not counted"
    if others:
        unlisted = f"; devices that are not listed: {'at least ' * (not whole)}{counted(others, 'registered device')}"
    return (
        f"{_share(ca.rows, rows)} of the rows share CA {printable(ca.ca_sn)}: one inactivate-ca would refuse all of "
        f"its devices at once, also those that are not registered yet{unlisted}"
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
        how = "skipped (--skip-invalid)" if options.skip_invalid else "correct what is wrong, or give --skip-invalid"
        yield f"{are(plan.invalid, 'row')} invalid, the first: {place}; {how}"
    if plan.protected:
        how = "take them out of the list, or give --skip-protected"
        how = "skipped (--skip-protected)" if options.skip_protected else how
        yield f"{are(plan.protected, 'row')} protected by {inquiry.check.protected_by}; {how}"
    if text := mistake(inquiry.check):
        yield text


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
    """Yields the lines of the table; before a serial is cut, the share and columns of zeros make room for it."""
    rows = [(printable(ca.ca_sn), ca, _registered(ca)) for ca in plan.cas[:CAS_SHOWN]]
    by_name = {"CA": [name for name, *_ in rows] + ["all CAs"]}
    for field in States.__struct_fields__:
        figures = [getattr(states, field) for states in (*(states for _, states, _ in rows), plan.totals)]
        if field != "not_read" or any(figures):
            by_name[field.replace("_", " ")] = [f"{figure:,}" for figure in figures]
    by_name["share"] = [_share(states.rows, plan.totals.rows) for _, states, _ in rows] + [""]
    if any(registered for *_, registered in rows):
        by_name["devices"] = [registered for *_, registered in rows] + [""]
    for name in ("share", *(name for name, cells in tuple(by_name.items()) if set(cells) == {"0"})):
        if (
            width is not None
            and sum(max(map(len, (key, *cells))) + GAP for key, cells in by_name.items()) - GAP > width
        ):
            del by_name[name]
    return columns([list(by_name), *zip(*by_name.values(), strict=True)], width, {0: 12}, figures_from=1)


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
    yield "clock", _clock(plan.clock_ahead_s)
    left_out = f"{plan.invalid:,} invalid, {counted(plan.duplicates, 'duplicate')}, {plan.protected:,} protected"
    yield "input", f"{plan.input}: {counted(plan.rows, 'row')} ({left_out})"
    if plan.protection:
        yield "protected", plan.protection
    calls = plan.calls
    yield "calls", f"{calls.total:,}: {counted(calls.changing, 'write')}, {counted(calls.reading, 'read')}"
    for position, pace in enumerate(plan.times):
        addresses = counted(pace.source_addresses, "source address")
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
