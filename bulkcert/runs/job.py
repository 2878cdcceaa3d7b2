"""What was asked: options resolved, once, into a target or a job. After that nothing reads flags or the environment."""

import difflib
import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import httpx

from bulkcert.engine.limits import Limit, Target
from bulkcert.engine.pacer import lane_cap
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.results import SUFFIXES
from bulkcert.runs.options import (
    LARGEST_NUMBER,
    CallOptions,
    Options,
    PreflightOptions,
    ServiceOptions,
    SizeOptions,
    short,
)
from bulkcert.service.actions import ACTIONS, Action, ActionName
from bulkcert.service.operations import PUBLIC_ONLY_REGIONS, REGIONS, region_host
from bulkcert.store.paths import RunFiles, default_results
from bulkcert.words import counted

MOST_IN_FLIGHT, LONGEST_TIMEOUT_S = 65_536, 3600.0

MOST_DAYS = 36_525
"""Days that files may be kept, a hundred years."""

DATE = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
"""A date as ``{date}`` of a job file writes it."""

WRONG_SIZE = "See whether the export went wrong; if it did not, change the number."
"""What to do about a list of a length that was not expected."""


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
    limit = resolve_limits(options, problems)
    results = options.results or default_results(inputs[0], action)
    if options.results is None and str(inputs[0]) == "-":
        problems.append(
            "--results is missing: a list from standard input has no name that results could be named after"
        )
    _check_results(results, inputs, problems)
    if options.overwrite and options.retry:
        problems.append("--overwrite and --retry exclude each other: the one drops what the other goes by")
    check_list_options(options, options, problems)
    _check_retention(options.retain_days, results.name, problems)
    if options.metrics_file is not None and options.metrics_file.suffix != ".prom":
        reason = "the node exporter reads no other file"
        problems.append(f"--metrics-file {options.metrics_file} must end in .prom: {reason}")
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


def refuse(problems: list[str], command: str) -> None:
    """Refuses options with all that is wrong with them at once.

    Raises:
        BulkcertError: There is something wrong.
    """
    if problems:
        message = problems[0] if len(problems) == 1 else "\n  ".join(["several options are wrong:", *problems])
        raise BulkcertError(ExitStatus.USAGE, message, f"No calls were made. See bulkcert {command} --help.")


def resolve_target(options: ServiceOptions, problems: list[str]) -> Target:
    """Returns the service that the options mean.

    Args:
        options: As typed.
        problems: What is wrong with them is added; the result is of no use then.

    Raises:
        BulkcertError: There is no such region.
    """
    endpoint = _endpoint(options, problems)
    addresses = _addresses(options.source_address, problems)
    cap = _lane_cap(options, len(addresses), problems)
    if not options.instance.strip():
        problems.append("--instance is missing: the ID of the instance that holds the certificates")
    elif problem := wrong_instance(options.instance):
        problems.append(problem)
    if not len(addresses) <= options.max_in_flight <= MOST_IN_FLIGHT:
        allowed = f"at least 1 for each source address, and at most {MOST_IN_FLIGHT:,}"
        problems.append(f"--max-in-flight must be {allowed}, not {options.max_in_flight:,}")
    if options.attempts < 1:
        problems.append(f"--attempts must be at least 1, not {options.attempts}")
    if not 0 < options.timeout <= LONGEST_TIMEOUT_S:
        message = f"--timeout must be a number of seconds above 0, {LONGEST_TIMEOUT_S:g} at most"
        problems.append(f"{message}, not {options.timeout:g}")
    return Target(
        instance=options.instance,
        endpoint=endpoint,
        addresses=addresses,
        lane_cap=cap,
        workers=options.max_in_flight // len(addresses),
        attempts=options.attempts,
        timeout_s=options.timeout,
    )


