"""The transport on real sockets: what was sent is known, and whatever a server does, no call gets another's answer."""

import asyncio
import socket
import ssl
import struct
import time
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import uvloop
from fuzz_transport import ANSWERS, CHUNKED, fuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_tls import server_context

from bulkcert.engine.lanes import Lanes
from bulkcert.engine.progress import Progress
from bulkcert.engine.target import Target
from bulkcert.service import transport
from bulkcert.service.actions import ACTIONS
from bulkcert.service.client import Client
from bulkcert.service.codes import Verdict
from bulkcert.service.credentials import FixedCredentials
from bulkcert.service.signing import Credentials
from bulkcert.service.transport import NotSent, Transport

ACTION = ACTIONS["inactivate-device"]
KEYRING = FixedCredentials(Credentials("testAccessKeyId", "testAccessKeySecret"))
LOOPS = [
    pytest.param(("asyncio", {"use_uvloop": used}), id=name) for used, name in ((False, "asyncio"), (True, "uvloop"))
]


@pytest.fixture(params=LOOPS)
def anyio_backend(request):
    """Returns each of the loops that a run may have."""
    return request.param


class Server(asyncio.Protocol):
    """Does on each connection what the next of the scripts says, one step a request; notes all that was asked.

    A step is a list of: "answer", "half", "twice", "100", "garbage", "another's", "late" or bytes (that go out),
    "wait" (a turn of the loop), "close", "reset", "deaf" (no further request is read). The first step is done when a
    connection comes about.
    """

    def __init__(self, scripts, seen, ends):
        self.steps, self.seen = list(scripts.pop(0)) if scripts else [], seen
        self.buffer, self.tasks = b"", set()
        self.ends = ends

    def connection_made(self, transport):
        self.transport = transport
        self.lost = asyncio.get_running_loop().create_future()
        self.ends.append(self.lost)
        self.step("early")

    def data_received(self, data):
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            request, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            serial = request.partition(b"DeviceSn=")[2].partition(b"&")[0].decode()
            self.seen[serial] += 1
            self.step(serial)

    def connection_lost(self, _):
        self.lost.set_result(None)

    def step(self, serial):
        default = ["answer"] if serial != "early" else []
        task = asyncio.ensure_future(self.act(self.steps.pop(0) if self.steps else default, serial))
        self.tasks.add(task)

    async def act(self, actions, serial):
        whole = whole_answer(serial)
        said = {
            "answer": whole,
            "half": whole[:-5],
            "twice": whole * 2,
            "100": b"HTTP/1.1 100 X\r\n\r\n",
            "garbage": b"\0",
            "another's": whole_answer("another"),
            "late": b'HTTP/1.1 500 X\r\nContent-Length: 30\r\n\r\n{"Code":"FindDeviceBySnError"}',
        }
        for action in actions:
            match action:
                case "wait":
                    await asyncio.sleep(0)
                case "close":
                    self.transport.close()
                case "reset":
                    raw = self.transport.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.transport.abort()
                case "deaf":
                    self.transport.pause_reading()
                    asyncio.get_running_loop().call_later(0.2, self.transport.abort)
                case _ if not self.transport.is_closing():
                    self.transport.write(said.get(action, action))


def whole_answer(serial):
    body = f'{{"RequestId":"R","DeviceSn":"{serial}"}}'.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@asynccontextmanager
async def serving(*scripts, tls=None):
    """Gives the port of a server that follows scripts, one a connection, and what it has read, by serial."""
    seen, left, ends = Counter(), list(scripts), []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(left, seen, ends), "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        server.close()
        await asyncio.gather(*ends)


@asynccontextmanager
async def calling(port, *, timeout_s=60.0, scheme="http", context=None):
    """Gives the transport, and what makes a call for a serial through it."""
    endpoint = httpx.URL(f"{scheme}://127.0.0.1:{port}")
    carrier = Transport(endpoint, context)
    client = Client(carrier, endpoint, KEYRING, timeout_s)

    async def call(serial):
        return await client.call(ACTION.operation, ACTION.parameters("post-cn-1", serial, "0001"))

    try:
        yield carrier, call
    finally:
        await client.aclose()


