"""``bulkcert policy``: what must be granted for a run."""

import re
import sys
from dataclasses import dataclass
from typing import Annotated

import msgspec
from cyclopts import Parameter

from bulkcert.engine.preflight import PreflightMode
from bulkcert.errors import ExitStatus
from bulkcert.runs.options import PREFLIGHT, WHERE, refuse, unknown_region, wrong_instance
from bulkcert.runs.policy import minimal_policy, operations
from bulkcert.service.actions import ACTIONS, ActionName
from bulkcert.service.operations import REGIONS


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PolicyOptions:
    """Options of ``policy`` as they were typed."""

    instance: Annotated[str, Parameter(group=WHERE)] = ""
    """Instance that holds the certificates; any unless given."""
    account: Annotated[str, Parameter(group=WHERE)] = ""
    """Number of the account that owns it; any unless given."""
    region: Annotated[str, Parameter(group=WHERE)] = ""
    """Region of the instance; any unless given."""
    preflight: Annotated[PreflightMode, Parameter(group=PREFLIGHT)] = "auto"
    """As the run will have it."""
    verify: Annotated[bool, Parameter(group=PREFLIGHT, negative="--no-verify")] = True
    """Whether the results are going to be verified."""
    undo: Annotated[bool, Parameter(group=PREFLIGHT)] = False
    """Allow to undo it, too."""


def policy(
    action: ActionName,
    *,
    options: PolicyOptions = PolicyOptions(),
) -> ExitStatus:
    """Prints the minimal RAM policy for what a run calls; needs no credentials and calls nothing.

    Args:
        action: What the run will do with each row.
        options: See below.
    """
    problems: list[str] = []
    if options.region and options.region not in REGIONS:
        problems.append(unknown_region(options.region))
    if options.instance and (problem := wrong_instance(options.instance)):
        problems.append(problem)
    if options.account and not re.fullmatch(r"[0-9]+", options.account):
        problems.append(f"--account {options.account!r} must be the number of the account: digits only")
    refuse(problems, "policy")
    called = operations(ACTIONS[action], options.preflight, verify=options.verify, undo=options.undo)
    printed = minimal_policy(called, region=options.region, account=options.account, instance=options.instance)
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(printed), indent=2) + b"\n")
    return ExitStatus.OK
