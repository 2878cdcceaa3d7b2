"""The transport: keep-alive connections to one origin, from one address, under httpx's interface.

What decides outcomes is whether a call may have been made, and that is known here: as long as nothing of a request was
handed to a connection the error is ``NotSent``; every other error means that the call may have been made. A request is
handed over once, whole, and never again.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

import httpx

from bulkcert import __version__
from bulkcert.service.connection import NEVER, Connection, RawResponse, Sockets
from bulkcert.service.tls import SecureConnection, TrustContext, secured

IDLE_S = 30.0
"""How long an idle connection is kept: longer than any pause between two calls of a lane at work."""

SPARE = 16
"""Idle connections that are kept for calls to come: a call that must first connect is sent late, and then together
with those behind it. More would be opened for nothing, and hundreds at once hold up the first calls."""

_ALWAYS = f"accept: application/json\r\naccept-encoding: identity\r\nuser-agent: bulkcert/{__version__}\r\n"
_END = {"GET": f"{_ALWAYS}\r\n".encode(), "POST": f"{_ALWAYS}content-length: 0\r\n\r\n".encode()}
"""How a request ends: headers that are not signed, and no body, since no operation has one."""


class NotSent(httpx.ConnectError):
    """No byte of the request has left; the reason is a TimeoutError where nobody answered in time."""

    def __init__(self, place: str, reason: Exception) -> None:
        super().__init__(f"cannot connect to {place}: {reason}")
        self.place = place
        self.reason = reason


NO_BODY = httpx.ByteStream(b"")
"""The stream of what is not streamed: no operation has a body, and its answer comes whole."""


class WholeResponse(httpx.Response):
    """A response that is here already. Its headers are made when they are asked for: a success asks for none."""

    def __init__(self, answer: RawResponse, discard: Callable[[], None]) -> None:
        self._answer = answer
        super().__init__(answer.status, stream=NO_BODY, extensions={"discard": discard})

    @property
    def content(self) -> bytes:
        """The body as it came: no encoding was asked for, so there is none to undo."""
        return self._answer.body

    @property
    def headers(self) -> httpx.Headers:
        """All headers, in order."""
        return httpx.Headers(self._answer.headers)

    @headers.setter
    def headers(self, none: httpx.Headers) -> None:
        """What the base class would have: none."""


class Transport(httpx.AsyncBaseTransport):
    """Carries calls without a body to one origin; the ``target`` extension of a request says what is asked for.

    Of the ``timeout`` extension, ``connect`` limits connecting, and ``read`` the whole call, connecting included. The
    ``discard`` extension of a response is what closes its connection.

    Args:
        origin: Scheme, host and port.
        context: TLS settings, those of several transports to the same host; None for its own, and without TLS.
        source_address: Local address to send from, or None for the system's choice.
        sockets: Where its connections are read, those of several transports; None for its own.
    """

    def __init__(
        self,
        origin: httpx.URL,
        context: TrustContext | None,
        source_address: str | None = None,
        sockets: Sockets | None = None,
    ) -> None:
        self._host, self._port = origin.host, origin.port or (443 if origin.scheme == "https" else 80)
        self._place = f"{origin.host}:{self._port}"
        self._context = (context or TrustContext()) if origin.scheme == "https" else None
        self._source_address = source_address
        self._sockets = sockets or Sockets()
        self._idle: deque[Connection] = deque()
        """The one that was used last is at the end, and used first."""
        self._open: set[Connection] = set()
        self._timer: asyncio.Handle | None = None
        self._wakes_at = NEVER
        """When that fires: uvloop's timers do not know it if it is at once."""
        self._expected = 0
        """Calls to come."""
        self._opening: set[asyncio.Task[None]] = set()
        self._is_reachable = True
        """Whether the newest connection came about: nobody waits twice for one that does not."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Makes one call.

        Raises:
            NotSent: It was not made.
            httpx.ReadTimeout: No answer in time.
            httpx.ReadError: The connection was lost before the answer.
            httpx.RemoteProtocolError: The answer is not HTTP, or too long.
        """
        loop, limits = asyncio.get_running_loop(), request.extensions["timeout"]
        deadline = loop.time() + limits["read"]
        headers, method = request.headers.raw, request.method
        lines = b"\r\n".join(map(b": ".join, headers))
        if lines.count(b"\n") != len(headers) - 1:
            raise NotSent(self._place, ValueError("a header of more than one line"))
        head = b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method.encode(), request.extensions["target"], lines, _END[method])
        self._expected = max(0, self._expected - 1)
        connection = self._take(loop.time()) or await self._connect(limits["connect"], limits["read"])
        self._open_spare(limits)
        waiting = connection.send(head, deadline)
        if self._wakes_at > deadline:
            self._watch(loop, deadline)
        try:
            answer = await waiting
        except asyncio.CancelledError:
            connection.abort()
            raise
        if isinstance(answer, httpx.TransportError):
            raise answer
        if not connection.lost.done():
            self._idle.append(connection)
            if isinstance(connection, SecureConnection):
                connection.keep_session()
        return WholeResponse(answer, connection.abort)

    def prepare(self, limits: Mapping[str, float | None]) -> Awaitable[object] | None:
        """Sees to a connection for a call to come; if none comes about, the call itself finds out why.

        Returns:
            What is to be waited for before the call may be sent; None if a connection is there.
        """
        self._expected += 1
        if (spare := self._open_spare(limits)) is not None:
            return asyncio.wait([spare])
        if not self._idle and self._opening:
            return asyncio.wait(self._opening, return_when=asyncio.FIRST_COMPLETED)
        return None

    def _open_spare(self, limits: Mapping[str, float | None]) -> asyncio.Task[None] | None:
        """Begins to connect for a call to come; None if there are enough, or the newest did not come about."""
        if len(self._idle) + len(self._opening) >= min(SPARE, self._expected) or not self._is_reachable:
            return None

        async def connect() -> None:
            try:
                self._idle.append(await self._connect(limits["connect"] or 0.0, limits["read"] or 0.0))
            except NotSent:
                self._is_reachable = False

        self._opening.add(task := asyncio.get_running_loop().create_task(connect()))
        task.add_done_callback(self._opening.discard)
        return task

    async def aclose(self) -> None:
        """Closes all connections."""
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._opening):
            task.cancel()
        connections = list(self._open)
        for connection in connections:
            connection.abort()
        for connection in connections:
            await connection.lost

    def _take(self, now: float) -> Connection | None:
        """Returns an idle connection that is alive; those that are not, or were idle for too long, are closed."""
        while self._idle and self._idle[0].idle_since < now - IDLE_S:
            self._idle.popleft().abort()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.abort()
        return None

    # Time limits: one timer for all calls, set again only when it fires, so that a call neither makes nor ends one.

    def _watch(self, loop: asyncio.AbstractEventLoop, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes_at = loop.call_at(until, self._expire, loop), until

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._wakes_at = None, NEVER
        self._sockets.read()  # an answer that is there is not late
        now = loop.time()
        for connection in [each for each in self._open if each.deadline <= now]:
            connection.fail(httpx.ReadTimeout("no answer in time"))
        if (until := min((each.deadline for each in self._open), default=NEVER)) < NEVER:
            self._watch(loop, until)

    # Connecting.

    async def _connect(self, timeout_s: float, patience_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                raw = await self._connected(loop, timeout_s, patience_s)
                if self._context is None:
                    connection = Connection(raw, self._sockets)
                else:
                    connection = await secured(raw, self._sockets, self._context, self._host)
        except (OSError, ValueError) as error:  # the time limit, TLS and a name that is none among them
            raise NotSent(self._place, error) from error
        self._is_reachable = True
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    async def _connected(self, loop: asyncio.AbstractEventLoop, timeout_s: float, patience_s: float) -> socket.socket:
        """Returns a socket that is connected to the first address of the host that can be reached."""
        family = socket.AF_UNSPEC
        if self._source_address is not None:
            family = socket.AF_INET6 if ":" in self._source_address else socket.AF_INET
        found = await loop.getaddrinfo(self._host, self._port, family=family, type=socket.SOCK_STREAM)
        # The service is known by IPv4; where IPv6 leads nowhere it must not cost the time of a call.
        found.sort(key=lambda each: each[0] != socket.AF_INET)
        failure: OSError | None = None
        for index, (each, kind, protocol, _, address) in enumerate(found):
            raw = socket.socket(each, kind, protocol)
            try:
                self._set_up(raw, patience_s)
                async with asyncio.timeout(timeout_s / len(found) if index < len(found) - 1 else None):
                    await loop.sock_connect(raw, address)
            except OSError as error:
                raw.close()
                failure = error
            except BaseException:
                raw.close()
                raise
            else:
                return raw
        raise failure or OSError("the host has no address")

    def _set_up(self, raw: socket.socket, patience_s: float) -> None:
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # What was sent and is never acknowledged is not sent again and again after the call was given up.
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(patience_s * 1000)))
        if self._source_address is not None:
            raw.bind((self._source_address, 0))
