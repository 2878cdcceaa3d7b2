"""Options of the commands that start no run, by command."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from bulkcert.formats import SUFFIXES_SHOWN
from bulkcert.log import LogFormat
from bulkcert.runs.converters import seconds
from bulkcert.runs.options import (
    LIST,
    OUTPUT,
    REHEARSAL,
    ApprovalOptions,
    GuardOptions,
    LanguageOptions,
    NotifyOptions,
    PreflightMode,
    ResultsOptions,
    ServiceOptions,
    StateOptions,
    grouped,
    number,
)
from bulkcert.service.codes import StatusTable


@grouped
class VerifyOptions(ServiceOptions, StateOptions, ApprovalOptions, NotifyOptions, LanguageOptions):
    """Options of ``verify``."""

    watch: Annotated[float, Parameter(converter=seconds, metavar="TIME")] = 0.0
    """Keep checking for so long (90s, 10m, 2h, 30d at most), and call again what is not in the desired state."""
    every: Annotated[float, Parameter(converter=seconds, metavar="TIME", show_default="30s")] = 30.0
    """Pause between two checks, 1s at least."""
    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False
    """Do not ask before --watch, which may change certificates."""


@grouped
class DoctorOptions(ServiceOptions, StateOptions, ResultsOptions):
    """Options of ``doctor``."""


@grouped
class InventoryOptions(ServiceOptions, GuardOptions):
    """Options of ``inventory``."""

    output: Annotated[
        Path | None,
        Parameter(name=["--output", "-o"], metavar="FILE", help=f"The file: {SUFFIXES_SHOWN}; an input for run."),
    ] = None
    """The file; its suffix is the format."""
    overwrite: bool = False
    """Replace the file if it exists."""
    cas: Annotated[bool, Parameter(group=LIST)] = False
    """The CAs themselves, instead of device certificates."""
    ca_sn: Annotated[tuple[str, ...], Parameter(group=LIST, metavar="SERIAL")] = ()
    """Only device certificates of this CA; repeat it for more."""
    status: Annotated[Literal["active", "inactive"] | None, Parameter(group=LIST)] = None
    """Only certificates in this status."""
    expires_before: Annotated[str, Parameter(group=LIST, metavar="TIME")] = ""
    """Only certificates whose validity ends before this, as in 2026-12-01 or 2026-12-01T06:00:00+08:00; else UTC."""
    expires_after: Annotated[str, Parameter(group=LIST, metavar="TIME")] = ""
    """Only certificates whose validity ends at this time or later."""


@grouped
class ReportOptions(StateOptions, LanguageOptions):
    """Options of ``report``."""

    title: Annotated[str, Parameter(metavar="TEXT")] = ""
    """Title of the report, as in "Key leak of 12 May"."""
    executor: Annotated[str, Parameter(metavar="NAME")] = ""
    """Who has executed the run, by name. Default: the accounts of its sessions."""
    timezone: Annotated[str, Parameter(metavar="NAME")] = "UTC"
    """Time zone of all times, as in Asia/Shanghai."""
    exposed_since: Annotated[str, Parameter(metavar="TIME")] = ""
    """When the key has leaked, as in 2026-12-01T06:00: shows how long certificates could be misused."""
    live: bool = False
    """Write the page again every few seconds while a session runs; it reloads itself in a browser."""


@grouped
class LaneOptions:
    """Options of ``lane``."""

    keys: Annotated[Path | None, Parameter(metavar="DIRECTORY")] = None
    """Keys of the cluster: ca.pem and a lane-….pem that no other lane uses."""
    source_address: Annotated[str, Parameter(metavar="ADDRESS")] = ""
    """Local address to send from."""
    egress: Annotated[str, Parameter(metavar="NAME")] = ""
    """What the service sees its calls come from, such as a NAT gateway: lanes of one egress share the limit of one
    address. By default this machine and address; coordinator is that of the run itself."""
    name: Annotated[str, Parameter(metavar="NAME")] = ""
    """Name of the lane, if not that of its keys."""
    exit_on_eof: Annotated[bool, Parameter(show=False)] = False
    """End with standard input: for whoever starts it as a child."""
    log_format: Annotated[LogFormat, Parameter(group=OUTPUT)] = "text"
    """stderr for people, or one JSON object a line."""


@grouped
class PolicyOptions:
    """Options of ``policy``."""

    instance: Annotated[str, Parameter(metavar="ID")] = ""
    """Instance that holds the certificates; any unless given."""
    account: Annotated[str, Parameter(metavar="NUMBER")] = ""
    """The account that owns it; any unless given."""
    region: Annotated[str, Parameter(metavar="REGION")] = ""
    """Region of the instance; any unless given."""
    preflight: PreflightMode = "auto"
    """As the run will have it."""
    verify: Annotated[bool, Parameter(negative="--no-verify")] = True
    """Whether the results are going to be verified."""
    undo: bool = False
    """Allow to undo it, too."""


@grouped
class Stage:
    """What the emulator of a rehearsal is like; in a job file keys of ``[rehearsal]``."""

    faults: Annotated[bool, Parameter(group=REHEARSAL)] = False
    """Let 3 % of the calls go wrong: throttles, errors, lost connections, slow answers, missing echoes."""
    fault_seed: Annotated[int | None, number(REHEARSAL)] = None
    """Seed of the faults, to meet the same again; printed."""
    and_then: Annotated[tuple[Literal["verify", "undo"], ...], Parameter(group=REHEARSAL, metavar="COMMAND")] = ()
    """What follows the run, against the same emulator; repeat it for both."""
    unregistered: Annotated[float, Parameter(group=REHEARSAL, metavar="SHARE")] = 0.0
    """Share of the certificates, from 0 to 1, that the emulator does not know."""
    already: Annotated[float, Parameter(group=REHEARSAL, metavar="SHARE")] = 0.0
    """Share of the others that is in the desired state already."""
    connecting: Annotated[float, Parameter(group=REHEARSAL, metavar="SHARE")] = 0.0
    """Share of the devices that it does not know that connect for the first time during the run."""
    latency_ms: Annotated[tuple[float, float], Parameter(group=REHEARSAL, metavar="LOW HIGH")] = (20.0, 120.0)
    """Answers take between so many milliseconds, drawn evenly."""
    cluster_lanes: Annotated[int, number(REHEARSAL)] = 0
    """Run so many lanes in processes of their own, as on other machines."""
    status_table: Annotated[StatusTable, Parameter(group=REHEARSAL)] = "old"
    """HTTP statuses before (old) or after (new) the vendor's adjustment."""
