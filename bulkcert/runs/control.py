"""What operators ask of a session from other terminals, done within half a second; the store keeps who asked."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import anyio
import anyio.to_thread
import msgspec

from bulkcert.engine.lanes import Lanes
from bulkcert.engine.progress import StatsMaker, Stop
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import event
from bulkcert.store import control as asking
from bulkcert.store.schema import Control
from bulkcert.store.store import Store

POLL_EVERY_S = 0.5
"""How often a session reads what is asked of it: one small query off the loop."""


@asynccontextmanager
async def controlled(store: Store, lanes: Lanes, stats: StatsMaker) -> AsyncIterator[None]:
    """Does what is asked of a session next to its calls.

    Args:
        store: Where it is asked.
        lanes: What is paused, slowed down or stopped.
        stats: What says so.
    """

    async def obey() -> None:
        while store.failure is None:
            await anyio.sleep(POLL_EVERY_S)
            # Where the disk refuses, the next group of outcomes says so.
            with suppress(sqlite3.Error, BulkcertError):
                for control in await anyio.to_thread.run_sync(asking.waiting, store):
                    await _do(control, lanes, stats)
                    await anyio.to_thread.run_sync(asking.take, store, control)

    async with anyio.create_task_group() as group:
        group.start_soon(obey)
        yield
        group.cancel_scope.cancel()


async def _do(control: Control, lanes: Lanes, stats: StatsMaker) -> None:
    since = f"{datetime.fromtimestamp(control.asked_at / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    event(
        "control",
        f"{control.words}, asked by {control.by}",
        request=control.request,
        rate=control.rate,
        per_address_rate=control.per_address_rate,
        user=control.user,
        host=control.host,
        pid=control.pid,
        asked_at=since,
    )
    match control.request:
        case "pause":
            lanes.pause(f"{control.by} since {since}")
        case "continue":
            lanes.resume()
        case "stop":
            lanes.stop(Stop(ExitStatus.STOPPED_EARLY, f"bulkcert control --stop by {control.by}"))
        case "rate" if control.rate and control.per_address_rate:
            service = msgspec.structs.replace(
                lanes.service, account_cap=control.rate, address_cap=control.per_address_rate
            )
            await lanes.change(service)
            stats.change(service)
