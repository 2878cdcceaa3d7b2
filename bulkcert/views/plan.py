"""A plan as it is read: one JSON object, the same as a table, and what is to be said about it."""

import socket
import time
from collections import Counter
from collections.abc import Collection, Iterator
from importlib.metadata import version
from typing import Any

import msgspec

from bulkcert.engine.figures import LaneState
from bulkcert.errors import ExitStatus
from bulkcert.input import Check
from bulkcert.language import later, tr, trn
from bulkcert.output.advice import on_unregistered
from bulkcert.output.summary import utc
from bulkcert.runs.found import MANY_ROWS, MOST_SHARE, NEARLY_ALL, Found, States, states_of
from bulkcert.runs.job import WRONG_SIZE, wrong_size
from bulkcert.runs.plan import Inquiry
from bulkcert.runs.planned import Made, kept_options
from bulkcert.runs.policy import operations, ram_actions
from bulkcert.runs.reading_list import named
from bulkcert.runs.swapped import on_swapped
from bulkcert.service.actions import Action
from bulkcert.service.certificates import Status, ca_key, of_ca_key
from bulkcert.service.signing import Credentials
from bulkcert.store.lock import this_user
from bulkcert.views.lanes import named_lanes
from bulkcert.words import counted, endpoints_in_words, instances_in_words, printable

CAS_LISTED = 1000
"""CAs that the JSON names, most rows first."""

CLOCK_GRAIN_S = 2.0
"""The service gives its time in whole seconds, and an answer takes a while."""


CAS_SHOWN, CAS_NAMED = 20, 3
"""CAs that the table and one piece of advice name, most rows first."""


class CaStates(States, frozen=True, kw_only=True):
    """The same for the rows of one CA.

    Attributes:
        ca_sn: The CA.
        instance: Its instance, where a list names several; else empty.
        registered: Its device certificates; None where not all of them were counted.
        registered_at_least: Those that were counted, though there may be more; None where none were.
    """

    ca_sn: str
    registered: int | None
    registered_at_least: int | None
    instance: str = ""


class InstanceStates(States, frozen=True, kw_only=True):
    """The same for the rows of one instance.

    Attributes:
        instance: The instance.
        endpoint: Where it is.
        instance_ok: Whether the service knows it as this account's; None where it may not be read.
    """

    instance: str
    endpoint: str
    instance_ok: bool | None


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
    """What a run would find and do; every figure of the tables is here too.

    ``instance`` is empty, and ``endpoint`` where they are at several, if the list names several ``instances``. The two
    columns are those that say instance and region; null where options do.
    """

    action: str
    instance: str
    endpoint: str
    input: str
    inputs: list[str]
    input_sha256: str
    keys_sha256: str
    preflight: str
    rows: int
    invalid: int
    duplicates: int
    protected: int
    protection: str
    totals: States
    devices: int | None
    cas_total: int
    cas: list[CaStates]
    calls: PlannedCalls
    time: Pace
    credentials: Key
    permissions: Permissions
    instance_ok: bool | None
    clock_ahead_s: float | None
    unread_because: str
    advice: list[str]
    exit_status: int
    options: dict[str, Any]
    made: Made
    lanes: list[LaneState] = []
    instances: list[InstanceStates] = []
    instance_column: str | None = None
    region_column: str | None = None

    @property
    def on(self) -> str:
        """The instance, or how many there are, in words."""
        return instances_in_words(self.instance, self._endpoints)

    @property
    def at(self) -> str:
        """Where it is, in words."""
        return endpoints_in_words(self.endpoint, self._endpoints)

    @property
    def _endpoints(self) -> dict[str, str]:
        return {each.instance: each.endpoint for each in self.instances}


