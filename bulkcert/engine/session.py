"""What surrounds the calls of any command: lanes opened and closed, credentials renewed, signals obeyed."""

import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import anyio
import anyio.to_thread

from bulkcert.engine.figures import Take
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.limits import Target
from bulkcert.engine.progress import Progress, Stop
from bulkcert.engine.stats import StatsMaker
from bulkcert.errors import BulkcertError, ExitStatus, stop_signals
from bulkcert.log import bind
from bulkcert.service.client import Client
from bulkcert.service.credentials import CredentialProvider
from bulkcert.service.transport import Transport, TrustContext
from bulkcert.words import local

CLOCK_CHECK_S = 10.0
"""How often a deadline is compared with the clock."""

Observer = Callable[[Take], Coroutine[Any, Any, None]]
"""Shows the figures of a session, which it is given a way to take; is cancelled in the end."""


def together(*watches: Observer) -> Observer:
    """Returns a watch that is all of these at once; a cancellation ends them all."""

    async def watch(take: Take) -> None:
        async with anyio.create_task_group() as group:
            for each in watches:
                group.start_soon(each, take)

    return watch


Leave = Callable[[int], NoReturn]
"""Ends the process at once, for the signal of this number."""


@asynccontextmanager
async def calling(
    service: Target,
    provider: CredentialProvider,
    stats: StatsMaker,
    watch: Observer,
    leave: Leave,
    *,
    deadline: float | None = None,
) -> AsyncIterator[Lanes]:
    """Opens lanes to a service; the first signal stops them, the second ends the process.

    Args:
        service: Which, from where, how fast.
        provider: What to sign with; has credentials.
        stats: Makes its figures; its progress is kept up to date.
        watch: Shows them.
        leave: Called on the second signal.
        deadline: Unix time in seconds after which nothing is sent, or None.
    """
    bind(instance=service.instance)
    opened = (service.opener or own_lanes)(service, provider, stats.progress)
    async with opened as lanes, anyio.create_task_group() as group:
        group.start_soon(_obey_signals, lanes, leave)
        group.start_soon(lanes.renew_credentials)
        group.start_soon(watch, stats.take)
        if deadline is not None:
            group.start_soon(_stop_at, lanes, deadline)
        yield lanes
        group.cancel_scope.cancel()


@asynccontextmanager
async def own_lanes(service: Target, provider: CredentialProvider, progress: Progress) -> AsyncIterator[Lanes]:
    """Opens the lanes of this machine: one a source address.

    Args:
        service: Which is called, from where, how fast.
        provider: What to sign with; has credentials.
        progress: Kept up to date.
    """
    context = TrustContext() if service.endpoint.scheme == "https" else None
    clients = [
        Client(Transport(service.endpoint, context, address), service.endpoint, provider, service.timeout_s)
        for address in service.addresses
    ]
    try:
        yield Lanes(clients, provider, progress, service)
    finally:
        with anyio.CancelScope(shield=True):
            for client in clients:
                await client.aclose()


async def fetch_credentials(provider: CredentialProvider, leave: Leave) -> None:
    """Fetches credentials before anything is called; a signal need not wait for a slow credentials server.

    Args:
        provider: Where they go.
        leave: Called on the first signal; ends the process at once.

    Raises:
        BulkcertError: There are none.
    """
    denied: BulkcertError | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_leave_on_signal, leave)
        try:
            await provider.renew()
            bind(access_key_id=provider.current.access_key_id)
        except BulkcertError as error:
            denied = BulkcertError(error.status, error.message, f"No calls were made. {error.advice}")
        group.cancel_scope.cancel()
    if denied is not None:
        raise denied


async def _leave_on_signal(leave: Leave) -> None:
    with anyio.open_signal_receiver(*stop_signals()) as signals:
        async for number in signals:
            leave(number)


async def _stop_at(lanes: Lanes, deadline: float) -> None:
    while (left := deadline - time.time()) > 0:  # noqa: ASYNC110 - the clock may be set meanwhile, without notice
        await anyio.sleep(min(left, CLOCK_CHECK_S))
    lanes.stop(Stop(ExitStatus.STOPPED_EARLY, f"the deadline, {local(deadline)}, is reached", ""))


async def _obey_signals(lanes: Lanes, leave: Leave) -> None:
    """Stops in order on the first signal, and at once on the second: the store is safe at any time."""
    received = 0
    with anyio.open_signal_receiver(*stop_signals()) as signals:
        async for number in signals:
            received += 1
            if received > 1:
                leave(number)
            name = signal.Signals(number).name
            lanes.stop(Stop(ExitStatus(128 + number), f"{name} received", ""))
