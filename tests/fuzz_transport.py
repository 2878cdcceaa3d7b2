"""Feeds broken answers to a connection, in random pieces: python tests/fuzz_transport.py [ANSWERS] [SEED].

Whatever comes, a call ends with a whole answer or with an error that says it was sent; nothing escapes; and a
connection that is kept gives the next call its own answer.
"""

import asyncio
import random
import socket
import sys
import time
from collections import Counter

import httpx

from bulkcert.service.actions import OPERATIONS
from bulkcert.service.classification import classify, classify_failure, with_clock
from bulkcert.service.codes import Verdict
from bulkcert.service.connection import Connection, RawResponse
from bulkcert.service.transport import NotSent, WholeResponse

GET, INACTIVATE = OPERATIONS["GetDeviceCertificate"], OPERATIONS["InactivateDeviceCertificate"]
SERIALS = {"DeviceSn": "0042", "CaSn": "0001"}

JSON = b'{"RequestId":"R","DeviceSn":"0042"}'
NEXT = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"DeviceSn":"1"}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
CHUNKS = b"1f;x=y\r\n" + JSON[:31] + b"\r\n4\r\n" + JSON[31:] + b"\r\n0\r\n"
EARLY = b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\n"
LENGTH = b"Content-Length: 35\r\n"
DATED = b"HTTP/1.1 503 X\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nX: \xc4\xe3\r\nX: y\r\n"
GZIP = b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\0"
UPGRADE = b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\nPRI * HTTP/2.0\r\n\r\n"
ANSWERS = {
    "whole": (b"HTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n" + JSON, ""),
    "chunks": (CHUNKED + b"\r\n" + CHUNKS + b"\r\n", ""),
    "chunks with a trailer": (CHUNKED + b"Trailer: X\r\n\r\n" + CHUNKS + b"X: y\r\n\r\n", ""),
    "1xx, then the answer": (EARLY + b"HTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n" + JSON, ""),
    "HTTP/1.0 that ends with the connection": (b"HTTP/1.0 200 OK\r\n\r\n" + JSON, ""),
    "the last of a connection": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + JSON, ""),
    "204": (b"HTTP/1.1 204 X\r\n\r\n", "Client.NotJson"),
    "switching protocols": (b"HTTP/1.1 101 X\r\n" + UPGRADE, "Client.NotHttp"),
    "no status": (b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n", "Client.NotHttp"),
    "length against chunks": (CHUNKED + LENGTH + b"\r\n" + JSON, "Client.NotHttp"),
    "two lengths": (b"HTTP/1.1 200 X\r\nContent-Length: 36\r\n" + LENGTH + b"\r\n" + JSON, "Client.NotHttp"),
    "compressed unasked": (b"HTTP/1.1 200 X\r\n" + GZIP, "Client.NotJson"),
    "not UTF-8": (b"HTTP/1.1 200 X\r\nX: \xff\r\nContent-Length: 2\r\n\r\n\xff\xff", "Client.NotJson"),
    "a redirect": (b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "Client.NotJson"),
    "an error": (DATED + b"Content-Length: 2\r\n\r\n{}", "Client.NoCode"),
    "a throttle": (b"HTTP/1.1 400 X\r\nx-acs-retry-after: 1500\r\nContent-Length: 2\r\n\r\n{}", "Client.NoCode"),
}
"""What a server may say, and the code that a call gets by it."""
SAID = [said for said, _ in ANSWERS.values()]
TOKENS = [b"\r\n", b"\r", b"\n", b"\0", b":", b" ", b"\r\n\r\n", b"Content-Length: 3\r\n", b"HTTP/1.1 200 OK\r\n"]
TOKENS += [b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"99999999999999999999", b"-1"]
TOKENS += [b"0\r\n\r\n", b"\xff" * 9, b"x" * 70_000]


class Wire:
    """A socket without a network, which knows what was asked of it."""

    def __init__(self):
        self.is_closed = False

    def write(self, data):
        assert data

    def close(self):
        self.is_closed = True


class Unread:
    """Sockets that nobody reads."""

    def add(self, *_):
        """Takes one, and leaves it."""


def mutated(chance):
    """Returns an answer that is broken in up to four places."""
    said = bytearray(chance.choice(SAID))
    for _ in range(chance.randrange(5)):
        at = chance.randrange(len(said) + 1)
        match chance.randrange(6):
            case 0:
                said[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del said[at : at + chance.randrange(1, 20)]
            case 2:
                said[at:at] = chance.choice(TOKENS)
            case 3:
                del said[at:]
            case 4:
                said += chance.choice(SAID)
            case 5:
                said[at:at] = said[: chance.randrange(40)]
    return bytes(said)


def pieces(chance, said):
    """Cuts an answer at random."""
    cuts = sorted(chance.randrange(len(said) + 1) for _ in range(chance.randrange(4)))
    ends = [*cuts, len(said)]
    return [piece for first, end in zip([0, *cuts], ends, strict=True) if (piece := said[first:end])]


def feed(connection, wire, parts):
    for part in parts:
        if not wire.is_closed:  # from then on the loop hands over nothing more
            read = bytearray(part)
            connection.data_received(memoryview(read))
            read[:] = bytes(len(read))  # as the next that is read does


def try_one(chance, raw):
    """Feeds one answer; returns what became of the call."""
    connection = Connection(raw, Unread())
    connection._transport = wire = Wire()
    waiting = connection.send(b"GET", float("inf"))
    feed(connection, wire, pieces(chance, mutated(chance)))
    if not wire.is_closed and waiting.done():
        following = connection.send(b"GET", float("inf"))
        feed(connection, wire, pieces(chance, NEXT))
        assert following.result() == (200, [(b"Content-Length", b"16")], NEXT[-16:]), "another call's answer"
    if not wire.is_closed and chance.random() < 0.5:
        connection.eof_received()
    connection.connection_lost(chance.choice([None, ConnectionResetError(104, "reset")]))
    result = waiting.result()
    assert isinstance(result, (RawResponse, httpx.TransportError))
    assert not isinstance(result, NotSent)
    return judged(result)


def judged(result):
    """Returns what is concluded from the end of a call."""
    if isinstance(result, httpx.TransportError):
        return classify_failure(result).code
    response = WholeResponse(result, lambda: None)
    with_clock(classify(response, GET, SERIALS), response.headers, 0.0)
    said = classify(response, INACTIVATE, SERIALS)
    assert said.verdict is not Verdict.NOT_SENT
    assert said.verdict is not Verdict.DONE or b"0042" in result.body
    return said.code or "done"


async def fuzz(count, seed=0):
    """Feeds so many answers; returns how often each end was met."""
    ends = Counter()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for number in range(count):
            try:
                ends[try_one(random.Random(seed * 1_000_003 + number), ours)] += 1
            except BaseException:
                print(f"answer {number} of seed {seed}", file=sys.stderr)
                raise
    return ends


if __name__ == "__main__":
    count, seed = (*map(int, sys.argv[1:]), *(100_000, 0)[len(sys.argv) - 1 :])
    began = time.perf_counter()
    print(asyncio.run(fuzz(count, seed)), f"{time.perf_counter() - began:.1f} s")