def make_plan(inquiry: Inquiry, credentials: Credentials) -> Plan:
    """Returns the plan that an inquiry comes to."""
    question, checked, found = inquiry.question, inquiry.check, inquiry.findings
    action, options = question.action, question.options
    totals = found.states(action)
    calls = PlannedCalls(found.changing, found.reading, found.changing + found.reading)
    refused = (checked.invalid and not options.skip_invalid) or (checked.protected and not options.skip_protected)
    size = wrong_size(options, question.list_name, checked.rows)
    cas_total = len(checked.rows_by_ca) + bool(checked.rows_of_other_cas)
    needed = operations(action, options.preflight, verify=False, undo=False)
    plan = Plan(
        action=action.name,
        instance=question.instance,
        endpoint=str(question.endpoint),
        input=question.list_name,
        inputs=[str(path.absolute()) for path in question.inputs if str(path) != "-"],
        input_sha256=checked.sha256,
        keys_sha256=checked.keys_sha256,
        preflight=options.preflight,
        rows=checked.rows,
        invalid=checked.invalid,
        duplicates=checked.duplicates,
        protected=checked.protected,
        protection=checked.protection,
        totals=totals,
        devices=found.devices.devices if found.devices and found.devices.whole and not action.by_device else None,
        cas_total=cas_total,
        cas=cas_of(action, found),
        calls=calls,
        time=_pace(inquiry, calls.total),
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
        exit_status=int(ExitStatus.INPUT_INVALID if refused or size or found.are_swapped else ExitStatus.OK),
        options=kept_options(options),
        made=Made(utc(time.time()), this_user(), socket.gethostname(), version("bulkcert")),
        lanes=named_lanes(inquiry.progress),
        instances=_instances(inquiry),
        instance_column=checked.instance_columns[0] if not options.instance else None,
        region_column=checked.instance_columns[1] if not options.region else None,
    )
    return msgspec.structs.replace(plan, advice=list(_advice(plan, inquiry)))


def cas_of(action: Action, found: Found) -> list[CaStates]:
    """Returns the rows and devices of each CA, those with most rows first."""
    named = {ca: counted for ca, counted in found.by_ca.items() if ca is not None}
    largest = sorted(named, key=lambda ca: (-named[ca].total(), ca))
    return [_ca(action, found, ca, named[ca]) for ca in largest[:CAS_LISTED]]


def _instances(inquiry: Inquiry) -> list[InstanceStates]:
    """Returns the rows of each instance of a list that names several, those with most rows first."""
    found, question = inquiry.findings, inquiry.question
    states = instance_states(question.action, found, question.instances)
    return [
        InstanceStates(
            **msgspec.structs.asdict(each),
            instance=instance,
            endpoint=str(question.instances[instance]),
            instance_ok=found.instances.get(instance),
        )
        for instance, each in states.items()
    ]


def instance_states(action: Action, found: Found, instances: Collection[str]) -> dict[str, States]:
    """Returns what an action makes of the rows of each of several instances, those with most rows first."""
    counts = {instance: found.by_instance.get(instance, Counter()) for instance in instances}
    largest = sorted(counts, key=lambda instance: (-counts[instance].total(), instance))
    return {instance: states_of(action, counts[instance]) for instance in largest}


def ca_named(key: str) -> str:
    """Returns a CA as people are shown it, by its key: with its instance where a list names several."""
    ca_sn, instance = of_ca_key(key)
    return tr("{ca} of {instance}", ca=printable(ca_sn), instance=instance) if instance else printable(ca_sn)


def _ca(action: Action, found: Found, ca: str, counted: Counter[Status | None]) -> CaStates:
    registered = found.registered.get(ca)
    return CaStates(
        **msgspec.structs.asdict(states_of(action, counted)),
        ca_sn=of_ca_key(ca)[0],
        instance=of_ca_key(ca)[1],
        registered=registered.devices if registered and registered.whole else None,
        registered_at_least=registered.devices if registered else None,
    )


def _pace(inquiry: Inquiry, calls: int) -> Pace:
    rate = inquiry.question.rate
    return Pace(inquiry.question.lane_count, round(rate, 2), round(calls / rate, 1))


def _advice(plan: Plan, inquiry: Inquiry) -> Iterator[str]:
    if text := wrong_size(inquiry.question.options, inquiry.question.list_name, plan.rows):
        yield f"{text}. {WRONG_SIZE}"
    yield from _on_left_out(plan, inquiry)
    action = inquiry.question.action
    if text := on_devices(action, inquiry.findings):
        yield text
    # What may be under any CA may be under this one.
    if action.by_ca and not inquiry.check.unplaced:
        worth = [ca for ca in plan.cas[:CAS_SHOWN] if _is_worth_a_call(inquiry, ca, plan.totals.rows)]
        yield from (_on_inactivating(ca, plan.totals.rows) for ca in worth[:CAS_NAMED])
    if inquiry.findings.are_swapped:
        swapped = on_swapped(inquiry.pinned)
        yield f"{swapped.message}{tr('; ')}{swapped.advice}"
    elif text := on_none(action, inquiry.findings):
        yield text
    if plan.totals.not_registered and not inquiry.findings.are_swapped:
        yield trn(
            "{count:,} serial is not registered; {what}",
            "{count:,} serials are not registered; {what}",
            plan.totals.not_registered,
            what=on_unregistered(action, protected=inquiry.check.spares_cas),
        )
    if plan.unread_because:
        said = later("states cannot be read, so a run calls every row whose state was not read: {why}")
        yield tr(said, why=plan.unread_because)