def wrong_instance(instance: str) -> str:
    """Returns why a text cannot be the ID of an instance, or an empty text if it can."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", instance):
        return ""
    return f"--instance {instance!r} must be letters, digits, - and _ only, as in post-cn-7mz2d000001"


def confirm_region(region: str) -> None:
    """Confirms that a region is one of the service's.

    Raises:
        BulkcertError: It is not; with the one that was meant, or some that there are.
    """
    if region not in REGIONS:
        near = difflib.get_close_matches(region, REGIONS, n=1)
        others = difflib.get_close_matches(region, REGIONS, n=6, cutoff=0) if region else REGIONS[:5]
        hint = f"did you mean {near[0]}?" if near else "there is no such region"
        raise BulkcertError(
            ExitStatus.MISCONFIGURED,
            f"--region {region} is not known; {hint}",
            f"Regions that look like it: {', '.join(others)}. The instance's page in the console names its region.",
        )


def _endpoint(options: ServiceOptions, problems: list[str]) -> httpx.URL:
    if options.endpoint:
        return _url(options.endpoint, problems)
    if not options.region:
        problems.append("--region is missing: that of the instance; or name the service's URL with --endpoint")
    else:
        confirm_region(options.region)
    if options.vpc and options.region in PUBLIC_ONLY_REGIONS:
        problems.append(f"--region {options.region} has no VPC endpoint")
    return httpx.URL(f"https://{region_host(options.region or 'none', vpc=options.vpc)}")


def _url(text: str, problems: list[str]) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        problems.append(f"--endpoint {text!r} is not a URL: {error}")
        return httpx.URL("https://invalid")
    if url.scheme not in ("http", "https") or not url.host:
        problems.append(f"--endpoint {text!r} must look like https://host")
    elif url.scheme == "http" and not _is_loopback(url.host):
        problems.append(f"--endpoint {text!r}: http is allowed for loopback addresses only, use https")
    elif url.path not in ("", "/") or url.query or url.userinfo or url.fragment:
        problems.append("--endpoint takes scheme, host and port only")
    return url


def _is_loopback(host: str) -> bool:
    """Returns whether a host is this machine, for certain: by name or by address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _addresses(typed: tuple[str, ...], problems: list[str]) -> tuple[str | None, ...]:
    reasons = {address: cannot_send_from(address) for address in typed}
    problems.extend(f"--source-address {address}: {reason}" for address, reason in reasons.items() if reason)
    if len(reasons) < len(typed):
        problems.append("--source-address names the same address twice")
    return typed or (None,)


def cannot_send_from(address: str) -> str:
    """Returns why a socket cannot be bound to an address, or an empty text if it can."""
    try:
        parsed = ipaddress.ip_address(address)
        if parsed.is_unspecified:
            return "means any address; name one"
        with socket.socket(socket.AF_INET6 if parsed.version == 6 else socket.AF_INET) as probe:  # noqa: PLR2004
            probe.bind((address, 0))
    except (ValueError, OSError) as error:
        return "not an address of this machine" if isinstance(error, OSError) else "not an IP address"
    return ""


def _lane_cap(options: ServiceOptions, lanes: int, problems: list[str]) -> int:
    rates = {"--rate": options.rate, "--per-address-rate": options.per_address_rate}
    low = [f"{name} must be at least 1, not {value}" for name, value in rates.items() if value < 1]
    problems.extend(low)
    cap = lane_cap(options.rate, options.per_address_rate, lanes)
    if cap < 1 and not low:
        problems.append(f"--rate {options.rate} leaves less than one call a second for each of {lanes} addresses")
    return cap


def resolve_limits(options: CallOptions, problems: list[str]) -> Limit:
    """Returns when there are too many errors, as ``--max-errors`` says.

    Args:
        options: As typed.
        problems: What is wrong with it, and with ``--limit-rows``, is added.
    """
    if options.limit_rows is not None and options.limit_rows < 1:
        problems.append(f"--limit-rows must be at least 1, not {options.limit_rows}")
    text = options.max_errors.strip()
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text)
    if matched and matched[2] and float(matched[1]) <= 100:  # noqa: PLR2004 - percent
        return Limit(share=float(matched[1]) / 100)
    if matched and not matched[2] and text.isdigit() and len(text) <= len(str(LARGEST_NUMBER)):
        return Limit(rows=int(text))
    problems.append(f"--max-errors takes a number of rows or a percentage such as 5%, not {short(text)!r}")
    return Limit()


def check_list_options(size: SizeOptions, preflight: PreflightOptions, problems: list[str]) -> None:
    """Adds what is wrong with the options on the list and its protection to the problems."""
    if preflight.skip_protected and preflight.protect is None:
        problems.append("--skip-protected needs --protect, the list of what is protected")
    least, most = size.min_rows, size.max_rows
    for option, value in (("--min-rows", least), ("--max-rows", most)):
        if value is not None and value < 0:
            problems.append(f"{option} must be at least 0, not {value}")
    if least is not None and most is not None and least > most:
        problems.append(f"--min-rows {least} is more than --max-rows {most}")


def wrong_size(options: SizeOptions, name: str, rows: int) -> str:
    """Returns why a list is too short or too long, in words; empty if it is neither.

    Args:
        options: As typed.
        name: Of the list.
        rows: That it has.
    """
    least, most = options.min_rows, options.max_rows
    has = f"{name} has {counted(rows, 'row')}"
    if least is not None and rows < least:
        return f"{has}, and at least {least:,} are expected (--min-rows)"
    if most is not None and rows > most:
        return f"{has}, and at most {most:,} are allowed (--max-rows)"
    return ""


def _check_retention(days: int | None, name: str, problems: list[str]) -> None:
    if days is None:
        return
    if not 1 <= days <= MOST_DAYS:
        problems.append(f"--retain-days must be from 1 to {MOST_DAYS:,} days, not {days}")
    if not DATE.search(name):
        message = f"--retain-days goes by the date in the names of results, and {name} has none"
        problems.append(f"{message}: put {{date}} into the results of the job file")


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
