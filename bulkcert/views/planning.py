"""Makes the plan of what an inquiry has found."""

import socket
import time
from collections import Counter
from collections.abc import Collection

import msgspec

from bulkcert import __version__
from bulkcert.errors import ExitStatus
from bulkcert.output.summary import utc
from bulkcert.runs.found import Found, States, states_of
from bulkcert.runs.job import wrong_size
from bulkcert.runs.plan import Inquiry
from bulkcert.runs.planned import Made, kept_options
from bulkcert.runs.policy import operations, ram_actions
from bulkcert.service.actions import Action
from bulkcert.service.certificates import Status, of_ca_key
from bulkcert.service.signing import Credentials
from bulkcert.store.lock import this_user
from bulkcert.views.layout import named_lanes
from bulkcert.views.plan import CaStates, InstanceStates, Key, Pace, Permissions, Plan, PlannedCalls
from bulkcert.views.plan_advice import advice_on

CAS_LISTED = 1000
"""CAs that the JSON names, most rows first."""


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
