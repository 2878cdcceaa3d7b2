"""The vendor's own SDK against the emulator, sync and async: an oracle for wire form, signature and answers."""

import os
import re
import time
from dataclasses import replace

import anyio
import anyio.to_thread
import pytest
from test_emulator_calls import CA, DEVICE, INSTANCE
from test_emulator_registering import authority
from test_emulator_server import OnSocket

from bulkcert.emulator.faults import FaultPlan
from bulkcert.emulator.settings import Settings
from bulkcert.service.actions import OPERATIONS

# Read once, at import: without it the SDK's credentials library starts a thread and asks the network.
os.environ["ALIBABA_CLOUD_ECS_METADATA_DISABLED"] = "true"

from alibabacloud_onsmqtt20200420 import models
from alibabacloud_onsmqtt20200420.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException, ServerException, ThrottlingException
from alibabacloud_tea_openapi.models import Config
from darabonba.exceptions import UnretryableException

TRICKY = "a b+c/~*é中&=%#?'()!$,:;@"


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Sdk:
    """One SDK client; each call names an operation and its parameters as the reference does."""

    def __init__(self, call, *, sync=False, token=None) -> None:
        self.sync, endpoint = sync, call.http.base_url.netloc.decode()
        self.client = Client(
            Config("testAccessKeyId", "testAccessKeySecret", security_token=token, endpoint=endpoint, protocol="http")
        )

    async def __call__(self, action, **parameters):
        parameters = {"MqttInstanceId": INSTANCE} | parameters
        request = getattr(models, f"{action}Request")().from_map(parameters)
        if self.sync:
            answer = await anyio.to_thread.run_sync(getattr(self.client, snake(action)), request)
        else:
            answer = await getattr(self.client, f"{snake(action)}_async")(request)
        assert answer.status_code == 200
        return answer.body

    async def result(self, action, **parameters):
        """The one field of the answer besides the id of the request."""
        body = await self(action, **parameters)
        return body.to_map()[OPERATIONS[action].result]


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """The SDK reads proxies from the environment; loopback is never reached through one."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


async def test_ca_operations():
    """The SDK registers, reads, lists, switches and deletes a CA."""
    async with OnSocket() as call:
        sdk, content = Sdk(call), authority()
        code = await sdk.result("GetRegisterCode")
        sn = await sdk.result("RegisterCaCertificate", CaName="mqtt_ca", CaContent=content, VerificationContent="x")
        assert sn == "f26900ba87"
        shown = await sdk.result("GetCaCertificate", Sn=sn)
        assert (shown["CaContent"], shown["RegistrationCode"], shown["Status"]) == (content, code, "1")
        page = await sdk.result("ListCaCertificate", PageNo="1", PageSize="100")
        assert (page["Total"], page["PageNo"], page["PageSize"]) == (1, 1, 100)
        assert [ca["Sn"] for ca in page["CaCertificateVOS"]] == [CA, sn]
        for action, status in (("InactivateCaCertificate", "0"), ("ActiveCaCertificate", "1")):
            assert await sdk.result(action, Sn=sn) == sn
            assert (await sdk.result("GetCaCertificate", Sn=sn))["Status"] == status
        assert await sdk.result("DeleteCaCertificate", Sn=sn) == sn
        with pytest.raises(ServerException) as refused:
            await sdk("GetCaCertificate", Sn=sn)
        assert refused.value.code == "FindCaBySnError"


@pytest.mark.parametrize(("device", "sync"), [(DEVICE, False), (TRICKY, False), (TRICKY, True)])
async def test_device_operations(device, sync):
    """The SDK reads, lists, switches and deletes a device, whatever characters its serial holds."""
    async with OnSocket() as call:
        call.seed(("ca", device))
        sdk, serials = Sdk(call, sync=sync), {"CaSn": "ca", "DeviceSn": device}
        for action, status in (("InactivateDeviceCertificate", "0"), ("ActiveDeviceCertificate", "1")):
            assert await sdk.result(action, **serials) == device
            assert (await sdk.result("GetDeviceCertificate", **serials))["Status"] == status
        page = await sdk.result("ListDeviceCertificate", PageNo="1", PageSize="1")
        assert page["Total"] >= 1
        page = await sdk.result("ListDeviceCertificateByCaSn", CaSn="ca", PageNo="1", PageSize="1")
        assert [shown["DeviceSn"] for shown in page["DeviceCertificateVOS"]] == [device]
        assert await sdk.result("DeleteDeviceCertificate", **serials) == device
        page = await sdk.result("ListDeviceCertificateByCaSn", CaSn="ca", PageNo="1", PageSize="1")
        assert (page["Total"], page["DeviceCertificateVOS"]) == (0, [])


async def test_security_token():
    """The SDK's temporary credentials pass; an expired token is refused with its code."""
    async with OnSocket() as call:
        token = "CAISfakeSecurityToken+with/slash==&and space"
        key = call.emulator.keys["testAccessKeyId"]
        call.emulator.keys[key.id] = replace(key, token=token, expires_at=time.time() + 3600)
        sdk = Sdk(call, token=token)
        assert await sdk.result("InactivateDeviceCertificate", CaSn=CA, DeviceSn=DEVICE) == DEVICE
        call.emulator.keys[key.id] = replace(key, token=token, expires_at=1)
        with pytest.raises(ClientException) as refused:
            await sdk("InactivateDeviceCertificate", CaSn=CA, DeviceSn=DEVICE)
        assert (refused.value.code, refused.value.status_code) == ("InvalidSecurityToken.Expired", 400)


async def test_errors_as_the_sdk_sees_them():
    """The SDK raises what section 8.3 of the reference says it raises."""
    async with OnSocket(Settings(port=0, retry_after_ms=321)) as call:
        sdk = Sdk(call)
        request = {"action": "InactivateDeviceCertificate", "CaSn": CA, "DeviceSn": DEVICE}
        for fault, raised, code, retry_after_ms in (
            ("throttle", ThrottlingException, "Throttling.User", 321),
            ("overflow", ServerException, "SystemOverFlow", None),
            ("NoPermission", ClientException, "NoPermission", None),
        ):
            call.emulator.faults = FaultPlan({fault: 1}, 0)
            with pytest.raises(raised) as refused:
                await sdk(**request)
            assert (refused.value.code, refused.value.retry_after) == (code, retry_after_ms)
        for fault in ("html-502", "drop-before"):
            call.emulator.faults = FaultPlan({fault: 1}, 0)
            with pytest.raises(UnretryableException):
                await sdk(**request)
        call.emulator.faults = FaultPlan({"no-echo": 1}, 0)
        assert (await sdk(**request)).device_sn is None
