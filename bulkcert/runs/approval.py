"""Whether a run is what was planned, and whether somebody who may has signed that plan (OpenSSH)."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec

from bulkcert.engine.target import Target
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import Check
from bulkcert.runs.options import RunOptions
from bulkcert.runs.planned import ANOTHER, KeptPlan, read_plan
from bulkcert.service.credentials import without_credentials
from bulkcert.service.regions import same_service
from bulkcert.words import counted, instances_in_words

NAMESPACE = "bulkcert"
"""What the signature must be for, so that one that was given for something else approves nothing."""

LONGEST_S = 30.0
"""Longest time that the check of a signature may take, in seconds."""


def bound(options: RunOptions) -> tuple[RunOptions, KeptPlan]:
    """Returns the plan that ``--plan`` and ``--approver-key`` bind a run to, and its options with who has signed it.

    Raises:
        BulkcertError: There is none, it cannot be read, or is not approved by one of those who may.
    """
    if options.plan is None:
        message = "--approver-key needs --plan: it is the plan that is signed"
        raise BulkcertError(ExitStatus.USAGE, message, "No calls were made.")
    plan, content = read_plan(options.plan)
    if options.approver_key is not None:
        name, key = _signer(content, options.plan, options.approver_key, options.approved_by)
        plan = msgspec.structs.replace(plan, signed_by=name, signed_with=key)
        options = replace(options, approved_by=name)
    return options, plan


def confirm_list(plan: KeptPlan, check: Check, service: Target) -> None:
    """Confirms that a list is the one that was planned, of the same instances, and that as much of it is protected.

    Raises:
        BulkcertError: INPUT_INVALID: it is not.
    """
    message = ""
    if check.keys_sha256 != plan.keys_sha256:
        message = (
            f"the list is not the one of the plan {plan.file}: {counted(check.rows, 'row')}, {plan.rows:,} planned"
        )
    elif service.instance != plan.instance or not same_service(str(service.endpoint), plan.endpoint):
        planned = f"{instances_in_words(plan.instance, plan.instances)} at {plan.endpoint or 'several endpoints'}"
        message = f"the list is of {service.on} at {service.at}, and {planned} was planned ({plan.file})"
    elif check.protected < plan.protected:
        message = f"{counted(check.protected, 'row')} protected, and {plan.protected:,} by the plan {plan.file}"
    if message:
        raise BulkcertError(ExitStatus.INPUT_INVALID, message, ANOTHER)


def signature_of(plan: Path) -> Path:
    """Returns where the signature over a plan is."""
    return plan.with_name(f"{plan.name}.sig")


def _signer(content: bytes, path: Path, approvers: Path, expected: str) -> tuple[str, str]:
    """Returns who has signed a plan, as the file of those who may names them, and the fingerprint of the key."""
    signature = signature_of(path)
    sign = f"No calls were made. To sign it: ssh-keygen -Y sign -n {NAMESPACE} -f KEY {path}"
    for needed, what in ((approvers, "of those who may approve"), (signature, "with the signature")):
        if not (needed.is_file() and os.access(needed, os.R_OK)):
            message = f"cannot read the file {what}: {needed}"
            raise BulkcertError(ExitStatus.INPUT_UNREADABLE, message, sign)
    places = ("-f", str(approvers.absolute()), "-s", str(signature.absolute()))
    found = _ssh_keygen("find-principals", *places)
    names = found.stdout.decode(errors="replace").splitlines()
    if expected:
        names = [name for name in names if name == expected]
    for name in names:
        checked = _ssh_keygen("verify", *places, "-I", name, "-n", NAMESPACE, content=content)
        if not checked.returncode:
            return name, checked.stdout.decode(errors="replace").split()[-1]
        found = checked
    reason = " ".join(found.stderr.decode(errors="replace").split()) or "the key is not among theirs"
    who = f"{expected}, as {approvers} has the key" if expected else f"anybody in {approvers}"
    raise BulkcertError(ExitStatus.DENIED, f"{path} is not signed by {who}: {reason}", sign)


def _ssh_keygen(check: str, *arguments: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        message = "ssh-keygen is not installed, and --approver-key needs it"
        advice = "Install the OpenSSH client (openssh-client). No calls were made."
        raise BulkcertError(ExitStatus.MISCONFIGURED, message, advice)
    command = [program, "-Y", check, *arguments]
    try:
        return subprocess.run(  # noqa: S603
            command, input=content, capture_output=True, timeout=LONGEST_S, check=False, env=without_credentials()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BulkcertError(
            ExitStatus.MISCONFIGURED, f"cannot run {program}: {error}", "No calls were made."
        ) from error
