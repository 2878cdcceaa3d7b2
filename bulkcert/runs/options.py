"""The options of run, and those that several commands share, as they are typed: types, help, how they are read.

Each is also a variable ``BULKCERT_…`` and a key of a job file. Nothing heavy is imported here, and no methods are
made that nobody calls, so that help is quick; what options mean together is resolved in ``job``.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar, dataclass_transform, get_args

from cyclopts import Group, Parameter

from bulkcert.formats import SUFFIXES_SHOWN
from bulkcert.log import LogFormat
from bulkcert.runs.converters import moment, names_of, whole_number
from bulkcert.service.limits import ACCOUNT_LIMIT, ADDRESS_LIMIT
from bulkcert.store.outcome import Retried
from bulkcert.words import Language

MAIN = Group("What and where", sort_key=0)  # where no other is named
SAFETY = Group("Safety", sort_key=1)
APPROVAL = Group("Approval", sort_key=2)
REHEARSAL = Group("Rehearsal", sort_key=3)
LIST = Group("List and results", sort_key=4)
PACE = Group("Pace", sort_key=5)
SCHEDULE = Group("Schedule", sort_key=6)
OUTPUT = Group("Output", sort_key=7)


def number(group: Group, metavar: str = "N") -> Parameter:
    """Returns how an option is read that is a whole number."""
    return Parameter(group=group, converter=whole_number, metavar=metavar)


Inputs = Annotated[tuple[Path, ...], Parameter(name="input")]
"""The files of a list."""

Results = Annotated[Path, Parameter(name=["--results", "-o"])]
"""The run that a command is about."""

PreflightMode = Literal["auto", "always", "never"]

Required = Literal["ticket", "reason", "approved-by", "plan", "approver-key"]
"""Options that a job may demand."""


Kind = TypeVar("Kind")


@dataclass_transform(kw_only_default=True, eq_default=False, frozen_default=True, field_specifiers=(field,))
def grouped(kind: type[Kind]) -> type[Kind]:
    """Makes a class options of a command, or some of them.

    Nobody changes them, which the type checker holds: at run time it would be two thirds of what they cost a start.
    """
    return Parameter(name="*")(dataclass(kw_only=True, eq=False, repr=False)(kind))


@grouped
class TargetOptions:
    """Where the service is, and how it may be called."""

    instance: Annotated[str, Parameter(metavar="ID")] = ""
    """Instance that holds the certificates."""
    region: Annotated[str, Parameter(metavar="REGION")] = ""
    """Region of the instance, as in cn-hangzhou."""
    vpc: Annotated[bool, Parameter(group=PACE)] = False
    """Use the region's endpoint inside its VPC."""
    endpoint: Annotated[str, Parameter(metavar="URL")] = ""
    """Where the service is, in place of a region."""
    source_address: Annotated[tuple[str, ...], Parameter(group=PACE, metavar="ADDRESS")] = ()
    """Local address to send from; repeat it for more."""

    rate: Annotated[int, number(PACE)] = ACCOUNT_LIMIT
    """Calls per second of the account."""
    per_address_rate: Annotated[int, number(PACE)] = ADDRESS_LIMIT
    """Calls per second of each address; 90 % of it is used, since the service blocks above."""
    limits_raised: Annotated[bool, Parameter(group=PACE)] = False
    """Allow more than that: the service has raised yours."""
    cluster: Annotated[str, Parameter(group=PACE, metavar="URL")] = ""
    """Let lanes on other machines join at tls://HOST:PORT."""
    keys: Annotated[Path | None, Parameter(group=PACE, metavar="DIRECTORY")] = None
    """Keys of that cluster; see help cluster."""
    lanes: Annotated[int, number(PACE)] = 0
    """Begin once so many lanes have joined."""
    max_in_flight: Annotated[int, number(PACE)] = 256
    """Most calls that wait for an answer."""
    timeout: Annotated[float, Parameter(group=PACE, metavar="SECONDS")] = 10.0
    """Most that one attempt may take."""
    attempts: Annotated[int, number(PACE)] = 6
    """Attempts for each row; waiting out a throttle or an outage does not count."""