@asynccontextmanager
async def read_by_a_timer(carrier, every_s):
    """Has what comes read as it is while calls are sent by a timer; None leaves it to the loop."""

    async def read():
        while True:
            await asyncio.sleep(every_s)
            carrier._sockets.read()

    if every_s is None:
        yield
        return
    carrier._sockets.defer(True)
    timer = asyncio.create_task(read())
    yield
    timer.cancel()


BYTES = ["answer", "half", "twice", "100", "garbage", "wait", "wait"]
STEP = st.tuples(
    st.lists(st.sampled_from(BYTES), max_size=4), st.sampled_from([(), (), ("close",), ("reset",), ("deaf",)])
)
SCRIPTS = st.lists(st.lists(STEP.map(lambda step: [*step[0], *step[1]]), max_size=4), max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scripts=SCRIPTS,
    callers=st.integers(1, 3),
    how=st.tuples(st.booleans(), st.booleans(), st.sampled_from([None, 0.001, 0.008])),
)
def test_what_was_read_is_never_taken_for_never_sent(authority, scripts, callers, how):
    """Whatever a server does and when: no verdict "not sent" for what it read, nothing sent twice, each its answer."""
    used, is_secure, read_every_s = how
    tls, scheme = (authority, "https") if is_secure else (None, "http")
    peer, us = partial(serving, *scripts, tls=tls), partial(calling, timeout_s=0.1, scheme=scheme)

    async def scenario():
        async with peer() as (port, seen), us(port) as (carrier, call), read_by_a_timer(carrier, read_every_s):

            async def caller(first):
                return {serial: await call(serial) for serial in (f"{first}{number}" for number in range(3))}

            answers = {}
            for each in await asyncio.gather(*map(caller, range(callers))):
                answers |= each
        return answers, seen

    answers, seen = (uvloop.run if used else asyncio.run)(scenario())

    assert len(answers) == 3 * callers
    for serial, answer in answers.items():
        assert seen[serial] <= 1
        if answer.verdict is Verdict.NOT_SENT:
            assert not seen[serial]
        if answer.verdict is Verdict.DONE:
            assert seen[serial]


async def test_nothing_that_a_parser_meets_escapes():
    """Broken answers in random pieces end in a verdict, and never in another call's answer."""
    ends = await fuzz(10_000, seed=1)

    assert {"done", "Client.Disconnected", "Client.NotHttp", "Client.NotJson"} < ends.keys()
    assert "Client.ConnectFailed" not in ends


async def test_a_call_whose_time_is_over_does_not_disturb_the_next():
    """A timer of uvloop that fires at once does not know when; the next call must not ask it."""
    limits = {"connect": 5.0, "read": 0.0}
    async with serving([[], []], [[], []]) as (port, _), calling(port) as (carrier, _):
        for prepared in [carrier.prepare({**limits, "read": 5.0}) for _ in range(2)]:
            await prepared
        extensions = {"target": b"/", "timeout": limits}
        request = httpx.Request("GET", f"http://127.0.0.1:{port}", extensions=extensions)
        ends = await asyncio.gather(*[carrier.handle_async_request(request) for _ in range(2)], return_exceptions=True)

    assert [type(end) for end in ends] == [httpx.ReadTimeout] * 2


BAD = ANSWERS | {
    "endless 1xx": (b"HTTP/1.1 100 C\r\n\r\n" * 20_000, "Client.NotHttp"),
    "an endless header": (b"HTTP/1.1 200 X\r\nX: " + b"x" * 3_000_000, "Client.NotHttp"),
    "an endless body": (b"HTTP/1.1 200 X\r\n\r\n" + b" " * 3_000_000, "Client.NotHttp"),
    "endless chunks": (CHUNKED + b"\r\n" + b"1\r\nx\r\n" * 500_000, "Client.NotHttp"),
    "an endless name of a chunk": (CHUNKED + b"\r\n1;" + b"x" * 3_000_000, "Client.NotHttp"),
}


