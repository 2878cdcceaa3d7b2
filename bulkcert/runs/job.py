"""What was asked: options as typed, and the job they resolve to. After that nothing reads flags or the environment."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Parameter, Token

from bulkcert.engine.limits import Limit, Target
from bulkcert.engine.preflight import PreflightMode
from bulkcert.output.results import SUFFIXES
from bulkcert.runs.options import (
    INPUT,
    LARGEST_NUMBER,
    PACE,
    PREFLIGHT,
    RUN,
    ServiceOptions,
    refuse,
    resolve_target,
    short,
    whole_number,
)
from bulkcert.runs.schedule import ScheduleOptions, check_schedule
from bulkcert.service.actions import ACTIONS, Action, ActionName
from bulkcert.store.paths import RunFiles


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
class PreflightOptions:
    """Options that say what is read before the first call."""

    preflight: Annotated[PreflightMode, Parameter(group=PREFLIGHT)] = "auto"
    """Read states before calling: auto pages through a CA where that takes fewer calls than it has rows; always reads
    every certificate; never reads none."""
    protect: Annotated[Path | None, Parameter(group=PREFLIGHT)] = None
    """List of serials that must not be touched; one of them in the input keeps the run from starting."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MetricsOptions:
    """Options that say where the metrics of a run go."""

    metrics_file: Annotated[Path | None, Parameter(group=RUN)] = None
    """Keep metrics in this .prom file, for the node exporter's textfile collector; a file for each job."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StateOptions:
    """Where what a run remembers is kept; for every command that is about a run."""

    state_dir: Annotated[Path | None, Parameter(group=INPUT)] = None
    """Directory for the folder RESULTS.run, which holds what a run remembers. Default: next to the results."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CallOptions(ServiceOptions, StateOptions):
    """Options of every command that changes certificates row by row."""

    limit_rows: Annotated[int | None, Parameter(group=INPUT, converter=whole_number)] = None
    """Call at most so many rows, then stop (75); resume calls the next ones."""
    max_errors: Annotated[str, Parameter(group=PACE)] = "50%"
    """Stop (3) when more rows than this failed: a number, or a percentage of the finished rows, from 100 rows on."""
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], group=RUN)] = False
    """Do not ask."""


Retried = Literal["failed", "unknown", "not_registered", "undone", "drifted"]
"""Rows that can be called again: those with one of these outcomes, and those read back in another state."""


