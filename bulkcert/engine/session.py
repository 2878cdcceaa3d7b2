"""What surrounds the calls of any session: lanes opened and closed, credentials renewed, whatever stops them obeyed."""

import time
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import httpx

from bulkcert.engine.failures import Stop
from bulkcert.engine.figures import Take
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.pacer import Ticker
from bulkcert.engine.progress import Progress, StatsMaker
from bulkcert.engine.target import Target
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import bind
from bulkcert.service.client import Client, RegionalClient
from bulkcert.service.connection import Sockets
from bulkcert.service.credentials import CredentialProvider
from bulkcert.service.tls import TrustContext
from bulkcert.service.transport import Transport
from bulkcert.words import local

CLOCK_CHECK_S = 10.0
"""How often a deadline is compared with the clock."""

Observer = Callable[[Take], Coroutine[Any, Any, None]]
"""Shows the figures of a session, which it is given a way to take; is cancelled in the end."""

Interruption = Callable[[Lanes], Coroutine[Any, Any, None]]
"""Waits next to the calls for what ends them from outside, a signal or a cancellation, and stops the lanes then."""


class Supervision(NamedTuple):
    """What is around the calls of a session, whatever it does.

    Attributes:
        provider: What to sign with; has credentials.
        watches: Show the figures.
        interruption: Stops the calls from outside.
    """

    provider: CredentialProvider
    watches: tuple[Observer, ...]
    interruption: Interruption


@asynccontextmanager
async def calling(
    service: Target, supervision: Supervision, stats: StatsMaker, *, deadline: float | None = None
) -> AsyncIterator[Lanes]:
    """Opens lanes to a service, which stop at a deadline, and where they are stopped from outside.

    Args:
        service: Which, from where, how fast.
        supervision: Who signs and who watches the calls, and what stops them.
        stats: Makes the figures; its progress is kept up to date.
        deadline: Unix time in seconds after which nothing is sent, or None.
    """
    bind(instance=service.instance or None)
    opened = (service.opener or own_lanes)(service, supervision.provider, stats.progress)
    async with opened as lanes, anyio.create_task_group() as group:
        group.start_soon(supervision.interruption, lanes)
        group.start_soon(lanes.renewal.keep)
        for watch in supervision.watches:
            group.start_soon(watch, stats.take)
        if deadline is not None:
            group.start_soon(_stop_at, lanes, deadline)
        yield lanes
        group.cancel_scope.cancel()


@asynccontextmanager
async def own_lanes(service: Target, provider: CredentialProvider, progress: Progress) -> AsyncIterator[Lanes]:
    """Opens the lanes of this machine, one a source address; the provider has credentials."""
    contexts = {endpoint: TrustContext() for endpoint in service.endpoints if endpoint.scheme == "https"}
    sockets = Sockets()
    clients = [client_from(address, service, provider, contexts, sockets) for address in service.addresses]
    try:
        yield Lanes(clients, provider, progress, service, Ticker(progress.slow_down, sockets))
    finally:
        with anyio.CancelScope(shield=True):
            for client in clients:
                await client.aclose()


def client_from(
    address: str | None,
    service: Target,
    provider: CredentialProvider,
    contexts: Mapping[httpx.URL, TrustContext],
    sockets: Sockets,
) -> Client | RegionalClient:
    """Returns what makes the calls of a lane; it has TLS settings of its own for an endpoint without shared ones."""
    clients = {}
    for endpoint in service.endpoints:
        transport = Transport(endpoint, contexts.get(endpoint), address, sockets)
        clients[endpoint] = Client(transport, endpoint, provider, service.timeout_s)
    return RegionalClient(clients, service.instances) if len(clients) > 1 else clients[service.endpoints[0]]


async def fetch_credentials(provider: CredentialProvider) -> None:
    """Fetches credentials before anything is called.

    Raises:
        BulkcertError: There are none.
    """
    try:
        await provider.renew()
    except BulkcertError as error:
        raise BulkcertError(error.status, error.message, f"No calls were made. {error.advice}") from error
    bind(access_key_id=provider.current.access_key_id)


def uvloop_or_none() -> Callable[[], AbstractEventLoop] | None:
    """Returns what makes an event loop at half the price, where it can be imported; asyncio's does otherwise."""
    try:
        import uvloop  # noqa: PLC0415 - not everywhere
    except ImportError:
        return None
    return uvloop.new_event_loop


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raises a signal, or an error of our own, as it is: each comes in a group where it ends work next to another."""
    try:
        yield
    except BaseExceptionGroup as group:
        of_ours = group.subgroup(KeyboardInterrupt) or (None if group.split(BulkcertError)[1] else group)
        if of_ours is None:
            raise
        found: BaseException = of_ours
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        raise found from group


async def _stop_at(lanes: Lanes, deadline: float) -> None:
    while (left := deadline - time.time()) > 0:  # noqa: ASYNC110 - the clock may be set meanwhile, without notice
        await anyio.sleep(min(left, CLOCK_CHECK_S))
    lanes.stop(Stop(ExitStatus.STOPPED_EARLY, f"the deadline, {local(deadline)}, is reached", ""))