@grouped
class ServiceOptions(TargetOptions):
    """Options of every command that calls the service: where that is, and what the command shows."""

    json: Annotated[bool, Parameter(group=OUTPUT)] = False
    """Print what came of it as JSON."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], group=OUTPUT)] = False
    """No progress on stderr; errors and questions only."""
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], group=OUTPUT)] = False
    """Name each call that did not succeed at once, on stderr."""
    log_format: Annotated[LogFormat, Parameter(group=OUTPUT)] = "text"
    """stderr for people, or one JSON object a line; then nothing is asked."""
    log_file: Annotated[Path | None, Parameter(group=OUTPUT, metavar="FILE")] = None
    """Keep these lines in this file, too; at 10 MB it becomes FILE.1, and so on to FILE.5."""


@grouped
class StateOptions:
    """Where what a run remembers is kept; for every command that is about a run."""

    state_dir: Annotated[Path | None, Parameter(group=LIST, metavar="DIRECTORY")] = None
    """Where RESULTS.run is, if not next to RESULTS."""


@grouped
class ListOptions:
    """How a list is read, how long it may be, and what is read of it before the first call."""

    device_column: Annotated[str, Parameter(group=LIST, metavar="NAME")] = ""
    """Column of device serials, if not DeviceSn."""
    ca_column: Annotated[str, Parameter(group=LIST, metavar="NAME")] = ""
    """Column of CA serials, if not CaSn or Sn."""
    instance_column: Annotated[str, Parameter(group=LIST, metavar="NAME")] = ""
    """Column of instances, if not MqttInstanceId."""
    region_column: Annotated[str, Parameter(group=LIST, metavar="NAME")] = ""
    """Column of their regions, if not RegionId."""
    trust_serials: Annotated[bool, Parameter(group=LIST)] = False
    """Accept serials rounded to 15 digits by a spreadsheet."""
    skip_invalid: Annotated[bool, Parameter(group=LIST)] = False
    """Leave invalid rows out; else one prevents the run."""
    preflight: Annotated[PreflightMode, Parameter(group=SAFETY)] = "auto"
    """Read states first: auto pages through a CA where that takes fewer calls, always reads every certificate."""
    protect: Annotated[Path | None, Parameter(group=SAFETY, metavar="FILE")] = None
    """Serials that must not be touched; one of them in the list keeps the run from starting."""
    skip_protected: Annotated[bool, Parameter(group=SAFETY)] = False
    """Leave protected rows out and call the others."""
    min_rows: Annotated[int | None, number(SCHEDULE)] = None
    """Refuse shorter lists (65); else an empty one exits with 0."""
    max_rows: Annotated[int | None, number(SCHEDULE)] = None
    """Refuse a list of more rows (65)."""


LEAST = {"lanes": 0, "attempts": 1, "limit_rows": 1, "min_rows": 0, "max_rows": 0}
"""The smallest values of options."""

OF_ONE_START = frozenset(
    {"state_dir", "retry", "limit_rows", "deadline", "yes", "confirm_devices", "json", "quiet", "verbose"}
)
"""Options that a later start does not take over from an earlier one."""


@grouped
class ChangeOptions:
    """Why a change is made; kept with each session, and shown."""

    ticket: Annotated[str, Parameter(group=APPROVAL, metavar="ID")] = ""
    """Ticket of the change, as in CHG-4711; kept and shown."""
    reason: Annotated[str, Parameter(group=APPROVAL, metavar="TEXT")] = ""
    """Why it is made; kept and shown."""


@grouped
class ApprovalOptions(ChangeOptions):
    """Who has approved a change, and what has to be given; for every command that changes certificates."""

    approved_by: Annotated[str, Parameter(group=APPROVAL, metavar="NAME")] = ""
    """Who has approved it; kept and shown."""
    require: Annotated[
        tuple[Required, ...],
        Parameter(group=APPROVAL, converter=names_of(get_args(Required)), metavar="OPTION,…", show_choices=False),
    ] = ()
    """Refuse to start (2) without: ticket, reason, approved-by, plan, approver-key."""


@grouped
class LanguageOptions:
    """In which language people read."""

    language: Annotated[Language, Parameter(group=OUTPUT, metavar="en|zh", show_choices=False, show_default=False)] = (
        "en"
    )
    """Of plan, summary and report; zh is Chinese."""


@grouped
class NotifyOptions:
    """Who gets a message; no option of these is stored, since a URL holds a token."""

    notify: Annotated[tuple[str, ...], Parameter(group=OUTPUT, metavar="URL")] = ()
    """Send a message there in the end: an apprise URL, a secret for the environment or a job file; see help notify."""


@grouped
class StopOptions:
    """When a session is to stop by itself."""

    limit_rows: Annotated[int | None, number(SAFETY)] = None
    """Call at most so many rows, then stop (75)."""
    max_errors: Annotated[str, Parameter(group=SAFETY, metavar="N|P%")] = "50%"
    """Stop (3) when more rows than this failed: a number, or a share of those finished, from 100 on."""


@grouped
class CallOptions(StopOptions, ServiceOptions, StateOptions, ApprovalOptions, NotifyOptions, LanguageOptions):
    """Options of every command that changes certificates row by row."""

    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False
    """Do not ask."""


@grouped
class StartOptions:
    """Options of a start of a run."""

    confirm_devices: Annotated[int | None, number(SAFETY)] = None
    """Device certificates under the CAs, as plan counts them; delete-ca with --yes wants it."""
    retry: Annotated[
        tuple[Retried, ...], Parameter(group=LIST, converter=names_of(get_args(Retried)), metavar="OUTCOME,…")
    ] = ()
    """Call these again; drifted: changed since."""
    deadline: Annotated[float | None, Parameter(group=SCHEDULE, converter=moment, metavar="TIME")] = None
    """Send nothing after this (75): 4h from now, or the nearest 06:00; 23:00 typed in the morning is over."""
    retain_days: Annotated[int | None, number(SCHEDULE, "DAYS")] = None
    """After a run that finished, remove files of this job's runs that are older by the date in their name."""
    metrics_file: Annotated[Path | None, Parameter(group=OUTPUT, metavar="FILE")] = None
    """Metrics for the node exporter (.prom); one for each job."""


