"""Dask as the network between a coordinator and its lanes: membership, loss, TLS. The one module that knows it.

Nothing of Dask's own configuration is used, neither files nor variables: a preload there would be code that runs in
every process. Nor is anything else that it serves: no pages, no profiler, no tasks. A lane asks, and the coordinator
answers: no connection is made to a lane.
"""

import asyncio
import importlib
import logging
import random
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import anyio

from bulkcert.errors import BulkcertError, ExitStatus, temporary
from bulkcert.fleet.keys import CA, tls_context
from bulkcert.fleet.messages import Grant, LaneReport, decode_grant, decode_report, encode

_SETTINGS = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.comm.compression": False,
    "distributed.admin.low-level-log-length": 100,
    "distributed.admin.tick.interval": "10s",
    "distributed.admin.tick.limit": "1h",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.gil.enabled": False,
}

_SCHEDULER_DOES = frozenset({"register-worker", "unregister", "heartbeat_worker", "identity"})
_SCHEDULER_HEARS = frozenset({"keep-alive", "log-event", "worker-status-change"})
_LANE_HEARS = frozenset({"close", "worker-status-change", "remove-worker"})

PROBE_S = 5.0
"""Most seconds that a coordinator may take to say its first word, and to take in a lane."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where a coordinator listens: scheme (tls, or tcp on loopback), address and port."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def load() -> ModuleType:
    """Loads Dask without its configuration.

    Raises:
        BulkcertError: It is not installed.
    """
    try:
        config = importlib.import_module("dask.config")
        config.refresh(paths=[], env={})
        distributed = importlib.import_module("distributed")
    except ImportError as error:
        raise BulkcertError(
            ExitStatus.MISCONFIGURED,
            "several machines need Dask, which is not installed",
            "Install it beside bulkcert: pip install 'bulkcert[cluster]', or '.[cluster]' in a clone.",
        ) from error
    config.set(_SETTINGS)
    _refuse_code()
    # A connection that ends in the middle of something is an error to them, with a traceback; here it is a lane's loss.
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("distributed", "tornado")]:
        log = logging.getLogger(name)
        log.handlers[:], log.propagate = [logging.NullHandler()], False
    return distributed


def _refuse_code() -> None:
    """Lets Dask read nothing but data: to read a pickle is to run code, and any lane may send one."""
    core: Any = importlib.import_module("distributed.protocol.core")
    serialize: Any = importlib.import_module("distributed.protocol.serialize")

    def refuse(*_: object, **__: object) -> None:
        raise TypeError("objects are not read")

    core.pickle = SimpleNamespace(dumps=core.pickle.dumps, loads=refuse)
    for name, (dumps, _, with_context) in serialize.families.items():
        serialize.families[name] = (dumps, refuse, with_context)


def _without_pages(kind: Any) -> Any:
    """Returns a kind of Dask's server that opens no port for HTTP, which it does even without pages."""
    return type(kind.__name__, (kind,), {"start_http_server": lambda *_, **__: None})


def _security(distributed: ModuleType, keys: Path | None, role: str) -> Any:
    if keys is None:
        return distributed.Security()
    own = {f"tls_{role}_cert": str(keys), f"tls_{role}_key": str(keys)}
    return distributed.Security(tls_ca_file=str(keys.with_name(CA)), require_encryption=True, **own)


