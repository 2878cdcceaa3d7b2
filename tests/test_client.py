"""One attempt, on real sockets: what each kind of answer, and each kind of silence, is taken for."""

import json
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from program import PATIENCE_S

from bulkcert.service.actions import ACTIONS
from bulkcert.service.certificates import Status
from bulkcert.service.client import Client
from bulkcert.service.codes import Verdict
from bulkcert.service.credentials import FixedCredentials
from bulkcert.service.operations import OPERATIONS
from bulkcert.service.signing import Credentials
from bulkcert.service.transport import Transport

ACTION = ACTIONS["inactivate-device"]
KEYRING = FixedCredentials(Credentials("testAccessKeyId", "testAccessKeySecret"))
LIST, GET = OPERATIONS["ListDeviceCertificateByCaSn"], OPERATIONS["GetDeviceCertificate"]
GET_CA = OPERATIONS["GetCaCertificate"]
QUERY = {"MqttInstanceId": "post-cn-1", "CaSn": "0001"}
PAGE_QUERY = {**QUERY, "PageNo": "1", "PageSize": "100"}
GET_QUERY = {**QUERY, "DeviceSn": "0042"}
CHANGE_QUERY = ACTION.parameters("post-cn-1", "0042", "0001")
QUERIES = {LIST: PAGE_QUERY, GET: GET_QUERY, GET_CA: {"MqttInstanceId": "post-cn-1", "Sn": "0001"}}
JSON = "Content-Type: application/json\r\n"