@pytest.mark.parametrize(("said", "code"), BAD.values(), ids=BAD)
async def test_nothing_is_believed(said, code):
    """Each way to break HTTP has its verdict at once, and the next call is not touched by it."""
    async with serving([[], [said, "close"]]) as (port, _), calling(port) as (_, call):
        answer, following = await call("0042"), await call("0043")

    assert answer.code == code
    assert answer.verdict is not Verdict.NOT_SENT
    assert following.verdict is Verdict.DONE


async def test_what_comes_after_the_end_is_nobodys_answer():
    """Bytes behind an answer, or between two calls, cost a connection and no call."""
    async with serving([[], ["twice"]], [[], ["answer", "wait", "answer"]]) as (port, seen), calling(port) as (_, call):
        answers = [await call(serial) for serial in ("0", "1", "2")]

    assert [answer.verdict for answer in answers] == [Verdict.DONE] * 3
    assert seen == {"0": 1, "1": 1, "2": 1}


async def test_a_connection_that_is_out_of_step_is_left():
    """After an answer to another call the one to this call may come late, and is not taken for that to the next."""
    async with serving([[], ["another's"], ["late"]]) as (port, _), calling(port) as (_, call):
        codes = [(await call(serial)).code for serial in ("1", "2")]

    assert codes == ["Client.WrongEcho", ""]


async def test_a_connection_that_has_died_unnoticed_costs_nothing():
    """The kernel is asked before a request goes: a close that the loop has not heard of yet does not cost the call."""
    async with serving([[], ["answer", "wait", "wait", "close"]]) as (port, seen), calling(port) as (carrier, call):
        await call("0")
        (kept,) = carrier._idle
        carrier._sockets.defer(True)
        while not kept._readable.poll(0):  # noqa: ASYNC110 - the loop must not hear of it
            await asyncio.sleep(0)
        assert not kept.lost.done()
        carrier._sockets.defer(False)
        answer = await call("1")

    assert answer.verdict is Verdict.DONE
    assert seen == {"0": 1, "1": 1}


async def test_an_answer_that_is_there_is_not_late():
    """Who gives a call up looks first for what has come; here nobody else reads."""
    async with serving() as (port, _), calling(port, timeout_s=0.3) as (carrier, call):
        await call("0")
        carrier._sockets.defer(True)
        answer = await call("1")

    assert answer.verdict is Verdict.DONE


async def test_idle_connections_are_closed(monkeypatch):
    """What was idle for long is not trusted."""
    async with serving() as (port, _), calling(port) as (carrier, call):
        await call("0")
        (first,) = carrier._open
        monkeypatch.setattr(transport, "IDLE_S", -1.0)
        await call("1")
        await first.lost

        assert first not in carrier._open


async def test_connections_are_kept():
    """As many connections as calls in flight at once, no more."""
    async with serving() as (port, _), calling(port) as (carrier, call):
        await asyncio.gather(*(call(str(number)) for number in range(5)))
        opened = set(carrier._open)
        for _ in range(3):
            await asyncio.gather(*(call(str(number)) for number in range(5)))

        assert len(opened) == 5
        assert carrier._open == opened


async def test_time_limits_are_kept_by_one_timer():
    """Each call ends at its limit, those that began later later, and its connection is gone; the timer goes with it."""
    async with serving(*[[[], []]] * 3) as (port, seen), calling(port, timeout_s=0.3) as (carrier, call):
        early = asyncio.ensure_future(call("0"))
        await asyncio.sleep(0.1)
        late = await call("1")
        early = await early

        assert early.code == late.code == "Client.Timeout"
        assert early.verdict is late.verdict is Verdict.UNANSWERED, "it may have been done"
        assert early.latency_ms >= 290
        assert late.latency_ms >= 290
        assert len(seen) == 2
        for gone in list(carrier._open):
            await gone.lost
        assert carrier._timer is None


