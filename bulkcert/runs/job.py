"""What was asked: options resolved, once, into a target or a job. After that nothing reads flags or the environment."""

import os
import re
from pathlib import Path

import msgspec

from bulkcert.engine.target import Limit, Target
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.formats import SUFFIXES_SHOWN
from bulkcert.output.formats import suffix_of
from bulkcert.runs.approval import bound
from bulkcert.runs.converters import LARGEST_NUMBER, Problems, short
from bulkcert.runs.options import ApprovalOptions, CallOptions, ListOptions, Options, RunOptions
from bulkcert.runs.planned import KeptPlan
from bulkcert.runs.target import refuse_job, resolve_target
from bulkcert.service.actions import ACTIONS, Action, ActionName
from bulkcert.service.regions import same_service
from bulkcert.store.paths import RunFiles, default_results
from bulkcert.store.sessions import PlanRecord
from bulkcert.words import counted

_DEMANDED = "--{} is missing, and --require demands it"
_BIND = "To bind a run, new or begun: bulkcert run --plan FILE.plan.json --approver-key FILE -o RESULTS"

WRONG_SIZE = "See whether the export went wrong; if it did not, change the number."
"""What to do about a list of a length that was not expected."""


class ListTarget(Target, frozen=True, kw_only=True):
    """What is asked for each row of a list, and of which service.

    Attributes:
        action: What is asked for each row.
        inputs: The files of the list, as they are named to people.
    """

    action: Action
    inputs: tuple[Path, ...]

    @property
    def list_name(self) -> str:
        """The list, for messages."""
        return ", ".join("standard input" if str(path) == "-" else str(path) for path in self.inputs)


class ResolvedJob(ListTarget, frozen=True, kw_only=True):
    """What a run does, resolved and checked.

    Attributes:
        source: Where the list is read: these files, or a list that was pinned.
        files: The files of the run.
        max_errors: When to give up.
        options: The options as typed, for what needs no resolving.
        rehearsal: Whether it calls an emulator that ends with it.
        plan: The plan that it is bound to.
    """

    source: tuple[Path, ...]
    files: RunFiles
    max_errors: Limit
    options: Options
    rehearsal: bool = False
    plan: KeptPlan | None = None


def resolve(
    action: ActionName,
    inputs: tuple[Path, ...],
    options: Options,
    *,
    command: str = "run",
    source: tuple[Path, ...] = (),
    rehearsal: bool = False,
) -> ResolvedJob:
    """Returns the job that the options ask for, bound to its plan if they name one.

    Args:
        action: What is asked for each row.
        inputs: The files of the list; at least one.
        options: As typed.
        command: Whose help is named where they are wrong.
        source: Where the list is read, if not there.
        rehearsal: Whether it calls an emulator that ends with it.

    Raises:
        BulkcertError: With all that is wrong with the options at once; or the plan cannot be read, or is not approved.
    """
    problems: Problems = []
    plan = None
    if isinstance(options, RunOptions) and (options.plan or options.approver_key):
        options, plan = bound(options)
    service = resolve_target(options, problems, named_by_rows=True)
    limit = resolve_limits(options, problems)
    results = options.results or default_results(inputs[0], action)
    if options.results is None and str(inputs[0]) == "-":
        problems.append(
            "--results is missing: a list from standard input has no name that results could be named after"
        )
    _check_results(results, inputs, problems)
    if options.confirm_devices is not None and ACTIONS[action].by_device:
        problems.append(f"--confirm-devices is for actions on CAs, and {action} is none")
    if service.opener is not None and not ACTIONS[action].repeatable:
        problems.append(f"--cluster: {action} must be on disk before each call, and lanes elsewhere have no such disk")
    if options.overwrite and options.retry:
        problems.append("--overwrite and --retry exclude each other: the one drops what the other goes by")
    check_list_options(options, problems)
    check_required(options, problems)
    if plan is not None:
        _check_planned(plan, action, service, options, problems)
    if options.retain_days is not None:
        from bulkcert.runs.retention import check_retention  # noqa: PLC0415 - where it is asked for

        check_retention(options.retain_days, results.name, problems)
    if options.metrics_file is not None and options.metrics_file.suffix != ".prom":
        reason = "the node exporter reads no other file"
        problems.append(f"--metrics-file {options.metrics_file} must end in .prom: {reason}")
    if problems:
        refuse_job(problems, command, options)
    return ResolvedJob(
        **msgspec.structs.asdict(service),
        action=ACTIONS[action],
        inputs=inputs,
        source=source or inputs,
        files=RunFiles(results, options.state_dir),
        max_errors=limit,
        options=options,
        rehearsal=rehearsal,
        plan=plan,
    )


