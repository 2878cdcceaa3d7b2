"""Permissions: the minimal RAM policy for what a run calls (reference, section 1, RAM), and what shows them. Pure."""

from typing import Any

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs.options import PreflightMode
from bulkcert.runs.target import preflight_of
from bulkcert.service.actions import ACTIONS, INSTANCE_ACCESS, OPERATIONS, Action, Operation
from bulkcert.service.client import Response
from bulkcert.service.codes import READING_REFUSED, Verdict

ANY = "*"
"""In a resource, in place of what is not given."""

COUNTING = OPERATIONS["ListDeviceCertificateByCaSn"]
"""Counts the device certificates under a CA."""


def operations(action: Action, preflight: PreflightMode, *, verify: bool, undo: bool) -> list[Operation]:
    """Returns the operations that a run may call, which is verified and undone later if wanted.

    Raises:
        BulkcertError: It cannot be undone.
    """
    called, preflight = [action.operation], preflight_of(action, preflight)
    if undo:
        if action.inverse is None:
            raise BulkcertError(
                ExitStatus.USAGE, f"{action.name} cannot be undone: there is no inverse action", "Leave --undo out."
            )
        called.append(ACTIONS[action.inverse].operation)
    if verify or preflight != "never":
        called.append(action.listing)
    if verify or preflight == "always":
        called.append(action.reading)
    if not action.by_device:  # what it hits is counted
        called.append(COUNTING)
    return called


def may_read(answer: Response) -> bool | None:
    """Returns whether an answer shows that reading is permitted; None where it shows neither."""
    if answer.page is not None or answer.verdict is Verdict.NOT_FOUND:
        return True
    return False if answer.code in READING_REFUSED else None


def ram_actions(called: list[Operation]) -> list[str]:
    """Returns the RAM actions that some operations need, in their order."""
    access = [INSTANCE_ACCESS] * any(operation.needs_instance_access for operation in called)
    return [*[operation.ram_action for operation in called], *access]


def minimal_policy(called: list[Operation], *, region: str, account: str, instance: str) -> dict[str, Any]:
    """Returns the policy, as the console takes it, that allows some operations alone; an empty text stands for any."""
    resource = f"acs:mq:{region or ANY}:{account or ANY}:{instance or ANY}"
    statement = {"Effect": "Allow", "Action": sorted({*ram_actions(called)}), "Resource": resource}
    return {"Version": "1", "Statement": [statement]}