@asynccontextmanager
async def listening(
    where: Where, keys: Path | None, exchange: Callable[[LaneReport], Grant], lose: Callable[[str], None]
) -> AsyncIterator[None]:
    """Serves lanes that connect.

    Args:
        where: Where to listen.
        keys: The coordinator's; None without TLS.
        exchange: Takes what a lane reports, and returns what to answer.
        lose: Called with the name of a lane whose connection is lost.

    Raises:
        BulkcertError: It is not possible to listen there.
    """
    distributed = load()
    names: dict[str, str] = {}

    async def answer(said: bytes) -> bytes:
        return encode(exchange(decode_report(said)))

    class Membership(distributed.SchedulerPlugin):  # type: ignore[misc, name-defined]
        def add_worker(self, scheduler: Any, worker: str) -> None:
            names[worker] = scheduler.workers[worker].name

        def remove_worker(self, scheduler: Any, worker: str, **_more: Any) -> None:  # noqa: ARG002 - a protocol
            lose(names.pop(worker, ""))

    scheduler = _without_pages(distributed.Scheduler)(
        host=where.host,
        port=where.port,
        protocol=where.scheme,
        security=_security(distributed, keys, "scheduler"),
        dashboard=False,
        extensions={},
        plugins=[Membership()],
    )
    scheduler.handlers = {name: does for name, does in scheduler.handlers.items() if name in _SCHEDULER_DOES}
    scheduler.handlers["exchange"] = answer
    hears = scheduler.stream_handlers
    scheduler.stream_handlers = {name: does for name, does in hears.items() if name in _SCHEDULER_HEARS}
    try:
        await scheduler
    except (OSError, RuntimeError) as error:
        raise BulkcertError(
            ExitStatus.UNAVAILABLE, f"cannot listen on {where}: {error}", "Name a free port of this machine."
        ) from error
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await scheduler.close()


class LostError(Exception):
    """The connection to the coordinator is lost, or there never was one."""


Exchange = Callable[[LaneReport], Awaitable[Grant]]
"""Gives a report to the coordinator, and returns what that answers."""


@asynccontextmanager
async def connected(where: Where, keys: Path | None, name: str) -> AsyncIterator[Exchange]:
    """Joins a coordinator as a lane.

    Args:
        where: Where it listens; it must (see ``reach``).
        keys: The lane's; None without TLS.
        name: Of the lane.

    Raises:
        LostError: It is gone, or has a lane of that name; also raised by what is yielded.
        BulkcertError: There is no directory for temporary files.
    """
    distributed = load()
    # Dask wants a worker to have an address of its own; nobody is to connect there.
    number = random.randrange(2**24)
    contact = f"{where.scheme}://127.{number >> 16}.{number >> 8 & 255}.{number & 255}:1"
    with temporary(tempfile.TemporaryDirectory) as folder:
        worker = _without_pages(distributed.Worker)(
            str(where),
            name=name,
            nthreads=1,
            memory_limit=0,
            host="127.0.0.1",
            protocol=where.scheme,
            contact_address=contact,
            local_directory=folder,
            security=_security(distributed, keys, "worker"),
            heartbeat_interval="5s",
            extensions={},
        )
        worker.handlers = {}
        hears = worker.stream_handlers
        worker.stream_handlers = {name: does for name, does in hears.items() if name in _LANE_HEARS}

        async def exchange(report: LaneReport) -> Grant:
            try:
                return decode_grant(await worker.scheduler.exchange(said=encode(report)))
            except (OSError, RuntimeError, TypeError) as error:
                raise LostError(str(error)) from error

        try:
            try:
                # Dask itself would try for ever, and no signal end it.
                with anyio.fail_after(PROBE_S):
                    await worker
                for listener in worker.listeners:
                    listener.stop()
            except (OSError, RuntimeError, ValueError) as error:
                # Dask raises this where it was refused, and wraps it.
                is_taken = isinstance(error.__cause__ or error, ValueError)
                taken = f"a lane named {name} is there already; give this one another --name"
                raise LostError(taken if is_taken else str(error) or "no answer") from error
            yield exchange
        finally:
            with anyio.CancelScope(shield=True), suppress(OSError, RuntimeError):
                await worker.close(timeout=1, executor_wait=False)


async def reach(where: Where, keys: Path | None) -> str:
    """Returns why no coordinator listens, or takes these keys; an empty text if it does."""
    context = None if keys is None else tls_context(keys)
    try:
        with anyio.fail_after(PROBE_S):
            reader, writer = await asyncio.open_connection(where.host, where.port, ssl=context)
            try:
                # The lane's keys are judged last, when it takes the connection for made.
                with suppress(ssl.SSLError, ConnectionError):
                    if await reader.read(1):
                        return ""
                return "the coordinator does not take this lane's keys"
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except ssl.SSLCertVerificationError as error:
        return f"the coordinator and this lane have keys of different runs ({error.verify_message})"
    except ssl.SSLError as error:
        return f"what listens there is no coordinator with keys ({error.reason or 'TLS failed'})"
    except (OSError, TimeoutError):
        return "no coordinator"
