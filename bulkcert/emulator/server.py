"""The emulator on 127.0.0.1, served by uvicorn in the current process."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache, partial
from typing import Any

import msgspec
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bulkcert.emulator.emulator import Emulator
from bulkcert.emulator.messages import DROPPED, Answer, Request, header_fields
from bulkcert.emulator.seeding import seeded
from bulkcert.emulator.settings import Settings
from bulkcert.errors import BulkcertError, ExitStatus, on_end_of_input, stop_signals

REPORT_PATH = "/-/report"
"""Answers with what was counted so far, as JSON, to whoever asks; no call counts for that."""

_BACKLOG = 2048
_KEEP_ALIVE_S = 75

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class _Protocol(HttpToolsProtocol):
    """Records for the application when the first byte of a request came, and lets it drop the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"bulkcert": {"arrived": time.monotonic(), "abort": self.transport.abort}}


class _Server(uvicorn.Server):
    """Leaves signals to its caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class Listening:
    """An emulator that takes calls.

    Attributes:
        url: Where, without a slash at the end.
        emulator: The emulator.
    """

    url: str
    emulator: Emulator

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request (ASGI)."""
        if scope["path"] == REPORT_PATH:
            await self._send(send, Answer(200, msgspec.json.encode(self.emulator.report())))
            return
        arrived, abort = scope["extensions"]["bulkcert"].values()
        headers, (address, _) = header_fields(scope["headers"]), scope["client"]
        body = await _body(receive)
        answer, delay_s = self.emulator.answer(
            Request(arrived, address, scope["method"], scope["path"], scope["query_string"], headers, body)
        )
        try:
            if delay_s:
                await asyncio.sleep(delay_s)
        except asyncio.CancelledError:
            answer = DROPPED  # an emulator that stops does not wait for slow answers
        if answer is DROPPED:
            abort()
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            await self._send(send, answer)

    async def _send(self, send: Send, answer: Answer) -> None:
        date, length = _date(int(self.emulator.now())), b"%d" % len(answer.body)
        headers = [*answer.headers, (b"date", date), (b"content-length", length)]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


@lru_cache(maxsize=1)
def _date(now: int) -> bytes:
    return formatdate(now, usegmt=True).encode()


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


@contextlib.asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[Listening]:
    """Serves an emulator, seeded as the settings say, on the running loop for as long as the context lasts.

    Raises:
        BulkcertError: The port, the database or the list cannot be used, or a setting is wrong.
    """
    emulator = Emulator(settings)
    with contextlib.closing(emulator.registry), contextlib.closing(_bind(settings.port)) as bound:
        if settings.seed_from:
            emulator.seed(settings.instances[0], seeded(settings, settings.seed_from))
        served = Listening(f"http://127.0.0.1:{bound.getsockname()[1]}", emulator)
        config = uvicorn.Config(
            served,
            interface="asgi3",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,  # the emulator has a clock of its own
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve([bound]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)
        try:
            yield served
        finally:
            server.should_exit = True
            for waiting in server.server_state.tasks:
                waiting.cancel()
            await serving


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serves an emulator until a signal stops it, or the end of standard input where the settings say so.

    Args:
        settings: What it is like.
        announce: Called with its URL once calls are taken.

    Raises:
        BulkcertError: The port, the database or the list cannot be used, or a setting is wrong.
    """
    uvloop.run(_serve(settings, announce))


async def _serve(settings: Settings, announce: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in stop_signals():
        loop.add_signal_handler(number, stopped.set)
    async with listening(settings) as served:
        if settings.exit_on_eof:
            on_end_of_input(partial(loop.call_soon_threadsafe, stopped.set))
        announce(served.url)
        await stopped.wait()


def _bind(port: int) -> socket.socket:
    # The protocol is named, since asyncio sets TCP_NODELAY only then; without it every answer takes 40 ms.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise BulkcertError(
            ExitStatus.UNAVAILABLE,
            f"The emulator cannot listen on 127.0.0.1 port {port}: {(error.strerror or str(error)).lower()}.",
            "Choose another port, or 0 for any free one.",
        ) from error
    return bound
