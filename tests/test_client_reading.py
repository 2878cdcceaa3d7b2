"""One attempt to read, on real sockets: which pages and certificates are believed, and that none is sent twice."""

import socket
import struct
from contextlib import asynccontextmanager, suppress

import anyio
import httpx
import pytest
from program import PATIENCE_S
from test_client import KEYRING, response, serving

from bulkcert.service.certificates import Status
from bulkcert.service.client import Client
from bulkcert.service.connection import Connection
from bulkcert.service.operations import OPERATIONS
from bulkcert.service.transport import Transport
from bulkcert.service.verdicts import Verdict

LIST, GET = OPERATIONS["ListDeviceCertificateByCaSn"], OPERATIONS["GetDeviceCertificate"]
GET_CA = OPERATIONS["GetCaCertificate"]
QUERY = {"MqttInstanceId": "post-cn-1", "CaSn": "0001"}
PAGE_QUERY = {**QUERY, "PageNo": "1", "PageSize": "100"}
GET_QUERY = {**QUERY, "DeviceSn": "0042"}
QUERIES = {LIST: PAGE_QUERY, GET: GET_QUERY, GET_CA: {"MqttInstanceId": "post-cn-1", "Sn": "0001"}}
EMPTY_PAGE = '{"RequestId":"R","Data":{"Total":0}}'


@asynccontextmanager
async def reading(port, *, timeout_s=PATIENCE_S):
    """Gives a client whose connections are kept between its attempts."""
    endpoint = httpx.URL(f"http://127.0.0.1:{port}")
    client = Client(Transport(endpoint, None), endpoint, KEYRING, timeout_s)
    try:
        yield client
    finally:
        await client.aclose()


async def read(port, operation, query):
    async with reading(port) as client:
        return await client.read(operation, query)


@asynccontextmanager
async def keeping(*, after_first):
    """Serves the first request of the first connection, then ends that as told; answers all on other connections.

    ``after_first`` is "close" or "reset", when the second request has come, or "idle" to close before it.
    """
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    connections, requests = [], []

    async def handle(stream):
        connections.append(stream)
        first = len(connections) == 1
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                requests.append(await stream.receive())
                await stream.send(response(200, EMPTY_PAGE))
                if first and after_first != "idle":
                    requests.append(await stream.receive())
                    if after_first == "reset":
                        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                while not first:
                    requests.append(await stream.receive())
                    await stream.send(response(200, EMPTY_PAGE))

    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        yield listener.extra(anyio.abc.SocketAttribute.local_port), connections, requests
        group.cancel_scope.cancel()
    await listener.aclose()


@pytest.mark.parametrize("after_first", ["close", "reset"])
async def test_a_read_is_not_sent_again_by_the_library(after_first):
    """A GET on a kept connection that ends without an answer is one attempt, sent once; the pacer knows of no other."""
    async with keeping(after_first=after_first) as (port, connections, requests), reading(port) as client:
        first = await client.read(LIST, PAGE_QUERY)
        second = await client.read(LIST, PAGE_QUERY)
        assert (len(connections), len(requests)) == (1, 2)
        third = await client.read(LIST, PAGE_QUERY)

    assert (first.verdict, third.verdict) == (Verdict.DONE, Verdict.DONE)
    assert (second.verdict, second.code) == (Verdict.UNANSWERED, "Client.Disconnected")
    assert (len(connections), len(requests)) == (2, 3)


@pytest.fixture
def lost(monkeypatch):
    """Returns an event: the client has learned that its connection is gone."""
    event, known = anyio.Event(), Connection.connection_lost

    def connection_lost(handler, error):
        known(handler, error)
        event.set()

    monkeypatch.setattr(Connection, "connection_lost", connection_lost)
    return event


async def test_a_connection_that_was_closed_in_between_is_replaced(lost):
    """A kept connection that the server closed while it was idle costs no attempt."""
    async with keeping(after_first="idle") as (port, connections, requests), reading(port) as client:
        await client.read(LIST, PAGE_QUERY)
        with anyio.fail_after(PATIENCE_S):
            await lost.wait()
        again = await client.read(LIST, PAGE_QUERY)

    assert again.verdict is Verdict.DONE
    assert (len(connections), len(requests)) == (2, 2)


async def test_a_read_that_nobody_takes_was_not_sent():
    """A refused connection is told from one that was lost for reads, too."""
    async with serving(answer=None) as (port, _):
        pass
    refused = await read(port, LIST, PAGE_QUERY)

    assert (refused.verdict, refused.code) == (Verdict.NOT_SENT, "Client.ConnectFailed")