def resolve_limits(options: CallOptions, problems: Problems) -> Limit:
    """Returns when there are too many errors, as ``--max-errors`` says."""
    text = options.max_errors.strip()
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text)
    if matched and matched[2] and float(matched[1]) <= 100:  # noqa: PLR2004 - percent
        return Limit(share=float(matched[1]) / 100)
    if matched and not matched[2] and text.isdigit() and len(text) <= len(str(LARGEST_NUMBER)):
        return Limit(rows=int(text))
    problems.append(f"--max-errors takes a number of rows or a percentage such as 5%, not {short(text)!r}")
    return Limit()


def check_required(options: ApprovalOptions, problems: Problems) -> None:
    """Adds what ``--require`` names and nobody has given to the problems."""
    given = {"ticket": options.ticket, "reason": options.reason, "approved-by": options.approved_by}
    problems.extend(_DEMANDED.format(name) for name in options.require if not given.get(name, "of a run").strip())


def confirm_required(options: ApprovalOptions, plan: PlanRecord | None, way_on: str = _BIND) -> None:
    """Confirms that what changes is bound to a plan, and to a signed one, where ``--require`` demands it.

    Not every command can be bound: ``way_on`` is what to do instead.

    Raises:
        BulkcertError: USAGE: it is not.
    """
    given = {"plan": plan is not None, "approver-key": plan is not None and bool(plan.signed_by)}
    if missing := [_DEMANDED.format(name) for name in options.require if not given.get(name, True)]:
        raise BulkcertError(ExitStatus.USAGE, "\n  ".join(missing), f"No calls were made. {way_on}")


def _check_planned(plan: KeptPlan, action: str, service: Target, options: Options, problems: Problems) -> None:
    """Adds what is otherwise than in the plan to the problems; a run may be slower."""
    endpoint = str(service.endpoint)
    found = {"--action": (action, plan.action)}
    if service.instance:  # else the list says it, which is compared when it is read
        found["--instance"] = (service.instance, plan.instance or "several")
    if endpoint and not same_service(endpoint, plan.endpoint):
        found["--region or --endpoint"] = (endpoint, plan.endpoint)
    for name in ("ticket", "reason"):
        if planned := plan.options.get(name):
            found[f"--{name}"] = (getattr(options, name), planned)
    problems.extend(
        f"{name}: {now} is not what was planned, {planned}" for name, (now, planned) in found.items() if now != planned
    )
    limits = {"rate": options.rate, "per-address-rate": options.per_address_rate}
    above = [(name, now) for name, now in limits.items() if now > plan.options.get(name, now)]
    problems.extend(f"--{name}: {now} is more than was planned, {plan.options[name]}" for name, now in above)


def check_list_options(options: ListOptions, problems: Problems) -> None:
    """Adds what is wrong with the options on the list and its protection to the problems."""
    if options.skip_protected and options.protect is None:
        problems.append("--skip-protected needs --protect, the list of what is protected")
    least, most = options.min_rows, options.max_rows
    if least is not None and most is not None and least > most:
        problems.append(f"--min-rows {least} is more than --max-rows {most}")


def wrong_size(options: ListOptions, name: str, rows: int) -> str:
    """Returns why a list is too short or too long, in words; empty if it is neither."""
    least, most = options.min_rows, options.max_rows
    has = f"{name} has {counted(rows, 'row')}"
    if least is not None and rows < least:
        return f"{has}, and at least {least:,} are expected (--min-rows)"
    if most is not None and rows > most:
        return f"{has}, and at most {most:,} are allowed (--max-rows)"
    return ""


def _check_results(results: Path, inputs: tuple[Path, ...], problems: Problems) -> None:
    if not suffix_of(results):
        problems.append(f"--results {results} must end in {SUFFIXES_SHOWN}")
    names = map(str, (results, *inputs))
    problems.extend(f"{name!r}: file names must be UTF-8" for name in names if re.search("[\ud800-\udfff]", name))
    if any(re.match(r"\w+:/", str(path)) for path in inputs):  # not shown: it may hold a secret
        problems.append("INPUT is a URL, and not a file: a second URL of a message wants a --notify of its own")
    # os.path, since Path raises where it may not look; what is wrong with a path is said when it is opened.
    for product, is_what in ((results, "is"), (RunFiles(results).failed, "would have its failed rows in")):
        problems.extend(
            f"--results {results} {is_what} the input itself"
            for path in inputs
            if os.path.exists(product) and os.path.exists(path) and os.path.samefile(product, path)
        )
