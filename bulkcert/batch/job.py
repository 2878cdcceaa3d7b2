"""What was asked: options as typed, and the job they resolve to. After that nothing reads flags or the environment."""

import ipaddress
import math
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
from cyclopts import Group, Parameter, Token

from bulkcert.actions import ACTIONS, Action, ActionName
from bulkcert.api.operations import PUBLIC_ONLY_REGIONS, REGIONS, region_host
from bulkcert.batch.order import Limit
from bulkcert.batch.pacer import bucket_rate, lane_cap
from bulkcert.batch.results import SUFFIXES
from bulkcert.errors import BulkcertError, ExitStatus

_WHERE = Group.create_ordered("Where")
_INPUT = Group.create_ordered("Input and results")
_PACE = Group.create_ordered("Pace")
_RUN = Group.create_ordered("Run")


def _whole(_type: object, tokens: Sequence[Token]) -> int:
    """Reads a whole number; the library would round, and a cap must not be rounded up."""
    text, source = tokens[0].value, tokens[0].source
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number{f' (from {source})' if source else ''}") from None


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of ``run`` and ``rehearse`` as they were typed; each is also ``BULKCERT_…`` and a key of a job file."""

    instance: Annotated[str, Parameter(group=_WHERE)] = ""
    """Instance that holds the certificates, as in post-cn-7mz2d000001."""
    region: Annotated[str, Parameter(group=_WHERE)] = ""
    """Region of the instance, as in cn-hangzhou; gives the endpoint."""
    vpc: Annotated[bool, Parameter(group=_WHERE)] = False
    """Use the region's endpoint inside its VPC."""
    endpoint: Annotated[str, Parameter(group=_WHERE)] = ""
    """URL of the service; wins over the region. http only for loopback addresses."""
    source_address: Annotated[tuple[str, ...], Parameter(group=_WHERE, consume_multiple=False)] = ()
    """Local address to send from; repeat it for more. The address cap holds for each."""

    results: Annotated[Path | None, Parameter(name=["--results", "-o"], group=_INPUT)] = None
    """Results file: .csv, .parquet or .ndjson. Default: beside the input, named after it and the action."""
    device_column: Annotated[str, Parameter(group=_INPUT)] = ""
    """Column that holds the device serial, if it is not named DeviceSn."""
    ca_column: Annotated[str, Parameter(group=_INPUT)] = ""
    """Column that holds the CA serial, if it is not named CaSn (or Sn, for CA actions)."""
    skip_invalid: Annotated[bool, Parameter(group=_INPUT)] = False
    """Leave invalid rows out and call the others; without it one invalid row keeps the run from starting."""
    trust_serials: Annotated[bool, Parameter(group=_INPUT)] = False
    """Accept a column whose serials all end in zeros after 15 digits, as a spreadsheet leaves them."""
    overwrite: Annotated[bool, Parameter(group=_INPUT)] = False
    """Drop earlier results and their journal and start anew."""
    retry_failed: Annotated[bool, Parameter(group=_INPUT)] = False
    """Call the rows again that were called before and did not succeed."""
    limit_rows: Annotated[int | None, Parameter(group=_INPUT, converter=_whole)] = None
    """Call at most so many rows, then stop (75); the same command goes on with the next."""

    rate: Annotated[int, Parameter(group=_PACE, converter=_whole)] = 500
    """Cap of the account, in calls per second."""
    per_address_rate: Annotated[int, Parameter(group=_PACE, converter=_whole)] = 300
    """Cap of each source address, in calls per second; 90 % of it is used, since the service blocks above it."""
    max_in_flight: Annotated[int, Parameter(group=_PACE, converter=_whole)] = 256
    """Most calls that wait for an answer at a time."""
    timeout: Annotated[float, Parameter(group=_PACE)] = 10.0
    """Seconds that one attempt may take."""
    attempts: Annotated[int, Parameter(group=_PACE, converter=_whole)] = 6
    """Attempts for each row; waiting out a throttle or an outage does not count."""
    max_errors: Annotated[str, Parameter(group=_PACE)] = "50%"
    """Stop (3) when more rows than this failed: a number, or a percentage of the finished rows, from 100 rows on."""

    yes: Annotated[bool, Parameter(name=["--yes", "-y"], group=_RUN)] = False
    """Do not ask."""
    json: Annotated[bool, Parameter(group=_RUN)] = False
    """Print the summary as JSON."""
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="", group=_RUN)] = False
    """Name each call that did not succeed at once, on stderr; with an internal error, show where it came from."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", group=_RUN)] = False
    """No progress on stderr; errors and questions only."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a run does, resolved and checked.

    Attributes:
        action: What is asked for each row.
        input: The input file.
        results: The results file.
        instance: ``MqttInstanceId``.
        endpoint: Where the service is.
        addresses: Source address of each lane; None is the system's choice.
        lane_cap: Cap of each lane, in calls per second.
        workers: Workers of each lane.
        max_errors: When to give up.
        options: The options as typed, for what needs no resolving.
    """

    action: Action
    input: Path
    results: Path
    instance: str
    endpoint: httpx.URL
    addresses: tuple[str | None, ...]
    lane_cap: int
    workers: int
    max_errors: Limit
    options: Options

    @property
    def journal(self) -> Path:
        """The journal, beside the results."""
        return self.results.with_name(self.results.name + ".journal")

    @property
    def summary(self) -> Path:
        """The summary, beside the results."""
        return self.results.with_name(self.results.name + ".summary.json")

    @property
    def rate(self) -> float:
        """Calls per second that all lanes make together, at most."""
        return bucket_rate(self.lane_cap) * len(self.addresses)


def resolve(action: ActionName, path: Path, options: Options) -> Job:
    """Returns the job that the options ask for.

    Raises:
        BulkcertError: With all that is wrong with the options at once.
    """
    problems: list[str] = []
    endpoint = _endpoint(options, problems)
    addresses = _addresses(options.source_address, problems)
    cap = _lane_cap(options, len(addresses), problems)
    limit = _limit(options.max_errors, problems)
    results = options.results or default_results(path, ACTIONS[action])
    _check_results(results, path, problems)
    if not options.instance.strip():
        problems.append("--instance is missing: the ID of the instance that holds the certificates")
    if options.max_in_flight < len(addresses):
        problems.append(f"--max-in-flight must be at least 1 for each source address, not {options.max_in_flight}")
    if options.overwrite and options.retry_failed:
        problems.append("--overwrite and --retry-failed exclude each other: the one drops what the other goes by")
    if options.attempts < 1:
        problems.append(f"--attempts must be at least 1, not {options.attempts}")
    if options.limit_rows is not None and options.limit_rows < 1:
        problems.append(f"--limit-rows must be at least 1, not {options.limit_rows}")
    if not (math.isfinite(options.timeout) and options.timeout > 0):
        problems.append(f"--timeout must be a number of seconds above 0, not {options.timeout:g}")
    if problems:
        unknown_region = [problem for problem in problems if problem.startswith("--region ")]
        status = ExitStatus.MISCONFIGURED if unknown_region == problems else ExitStatus.USAGE
        told = problems[0] if len(problems) == 1 else "\n  ".join(["several options are wrong:", *problems])
        raise BulkcertError(status, told, "Nothing was called. See bulkcert run --help.")
    workers = options.max_in_flight // len(addresses)
    return Job(ACTIONS[action], path, results, options.instance, endpoint, addresses, cap, workers, limit, options)


def default_results(path: Path, action: Action) -> Path:
    """Returns where results go by default: ``devices.csv.gz`` → ``devices.inactivate-device.results.csv``."""
    stem, *suffixes = path.name.split(".")
    suffix = ".parquet" if suffixes and suffixes[-1].lower() in ("parquet", "pq") else ".csv"
    while suffixes and suffixes[-1].lower() in ("csv", "gz", "zst", "parquet", "pq"):
        suffixes.pop()
    return path.parent / (".".join([stem, *suffixes, action.name, "results"]) + suffix)


def _endpoint(options: Options, problems: list[str]) -> httpx.URL:
    if options.endpoint:
        return _url(options.endpoint, problems)
    if not options.region:
        problems.append("where the service is, is missing: --region or --endpoint")
    elif options.region not in REGIONS:
        problems.append(f"--region {options.region} is not known; known are {', '.join(REGIONS)}")
    elif options.vpc and options.region in PUBLIC_ONLY_REGIONS:
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
    elif url.port is not None and not 0 < url.port < 65536:  # noqa: PLR2004 - the ports of TCP
        problems.append(f"--endpoint {text!r}: port {url.port} is not from 1 to 65535")
    elif url.scheme == "http" and not is_loopback(url.host):
        problems.append(f"--endpoint {text!r}: http is allowed for loopback addresses only, use https")
    if url.path not in ("", "/") or url.query or url.userinfo or url.fragment:
        problems.append("--endpoint takes scheme, host and port only")
    return url


def is_loopback(host: str) -> bool:
    """Returns whether a host is this machine, for certain: by name or by address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _addresses(typed: tuple[str, ...], problems: list[str]) -> tuple[str | None, ...]:
    reasons = {address: cannot_send_from(address) for address in typed}
    plain = [_plain(address) for address, reason in reasons.items() if not reason]
    problems.extend(f"--source-address {address}: {reason}" for address, reason in reasons.items() if reason)
    if len(reasons) < len(typed) or len(set(plain)) < len(plain):
        problems.append("--source-address names the same address twice")
    return typed or (None,)


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Returns an address so that two spellings of it are equal."""
    parsed = ipaddress.ip_address(address)
    return getattr(parsed, "ipv4_mapped", None) or parsed


def cannot_send_from(address: str) -> str:
    """Returns why a socket cannot be bound to an address, or an empty text if it can."""
    try:
        if ipaddress.ip_address(address).is_unspecified:
            return "stands for any address; name one"
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET  # noqa: PLR2004
        with socket.socket(family) as probe:
            probe.bind((address, 0))
    except (ValueError, OSError) as error:
        return "not an address of this machine" if isinstance(error, OSError) else "not an IP address"
    return ""


def _lane_cap(options: Options, lanes: int, problems: list[str]) -> int:
    before = len(problems)
    for name, value in (("--rate", options.rate), ("--per-address-rate", options.per_address_rate)):
        if value < 1:
            problems.append(f"{name} must be at least 1, not {value}")
    cap = lane_cap(options.rate, options.per_address_rate, lanes)
    if cap < 1 and len(problems) == before:
        problems.append(f"--rate {options.rate} leaves less than one call a second for each of {lanes} addresses")
    return cap


def _limit(text: str, problems: list[str]) -> Limit:
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    if matched and matched[2] and float(matched[1]) <= 100:  # noqa: PLR2004 - percent
        return Limit(share=float(matched[1]) / 100)
    if matched and not matched[2] and matched[1].isdigit():
        return Limit(rows=int(matched[1]))
    problems.append(f"--max-errors takes a number of rows or a percentage such as 5%, not {text!r}")
    return Limit()


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
