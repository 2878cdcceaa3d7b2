"""A plan, which is what an inquiry has found: one JSON object, the same as a table."""

import socket
import time
from collections import Counter
from collections.abc import Collection
from typing import Any

import msgspec

from bulkcert import __version__
from bulkcert.engine.figures import LaneState
from bulkcert.errors import ExitStatus
from bulkcert.output.summary import utc
from bulkcert.runs.found import Found, States, states_of
from bulkcert.runs.job import wrong_size
from bulkcert.runs.plan import Inquiry
from bulkcert.runs.planned import Made, kept_options
from bulkcert.runs.policy import operations, ram_actions
from bulkcert.service.actions import Action, Status, of_ca_key
from bulkcert.service.signing import Credentials
from bulkcert.store.lock import this_user
from bulkcert.views.layout import named_lanes
from bulkcert.views.plan_advice import advice_on

CAS_LISTED = 1000
"""CAs that the JSON names, most rows first."""


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


def make_plan(inquiry: Inquiry, credentials: Credentials) -> Plan:
    """Returns the plan that an inquiry comes to."""
    question, checked, found = inquiry.question, inquiry.check, inquiry.findings
    action, options = question.action, question.options
    totals = found.states(action)
    calls = PlannedCalls(found.changing, found.reading, found.changing + found.reading)
    refused = (checked.invalid and not options.skip_invalid) or (checked.protected and not options.skip_protected)
    size = wrong_size(options, question.list_name, checked.rows)
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
        cas_total=checked.ca_count,
        cas=cas_of(action, found),
        calls=calls,
        time=Pace(question.lane_count, round(question.rate, 2), round(calls.total / question.rate, 1)),
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
        made=Made(utc(time.time()), this_user(), socket.gethostname(), __version__),
        lanes=named_lanes(inquiry.progress),
        instances=_instances(inquiry),
        instance_column=checked.instance_columns[0] if not options.instance else None,
        region_column=checked.instance_columns[1] if not options.region else None,
    )
    return msgspec.structs.replace(plan, advice=list(advice_on(plan, inquiry)))


def cas_of(action: Action, found: Found) -> list[CaStates]:
    """Returns the rows and devices of each CA, those with most rows first."""
    named = {ca: counted for ca, counted in found.by_ca.items() if ca is not None}
    largest = sorted(named, key=lambda ca: (-named[ca].total(), ca))
    return [_ca(action, found, ca, named[ca]) for ca in largest[:CAS_LISTED]]


def _instances(inquiry: Inquiry) -> list[InstanceStates]:
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


def _ca(action: Action, found: Found, ca: str, counted: Counter[Status | None]) -> CaStates:
    registered = found.registered.get(ca)
    return CaStates(
        **msgspec.structs.asdict(states_of(action, counted)),
        ca_sn=of_ca_key(ca)[0],
        instance=of_ca_key(ca)[1],
        registered=registered.devices if registered and registered.whole else None,
        registered_at_least=registered.devices if registered else None,
    )
