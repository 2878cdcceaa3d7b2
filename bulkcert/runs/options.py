"""Which service is called, from where and how fast: options as typed, and what they resolve to."""

import difflib
import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import httpx
from cyclopts import Group, Parameter, Token

from bulkcert.engine.limits import Target
from bulkcert.engine.pacer import lane_cap
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import LogFormat
from bulkcert.service.operations import PUBLIC_ONLY_REGIONS, REGIONS, region_host

WHERE = Group.create_ordered("Where")
INPUT = Group.create_ordered("Input and results")
PREFLIGHT = Group.create_ordered("Preflight and safety")
PACE = Group.create_ordered("Pace")
SCHEDULE = Group.create_ordered("Schedule")
RUN = Group.create_ordered("Run")


LARGEST_NUMBER = 10**12
"""What no option comes near; larger numbers are beyond what can be reckoned with."""

LONGEST_S = 100 * 365.25 * 86400
"""The longest length of time, in seconds: what is later may be no date."""

MOST_IN_FLIGHT, LONGEST_TIMEOUT_S = 65_536, 3600.0

SHOWN = 40
"""Characters of a wrong value that are repeated."""


class TooLongError(ValueError):
    """A length of time that leads beyond all dates."""


def whole_number(_type: object, tokens: Sequence[Token]) -> int:
    """Reads a whole number; the library would round, and a cap must not be rounded up."""
    text = tokens[0].value
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"{short(text)!r} is not a whole number") from None
    if abs(number) > LARGEST_NUMBER:
        raise ValueError(f"{short(text)!r} is more than {LARGEST_NUMBER:,}")
    return number


