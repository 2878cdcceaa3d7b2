"""One attempt to read, on real sockets: which pages and certificates are believed."""

import httpx
import pytest
from program import PATIENCE_S
from test_client import KEYRING, response, serving

from bulkcert.service.certificates import Status
from bulkcert.service.client import Client
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


async def read(port, operation, query):
    endpoint = httpx.URL(f"http://127.0.0.1:{port}")
    client = Client(Transport(endpoint, None), endpoint, KEYRING, PATIENCE_S)
    try:
        return await client.call(operation, query)
    finally:
        await client.aclose()


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