@grouped
class GuardOptions:
    """Whom CSV files are for."""

    formula_guard: Annotated[bool, Parameter(group=LIST, negative="--no-formula-guard")] = True
    """In CSV, quote outside cells a spreadsheet would run."""


@grouped
class ResumeOptions(StartOptions, CallOptions, ListOptions, GuardOptions):
    """Options of every start of a run."""


@grouped
class ResultsOptions:
    """Where results go."""

    results: Annotated[
        Path | None,
        Parameter(
            name=["--results", "-o"],
            metavar="FILE",
            help=f"Results: {SUFFIXES_SHOWN}. Default: next to the list, named after it and the action.",
        ),
    ] = None
    """Results; their suffix is the format."""


@grouped
class OverwriteOptions(ResultsOptions):
    """Where results go, and whether what is there may be dropped."""

    overwrite: Annotated[bool, Parameter(group=LIST)] = False
    """Drop what an earlier run has done; start afresh."""


@grouped
class Options(ResumeOptions, OverwriteOptions):
    """Options of ``run`` and ``rehearse``."""


@grouped
class BoundOptions:
    """The plan that a run is bound to."""

    plan: Annotated[Path | None, Parameter(metavar="FILE")] = None
    """Do what plan -o has kept, or refuse; action and list are taken from it."""
    approver_key: Annotated[Path | None, Parameter(group=APPROVAL, metavar="FILE")] = None
    """Allowed signers (OpenSSH), one of whom must have signed the plan: FILE.sig."""


@grouped
class RunOptions(BoundOptions, Options):
    """Options of ``run``."""

    dry_run: bool = False
    """Plan it, as plan does; change nothing."""


@grouped
class PlanOptions(ServiceOptions, ListOptions, ChangeOptions, LanguageOptions):
    """Options of ``plan``."""

    output: Annotated[Path | None, Parameter(name=["--output", "-o"], metavar="FILE")] = None
    """Keep the plan in this .plan.json, for run --plan."""
    overwrite: bool = False
    """Replace the file if it exists."""
