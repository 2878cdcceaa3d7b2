"""Sockets below connections: all that is written arrives in order, and what has come is read when it should be."""

import asyncio
import socket

import anyio
import pytest
from test_transport import anyio_backend  # noqa: F401 - a fixture

from bulkcert.service.connection import Sockets, SocketTransport
from bulkcert.service.tls import SecureConnection, TrustContext

PATIENCE_S = 20.0


class Heard(asyncio.Protocol):
    """Keeps what it is given."""

    def __init__(self):
        self.text, self.events = b"", []
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.text += bytes(data)

    def eof_received(self):
        self.events.append("end")

    def connection_lost(self, error):
        self.events.append(type(error).__name__ if error else "lost")
        self.lost.set_result(None)


def connected(sockets, *, room=None):
    """Returns a transport, what it hands over, and the other end of the line."""
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
    if room is not None:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    heard = Heard()
    return SocketTransport(ours, sockets, heard), heard, theirs


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0.001)


async def test_what_the_kernel_does_not_take_yet_waits():
    """A slow reader gets every byte once, in order, whatever was written meanwhile."""
    parts = [bytes([number]) * 100_003 for number in range(20)]
    transport, heard, theirs = connected(Sockets(), room=4096)
    with theirs:
        for part in parts:
            transport.write(part)
        got, loop = b"", asyncio.get_running_loop()
        with anyio.fail_after(PATIENCE_S):
            while len(got) < sum(map(len, parts)):
                got += await loop.sock_recv(theirs, 65_536)
        theirs.send(b"seen")
        await turns()
        transport.close()
        await heard.lost

    assert got == b"".join(parts)
    assert heard.text == b"seen"
    assert heard.events == ["lost"]


async def test_who_reads():
    """Deferred, what has come waits to be read, on a socket that comes later as well; else the loop hands it over."""
    sockets = Sockets()
    first, heard, theirs = connected(sockets)
    sockets.defer(True)
    second, later, others = connected(sockets)
    with theirs, others:
        for each in (theirs, others):
            each.send(b"a")
        await turns()
        assert heard.text == later.text == b""
        sockets.read()
        assert heard.text == later.text == b"a"
        theirs.send(b"b")
        await turns()
        assert heard.text == b"a"
        sockets.defer(False)
        await turns()
        assert heard.text == b"ab"
        for each in (first, second):
            each.close()
        await asyncio.gather(heard.lost, later.lost)
    sockets.defer(True)
    sockets.read()


async def test_one_that_closes_another():
    """What was found to have something to say may be closed by what is read before it."""
    sockets = Sockets()
    pairs = [connected(sockets) for _ in range(2)]
    for (_, heard, _), (transport, _, _) in zip(pairs, reversed(pairs), strict=True):
        heard.data_received = lambda _, other=transport: other.close()
    sockets.defer(True)
    for _, _, theirs in pairs:
        theirs.send(b"x")
    sockets.read()
    await turns()

    assert sorted(len(heard.events) for _, heard, _ in pairs) == [0, 1]
    for transport, heard, theirs in pairs:
        transport.close()
        await heard.lost
        theirs.close()


@pytest.mark.parametrize(
    ("act", "events"),
    [
        (lambda transport, theirs: theirs.close(), ["end", "lost"]),
        (lambda transport, theirs: (theirs.close(), transport.write(b"x")), ["BrokenPipeError"]),
        (lambda transport, theirs: (transport.write(b"x" * 10_000_000), transport.close()), ["lost"]),
        (lambda transport, theirs: (transport.close(), transport.write(b"x"), transport.close()), ["lost"]),
    ],
    ids=["the other end goes", "written to nobody", "closed with a rest", "closed twice"],
)
async def test_each_end_is_told_once(act, events):
    """However a socket ends, its protocol hears of it once, from the loop, and nothing is left open."""
    transport, heard, theirs = connected(Sockets())
    act(transport, theirs)
    with anyio.fail_after(PATIENCE_S):
        await heard.lost
    theirs.close()
    await turns()

    assert heard.events == events
    assert transport.is_closed
    assert transport._raw.fileno() == -1
    assert transport._sockets._selector is None


async def test_a_host_that_tls_refuses_is_not_read():
    """No socket is left to be read where a name is none."""
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(UnicodeError, match="label empty"):
        SecureConnection(ours, sockets := Sockets(), TrustContext(), ".host")

    assert sockets._selector is None
