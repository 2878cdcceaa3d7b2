"""One HTTP/1.1 connection: one call at a time, and nothing that comes is believed.

The answer to a call is whole, within limits and HTTP, or the call ends with an error of httpx. What comes unasked, or
after the end of an answer, ends the connection, so that it can never pass for the answer to another call.

Its socket is read when the loop finds that something has come, or when the caller asks. Between two calls the process
sleeps, and how often it wakes is most of what a call costs. So while calls are sent by a timer that fires often, what
has come meanwhile is read by that timer, and wakes nobody by itself.
"""

import asyncio
import select
import selectors
import socket
from typing import NamedTuple, cast

import httptools
import httpx

CONNECTING = 0.5
"""Share of a call's time for connecting: a host that never answers is no answer that never came."""

MOST_HEAD = 65_536
"""Bytes that may come before the body of an answer."""

MOST_ANSWER = 1_048_576
"""Bytes that an answer may have in all."""

MOST_AT_ONCE = 262_144
"""Bytes that are read from a socket at a time."""

NEVER = float("inf")
"""The deadline of a connection without a call."""


class RawResponse(NamedTuple):
    """A whole answer; headers as they came, in order, the body with no encoding undone."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Sockets:
    """All connected sockets of a session, those of all its lanes."""

    def __init__(self) -> None:
        self._selector: selectors.DefaultSelector | None = None
        """None while there is no socket, so that nobody has to close it."""
        self._is_deferred = self._is_listening = False
        self._buffer = memoryview(bytearray(MOST_AT_ONCE))

    def read(self) -> None:
        """Reads what has come, and hands it over."""
        for key, _ in self._selector.select(0) if self._selector is not None else ():
            cast(SocketTransport, key.data).read(self._buffer)

    def defer(self, deferred: bool) -> None:
        """Leaves reading to the caller, or to the loop again."""
        self._is_deferred = deferred
        if self._selector is not None:
            self._listen(self._selector, not deferred)

    def add(self, transport: "SocketTransport", raw: socket.socket) -> None:
        """Reads from one more, from now on."""
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
        self._selector.register(raw, selectors.EVENT_READ, transport)
        self._listen(self._selector, not self._is_deferred)

    def remove(self, raw: socket.socket) -> None:
        """Reads no more from one."""
        if (selector := self._selector) is None:
            return
        selector.unregister(raw)
        if not selector.get_map():
            self._listen(selector, False)
            selector.close()
            self._selector = None

    def _listen(self, selector: selectors.DefaultSelector, listening: bool) -> None:
        if listening == self._is_listening:
            return
        self._is_listening, loop = listening, asyncio.get_running_loop()
        if listening:
            loop.add_reader(selector.fileno(), self.read)
        else:
            loop.remove_reader(selector.fileno())


class SocketTransport:
    """A connected socket that does not block; the kernel is handed at once what it takes."""

    def __init__(self, raw: socket.socket, sockets: Sockets, protocol: asyncio.Protocol) -> None:
        self._loop = asyncio.get_running_loop()
        self._raw, self._sockets, self._protocol = raw, sockets, protocol
        self.is_closed = False
        self._unsent = b""
        sockets.add(self, raw)

    def read(self, buffer: memoryview) -> None:
        """Hands over what has come; it may have been closed since it was found that something has."""
        if self.is_closed:
            return
        try:
            length = self._raw.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(error)
            return
        if length:
            # Whoever keeps a part of it copies it.
            self._protocol.data_received(cast(bytes, buffer[:length]))
        else:
            self._protocol.eof_received()
            self.close()

    def write(self, text: bytes) -> None:
        """Sends it; what the kernel does not take yet waits, in order."""
        if self.is_closed:
            return
        if self._unsent:
            self._unsent += text
            return
        try:
            sent = self._raw.send(text)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.close(error)
            return
        self._unsent = text[sent:]
        if self._unsent:
            self._loop.add_writer(self._raw, self._write_rest)

    def _write_rest(self) -> None:
        self._loop.remove_writer(self._raw)
        rest, self._unsent = self._unsent, b""
        self.write(rest)

    def close(self, error: OSError | None = None) -> None:
        """Closes it at once: what was not sent yet never is."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._unsent:
            self._loop.remove_writer(self._raw)
        self._sockets.remove(self._raw)
        self._raw.close()
        self._loop.call_soon(self._protocol.connection_lost, error)


class Connection(asyncio.Protocol):
    """One connection, on a connected socket."""

    def __init__(self, raw: socket.socket, sockets: Sockets) -> None:
        self._loop = asyncio.get_running_loop()
        self.deadline = NEVER
        """Time of the loop at which the call in flight is given up."""
        self.idle_since = self._loop.time()
        """Time of the loop since which there is no call in flight."""
        self._body: list[bytes] = []
        self.on_body = self._body.append
        """Takes a piece of the body, as the parser calls it."""
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[RawResponse | httpx.TransportError] | None = None
        self._readable = select.poll()
        self._readable.register(raw, select.POLLIN)
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when its socket is closed."""
        self._transport = SocketTransport(raw, sockets, self)

    def is_usable(self) -> bool:
        """Returns whether a request may be sent: not when the server has closed it, or has said anything unasked.

        The kernel is asked, since the loop may not have heard of it yet.
        """
        return not (self._transport.is_closed or self._waiting or self._readable.poll(0))

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
        self._transport.close()

    def fail(self, error: httpx.TransportError) -> None:
        """Ends the call in flight, if there is one, and the connection."""
        self._settle(error)
        self.abort()

    def _settle(self, result: RawResponse | httpx.TransportError) -> None:
        waiting, self._waiting, self.deadline = self._waiting, None, NEVER
        # The caller may have been cancelled.
        if waiting is not None and not waiting.done():
            waiting.set_result(result)

    # What its socket calls.

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
