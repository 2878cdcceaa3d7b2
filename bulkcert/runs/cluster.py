"""Several machines: where a coordinator listens, resolved from the options, and how a session opens its lanes."""

import asyncio
import ipaddress
import os
import platform
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from bulkcert.engine.lanes import Lanes
from bulkcert.engine.progress import Progress
from bulkcert.engine.target import Opener, Target
from bulkcert.fleet.coordinator import COORDINATOR, FleetLanes
from bulkcert.fleet.keys import COORDINATOR as CHAIN
from bulkcert.fleet.keys import confirm
from bulkcert.fleet.lane import LaneAddress, default_egress, take_part
from bulkcert.fleet.messages import Grant, LaneReport
from bulkcert.fleet.network import Where, listening, load
from bulkcert.log import event
from bulkcert.runs.converters import Problems
from bulkcert.runs.options import ServiceOptions
from bulkcert.runs.target import is_loopback
from bulkcert.service.credentials import CredentialProvider


def resolve_cluster(options: ServiceOptions, problems: Problems) -> Opener | None:
    """Returns what opens lanes that may be on other machines, for options with --cluster.

    Raises:
        BulkcertError: What it needs is not installed, or the keys are of no use.
    """
    load()
    where = resolve_where("--cluster", options.cluster, options.keys, problems)
    if where is None:
        return None
    if reason := _cannot_listen(where):
        problems.append(f"--cluster {options.cluster}: {reason}")
    return partial(open_lanes, where, None if options.keys is None else confirm(options.keys / CHAIN))


def resolve_where(option: str, url: str, keys: Path | None, problems: Problems) -> Where | None:
    """Returns where a coordinator listens, as the URL of an option says; None where that is wrong."""
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


def _cannot_listen(where: Where) -> str:
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


@asynccontextmanager
async def open_lanes(
    where: Where, keys: Path | None, service: Target, provider: CredentialProvider, progress: Progress
) -> AsyncIterator[Lanes]:
    """Opens the lanes of a session: those of this machine, and others when they connect; see ``engine.target.Opener``.

    Args:
        where: Where the coordinator listens.
        keys: What it shows to lanes; None without TLS.
        service: Which is called.
        provider: What the lanes of this machine sign with.
        progress: Kept up to date.

    Raises:
        BulkcertError: It is not possible to listen there.
    """
    run = f"{service.on}, process {os.getpid()} on {platform.node()}"
    lanes = FleetLanes(provider, progress, service, run)

    async def exchange(report: LaneReport) -> Grant:
        return lanes.exchange(report, here=True)

    async with listening(where, keys, lanes.exchange, lanes.lose), anyio.create_task_group() as group:
        group.start_soon(lanes.watch)
        for address in service.addresses:
            name = COORDINATOR if len(service.addresses) == 1 else f"{COORDINATOR} {address}"
            lane = LaneAddress(name, address, default_egress(address))
            group.start_soon(take_part, lane, provider, _log, exchange, asyncio.Event())
        try:
            yield lanes
        finally:
            await lanes.end()
            group.cancel_scope.cancel()


def _log(words: str) -> None:
    event("lane", words, lane=COORDINATOR)
