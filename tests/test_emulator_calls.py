"""One signed call to an emulator, and the form of its answers (reference, section 8); other tests call through this."""

import re
import uuid
from contextlib import closing
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkcert.emulator.app import Emulator
from bulkcert.emulator.messages import Request
from bulkcert.emulator.settings import Settings
from bulkcert.service.operations import OPERATIONS, VERSION
from bulkcert.service.signing import Credentials, canonical_query, signed_headers

INSTANCE, CA, DEVICE = "post-cn-emulator", "007269004887000001", "356217374433000001"
KEY = Credentials("testAccessKeyId", "testAccessKeySecret")
NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC).timestamp()


class Caller:
    """Signs calls and sends them to one emulator."""

    def __init__(self, http: httpx.AsyncClient, emulator: Emulator, clock=lambda: NOW) -> None:
        self.http, self.emulator, self.clock = http, emulator, clock
        self.credentials = KEY

    @property
    def state(self):
        return self.emulator.state

    async def __call__(self, action, *, method=None, nonce=None, skew_s=0, version=VERSION, change=None, **parameters):
        """Makes one call; ``change`` alters the headers after they were signed."""
        parameters = {"MqttInstanceId": INSTANCE} | parameters
        query = canonical_query({name: value for name, value in parameters.items() if value is not None})
        method = method or (OPERATIONS[action].method if action in OPERATIONS else "POST")
        headers = signed_headers(
            self.credentials,
            method=method,
            host=self.http.base_url.netloc.decode(),
            operation=action,
            version=version,
            query=query,
            date=datetime.fromtimestamp(self.clock() + skew_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            nonce=nonce or uuid.uuid4().hex,
        )
        return await self.http.request(method, f"/?{query}", headers=headers | (change or {}))

    async def inactivate(self, device=DEVICE, ca=CA, **options):
        return await self("InactivateDeviceCertificate", CaSn=ca, DeviceSn=device, **options)

    async def ok(self, action, **parameters):
        """Makes a call that must succeed and returns its one field besides the id of the request."""
        answer = await self(action, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()[OPERATIONS[action].result]

    async def admin(self, name, **content):
        """Makes an admin call that must succeed; content makes it a POST."""
        path = f"/-/{name}"
        answer = await (self.http.post(path, json=content) if content else self.http.get(path))
        assert answer.status_code == 200, answer.text
        return answer.json()


class InProcess:
    """An emulator without a socket, with a clock that stands still, and a caller of it."""

    def __init__(self, settings=None, *, clock=lambda: NOW, address="127.0.0.1") -> None:
        self.emulator = Emulator(settings or Settings(), clock)
        transport = httpx.ASGITransport(self.emulator, client=(address, 40000))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:18443")

    async def __aenter__(self):
        self.emulator.state.seed(INSTANCE, [(CA, DEVICE)])
        return Caller(self.http, self.emulator)

    async def __aexit__(self, *_):
        await self.http.aclose()
        self.emulator.close()


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


async def test_dropped_in_process():
    """Without a socket, a dropped connection is the error that a client on a socket would see."""
    async with InProcess(Settings(faults={"drop-before": 1})) as call:
        with pytest.raises(httpx.RemoteProtocolError):
            await call.inactivate()


async def test_admin_calls_come_from_loopback():
    """Whoever is elsewhere may not steer the emulator."""
    async with InProcess(address="192.0.2.1") as call:
        assert (await call.http.get("/-/report")).status_code == 403
        assert (await call.inactivate()).status_code == 200


TEXT = st.text(st.characters(codec="latin-1"), max_size=20)


@given(
    st.sampled_from(["GET", "POST", "HEAD"]),
    st.dictionaries(st.sampled_from(["authorization", "x-acs-action", "x-acs-date", "x-acs-version"]), TEXT),
    st.binary(max_size=50),
    st.binary(max_size=5),
)
def test_any_request_is_answered(method, headers, query, body):
    """Whatever is sent, the answer is one of the service's errors, and nothing breaks."""
    with closing(Emulator(Settings(), lambda: NOW)) as emulator:
        known = {"x-acs-action": "GetRegisterCode", "x-acs-version": VERSION}
        answer, _ = emulator.gateway.answer(Request(0, "127.0.0.1", method, "/", query, known | headers, body))

        assert answer.status in (400, 404)
        assert answer.code


async def test_latency_is_added():
    """Every answer waits as long as the drawn latency says, and is still right."""
    async with InProcess(Settings(latency_ms=(0.1, 0.2))) as call:
        assert (await call.inactivate()).status_code == 200
