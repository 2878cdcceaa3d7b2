"""One attempt, on real sockets: what each kind of answer, and each kind of silence, is taken for."""

import json

import anyio
import httpx
import pytest
from program import PATIENCE_S

from bulkcert.service.actions import ACTIONS, OPERATIONS, Status
from bulkcert.service.client import Client
from bulkcert.service.codes import Verdict
from bulkcert.service.credentials import FixedCredentials
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


async def answered(answer, operation=ACTION.operation, query=CHANGE_QUERY, *, provider=KEYRING):
    """Makes a call that gets one scripted answer; returns what it is taken for, and all that was asked."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    requests = []

    async def handle(stream):
        async with stream:
            requests.append(await stream.receive())
            await stream.send(answer)

    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        taken = await one_call(url, operation, query, provider=provider)
        group.cancel_scope.cancel()
    await listener.aclose()
    return taken, requests


def response(status, body, headers=JSON):
    body = body.encode(errors="surrogateescape")
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def one_call(url, operation=ACTION.operation, query=CHANGE_QUERY, *, provider=KEYRING):
    """Makes one call, by default one that changes something; returns what it is taken for."""
    endpoint = httpx.URL(url)
    client = Client(Transport(endpoint, None), endpoint, provider, PATIENCE_S)
    try:
        return await client.call(operation, query)
    finally:
        await client.aclose()


HTML, SLOWLY = "Content-Type: text/html\r\n", f"{JSON}x-acs-retry-after: 1500\r\n"
ENDLESS, RUBBISH = f"{JSON}x-acs-retry-after: {'9' * 5000}\r\n", f"{JSON}x-acs-retry-after: -1\r\n"
ECHO, BOTH = '{"RequestId":"R","DeviceSn":"0042"}', '{"DeviceSn":"0042","Code":"NoPermission"}'
NULL, DENIED = '{"Code":"FindDeviceBySnError","Message":null}', '{"Code":"PermissionCheckFailed"}'
DEEP = '{"a":' * 5000 + "1" + "}" * 5000
ANSWERS = {
    "success": (200, ECHO, JSON, Verdict.DONE, "", False),
    "no echo": (200, '{"RequestId":"R"}', JSON, Verdict.UNANSWERED, "Client.NoEcho", True),
    "null echo": (200, '{"RequestId":"R","DeviceSn":null}', JSON, Verdict.UNANSWERED, "Client.NoEcho", True),
    "another serial": (200, '{"RequestId":"R","DeviceSn":"42"}', JSON, Verdict.UNANSWERED, "Client.WrongEcho", True),
    "a number": (200, '{"RequestId":"R","DeviceSn":42}', JSON, Verdict.UNANSWERED, "Client.NotJson", True),
    "error body with 200": (200, DENIED, JSON, Verdict.STOP, "PermissionCheckFailed", False),
    "empty": (200, "", JSON, Verdict.UNANSWERED, "Client.NotJson", True),
    "not found": (500, '{"Code":"FindDeviceBySnError"}', JSON, Verdict.NOT_FOUND, "FindDeviceBySnError", False),
    "passing fault": (500, '{"Code":"InternalError"}', JSON, Verdict.RETRY, "InternalError", True),
    "the same, throttled": (500, '{"Code":"InternalError"}', SLOWLY, Verdict.THROTTLED, "InternalError", True),
    "nonce": (400, '{"Code":"SignatureNonceUsed"}', JSON, Verdict.SIGN_AGAIN, "SignatureNonceUsed", True),
    "throttle": (400, '{"Code":"Throttling.User"}', SLOWLY, Verdict.THROTTLED, "Throttling.User", False),
    "throttle by header": (500, '{"Code":"X"}', SLOWLY, Verdict.THROTTLED, "X", True),
    "header of rubbish": (500, '{"Code":"X"}', RUBBISH, Verdict.UNRECOGNIZED, "X", False),
    "html 502": (502, "<html>", HTML, Verdict.RETRY, "Client.NotJson", True),
    "json error without code": (503, "{}", JSON, Verdict.RETRY, "Client.NoCode", True),
    "null message": (500, NULL, JSON, Verdict.NOT_FOUND, "FindDeviceBySnError", False),
    "lower-case code": (403, '{"code":"NoPermission"}', JSON, Verdict.STOP, "NoPermission", False),
    "deep nesting": (200, DEEP, JSON, Verdict.UNANSWERED, "Client.NotJson", True),
    "endless wait": (400, '{"Code":"X"}', ENDLESS, Verdict.THROTTLED, "X", True),
    "an echo and a code": (200, BOTH, JSON, Verdict.UNANSWERED, "NoPermission", True),
    "html 429": (429, "<html>", HTML, Verdict.THROTTLED, "Client.NotJson", True),
    "redirect": (302, "", "Location: http://127.0.0.1:1/\r\n", Verdict.RETRY, "Client.NotJson", True),
}
"""Status, body and headers; the verdict, the code, and whether it may have been done whatever it says."""


@pytest.mark.parametrize("name", ANSWERS)
async def test_answers(name):
    """The code decides; a success counts only with the serial that was sent; redirects are not followed.

    What does not say that it was refused before anything was done may have been done.
    """
    status, body, headers, verdict, code, is_doubtful = ANSWERS[name]
    answer, requests = await answered(response(status, body, headers))

    assert (answer.verdict, answer.code, answer.http_status) == (verdict, code, status)
    assert answer.may_be_done is is_doubtful
    assert answer.retry_after_s == (1.5 if "1500" in headers else 60 if "999" in headers else 0)
    assert len(requests) == 1


async def test_a_wrong_clock_is_measured():
    """Where the service refuses the time, the message says how far the clocks are apart."""
    date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    answer, _ = await answered(response(400, '{"Code":"InvalidTimeStamp.Expired"}', JSON + date))

    assert answer.verdict is Verdict.STOP
    assert "ahead of the service's" in answer.message


async def test_a_secret_in_a_message_is_not_passed_on():
    """A signature error repeats the request; neither its further lines nor a token in the first one are kept."""
    provider = FixedCredentials(Credentials("testAccessKeyId", "testAccessKeySecret", "the-token"))
    body = '{"Code":"SignatureDoesNotMatch","Message":"not the-token\\nx-acs-security-token:the-token"}'
    answer, _ = await answered(response(400, body), provider=provider)

    assert answer.message == "not ***"


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
    refused, _ = await answered(response(500, body_of(Code=text, Message=text, RequestId=text)), provider=provider)
    foreign, _ = await answered(response(502, "<html>", f"Content-Type: {'x' * 70}{echoed}\r\n"), provider=provider)
    wrong, _ = await answered(response(200, body_of(RequestId="R", DeviceSn="x" * 120 + echoed)), provider=provider)
    shown = {"DeviceSn": "0042", "CaSn": "0001", "DeviceName": text, "CaName": f"{echoed} x"}
    found, _ = await answered(response(200, body_of(Data=shown)), GET, GET_QUERY, provider=provider)
    (named,) = found.page.certificates

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
    answer, _ = await answered(response(200, body), LIST, PAGE_QUERY)
    assert answer.page.total == 0


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
    answer, requests = await answered(response(200, body), LIST, PAGE_QUERY)

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
    "empty": (LIST, 200, "", Verdict.UNANSWERED, "Client.NotJson"),
}


@pytest.mark.parametrize(("operation", "status", "body", "verdict", "code"), UNREAD.values(), ids=UNREAD)
async def test_reads_without_a_page(operation, status, body, verdict, code):
    """What is not the page or the certificate that was asked for is none, and says why."""
    answer, requests = await answered(response(status, body), operation, QUERIES[operation])

    assert (answer.verdict, answer.code, answer.page) == (verdict, code, None)
    assert len(requests) == 1