def retried(_type: object, tokens: Sequence[Token]) -> tuple[Retried, ...]:
    """Reads names with commas between them.

    Raises:
        ValueError: One is not a name of such rows.
    """
    names = [name.strip() for token in tokens for name in token.value.split(",") if name.strip()]
    for name in names:
        if name not in get_args(Retried):
            raise ValueError(f"{name!r} is not valid; choose from {', '.join(get_args(Retried))}")
    return tuple(dict.fromkeys(names))  # type: ignore[arg-type]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RetryOptions:
    """What is called again though it has an outcome."""

    retry: Annotated[
        tuple[Retried, ...], Parameter(group=INPUT, converter=retried, consume_multiple=False, metavar="OUTCOME,…")
    ] = ()
    """Call again the rows that are failed, unknown, not_registered, undone, or drifted: read back in another state."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ResumeOptions(CallOptions, PreflightOptions, MetricsOptions, RetryOptions, ColumnOptions, ScheduleOptions):
    """Options of every start of a run."""

    skip_protected: Annotated[bool, Parameter(group=PREFLIGHT)] = False
    """Leave protected rows out and call the others."""
    skip_invalid: Annotated[bool, Parameter(group=INPUT)] = False
    """Leave invalid rows out and call the others; without it one invalid row keeps the run from starting."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options(ResumeOptions):
    """Options of ``run`` and ``rehearse`` as they were typed."""

    results: Annotated[Path | None, Parameter(name=["--results", "-o"], group=INPUT)] = None
    """Results file: .csv, .parquet or .ndjson. Default: next to the input, named after it and the action."""
    overwrite: Annotated[bool, Parameter(group=INPUT)] = False
    """Drop what an earlier run with these results has done, and start from scratch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Target):
    """What a run does, resolved and checked.

    Attributes:
        action: What is asked for each row.
        inputs: The files of the list, as they are named to people.
        source: Where the list is read: these files, or a list that was pinned.
        results: The results file.
        max_errors: When to give up.
        options: The options as typed, for what needs no resolving.
        rehearsal: Whether it calls an emulator that ends with it.
    """

    action: Action
    inputs: tuple[Path, ...]
    source: tuple[Path, ...]
    results: Path
    max_errors: Limit
    options: Options
    rehearsal: bool = False

    @property
    def files(self) -> RunFiles:
        """The files of the run."""
        return RunFiles(self.results, self.options.state_dir)

    @property
    def list_name(self) -> str:
        """The list, for messages."""
        return list_name(self.inputs)


def list_name(inputs: Sequence[Path]) -> str:
    """Returns what messages call a list of some files."""
    return ", ".join("standard input" if str(path) == "-" else str(path) for path in inputs)


def resolve(
    action: ActionName,
    inputs: tuple[Path, ...],
    options: Options,
    *,
    command: str = "run",
    source: tuple[Path, ...] = (),
    rehearsal: bool = False,
) -> Job:
    """Returns the job that the options ask for.

    Args:
        action: What is asked for each row.
        inputs: The files of the list; at least one.
        options: As typed.
        command: Whose help is named where they are wrong.
        source: Where the list is read, if not there.
        rehearsal: Whether it calls an emulator that ends with it.

    Raises:
        BulkcertError: With all that is wrong with the options at once.
    """
    problems: list[str] = []
    service = resolve_target(options, problems)
    limit = max_errors_of(options.max_errors, problems)
    results = options.results or default_results(inputs[0], ACTIONS[action])
    if options.results is None and str(inputs[0]) == "-":
        problems.append(
            "--results is missing: a list from standard input has no name that results could be named after"
        )
    _check_results(results, inputs, problems)
    if options.overwrite and options.retry:
        problems.append("--overwrite and --retry exclude each other: the one drops what the other goes by")
    check_limit_rows(options.limit_rows, problems)
    if options.skip_protected and options.protect is None:
        problems.append("--skip-protected needs --protect, the list of what is protected")
    check_schedule(options, results.name, problems)
    _check_metrics(options, problems)
    refuse(problems, command)
    return Job(
        **{field.name: getattr(service, field.name) for field in fields(service)},
        action=ACTIONS[action],
        inputs=inputs,
        source=source or inputs,
        results=results,
        max_errors=limit,
        options=options,
        rehearsal=rehearsal,
    )


def check_limit_rows(limit: int | None, problems: list[str]) -> None:
    """Adds what is wrong with ``--limit-rows`` to the problems."""
    if limit is not None and limit < 1:
        problems.append(f"--limit-rows must be at least 1, not {limit}")


def default_results(path: Path, action: Action) -> Path:
    """Returns where results go by default: ``devices.csv.gz`` → ``devices.inactivate-device.results.csv``."""
    stem, *suffixes = path.name.split(".")
    suffix = _RESULTS_SUFFIX.get(suffixes[-1].lower() if suffixes else "", ".csv")
    while suffixes and suffixes[-1].lower() in ("csv", "gz", "zst", "parquet", "pq", "ndjson", "jsonl"):
        suffixes.pop()
    return path.parent / (".".join([stem, *suffixes, action.name, "results"]) + suffix)


_RESULTS_SUFFIX = {"parquet": ".parquet", "pq": ".parquet", "ndjson": ".ndjson", "jsonl": ".ndjson"}


def max_errors_of(text: str, problems: list[str]) -> Limit:
    """Returns when there are too many errors, as ``--max-errors`` says; what is wrong with it is added."""
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    if matched and matched[2] and float(matched[1]) <= 100:  # noqa: PLR2004 - percent
        return Limit(share=float(matched[1]) / 100)
    if matched and not matched[2] and matched[1].isdigit() and len(matched[1]) <= len(str(LARGEST_NUMBER)):
        return Limit(rows=int(matched[1]))
    problems.append(f"--max-errors takes a number of rows or a percentage such as 5%, not {short(text)!r}")
    return Limit()


def _check_metrics(options: MetricsOptions, problems: list[str]) -> None:
    if options.metrics_file is not None and options.metrics_file.suffix != ".prom":
        problems.append(
            f"--metrics-file {options.metrics_file} must end in .prom: the node exporter reads no other file"
        )


def _check_results(results: Path, inputs: tuple[Path, ...], problems: list[str]) -> None:
    if results.suffix.lower() not in SUFFIXES:
        problems.append(f"--results {results} must end in {', '.join(SUFFIXES)} (.ndjson is JSON; none is compressed)")
    foreign = [
        name for name in map(str, (results, *inputs)) if any("\ud800" <= character <= "\udfff" for character in name)
    ]
    problems.extend(f"{name!r}: file names must be UTF-8" for name in foreign)
    # os.path, since Path raises where it may not look; what is wrong with a path is said when it is opened.
    there = [path for path in inputs if os.path.exists(results) and os.path.exists(path)]
    problems.extend(f"--results {results} is the input itself" for path in there if os.path.samefile(results, path))
