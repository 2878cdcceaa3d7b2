"""Where the service is, and how it may be called: the options of every command that calls it, resolved and checked."""

import errno
import hashlib
import ipaddress
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from typing import TYPE_CHECKING, TypeVar

import httpx
import msgspec

from bulkcert.engine.pacer import lane_cap
from bulkcert.engine.target import Opener, Target
from bulkcert.errors import BulkcertError, ExitStatus, wrong_options
from bulkcert.runs.converters import Problems
from bulkcert.runs.options import LEAST, Options, PlanOptions, PreflightMode, ServiceOptions
from bulkcert.service.actions import Action
from bulkcert.service.limits import ACCOUNT_LIMIT, ADDRESS_LIMIT
from bulkcert.service.regions import INSTANCE_ID, PUBLIC_ONLY_REGIONS, REGIONS, region_host
from bulkcert.words import later, nearest

if TYPE_CHECKING:
    from bulkcert.input import Check, InstanceSource

MOST_IN_FLIGHT, LONGEST_TIMEOUT_S = 65_536, 3600.0

BLOCKED = later(
    "The service does not slow such an address down, it blocks it: nothing that sends from there gets an answer any "
    "more, other programs behind the same NAT included, and for how long is not documented."
)
"""What it costs to send too fast from one address (reference, section 2)."""
THROTTLED = later("The service throttles all that call on an account that sends more.")
"""What it costs to send too fast on one account, from addresses that keep their limit."""
_THROTTLED = "above which the service throttles all that call on it"
_RAISED = "--limits-raised says that the service has raised yours"


def refuse_job(problems: Problems, command: str, options: Options | PlanOptions) -> None:
    """Refuses options of a job that are wrong, with what they leave to its list as well, which nobody has read yet.

    Raises:
        BulkcertError: With all of that.
    """
    given = options.instance_column or None, options.region_column or None
    refuse([*problems, *instance_source(options).missing(*given)], command)


def refuse(problems: Problems, command: str) -> None:
    """Refuses options with all that is wrong with them at once.

    Raises:
        BulkcertError: There is something wrong.
    """
    if problems:
        raise wrong_options(problems, f"No calls were made. See bulkcert {command} --help.")


def resolve_target(options: ServiceOptions, problems: Problems, *, named_by_rows: bool = False) -> Target:
    """Returns the service that the options mean; instances and regions may be left to rows if wanted (``located``).

    Raises:
        BulkcertError: There is no such region.
    """
    if options.endpoint:
        endpoint = _url(options.endpoint, problems)
    else:
        endpoint = _in_region(options, problems, named_by_rows=named_by_rows)
    addresses = _addresses(options.source_address, problems)
    opener = _opener(options, problems) if options.cluster or options.keys or options.lanes > 0 else None
    problems.extend(wrong_limits(options.rate, options.per_address_rate, len(addresses) + max(0, options.lanes)))
    if not options.limits_raised:
        problems.extend(above_documented(options.rate, options.per_address_rate))
    if not options.instance.strip():
        if not named_by_rows:
            problems.append("--instance is missing: the ID of the instance that holds the certificates")
    elif problem := wrong_instance(options.instance):
        problems.append(problem)
    _check_numbers(options, len(addresses), problems)
    return Target(
        instance=options.instance.strip(),
        endpoint=endpoint,
        addresses=addresses,
        account_cap=options.rate,
        address_cap=options.per_address_rate,
        workers=options.max_in_flight // len(addresses),
        attempts=options.attempts,
        timeout_s=options.timeout,
        remote_lanes=options.lanes,
        opener=opener,
    )


def _check_numbers(options: ServiceOptions, addresses: int, problems: Problems) -> None:
    if not addresses <= options.max_in_flight <= MOST_IN_FLIGHT:
        allowed = f"at least 1 for each source address, and at most {MOST_IN_FLIGHT:,}"
        problems.append(f"--max-in-flight must be {allowed}, not {options.max_in_flight:,}")
    problems.extend(
        f"--{name.replace('_', '-')} must be at least {least}, not {value}"
        for name, least in LEAST.items()
        if (value := getattr(options, name, None)) is not None and value < least
    )
    if not 0 < options.timeout <= LONGEST_TIMEOUT_S:
        message = f"--timeout must be a number of seconds above 0, {LONGEST_TIMEOUT_S:g} at most"
        problems.append(f"{message}, not {options.timeout:g}")


def wrong_limits(account: int, address: int, lanes: int) -> Iterator[str]:
    """Yields why limits of an account and of an address, in calls per second, cannot be kept by so many lanes."""
    for name, value in (("--rate", account), ("--per-address-rate", address)):
        if value < 1:
            yield f"{name} must be at least 1, not {value}"
    if account >= 1 and address >= 1 and lane_cap(account, address, lanes) < 1:
        yield f"--rate {account} leaves less than one call a second for each of {lanes} addresses"


def above_documented(account: int, address: int) -> Iterator[str]:
    """Yields which limits, in calls per second, are above the documented ones, and what that costs."""
    if account > ACCOUNT_LIMIT:
        yield f"--rate {account} is above the documented {ACCOUNT_LIMIT}/s of an account, {_THROTTLED}; {_RAISED}"
    if address > ADDRESS_LIMIT:
        above = f"--per-address-rate {address} is above the documented {ADDRESS_LIMIT}/s of an address"
        yield f"{above}. {BLOCKED} {_RAISED}"


def preflight_of(action: Action, preflight: PreflightMode) -> PreflightMode:
    """Returns which states are read before the first call: those of CAs always: few, and much hit by each."""
    return preflight if action.by_device else "always"


