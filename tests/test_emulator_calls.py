"""One signed call to an emulator, and the form of its answers (reference, section 8); other tests call through this."""

import re
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkcert.emulator.emulator import Emulator
from bulkcert.emulator.messages import DROPPED, Request, header_fields
from bulkcert.emulator.registry import SeededCertificate
from bulkcert.emulator.settings import CREDENTIALS, Settings
from bulkcert.service.actions import OPERATIONS, VERSION
from bulkcert.service.signing import canonical_query, signing

INSTANCE, CA, DEVICE = "post-cn-emulator", "007269004887000001", "356217374433000001"
NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC).timestamp()


def asked_of(operation):
    """Returns parameters of an operation, about what every emulator here has."""
    good = {"Sn": CA, "CaSn": CA, "DeviceSn": DEVICE, "PageNo": "1", "PageSize": "1"}
    return {name: good.get(name, "x") for name in operation.parameters}


class Caller:
    """Signs calls and sends them to one emulator."""

    def __init__(self, http, emulator=None, clock=time.time) -> None:
        self.http, self.emulator, self.clock = http, emulator, clock
        self.credentials = CREDENTIALS

    @property
    def registry(self):
        return self.emulator.registry

    def seed(self, *serials, status="1", instance=INSTANCE):
        """Registers certificates: pairs of CA and device serial, the latter empty for a CA alone."""
        self.registry.fill(instance, [SeededCertificate(*pair, status) for pair in serials])

    def status(self, *serials):
        """The status of a certificate: of the device that every emulator here has, or of another."""
        found = self.registry.certificate(INSTANCE, *(serials or (CA, DEVICE)))
        return found and found["Status"]

    async def __call__(self, action, *, method=None, nonce=None, skew_s=0, version=VERSION, change=None, **parameters):
        """Makes one call; ``change`` alters the headers after they were signed."""
        parameters = {"MqttInstanceId": INSTANCE} | parameters
        query = canonical_query({name: value for name, value in parameters.items() if value is not None})
        method = method or (OPERATIONS[action].method if action in OPERATIONS else "POST")
        signs = signing(
            self.credentials,
            method=method,
            host=self.http.base_url.netloc.decode(),
            operation=action,
            version=version,
            date=datetime.fromtimestamp(self.clock() + skew_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        headers = signs.headers | dict(signs.headers_of(query, nonce or uuid.uuid4().hex))
        return await self.http.request(method, f"/?{query}", headers=headers | (change or {}))

    async def inactivate(self, device=DEVICE, ca=CA, **options):
        return await self("InactivateDeviceCertificate", CaSn=ca, DeviceSn=device, **options)

    async def code(self, action, **parameters):
        """Makes a call and returns the code that it is refused with, or None."""
        return (await self(action, **parameters)).json().get("Code")

    async def ok(self, action, **parameters):
        """Makes a call that must succeed and returns its one field besides the id of the request."""
        answer = await self(action, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()[OPERATIONS[action].result]


class InProcess(httpx.AsyncBaseTransport):
    """An emulator without a socket, whose clock stands still; as a context, a caller of it.

    All calls arrive at the same time, unless ``at`` is moved.
    """

    def __init__(self, settings=None, *, address="127.0.0.1") -> None:
        self.emulator, self.address, self.at = Emulator(settings or Settings(), lambda: NOW), address, 1000.0

    async def handle_async_request(self, request):
        fields = header_fields([(name.lower(), text) for name, text in request.headers.raw])
        url, body = request.url, await request.aread()
        answer, _ = self.emulator.answer(
            Request(self.at, self.address, request.method, url.path, url.query, fields, body)
        )
        if answer is DROPPED:
            raise httpx.RemoteProtocolError("dropped")
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)

    async def __aenter__(self):
        http = httpx.AsyncClient(transport=self, base_url="http://127.0.0.1:18443")
        call = Caller(http, self.emulator, lambda: NOW)
        call.seed((CA, DEVICE))
        return call

    async def __aexit__(self, *_):
        self.emulator.registry.close()


async def test_success_has_the_documented_form():
    """A success is 200, JSON in UTF-8, an upper-case UUID and the echoed serial, and nothing else."""
    async with InProcess() as call:
        answer = await call.inactivate()

        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json;charset=utf-8"
        request_id = answer.headers["x-acs-request-id"]
        assert answer.json() == {"RequestId": request_id, "DeviceSn": DEVICE}
        assert re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", request_id)


async def test_error_has_the_documented_form():
    """An error carries the host that was asked, its code and verbatim message, and a link for help."""
    async with InProcess() as call:
        answer = await call.inactivate("unknown")

        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/json;charset=utf-8"
        assert "x-acs-retry-after" not in answer.headers
        request_id = answer.headers["x-acs-request-id"]
        link = "https://api.aliyun.com/troubleshoot?q=FindDeviceBySnError&product=OnsMqtt&requestId="
        assert answer.json() == {
            "RequestId": request_id,
            "HostId": "127.0.0.1:18443",
            "Code": "FindDeviceBySnError",
            "Message": "Failed to find the device certificate by the SN. Please check sn is valid",
            "Recommend": link + request_id,
        }


TEXT = st.text(st.characters(codec="latin-1"), max_size=20)


@pytest.fixture(scope="module")
def silent():
    emulator = Emulator(Settings(account_cap=10_000, address_cap=10_000), lambda: NOW)
    with closing(emulator.registry):
        yield emulator


@given(
    method=st.sampled_from(["GET", "POST", "HEAD"]),
    headers=st.dictionaries(st.sampled_from(["authorization", "x-acs-action", "x-acs-date", "x-acs-version"]), TEXT),
    query=st.binary(max_size=50),
    body=st.binary(max_size=5),
)
def test_any_request_is_answered(silent, method, headers, query, body):
    """Whatever is sent, the answer is one of the service's errors, and nothing breaks."""
    fields = {"x-acs-action": "GetRegisterCode", "x-acs-version": VERSION} | headers
    answer, _ = silent.answer(Request(0, "127.0.0.1", method, "/", query, fields, body))

    assert answer.status in (400, 404)
    assert "InternalError" not in silent.report().codes