async def test_a_cancelled_call_takes_its_connection_along():
    """The answer to a call that nobody waits for must not reach the next one."""
    async with serving([[], ["wait", "wait", "answer"]]) as (port, seen), calling(port) as (_, call):
        left = asyncio.ensure_future(call("0"))
        while not seen:  # noqa: ASYNC110 - a turn or two
            await asyncio.sleep(0)
        left.cancel()
        answer = await call("1")

    assert answer.verdict is Verdict.DONE


async def test_a_header_of_two_lines_is_not_sent():
    """A token with a line break in it must not become a header of its own, or a second request."""
    endpoint = httpx.URL("http://127.0.0.1:1")
    extensions = {"target": b"/", "timeout": {"connect": 1.0, "read": 1.0}}
    request = httpx.Request("GET", endpoint, headers={"x": "a\r\n\r\nGET / HTTP/1.1"}, extensions=extensions)

    with pytest.raises(NotSent):
        await Transport(endpoint, None).handle_async_request(request)


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """Returns the TLS settings of a server whose certificate for 127.0.0.1 is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "c.pem"))
    return server_context(tmp_path / "c.pem")


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_is_checked_and_resumed(authority, newest):
    """A certificate that is trusted is taken, and the next connection resumes the session of the first."""
    authority.maximum_version = newest
    script = [[], ["answer", "close"]]
    async with serving(script, tls=authority) as (port, _), calling(port, scheme="https") as (carrier, call):
        first = await call("0")
        await next(iter(carrier._open)).lost
        second = await call("1")
        (resumed,) = carrier._open

        assert (first.verdict, second.verdict) == (Verdict.DONE, Verdict.DONE)
        assert resumed._tls.session_reused


def test_settings_of_a_socket():
    """Nothing waits for a full segment, and what is never acknowledged is given up with its call."""
    with socket.socket() as raw:
        Transport(httpx.URL("http://h"), None, "127.0.0.9")._set_up(raw, 10.0)

        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
        assert raw.getsockname()[0] == "127.0.0.9"


async def test_connecting_does_not_bunch_the_first_calls(monkeypatch):
    """Connections are there before calls may be sent: however slow they are, no second holds more than the cap."""
    connected, arrivals = Transport._connected, []

    async def slowly(*arguments):
        await asyncio.sleep(0.5)
        return await connected(*arguments)

    monkeypatch.setattr(Transport, "_connected", slowly)
    step = Server.step
    monkeypatch.setattr(
        Server, "step", lambda self, serial: (arrivals.append((time.monotonic(), serial)), step(self, serial))
    )
    async with serving() as (port, _), calling(port) as (carrier, _):
        endpoint = httpx.URL(f"http://127.0.0.1:{port}")
        pace = {"account_cap": 100, "address_cap": 1000, "workers": 60, "attempts": 1, "timeout_s": 60.0}
        target = Target(instance="post-cn-1", endpoint=endpoint, addresses=(None,), **pace)
        lanes = Lanes([Client(carrier, endpoint, KEYRING, 60.0)], KEYRING, Progress(), target)

        async def worker(first):
            for serial in range(first, 180, 60):
                query = ACTION.parameters("post-cn-1", f"{serial}", "0001")
                await lanes.settle(lanes.lanes[0], ACTION.operation, query)

        await asyncio.gather(*map(worker, range(60)))

    sends = [at for at, serial in arrivals if serial != "early"]
    assert len(sends) == 180
    assert len(arrivals) - len(sends) < 2 * transport.SPARE, "connections: hundreds at once would hold up the calls"
    assert max(sum(0 <= at - start < 1 for at in sends) for start in sends) <= 110, "ten for a busy receiver"