def seconds(_type: object, tokens: Sequence[Token]) -> float:
    """Reads a length of time: ``90``, ``90s``, ``10m``, ``2h``, ``1d``."""
    text = tokens[0].value
    matched = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if not matched:
        raise ValueError(f"{short(text)!r} is not a length of time such as 90s, 10m, 2h or 1d")
    length = float(matched[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[matched[2]]
    if length > LONGEST_S:
        raise TooLongError(f"{short(text)!r} is more than a hundred years")
    return length


def short(text: str) -> str:
    """Returns a wrong value as it is repeated."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """Options of every command that calls the service; each is also ``BULKCERT_…`` and a key of a job file."""

    instance: Annotated[str, Parameter(group=WHERE)] = ""
    """Instance that holds the certificates, as in post-cn-7mz2d000001."""
    region: Annotated[str, Parameter(group=WHERE)] = ""
    """Region of the instance, as in cn-hangzhou; gives the endpoint."""
    vpc: Annotated[bool, Parameter(group=WHERE)] = False
    """Use the region's endpoint inside its VPC."""
    endpoint: Annotated[str, Parameter(group=WHERE)] = ""
    """URL of the service; wins over the region. http only for loopback addresses."""
    source_address: Annotated[tuple[str, ...], Parameter(group=WHERE, consume_multiple=False)] = ()
    """Local address to send from; repeat it for more. The address cap holds for each."""

    rate: Annotated[int, Parameter(group=PACE, converter=whole_number)] = 500
    """Cap of the account, in calls per second."""
    per_address_rate: Annotated[int, Parameter(group=PACE, converter=whole_number)] = 300
    """Cap of each source address, in calls per second; 90 % of it is used, since the service blocks above it."""
    max_in_flight: Annotated[int, Parameter(group=PACE, converter=whole_number)] = 256
    """Most calls that wait for an answer at a time."""
    timeout: Annotated[float, Parameter(group=PACE)] = 10.0
    """Seconds that one attempt may take."""
    attempts: Annotated[int, Parameter(group=PACE, converter=whole_number)] = 6
    """Attempts for each row; waiting out a throttle or an outage does not count."""
    json: Annotated[bool, Parameter(group=RUN)] = False
    """Print what came of it as JSON."""
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="", group=RUN)] = False
    """Name each call that did not succeed at once, on stderr; with an internal error, show where it came from."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", group=RUN)] = False
    """No progress on stderr; errors and questions only."""
    log_format: Annotated[LogFormat, Parameter(group=RUN)] = "text"
    """What stderr carries: text for people, or for machines one JSON object a line, and then nothing is asked."""


class Problem(str):
    """What is wrong with an option, where the exit status is not that of wrong usage.

    Args:
        text: In words.
        status: The exit status, if nothing else is wrong.
    """

    __slots__ = ("status",)
    status: ExitStatus

    def __new__(cls, text: str, status: ExitStatus) -> Self:
        """Returns the text, which carries the status."""
        problem = super().__new__(cls, text)
        problem.status = status
        return problem


def resolve_target(options: ServiceOptions, problems: list[str]) -> Target:
    """Returns the service that the options mean.

    Args:
        options: As typed.
        problems: What is wrong with them is added; the result is of no use then.
    """
    endpoint = _endpoint(options, problems)
    addresses = _addresses(options.source_address, problems)
    cap = _lane_cap(options, len(addresses), problems)
    if not options.instance.strip():
        problems.append("--instance is missing: the ID of the instance that holds the certificates")
    elif problem := wrong_instance(options.instance):
        problems.append(problem)
    if options.max_in_flight < len(addresses):
        problems.append(f"--max-in-flight must be at least 1 for each source address, not {options.max_in_flight}")
    elif options.max_in_flight > MOST_IN_FLIGHT:
        problems.append(f"--max-in-flight must be at most {MOST_IN_FLIGHT:,}, not {options.max_in_flight:,}")
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


def refuse(problems: list[str], command: str) -> None:
    """Refuses options with all that is wrong with them at once.

    Raises:
        BulkcertError: There is something wrong.
    """
    if not problems:
        return
    statuses = {problem.status if isinstance(problem, Problem) else ExitStatus.USAGE for problem in problems}
    status = statuses.pop() if len(statuses) == 1 else ExitStatus.USAGE
    message = problems[0] if len(problems) == 1 else "\n  ".join(["several options are wrong:", *problems])
    raise BulkcertError(status, message, f"No calls were made. See bulkcert {command} --help.")


def unknown_region(region: str) -> Problem:
    """Returns what is wrong with a region that is not the service's."""
    near = difflib.get_close_matches(region, REGIONS, n=1)
    message = (
        f"--region {region} is not known; {f'did you mean {near[0]}? K' if near else 'k'}nown are {', '.join(REGIONS)}"
    )
    return Problem(message, ExitStatus.MISCONFIGURED)


def _endpoint(options: ServiceOptions, problems: list[str]) -> httpx.URL:
    if options.endpoint:
        return _url(options.endpoint, problems)
    if not options.region:
        problems.append("where the service is, is missing: --region or --endpoint")
    elif options.region not in REGIONS:
        problems.append(unknown_region(options.region))
    elif options.vpc and options.region in PUBLIC_ONLY_REGIONS:
        problems.append(Problem(f"--region {options.region} has no VPC endpoint", ExitStatus.MISCONFIGURED))
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
    elif url.path not in ("", "/") or url.query or url.userinfo or url.fragment:
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
            return "means any address; name one"
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET  # noqa: PLR2004
        with socket.socket(family) as probe:
            probe.bind((address, 0))
    except (ValueError, OSError) as error:
        return "not an address of this machine" if isinstance(error, OSError) else "not an IP address"
    return ""


def _lane_cap(options: ServiceOptions, lanes: int, problems: list[str]) -> int:
    before = len(problems)
    for name, value in (("--rate", options.rate), ("--per-address-rate", options.per_address_rate)):
        if value < 1:
            problems.append(f"{name} must be at least 1, not {value}")
    cap = lane_cap(options.rate, options.per_address_rate, lanes)
    if cap < 1 and len(problems) == before:
        problems.append(f"--rate {options.rate} leaves less than one call a second for each of {lanes} addresses")
    return cap
