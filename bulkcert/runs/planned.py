"""A plan that was kept: what a run that is bound to it takes from it. Light, since it fills in options."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.files import read_regular
from bulkcert.runs.converters import changed
from bulkcert.runs.options import PlanOptions
from bulkcert.store.sessions import PlanRecord

SUFFIX = ".plan.json"
"""What the name of a kept plan ends with."""

ANOTHER = "No calls were made. Make another plan: bulkcert plan … -o FILE.plan.json"
"""What to do where a run is refused since it would not be what was planned."""

_OF_THE_SERVICE = frozenset({"instance", "region", "endpoint", "vpc"})
_OF_ONE_START = frozenset({"output", "overwrite", "json", "quiet", "verbose", "log_format", "log_file"})


class Made(msgspec.Struct, frozen=True):
    """When a plan was made, UTC, by which account, on which machine, and with which version of bulkcert."""

    at: str
    by: str
    host: str
    version: str


class _States(msgspec.Struct, frozen=True):
    to_change: int
    not_read: int


class KeptPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What of a kept plan a run goes by; see ``views.plan.Plan``.

    Attributes:
        instance: The instance; empty where rows name it.
        endpoint: Where it is; empty where that follows from the rows' regions.
        inputs: The files of the list; none where it came from standard input.
        options: The options of ``plan`` that were given, by their names, and both limits.
        instances: Those that rows name, if they name several.
        totals: Rows that change, and rows whose state was not read.
        devices: Devices under the CAs of an action on CAs; None for other actions, or where not all were counted.
        file: Where it is.
        sha256: Of its bytes, in hexadecimal.
        signed_by: Who has signed it; empty where that was not asked for.
        signed_with: Fingerprint of the key.
    """

    action: str
    instance: str
    endpoint: str
    inputs: tuple[str, ...]
    keys_sha256: str
    rows: int
    protected: int
    instances: list[dict[str, Any]] = []
    totals: _States
    devices: int | None
    options: dict[str, Any]
    made: Made
    file: str = ""
    sha256: str = ""
    signed_by: str = ""
    signed_with: str = ""

    @property
    def record(self) -> PlanRecord:
        """Returns what sessions that are bound to it keep."""
        return PlanRecord(
            file=self.file,
            sha256=self.sha256,
            made_at=self.made.at,
            made_by=f"{self.made.by} on {self.made.host}",
            to_change=self.totals.to_change + self.totals.not_read,
            devices=self.devices,
            all_read=not self.totals.not_read,
            signed_by=self.signed_by,
            signed_with=self.signed_with,
        )


def read_plan(path: Path) -> tuple[KeptPlan, bytes]:
    """Returns a kept plan, and its bytes.

    Raises:
        BulkcertError: INPUT_UNREADABLE: it cannot be read, or is no such plan.
    """
    try:
        content = read_regular(path, links=True)
        plan = msgspec.json.decode(content, type=KeptPlan)
    except OSError as error:
        message = f"cannot read the plan {path}: {error.strerror}"
        raise BulkcertError(ExitStatus.INPUT_UNREADABLE, message, ANOTHER) from error
    except (msgspec.MsgspecError, RecursionError) as error:
        message = f"{path} is not a plan that bulkcert plan -o has written: {error}"
        raise BulkcertError(ExitStatus.INPUT_UNREADABLE, message, ANOTHER) from error
    file, sha256 = str(path.absolute()), hashlib.sha256(content).hexdigest()
    return msgspec.structs.replace(plan, file=file, sha256=sha256), content


def kept_options(options: PlanOptions) -> dict[str, Any]:
    """Returns the options that a run takes from its plan, by their names, with paths that lead there from anywhere."""
    given = msgspec.json.decode(msgspec.json.encode(asdict(options), enc_hook=lambda path: str(path.absolute())))
    limits = {"rate": options.rate, "per-address-rate": options.per_address_rate}
    return changed(PlanOptions, given, without=_OF_THE_SERVICE | _OF_ONE_START) | limits


def planned_options(typed: Mapping[str, str]) -> dict[str, Any]:
    """Returns the options of ``run`` that its plan holds, by their names; ``typed`` are those that were given.

    Raises:
        BulkcertError: The plan cannot be read.
    """
    plan, _ = read_plan(Path(typed["--plan"]))
    held: dict[str, Any] = plan.options | {"action": plan.action}
    if plan.instance:
        held["instance"] = plan.instance
    if plan.inputs:
        held["input"] = list(plan.inputs)
    if plan.endpoint and not typed.keys() & {"--region", "--endpoint"}:
        held["endpoint"] = plan.endpoint
    return held