Located = TypeVar("Located", bound=Target)


def located(service: Located, check: "Check", *, vpc: bool) -> Located:
    """Returns a service with the instances that the rows of a list name, and that options have left to them.

    Raises:
        BulkcertError: USAGE: a region has no VPC endpoint.
    """
    endpoints = {}
    for instance, region in check.instances.items():
        if vpc and region in PUBLIC_ONLY_REGIONS:
            said = f"{check.instance_columns[1]} {region} has no VPC endpoint: leave --vpc out"
            raise BulkcertError(ExitStatus.USAGE, said, "No calls were made.")
        endpoints[instance] = service.endpoint if str(service.endpoint) else region_url(region, vpc=vpc)
    if len(check.instances) > 1:
        return msgspec.structs.replace(service, instances=endpoints)
    for instance, endpoint in endpoints.items():
        return msgspec.structs.replace(service, instance=instance, endpoint=endpoint)
    return service


def instance_source(options: Options | PlanOptions, *, optional: bool = False) -> "InstanceSource":
    """Returns where it is said which instance a row is of; a list that does not say it may be of use all the same."""
    from bulkcert.input import InstanceSource  # noqa: PLC0415 - it loads what reads lists, which a lane has none of

    return InstanceSource(
        instance=options.instance.strip(),
        instance_column=options.instance_column,
        region=options.region,
        region_column=options.region_column,
        endpoint=bool(options.endpoint),
        optional=optional,
    )


@contextmanager
def sending(service: Target, warn: Callable[[str], None]) -> Iterator[None]:
    """Marks the addresses of a session on this machine as in use; warns of those that another session sends from.

    A name in the network namespace, which is what has the address: the kernel drops it with the session, however that
    ends, and no file is left. Only Linux has such names; elsewhere nothing is marked, and nobody warned.
    """
    with ExitStack() as held:
        taken = []
        places = product(service.endpoints, service.addresses)
        for endpoint, address in places if sys.platform == "linux" else ():
            mark = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            name = f"{endpoint.netloc.decode()} {address or ''}"
            try:
                mark.bind(f"\0bulkcert {hashlib.sha256(name.encode()).hexdigest()}")
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    taken.append(address or "any address")
        if taken:
            warn(
                f"another session on this machine sends from {', '.join(dict.fromkeys(taken))}; above "
                f"{ADDRESS_LIMIT}/s together the service blocks the address. Give each its share "
                "(--rate 250 --per-address-rate 150; bulkcert control for the one that is running), "
                "or run one after the other"
            )
        yield


def wrong_instance(instance: str) -> str:
    """Returns why a text cannot be the ID of an instance, or an empty text if it can."""
    wrong = f"--instance {instance!r} must be letters, digits, - and _ only, as in post-cn-7mz2d000001"
    return "" if re.fullmatch(INSTANCE_ID, instance) else wrong


def confirm_region(region: str) -> None:
    """Confirms that a region is one of the service's.

    Raises:
        BulkcertError: It is not; with the one that was meant, or some that there are.
    """
    if region not in REGIONS:
        near = nearest(region, REGIONS)
        others = nearest(region, REGIONS, n=6, cutoff=0) if region else REGIONS[:5]
        hint = f"did you mean {near[0]}?" if near else "there is no such region"
        raise BulkcertError(
            ExitStatus.MISCONFIGURED,
            f"--region {region} is not known; {hint}",
            f"Regions that look like it: {', '.join(others)}. The instance's page in the console names its region.",
        )


def region_url(region: str, *, vpc: bool) -> httpx.URL:
    """Returns where the service is in a region."""
    return httpx.URL(f"https://{region_host(region, vpc=vpc)}")


def _in_region(options: ServiceOptions, problems: Problems, *, named_by_rows: bool) -> httpx.URL:
    if not options.region and named_by_rows:
        return httpx.URL("")
    if not options.region:
        problems.append("--region is missing: that of the instance; or name the service's URL with --endpoint")
    else:
        confirm_region(options.region)
    if options.vpc and options.region in PUBLIC_ONLY_REGIONS:
        problems.append(f"--region {options.region} has no VPC endpoint")
    return region_url(options.region or "none", vpc=options.vpc)


def _opener(options: ServiceOptions, problems: Problems) -> Opener | None:
    """Returns what opens lanes that may be on other machines, or None where all are on this one."""
    if options.cluster:
        from bulkcert.runs.cluster import resolve_cluster  # noqa: PLC0415 - for several machines alone

        return resolve_cluster(options, problems)
    for name, given in (("keys", options.keys), ("lanes", options.lanes > 0)):
        if given:
            problems.append(f"--{name} needs --cluster, where lanes join")
    return None


def is_loopback(host: str) -> bool:
    """Returns whether a host is this machine, for certain: by name or by address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(text: str, problems: Problems) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        problems.append(f"--endpoint {text!r} is not a URL: {error}")
        return httpx.URL("https://invalid")
    if url.scheme not in ("http", "https") or not url.host:
        problems.append(f"--endpoint {text!r} must look like https://host")
    elif url.scheme == "http" and not is_loopback(url.host):
        problems.append(f"--endpoint {text!r}: http is allowed for loopback addresses only, use https")
    elif url.path not in ("", "/") or url.query or url.userinfo or url.fragment:
        problems.append("--endpoint takes scheme, host and port only")
    return url


def _addresses(typed: tuple[str, ...], problems: Problems) -> tuple[str | None, ...]:
    different = dict.fromkeys(typed)
    problems.extend(
        f"--source-address {address}: {reason}" for address in different if (reason := cannot_send_from(address))
    )
    if len(different) < len(typed):
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
