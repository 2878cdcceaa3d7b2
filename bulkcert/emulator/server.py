"""The emulator on a loopback socket, served by uvicorn in the current process."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bulkcert.emulator.app import EXTENSION, Emulator
from bulkcert.emulator.settings import Seed, Settings
from bulkcert.errors import BulkcertError, ExitStatus

_BACKLOG = 2048
_FLUSH_S = 0.1
_KEEP_ALIVE_S = 75
_DRAIN_S = 1


class _Protocol(HttpToolsProtocol):
    """Records for the application when the first byte of a request came, and lets it drop the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extension: dict[object, object] = {"arrived": time.monotonic(), "abort": self.transport.abort}
        self.scope["extensions"] = {EXTENSION: extension}


class _Server(uvicorn.Server):
    """Leaves signals to its caller, and says when it is listening."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@dataclass(frozen=True, slots=True)
class Listening:
    """An emulator that takes calls.

    Attributes:
        url: Where, without a slash at the end.
        emulator: The emulator.
        flushing: Writes the log; it ends by itself only if that fails.
    """

    url: str
    emulator: Emulator
    flushing: asyncio.Task[None]


@contextlib.asynccontextmanager
async def listening(settings: Settings, *, seed: Seed | None = None) -> AsyncIterator[Listening]:
    """Serves an emulator on the running loop for as long as the context lasts.

    Raises:
        BulkcertError: The address, the database or the log cannot be used, or a setting is wrong.
    """
    with contextlib.closing(_bind(settings)) as bound, contextlib.closing(Emulator(settings)) as emulator:
        if seed:
            emulator.seed(seed)
        config = uvicorn.Config(
            emulator,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            date_header=False,  # the emulator has a clock of its own
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve([bound]))
        flushing = asyncio.create_task(_flush(emulator))
        try:
            await server.listening.wait()
            yield Listening(_url(bound), emulator, flushing)
        finally:
            server.should_exit = True
            for waiting in server.server_state.tasks:
                waiting.cancel()
            await serving
            flushing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await flushing


def serve(settings: Settings, *, seed: Seed | None = None, on_ready: Callable[[str], None]) -> None:
    """Serves an emulator until SIGINT or SIGTERM, or the end of standard input where the settings say so.

    Args:
        settings: How it behaves.
        seed: Certificates that exist before the first call.
        on_ready: Is called once with the URL, when calls are taken.

    Raises:
        BulkcertError: The address, the database or the log cannot be used, or a setting is wrong.
    """
    asyncio.run(_serve(settings, seed, on_ready))


async def _serve(settings: Settings, seed: Seed | None, on_ready: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with listening(settings, seed=seed) as served:
        if settings.exit_on_eof:
            threading.Thread(target=_await_eof, args=(loop, stopped), daemon=True).start()
        on_ready(served.url)
        served.flushing.add_done_callback(lambda _: stopped.set())
        await stopped.wait()


def _await_eof(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    # Not through sys.stdin, whose lock would be held when the interpreter ends. An input that is closed has ended, too.
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    # The loop may have been closed meanwhile.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stopped.set)


async def _flush(emulator: Emulator) -> None:
    while True:
        await asyncio.sleep(_FLUSH_S / 2)
        emulator.flush()


def _bind(settings: Settings) -> socket.socket:
    address = settings.address()
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - the version of IP
    # The protocol is named, since asyncio sets TCP_NODELAY only then; without it every answer takes 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((str(address), settings.port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise BulkcertError(
            ExitStatus.UNAVAILABLE,
            f"The emulator cannot listen on {address} port {settings.port}: {(error.strerror or str(error)).lower()}.",
            "Choose another port, or 0 for any free one.",
        ) from error
    return bound


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