def on_devices(action: Action, found: Found) -> str:
    """Returns what an action on CAs does to the device certificates that are registered under them."""
    if action.by_device:
        return ""
    irrevocable = tr("; nothing brings them back") * action.deletes
    if (devices := found.devices) is None:
        because = f"{tr(': ')}{found.uncounted.message.removesuffix('.')}" if found.uncounted is not None else ""
        what = tr("device certificates that were not counted") + because
    else:
        what = counted(devices.devices, "device certificate")
        what = what if devices.whole else tr("at least {what}", what=what)
    return tr(_CASCADES[action.cascades], action=action.name, what=what) + irrevocable


_CASCADES = {
    "": later("registered under these CAs: {what}"),
    "deletes": later("{action} deletes {what}"),
    "refuses": later("connections with {what} are refused from then on"),
}
"""What an action on CAs does to the device certificates under them."""


def on_none(action: Action, found: Found) -> str:
    """Returns what to say where no device of a list is registered under its CA; empty where one is, or may be."""
    states = found.states(action)
    if not action.by_device or not states.rows or states.not_registered < states.rows:
        return ""
    return tr("none of these devices exists under these CAs; did you swap the columns, or is this another instance?")


def _is_worth_a_call(inquiry: Inquiry, ca: CaStates, rows: int) -> bool:
    """Returns whether one inactivate-ca might do in place of many calls, and touch nothing that is protected."""
    if ca.rows <= MANY_ROWS or ca.already == ca.rows or ca_key(ca.ca_sn, ca.instance) in inquiry.check.protected_cas:
        return False
    nearly_all = ca.registered is not None and 0 < NEARLY_ALL * ca.registered <= ca.already + ca.to_change
    return nearly_all or ca.rows / rows >= MOST_SHARE


def _on_inactivating(ca: CaStates, rows: int) -> str:
    # What was not looked at may be among the registered ones.
    others = max(0, (ca.registered_at_least or 0) - ca.already - ca.to_change - ca.not_read)
    whole = ca.registered is not None and not ca.not_read
    unlisted = "" if whole else tr("; devices that are not listed were not counted")
    if others:
        devices = counted(others, "registered device")
        devices = devices if whole else tr("at least {what}", what=devices)
        unlisted = tr("; devices that are not listed: {devices}", devices=devices)
    return tr(
        "{share} of the rows share CA {ca}: one inactivate-ca would refuse all of its devices at once, also those that "
        "are not registered yet{unlisted}",
        share=share_of(ca.rows, rows),
        ca=ca_named(ca_key(ca.ca_sn, ca.instance)),
        unlisted=unlisted,
    )


def share_of(part: int, whole: int) -> str:
    """Returns a share in percent, rounded down; empty where there is nothing."""
    return f"{int(100 * part / whole)} %" if whole else ""


def _on_left_out(plan: Plan, inquiry: Inquiry) -> Iterator[str]:
    """Yields which rows are not to be called, and what is doubtful about that."""
    options = inquiry.question.options
    if plan.invalid:
        how = tr("correct what is wrong, or give --skip-invalid")
        how = tr("skipped (--skip-invalid)") if options.skip_invalid else how
        said = trn("{count:,} row is invalid; {how}", "{count:,} rows are invalid; {how}", plan.invalid, how=how)
        yield f"{said}{named(inquiry.pinned, inquiry.check.first_invalid, plan.invalid)}"
    if plan.protected:
        how = tr("take them out of the list, or give --skip-protected")
        how = tr("skipped (--skip-protected)") if options.skip_protected else how
        said = later("{count:,} row is protected by {file}; {how}")
        many = later("{count:,} rows are protected by {file}; {how}")
        yield trn(said, many, plan.protected, file=inquiry.check.protected_by, how=how)
    if text := mistake(inquiry.check):
        yield text


def mistake(check: Check) -> str:
    """Returns which protected serials were meant for rows that they do not protect; empty if none is likely to be.

    What is merely in no row is no mistake: a list that does not change is given to run after run.
    """
    if not (count := len(check.mistaken)):
        return ""
    one = later(
        "{file}: the serial {first} is in no row exactly, but rows differ from it only in letter case or leading "
        "zeros, and are NOT protected; write the list as the rows have it"
    )
    many = later(
        "{file}: the {count:,} serials, the first {first}, are in no row exactly, but rows differ from them only in "
        "letter case or leading zeros, and are NOT protected; write the list as the rows have it"
    )
    return trn(one, many, count, file=check.protected_by, first=f"'{printable(check.mistaken[0])}'")
