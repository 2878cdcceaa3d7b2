"""The emulator as a plain ASGI application: in process through httpx's ASGI transport, or behind a server."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from email.utils import formatdate
from typing import Any

import httpx

from bulkcert.emulator.admin import ADMIN_PATH, administer
from bulkcert.emulator.bulk import Row
from bulkcert.emulator.gateway import Gateway
from bulkcert.emulator.log import ArrivalLog
from bulkcert.emulator.messages import DROPPED, Answer, Request, header_fields
from bulkcert.emulator.settings import Seed, Settings
from bulkcert.emulator.state import AccessKey, Registry

EXTENSION = "bulkcert"
"""Extension of the ASGI scope by which the server hands over the time of arrival and a way to drop the connection."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Emulator:
    """The service's double.

    Args:
        settings: How it behaves.
        clock: Unix time in seconds.

    Attributes:
        state: What it knows.
        gateway: What it counted.

    Raises:
        BulkcertError: The database or the log cannot be used, or a setting is wrong.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.state = Registry(settings.database)
        self._log = ArrivalLog(settings.log) if settings.log else None
        self.gateway = Gateway(settings, self.state, self._log, clock)
        self.state.put_access_key(AccessKey(settings.access_key_id, settings.access_key_secret))
        for instance in settings.instances:
            self.state.put_instance(instance)

    def seed(self, seed: Seed) -> None:
        """Adds certificates, and remembers those that connect later."""

        def rows() -> Iterator[Row]:
            for ca_sn, device_sn, status, connects_at in seed.rows:
                if connects_at is not None:
                    self.gateway.connecting[connects_at].append((seed.instance, ca_sn, device_sn))
                yield ca_sn, device_sn, status

        self.state.fill(seed.instance, rows(), spread=True)

    def flush(self) -> None:
        """Writes the log as far as it goes."""
        if self._log:
            self._log.flush()

    def close(self) -> None:
        """Writes the rest of the log and closes the database; nothing may be called afterwards."""
        self.state.close()
        if self._log:
            self._log.close()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request (ASGI)."""
        extension = scope.get("extensions", {}).get(EXTENSION, {})
        at = extension.get("arrived") or time.monotonic()
        request = Request(
            at,
            scope["client"][0],
            scope["method"],
            scope["path"],
            scope["query_string"],
            header_fields(scope["headers"]),
            await _body(receive),
        )
        if request.path.startswith(ADMIN_PATH):
            await _send(send, administer(self.gateway, request), self.gateway.service_time())
            return
        answer, delay_s = self.gateway.answer(request)
        abort = extension.get("abort")
        try:
            if delay_s:
                await asyncio.sleep(delay_s)
        except asyncio.CancelledError:
            # A server that stops does not wait for slow answers.
            if abort is None:
                raise
            answer = DROPPED
        if answer is DROPPED:
            await _drop(abort, receive)
        else:
            await _send(send, answer, self.gateway.service_time())


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _send(send: Send, answer: Answer, now: float) -> None:
    date, length = formatdate(now, usegmt=True).encode(), str(len(answer.body)).encode()
    headers = [*answer.headers, (b"date", date), (b"content-length", length)]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _drop(abort: Callable[[], None] | None, receive: Receive) -> None:
    if abort is None:
        # In process there is no connection to cut; this is what a client on a socket would see.
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
    abort()
    while (await receive())["type"] != "http.disconnect":
        pass
