"""The sockets below the connections, read when the loop finds that something has come, or when the caller asks.

Between two calls the process sleeps, and how often it wakes is most of what a call costs. So while calls are sent by
a timer that fires often, what has come meanwhile is read by that timer, and wakes nobody by itself.
"""

import asyncio
import selectors
import socket
from typing import cast

MOST_AT_ONCE = 262_144
"""Bytes that are read from a socket at a time."""


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


class SocketTransport(asyncio.Transport):
    """What a protocol writes to: a connected socket that does not block; the kernel is handed at once what it takes."""

    def __init__(self, raw: socket.socket, sockets: Sockets, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._raw, self._sockets, self._protocol = raw, sockets, protocol
        self._is_closed = False
        self._unsent = b""
        sockets.add(self, raw)
        protocol.connection_made(self)

    def read(self, buffer: memoryview) -> None:
        """Hands over what has come; it may have been closed since it was found that something has."""
        if self._is_closed:
            return
        try:
            length = self._raw.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._close(error)
            return
        if length:
            # Whoever keeps a part of it copies it.
            self._protocol.data_received(cast(bytes, buffer[:length]))
        else:
            self._protocol.eof_received()
            self._close(None)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends it; what the kernel does not take yet waits, in order."""
        if self._unsent:
            self._unsent += data
        elif not self._is_closed:
            self._send(bytes(data))

    def _send(self, text: bytes) -> None:
        try:
            sent = self._raw.send(text)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._close(error)
            return
        self._unsent = text[sent:]
        if self._unsent:
            self._loop.add_writer(self._raw, self._send_rest)

    def _send_rest(self) -> None:
        self._loop.remove_writer(self._raw)
        self._send(self._unsent)

    def is_closing(self) -> bool:
        """Returns whether it is closed."""
        return self._is_closed

    def abort(self) -> None:
        """Closes it at once: what was not sent yet never is."""
        self._close(None)

    def _close(self, error: OSError | None) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._unsent:
            self._loop.remove_writer(self._raw)
        self._sockets.remove(self._raw)
        self._raw.close()
        self._loop.call_soon(self._protocol.connection_lost, error)
