"""``bulkcert policy``: what must be granted for a run."""

import re
import sys

import msgspec

from bulkcert.errors import ExitStatus
from bulkcert.runs.other_options import PolicyOptions
from bulkcert.runs.policy import minimal_policy, operations
from bulkcert.runs.target import confirm_region, refuse, wrong_instance
from bulkcert.service.actions import ACTIONS, ActionName


def policy(action: ActionName, options: PolicyOptions) -> ExitStatus:
    """Prints the minimal RAM policy for what a run calls; needs no credentials and calls nothing."""
    if options.region:
        confirm_region(options.region)
    problems: list[str] = []
    if options.instance and (problem := wrong_instance(options.instance)):
        problems.append(problem)
    if options.account and not re.fullmatch(r"[0-9]+", options.account):
        problems.append(f"--account {options.account!r} must be the number of the account: digits only")
    refuse(problems, "policy")
    called = operations(ACTIONS[action], options.preflight, verify=options.verify, undo=options.undo)
    printed = minimal_policy(called, region=options.region, account=options.account, instance=options.instance)
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(printed), indent=2) + b"\n")
    return ExitStatus.OK
