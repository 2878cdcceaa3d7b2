"""One HTTP/1.1 connection: one call at a time, and nothing that comes is believed.

The answer to a call is whole, within limits and HTTP, or the call ends with an error of httpx. What comes unasked, or
after the end of an answer, ends the connection, so that it can never pass for the answer to another call.
"""

import asyncio
import select
import socket
import ssl
from typing import NamedTuple, cast

import httptools
import httpx

MOST_HEAD = 65_536
"""Bytes that may come before the body of an answer."""

MOST_ANSWER = 1_048_576
"""Bytes that an answer may have in all."""

NEVER = float("inf")
"""The deadline of a connection without a call."""


class RawResponse(NamedTuple):
    """A whole answer; headers as they came, in order, the body with no encoding undone."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Connection(asyncio.Protocol):
    """One connection, on a connected socket."""

    def __init__(self, raw: socket.socket) -> None:
        self.deadline = NEVER
        """Time of the loop at which the call in flight is given up."""
        self.idle_since = 0.0
        """Time of the loop since which there is no call in flight."""
        self.is_lost = False
        self._loop = asyncio.get_running_loop()
        self._body: list[bytes] = []
        self.on_body = self._body.append
        """Takes a piece of the body, as the parser calls it."""
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[RawResponse | httpx.TransportError] | None = None
        self._readable = select.poll()
        self._readable.register(raw, select.POLLIN)
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when its socket is closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport that it writes to."""
        self._transport = cast(asyncio.Transport, transport)
        self.idle_since = self._loop.time()

    def is_usable(self) -> bool:
        """Returns whether a request may be sent: not when the server has closed it, or has said anything unasked.

        The kernel is asked, since the loop may not have heard of it yet.
        """
        return not (self.is_lost or self._waiting or self._transport.is_closing() or self._readable.poll(0))

    def send(self, request: bytes, deadline: float) -> asyncio.Future[RawResponse | httpx.TransportError]:
        """Sends a whole request; from here on it counts as sent, whatever happens.

        Returns:
            What becomes the answer, or the error that the call ends with, by the loop's time of the deadline.
        """
        self._is_over = self._is_head_over = False
        self._received = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body.clear()
        self.deadline = deadline
        self._waiting = waiting = self._loop.create_future()
        self._write(request)
        return waiting

    def _write(self, text: bytes) -> None:
        self._transport.write(text)

    def abort(self) -> None:
        """Closes it at once: nothing more is sent, and nothing that comes is heard."""
        if not self.is_lost:
            self._transport.abort()

    def fail(self, error: httpx.TransportError) -> None:
        """Ends the call in flight, if there is one, and the connection."""
        self._settle(error)
        self.abort()

    def _settle(self, result: RawResponse | httpx.TransportError) -> None:
        waiting, self._waiting, self.deadline = self._waiting, None, NEVER
        # The caller may have been cancelled.
        if waiting is not None and not waiting.done():
            waiting.set_result(result)

    # What the loop calls.

    def data_received(self, data: bytes) -> None:
        """Takes what has come."""
        if self._waiting is None:
            self.abort()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # After the end of an answer it is only the connection that is wrong.
            if not self._is_over:
                reason = "" if isinstance(error, httptools.HttpParserUpgrade) else f": {error}"
                self.fail(httpx.RemoteProtocolError(f"the answer is not HTTP{reason}"))
                return
            self._is_kept = False
        if self._is_over:
            self._answered()
        elif self._received > MOST_ANSWER or (self._received > MOST_HEAD and not self._is_head_over):
            self.fail(httpx.RemoteProtocolError("the answer is too long"))

    def eof_received(self) -> None:
        """Takes note that nothing more will come: the end of an answer that does not say its length."""
        if self._waiting is None or not self._is_head_over:
            return
        if {b"content-length", b"transfer-encoding"}.isdisjoint(name.lower() for name, _ in self._headers):
            self._is_kept = False
            self._answered()

    def connection_lost(self, error: Exception | None) -> None:
        """Takes note that it is closed."""
        self.is_lost = True
        self._settle(httpx.ReadError(str(error) if error else "the server closed it"))
        if not self.lost.done():
            self.lost.set_result(None)

    def _answered(self) -> None:
        self.idle_since = self._loop.time()
        self._settle(RawResponse(self._status, self._headers, b"".join(self._body)))
        if not self._is_kept:
            self.abort()

    # What the parser calls; an error of these ends the parsing.

    def on_message_begin(self) -> None:
        """Takes note that an answer begins, the next one after each of the kind 1xx."""
        if self._is_over:
            raise ValueError
        self._headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header, or one that comes behind a body."""
        if not self._is_head_over:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Takes note that the body begins."""
        self._status = self._parser.get_status_code()
        if self._status < 100:  # noqa: PLR2004 - no status of HTTP
            raise ValueError
        self._is_head_over = self._status >= 200  # noqa: PLR2004 - what is below is not yet the answer

    def on_message_complete(self) -> None:
        """Takes note that an answer is whole."""
        if self._is_head_over:
            self._is_over = True
            self._is_kept = self._parser.should_keep_alive()


class SecureConnection(Connection):
    """One connection with TLS, by the standard library: what the loops do in between costs more than the ciphers."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None) -> None:
        super().__init__(raw)
        self._is_session_taken = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host, session=session)
        self.ready: asyncio.Future[Exception | None] = self._loop.create_future()
        """Done when the handshake is over; what it failed by, or None."""

    def new_session(self) -> ssl.SSLSession | None:
        """Returns the session, to be resumed by others, the first time that it is asked for; None later."""
        if self._is_session_taken:
            return None
        self._is_session_taken = True
        return self._tls.session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins the handshake."""
        super().connection_made(transport)
        self._shake()

    def data_received(self, data: bytes) -> None:
        """Takes what has come: the handshake, pieces of an answer, sessions to resume."""
        self._incoming.write(data)
        if self.ready.done() or self._shake():
            self._read()

    def eof_received(self) -> None:
        """Takes nothing for the end of an answer but what TLS says is one: whoever cuts the line can end it, too."""

    def connection_lost(self, error: Exception | None) -> None:
        """Takes note that it is closed."""
        self._shaken(error or ConnectionResetError("the server closed it"))
        super().connection_lost(error)

    def _shake(self) -> bool:
        """Continues the handshake; returns whether it is over."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._shaken(error)
            self._flush()  # why, to the server
            self._transport.abort()
            return False
        self._flush()
        self._shaken(None)
        return True

    def _shaken(self, failure: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_result(failure)

    def _read(self) -> None:
        try:
            while text := self._tls.read(MOST_HEAD):
                super().data_received(text)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self.fail(httpx.ReadError(f"TLS: {error.reason or error}"))
        else:
            super().eof_received()
            self.abort()

    def _write(self, text: bytes) -> None:
        try:
            while text:
                text = text[self._tls.write(text) :]
        except ssl.SSLError as error:
            self.fail(httpx.WriteError(f"TLS: {error.reason or error}"))
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())
