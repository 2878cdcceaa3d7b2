"""Connections with TLS, by the standard library, and whom they trust."""

import asyncio
import os
import socket
import ssl
from typing import Self

import certifi
import httpx

from bulkcert.service.connection import MOST_HEAD, Connection, Sockets


class TrustContext(ssl.SSLContext):
    """TLS settings for calls to one host: certificate and host name are checked, and the last session is resumed.

    The authorities are those of SSL_CERT_FILE or SSL_CERT_DIR, or certifi's.
    """

    def __init__(self) -> None:
        self.session: ssl.SSLSession | None = None
        file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
        self.load_verify_locations(file or (None if directory else certifi.where()), directory or None)

    def __new__(cls) -> Self:
        """Makes one for clients, which checks by default."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)


class SecureConnection(Connection):
    """One connection with TLS, by the standard library: what the loops do in between costs more than the ciphers."""

    def __init__(self, raw: socket.socket, sockets: Sockets, context: TrustContext, host: str) -> None:
        self._context, self._is_session_kept = context, False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        # It refuses a name that is none, and must do so before the socket is read.
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host, session=context.session)
        super().__init__(raw, sockets)
        self.ready: asyncio.Future[Exception | None] = self._loop.create_future()
        """Done when the handshake is over; what it failed by, or None."""
        self._shake()

    def keep_session(self) -> None:
        """Lets others resume its session, from its first answer on."""
        if not self._is_session_kept:
            self._is_session_kept = True
            self._context.session = self._tls.session or self._context.session

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
            self._transport.close()
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


async def secured(raw: socket.socket, sockets: Sockets, context: TrustContext, host: str) -> SecureConnection:
    """Returns the connection on a connected socket, its TLS handshake done; raises what that failed by."""
    connection = SecureConnection(raw, sockets, context, host)
    try:
        failure = await connection.ready
    except BaseException:
        connection.abort()
        raise
    if failure is not None:
        raise failure
    return connection
