"""What was asked: options as typed, and the job they resolve to. After that nothing reads flags or the environment."""

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import httpx
from cyclopts import Parameter

from bulkcert.actions import ACTIONS, Action, ActionName
from bulkcert.batch.beside import journal_of, summary_of
from bulkcert.batch.order import Limit
from bulkcert.batch.results import SUFFIXES
from bulkcert.batch.schedule import ScheduleOptions, check_schedule
from bulkcert.batch.service import (
    INPUT,
    LOOK,
    PACE,
    RUN,
    Service,
    ServiceOptions,
    refuse,
    resolve_service,
    whole_number,
)

LookFirst = Literal["auto", "always", "never"]
"""When the state of certificates is read before they are called."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    """Options that say how a list is read."""

    device_column: Annotated[str, Parameter(group=INPUT)] = ""
    """Column that holds the device serial, if it is not named DeviceSn."""
    ca_column: Annotated[str, Parameter(group=INPUT)] = ""
    """Column that holds the CA serial, if it is not named CaSn (or Sn, for CA actions)."""
    trust_serials: Annotated[bool, Parameter(group=INPUT)] = False
    """Accept a column whose serials all end in zeros after 15 digits, as a spreadsheet leaves them."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LookOptions:
    """Options that say what is looked at before the first call."""

    look_first: Annotated[LookFirst, Parameter(group=LOOK)] = "auto"
    """Read states before calling: auto pages through a CA where that takes fewer calls than it has rows; always reads
    every certificate; never reads none."""
    protect: Annotated[Path | None, Parameter(group=LOOK)] = None
    """List of serials that must not be touched; one of them in the input keeps the run from starting."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MetricsOptions:
    """Options that say where the metrics of a run go."""

    metrics_file: Annotated[Path | None, Parameter(group=RUN)] = None
    """Keep metrics in this .prom file, for the node exporter's textfile collector; a file for each job."""
    pushgateway: Annotated[str, Parameter(group=RUN)] = ""
    """Push metrics to the Pushgateway at this URL; a push that fails is a warning."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunOptions(ServiceOptions, LookOptions, MetricsOptions):
    """Options of every command that changes certificates."""

    results: Annotated[Path | None, Parameter(name=["--results", "-o"], group=INPUT)] = None
    """Results file: .csv, .parquet or .ndjson. Default: beside the input, named after it and the action."""
    overwrite: Annotated[bool, Parameter(group=INPUT)] = False
    """Drop earlier results and their journal and start anew."""
    retry_failed: Annotated[bool, Parameter(group=INPUT)] = False
    """Call again what was called and did not succeed, and what verify has read back in another state."""
    limit_rows: Annotated[int | None, Parameter(group=INPUT, converter=whole_number)] = None
    """Call at most so many rows, then stop (75); the same command goes on with the next. 0 only writes the results."""
    skip_protected: Annotated[bool, Parameter(group=LOOK)] = False
    """Leave protected rows out and call the others."""
    max_errors: Annotated[str, Parameter(group=PACE)] = "50%"
    """Stop (3) when more rows than this failed: a number, or a percentage of the finished rows, from 100 rows on."""
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], group=RUN)] = False
    """Do not ask."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options(RunOptions, ColumnOptions, ScheduleOptions):
    """Options of ``run`` and ``rehearse`` as they were typed."""

    skip_invalid: Annotated[bool, Parameter(group=INPUT)] = False
    """Leave invalid rows out and call the others; without it one invalid row keeps the run from starting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Service):
    """What a run does, resolved and checked.

    Attributes:
        action: What is asked for each row.
        input: The input file.
        results: The results file.
        max_errors: When to give up.
        options: The options as typed, for what needs no resolving.
    """

    action: Action
    input: Path
    results: Path
    max_errors: Limit
    options: Options

    @property
    def journal(self) -> Path:
        """The journal, beside the results."""
        return journal_of(self.results)

    @property
    def summary(self) -> Path:
        """The summary, beside the results."""
        return summary_of(self.results)


def resolve(action: ActionName, path: Path, options: Options, *, command: str = "run") -> Job:
    """Returns the job that the options ask for; ``command`` is whose help is named where they are wrong.

    Raises:
        BulkcertError: With all that is wrong with the options at once.
    """
    problems: list[str] = []
    service = resolve_service(options, problems)
    limit = _limit(options.max_errors, problems)
    results = options.results or default_results(path, ACTIONS[action])
    _check_results(results, path, problems)
    if options.overwrite and options.retry_failed:
        problems.append("--overwrite and --retry-failed exclude each other: the one drops what the other goes by")
    if options.limit_rows is not None and options.limit_rows < 0:
        problems.append(f"--limit-rows must be at least 0, not {options.limit_rows}")
    if options.skip_protected and options.protect is None:
        problems.append("--skip-protected needs --protect, the list of what is protected")
    check_schedule(options, results.name, problems)
    _check_metrics(options, problems)
    refuse(problems, command)
    return Job(
        **{field.name: getattr(service, field.name) for field in fields(service)},
        action=ACTIONS[action],
        input=path,
        results=results,
        max_errors=limit,
        options=options,
    )


def default_results(path: Path, action: Action) -> Path:
    """Returns where results go by default: ``devices.csv.gz`` → ``devices.inactivate-device.results.csv``."""
    stem, *suffixes = path.name.split(".")
    suffix = _RESULTS_SUFFIX.get(suffixes[-1].lower() if suffixes else "", ".csv")
    while suffixes and suffixes[-1].lower() in ("csv", "gz", "zst", "parquet", "pq", "ndjson", "jsonl"):
        suffixes.pop()
    return path.parent / (".".join([stem, *suffixes, action.name, "results"]) + suffix)


_RESULTS_SUFFIX = {"parquet": ".parquet", "pq": ".parquet", "ndjson": ".ndjson", "jsonl": ".ndjson"}


def _limit(text: str, problems: list[str]) -> Limit:
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    if matched and matched[2] and float(matched[1]) <= 100:  # noqa: PLR2004 - percent
        return Limit(share=float(matched[1]) / 100)
    if matched and not matched[2] and matched[1].isdigit():
        return Limit(rows=int(matched[1]))
    problems.append(f"--max-errors takes a number of rows or a percentage such as 5%, not {text!r}")
    return Limit()


def _check_metrics(options: MetricsOptions, problems: list[str]) -> None:
    if options.metrics_file is not None and options.metrics_file.suffix != ".prom":
        problems.append(
            f"--metrics-file {options.metrics_file} must end in .prom: the node exporter reads no other file"
        )
    if not options.pushgateway:
        return
    try:
        url = httpx.URL(options.pushgateway)
    except httpx.InvalidURL as error:
        problems.append(f"--pushgateway is not a URL: {error}")
        return
    if url.userinfo:
        problems.append("--pushgateway takes no password: set PUSHGATEWAY_USERNAME and PUSHGATEWAY_PASSWORD")
    elif url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        problems.append(f"--pushgateway {options.pushgateway!r} must look like https://host:9091")


def _check_results(results: Path, path: Path, problems: list[str]) -> None:
    if results.suffix.lower() not in SUFFIXES:
        problems.append(f"--results {results} must end in {', '.join(SUFFIXES)}")
    foreign = [
        name for name in map(str, (results, path)) if any("\ud800" <= character <= "\udfff" for character in name)
    ]
    problems.extend(f"{name!r}: file names must be UTF-8" for name in foreign)
    # os.path, since Path raises where it may not look; what is wrong with a path is said when it is opened.
    if os.path.exists(results) and os.path.exists(path) and os.path.samefile(results, path):
        problems.append(f"--results {results} is the input itself")