@asynccontextmanager
async def serving(*, answer):
    """Serves one scripted answer to every connection's first request; None drops the connection."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    requests = []

    async def handle(stream):
        async with stream:
            requests.append(await stream.receive())
            if answer is not None:
                await stream.send(answer)

    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        yield listener.extra(anyio.abc.SocketAttribute.local_port), requests
        group.cancel_scope.cancel()
    await listener.aclose()


def response(status, body, headers=JSON):
    body = body.encode(errors="surrogateescape")
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def call(port, operation=ACTION.operation, query=CHANGE_QUERY, *, provider=KEYRING):
    endpoint = httpx.URL(f"http://127.0.0.1:{port}")
    client = Client(Transport(endpoint, None), endpoint, provider, PATIENCE_S)
    try:
        return await client.call(operation, query)
    finally:
        await client.aclose()


ANSWERS = [
    ("success", 200, '{"RequestId":"R","DeviceSn":"0042"}', JSON, Verdict.DONE, ""),
    ("no echo", 200, '{"RequestId":"R"}', JSON, Verdict.UNANSWERED, "Client.NoEcho"),
    ("null echo", 200, '{"RequestId":"R","DeviceSn":null}', JSON, Verdict.UNANSWERED, "Client.NoEcho"),
    ("another serial", 200, '{"RequestId":"R","DeviceSn":"42"}', JSON, Verdict.UNANSWERED, "Client.WrongEcho"),
    ("a number", 200, '{"RequestId":"R","DeviceSn":42}', JSON, Verdict.UNANSWERED, "Client.NotJson"),
    ("error body with 200", 200, '{"Code":"PermissionCheckFailed"}', JSON, Verdict.STOP, "PermissionCheckFailed"),
    ("empty", 200, "", JSON, Verdict.UNANSWERED, "Client.NotJson"),
    ("not found", 500, '{"Code":"FindDeviceBySnError"}', JSON, Verdict.NOT_FOUND, "FindDeviceBySnError"),
    ("throttle", 400, '{"Code":"Throttling.User"}', JSON, Verdict.THROTTLED, "Throttling.User"),
    ("throttle by header", 500, '{"Code":"X"}', f"{JSON}x-acs-retry-after: 1500\r\n", Verdict.THROTTLED, "X"),
    ("header of rubbish", 500, '{"Code":"X"}', f"{JSON}x-acs-retry-after: -1\r\n", Verdict.UNRECOGNIZED, "X"),
    ("html 502", 502, "<html>", "Content-Type: text/html\r\n", Verdict.RETRY, "Client.NotJson"),
    ("json error without code", 503, "{}", JSON, Verdict.RETRY, "Client.NoCode"),
    (
        "null message",
        500,
        '{"Code":"FindDeviceBySnError","Message":null}',
        JSON,
        Verdict.NOT_FOUND,
        "FindDeviceBySnError",
    ),
    ("lower-case code", 403, '{"code":"NoPermission"}', JSON, Verdict.STOP, "NoPermission"),
    ("deep nesting", 200, '{"a":' * 5000 + "1" + "}" * 5000, JSON, Verdict.UNANSWERED, "Client.NotJson"),
    ("endless wait", 400, '{"Code":"X"}', f"{JSON}x-acs-retry-after: {'9' * 5000}\r\n", Verdict.THROTTLED, "X"),
    ("JSON without a code", 500, '{"RequestId":"R"}', JSON, Verdict.RETRY, "Client.NoCode"),
    (
        "an echo and a code",
        200,
        '{"DeviceSn":"0042","Code":"NoPermission"}',
        JSON,
        Verdict.UNANSWERED,
        "NoPermission",
    ),
    ("html 429", 429, "<html>", "Content-Type: text/html\r\n", Verdict.THROTTLED, "Client.NotJson"),
    ("redirect", 302, "", "Location: http://127.0.0.1:1/\r\n", Verdict.RETRY, "Client.NotJson"),
]


@pytest.mark.parametrize(
    ("status", "body", "headers", "verdict", "code"), [a[1:] for a in ANSWERS], ids=[a[0] for a in ANSWERS]
)
async def test_answers(status, body, headers, verdict, code):
    """The code decides; a success counts only with the serial that was sent; redirects are not followed."""
    async with serving(answer=response(status, body, headers)) as (port, requests):
        answer = await call(port)

    assert (answer.verdict, answer.code, answer.http_status) == (verdict, code, status)
    assert answer.retry_after_s == (1.5 if "1500" in headers else 60 if "999" in headers else 0)
    assert len(requests) == 1


async def test_a_wrong_clock_is_measured():
    """Where the service refuses the time, the message says how far the clocks are apart."""
    date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    async with serving(answer=response(400, '{"Code":"InvalidTimeStamp.Expired"}', JSON + date)) as (port, _):
        answer = await call(port)

    assert answer.verdict is Verdict.STOP
    assert "ahead of the service's" in answer.message


async def test_a_secret_in_a_message_is_not_passed_on():
    """A signature error repeats the request; neither its further lines nor a token in the first one are kept."""
    provider = FixedCredentials(Credentials("testAccessKeyId", "testAccessKeySecret", "the-token"))
    body = '{"Code":"SignatureDoesNotMatch","Message":"not the-token\\nx-acs-security-token:the-token"}'
    async with serving(answer=response(400, body)) as (port, _):
        answer = await call(port, provider=provider)

    assert answer.message == "not ***"


@pytest.mark.parametrize(
    ("status", "body", "headers", "is_so"),
    [
        (200, '{"RequestId":"R"}', JSON, True),
        (500, '{"RequestId":"R"}', JSON, True),
        (500, '{"Code":"InternalError"}', JSON, True),
        (503, '{"Code":"ServiceUnavailable"}', JSON, True),
        (500, '{"Code":"InternalError"}', f"{JSON}x-acs-retry-after: 5\r\n", True),
        (400, '{"Code":"SignatureNonceUsed"}', JSON, True),
        (429, "<html>", "", True),
        (502, "<html>", "", True),
        (200, '{"RequestId":"R","DeviceSn":"0042"}', JSON, False),
        (400, '{"Code":"Throttling.User"}', f"{JSON}x-acs-retry-after: 5\r\n", False),
        (500, '{"Code":"FindDeviceBySnError"}', JSON, False),
        (403, '{"Code":"NoPermission"}', JSON, False),
    ],
)
async def test_what_may_have_been_done(status, body, headers, is_so):
    """What does not say that it was refused before anything was done may have been done, whatever it says."""
    async with serving(answer=response(status, body, headers)) as (port, _):
        assert (await call(port)).may_be_done is is_so


EVIL = "a\x1b[31m\u202eb\u3000c"
CLEAN = "a\ufffd[31m\ufffdb c"
TOKEN = "CAISabcdefghijklmnopqrstuvwxyz0123456789"


def body_of(**fields):
    return json.dumps(fields)


@pytest.mark.parametrize("echoed", [TOKEN, TOKEN[:20], "testAccessKeySecret"], ids=["whole", "cut", "secret"])
async def test_texts_from_outside_are_cleaned(echoed):
    """Code, message, request ID, header values and names: nothing to obey, no more than fits, and never a secret."""
    provider = FixedCredentials(Credentials("testAccessKeyId", "testAccessKeySecret", TOKEN))
    text = f"{EVIL}{echoed}!{'x' * 2000}"
    async with serving(answer=response(500, body_of(Code=text, Message=text, RequestId=text))) as (port, _):
        refused = await call(port, provider=provider)
    async with serving(answer=response(502, "<html>", f"Content-Type: {'x' * 70}{echoed}\r\n")) as (port, _):
        foreign = await call(port, provider=provider)
    async with serving(answer=response(200, body_of(RequestId="R", DeviceSn="x" * 120 + echoed))) as (port, _):
        wrong = await call(port, provider=provider)
    shown = {"DeviceSn": "0042", "CaSn": "0001", "DeviceName": text, "CaName": f"{echoed} x"}
    async with serving(answer=response(200, body_of(Data=shown))) as (port, _):
        named = (await call(port, GET, GET_QUERY, provider=provider)).page.certificates[0]

    assert refused.code.startswith(f"{CLEAN}***!x")
    assert [len(each) for each in (refused.code, refused.request_id, refused.message)] == [128, 64, 1024]
    assert named.device_name.startswith(f"{CLEAN}***!x")
    assert named.ca_name == "*** x"
    for each in (refused.message, refused.request_id, foreign.message, wrong.message, named.device_name):
        assert "***" in each
        assert echoed[:16] not in each
        assert each.isprintable()


async def test_a_total_of_five_thousand_digits():
    """A number that nobody can mean is none."""
    body = body_of(RequestId="R", Data={"Total": "9" * 5000})
    async with serving(answer=response(200, body)) as (port, _):
        assert (await call(port, LIST, PAGE_QUERY)).page.total == 0


async def test_dropped_after_sending_is_not_taken_for_never_sent():
    """The transport reports both by the same exception; sent and unanswered must never pass for never sent."""
    async with serving(answer=None) as (port, requests):
        dropped = await call(port)
    refused = await call(port)

    assert requests
    assert (dropped.verdict, dropped.code) == (Verdict.UNANSWERED, "Client.Disconnected")
    assert (refused.verdict, refused.code) == (Verdict.NOT_SENT, "Client.ConnectFailed")


# What reads: which pages and certificates are believed.


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
        answer = await call(port, LIST, PAGE_QUERY)

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
        answer = await call(port, GET, GET_QUERY)

    assert answer.verdict is Verdict.DONE
    assert [found.status for found in answer.page.certificates] == [Status.INACTIVE]


NO_DATA = (Verdict.RETRY, "Client.NoData")
WRONG_ECHO = (Verdict.RETRY, "Client.WrongEcho")
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
        answer = await call(port, operation, QUERIES[operation])

    assert (answer.verdict, answer.code, answer.page) == (verdict, code, None)
    assert len(requests) == 1
