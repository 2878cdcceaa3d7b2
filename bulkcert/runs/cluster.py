"""Several machines: where a coordinator listens and what it shows, resolved from the options."""

import ipaddress
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bulkcert.runs.converters import Problems
from bulkcert.runs.options import ServiceOptions

if TYPE_CHECKING:
    from bulkcert.fleet.network import Where
    from bulkcert.fleet.opening import Cluster


def confirm_installed() -> None:
    """Confirms that what several machines need is installed.

    Raises:
        BulkcertError: It is not.
    """
    if find_spec("distributed") is None:
        from bulkcert.fleet.network import not_installed  # noqa: PLC0415 - for several machines alone

        raise not_installed()


def resolve_cluster(options: ServiceOptions, problems: Problems) -> "Cluster | None":
    """Returns how lanes on other machines join; None where none are asked for.

    Raises:
        BulkcertError: What it needs is not installed, or the keys are of no use.
    """
    if not options.cluster:
        for name, given in (("keys", options.keys), ("lanes", options.lanes)):
            if given:
                problems.append(f"--{name} needs --cluster, where lanes join")
        return None
    confirm_installed()
    from bulkcert.fleet.keys import COORDINATOR, keys_of  # noqa: PLC0415 - for several machines alone
    from bulkcert.fleet.opening import Cluster  # noqa: PLC0415

    if options.lanes < 0:
        problems.append(f"--lanes must be at least 0, not {options.lanes}")
    where = resolve_where("--cluster", options.cluster, options.keys, problems)
    if where is None:
        return None
    if reason := _cannot_listen(where):
        problems.append(f"--cluster {options.cluster}: {reason}")
    return Cluster(where, None if options.keys is None else keys_of(options.keys, COORDINATOR))


def resolve_where(option: str, url: str, keys: Path | None, problems: Problems) -> "Where | None":
    """Returns where a coordinator listens, as the URL of an option says; None where that is wrong."""
    from bulkcert.fleet.network import Where  # noqa: PLC0415 - for several machines alone

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.scheme not in ("tls", "tcp") or not host or not port or parts.path or parts.query or parts.username:
        problems.append(f"{option} {url!r} must look like tls://10.0.0.5:8786")
        return None
    if parts.scheme == "tcp" and not is_loopback(host):
        problems.append(f"{option} {url}: tcp is allowed for loopback addresses only, use tls")
    elif parts.scheme == "tls" and keys is None:
        problems.append(f"{option} {url} needs --keys; bulkcert cluster keys DIR makes them")
    elif parts.scheme == "tcp" and keys is not None:
        problems.append(f"{option} {url} has no use for --keys; use tls")
    return Where(parts.scheme, host, port)


def is_loopback(host: str) -> bool:
    """Returns whether a host is this machine, for certain: by name or by address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cannot_listen(where: "Where") -> str:
    """Returns why a coordinator cannot listen there, or an empty text if it can."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if where.host == "localhost" else where.host)
    except ValueError:
        return "name an IP address of this machine"
    if address.is_unspecified:
        return "means any address; name the one that lanes can reach"
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET  # noqa: PLR2004
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((str(address), where.port))
    except OSError as error:
        return f"cannot listen there: {error.strerror}"
    return ""