async def test_a_page():
    """A page holds its certificates with their states, serials as they were sent, and what the service says of all."""
    shown = [
        '{"DeviceSn":"0042","CaSn":"0001","Status":"1","DeviceName":"x","DeviceContent":"PEM"}',
        '{"DeviceSn":"42","CaSn":"0001","Status":"0"}',
        '{"DeviceSn":"43","CaSn":"0001","Status":1}',
        '{"DeviceSn":"44","CaSn":"0001"}',
    ]
    body = f'{{"RequestId":"R","Data":{{"Total":250,"PageNo":1,"DeviceCertificateVOS":[{",".join(shown)}]}}}}'
    async with serving(answer=response(200, body)) as (port, requests):
        answer = await read(port, LIST, PAGE_QUERY)

    assert (answer.verdict, answer.code, answer.request_id) == (Verdict.DONE, "", "R")
    assert answer.page.total == 250
    assert [(found.device_sn, found.ca_sn, found.status) for found in answer.page.certificates] == [
        ("0042", "0001", Status.ACTIVE),
        ("42", "0001", Status.INACTIVE),
        ("43", "0001", Status.ACTIVE),
        ("44", "0001", Status.UNRECOGNIZED),
    ]
    assert requests[0].startswith(b"GET /?")
    assert b"PageSize=100" in requests[0]


async def test_one_certificate():
    """One certificate that was asked for by its serials is a page of one."""
    body = '{"RequestId":"R","Data":{"DeviceSn":"0042","CaSn":"0001","Status":"0"}}'
    async with serving(answer=response(200, body)) as (port, _):
        answer = await read(port, GET, GET_QUERY)

    assert answer.verdict is Verdict.DONE
    assert [found.status for found in answer.page.certificates] == [Status.INACTIVE]


NO_DATA = (Verdict.FAILED, "Client.NoData")
WRONG_ECHO = (Verdict.FAILED, "Client.WrongEcho")
NOT_UTF8 = '{"Data":{"DeviceCertificateVOS":[{"DeviceSn":"1","DeviceName":"\udcff"}]}}'
UNREAD = {
    "list without data": (LIST, 200, '{"RequestId":"R"}', *NO_DATA),
    "list of null": (LIST, 200, '{"RequestId":"R","Data":null}', *NO_DATA),
    "no list": (LIST, 200, '{"RequestId":"R","Data":{"DeviceCertificateVOS":{}}}', *NO_DATA),
    "one without data": (GET, 200, '{"RequestId":"R"}', *NO_DATA),
    "another serial": (GET, 200, '{"Data":{"DeviceSn":"42","CaSn":"0001","Status":"0"}}', *WRONG_ECHO),
    "another CA": (GET, 200, '{"Data":{"DeviceSn":"0042","CaSn":"1","Status":"0"}}', *WRONG_ECHO),
    "no serial": (GET, 200, '{"Data":{"Status":"0"}}', *WRONG_ECHO),
    "serials swapped": (GET, 200, '{"Data":{"DeviceSn":"0001","CaSn":"0042","Status":"0"}}', *WRONG_ECHO),
    "CA without a serial": (GET_CA, 200, '{"Data":{"Status":"0"}}', *WRONG_ECHO),
    "a list that is not UTF-8": (LIST, 200, NOT_UTF8, *NO_DATA),
    "not found": (GET, 500, '{"Code":"FindDeviceBySnError"}', Verdict.NOT_FOUND, "FindDeviceBySnError"),
    "denied": (LIST, 403, '{"Code":"NoPermission"}', Verdict.STOP, "NoPermission"),
    "throttle": (LIST, 400, '{"Code":"Throttling.User"}', Verdict.THROTTLED, "Throttling.User"),
    "html 502": (LIST, 502, "<html>", Verdict.RETRY, "Client.NotJson"),
    "empty": (LIST, 200, "", Verdict.UNANSWERED, "Client.NotJson"),
}


@pytest.mark.parametrize(("operation", "status", "body", "verdict", "code"), UNREAD.values(), ids=UNREAD)
async def test_reads_without_a_page(operation, status, body, verdict, code):
    """What is not the page or the certificate that was asked for is none, and says why."""
    async with serving(answer=response(status, body)) as (port, requests):
        answer = await read(port, operation, QUERIES[operation])

    assert (answer.verdict, answer.code, answer.page) == (verdict, code, None)
    assert len(requests) == 1
