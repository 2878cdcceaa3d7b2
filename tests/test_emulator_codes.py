"""Every code with both HTTP statuses (reference, sections 1.3, 1.3b and 8.1)."""

import pytest
from test_emulator_calls import CA, DEVICE, InProcess

from bulkcert.emulator.settings import Settings
from bulkcert.emulator.verify import AccessKey
from bulkcert.service.codes import RULES, rule_for
from bulkcert.service.operations import INSTANCE_ACCESS, OPERATIONS
from bulkcert.service.signing import Credentials

EXACT = [rule.code for rule in RULES if not rule.code.endswith("*")]


PROVOKED = {
    "InvalidAction.NotFound": lambda call: call("RevokeDeviceCertificate"),
    "InvalidApi.NotFound": lambda call: call.http.post("/elsewhere"),
    "InvalidVersion": lambda call: call.inactivate(version="2019-01-01"),
}


@pytest.mark.parametrize("code", PROVOKED)
async def test_code_comes_about(code):
    """What the gateway does not know is answered with its code and message; the other codes have tests of their own."""
    async with InProcess() as call:
        answer = await PROVOKED[code](call)

        assert (answer.json()["Code"], answer.json()["Message"]) == (code, rule_for(code).message)
        assert call.emulator.report().codes == {code: 1}


@pytest.mark.parametrize("table", ["old", "new"])
@pytest.mark.parametrize("code", EXACT)
async def test_every_code_can_be_asked_for(code, table):
    """Every documented code is a fault by its own name, so a client meets all of them; nothing is done then."""
    async with InProcess(Settings(status_table=table, faults={code: 1})) as call:
        answer = await call.inactivate()

        assert (answer.json()["Code"], answer.json()["Message"]) == (code, rule_for(code).message)
        assert answer.status_code == rule_for(code).http_status(table)
        report = call.emulator.report()
        assert (report.codes, report.faults, report.changes) == ({code: 1}, {code: 1}, 0)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
async def test_permission_by_operation(operation):
    """Each operation asks for its own RAM action, and nearly all for access to the instance as well."""
    async with InProcess() as call:
        codes = []
        for denied in (operation.ram_action, INSTANCE_ACCESS, "mq:Another"):
            call.emulator.keys["k"] = AccessKey("k", "s", denied=frozenset({denied}))
            call.credentials = Credentials("k", "s")
            given = {"Sn": CA, "CaSn": CA, "DeviceSn": DEVICE, "PageNo": "1", "PageSize": "1"}
            answer = await call(operation.name, **{name: given.get(name, "x") for name in operation.parameters})
            codes.append(answer.json().get("Code"))

        assert codes[0] == "NoPermission"
        assert (codes[1] == "PermissionCheckFailed") == operation.needs_instance_access
        assert codes[2] in (None, "CertificateContentError")


async def test_order_of_checks():
    """The gateway comes first, then parameters, permission, instance, owner, certificate (section 1.4)."""
    async with InProcess() as call:
        call.registry.put_instance("foreign", "2000000000000002")
        call.emulator.keys["denied"] = AccessKey("denied", "s", denied=frozenset({"mq:UnregisterDeviceCertificate"}))
        denied = Credentials("denied", "s")
        steps = [
            (Credentials("unknown", "s"), {"MqttInstanceId": ""}, "InvalidAccessKeyId.NotFound"),
            (denied, {"MqttInstanceId": ""}, "ParameterFieldCheckFailed"),
            (denied, {"MqttInstanceId": "unknown"}, "NoPermission"),
            (call.credentials, {"MqttInstanceId": "unknown"}, "MqttInstanceNotFound"),
            (call.credentials, {"MqttInstanceId": "foreign"}, "MqttOwnerCheckError"),
            (call.credentials, {}, "FindDeviceBySnError"),
        ]
        for credentials, parameters, code in steps:
            call.credentials = credentials
            assert (await call.inactivate("unknown", **parameters)).json()["Code"] == code
