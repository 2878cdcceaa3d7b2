"""The thirteen operations, the life of certificates, and every code (reference, sections 1, 8 and 10)."""

import pytest
from test_emulator_calls import CA, DEVICE, INSTANCE, InProcess, asked_of

from bulkcert.emulator.operations import _HANDLERS, _LISTS
from bulkcert.emulator.settings import Settings
from bulkcert.emulator.verify import AccessKey
from bulkcert.service.actions import INSTANCE_ACCESS, OPERATIONS
from bulkcert.service.codes import RULES, rule_for
from bulkcert.service.signing import Credentials


def test_all_operations_have_a_handler():
    """The emulator knows exactly the thirteen operations of the table."""
    assert {*_HANDLERS, *_LISTS} == set(OPERATIONS)
    assert len(OPERATIONS) == 13


@pytest.mark.parametrize(("kind", "serials"), [("Ca", {"Sn": CA}), ("Device", {"CaSn": CA, "DeviceSn": DEVICE})])
async def test_switches(kind, serials):
    """A certificate is switched off and on, again and again; a CA leaves the status of its devices as it is."""
    async with InProcess() as call:
        for switch in ("Inactivate", "Inactivate", "Active", "Active"):
            assert await call.ok(f"{switch}{kind}Certificate", **serials) == [*serials.values()][-1]
            assert (await call.ok(f"Get{kind}Certificate", **serials))["Status"] == str(int(switch == "Active"))
            assert kind == "Device" or call.status() == "1"


async def test_device_is_shown_as_documented():
    """A device has exactly the documented fields, all of them strings, times in milliseconds."""
    async with InProcess() as call:
        shown = await call.ok("GetDeviceCertificate", CaSn=CA, DeviceSn=DEVICE)

        names = ["DeviceSn", "CaSn", "DeviceName", "DeviceContent", "ValidBegin", "ValidEnd", "Status"]
        assert list(shown) == names
        assert all(isinstance(value, str) for value in shown.values())
        assert (shown["DeviceSn"], shown["CaSn"]) == (DEVICE, CA)
        assert int(shown["ValidEnd"]) > int(shown["ValidBegin"]) > 1.6e12


@pytest.mark.parametrize(
    ("action", "serials", "code"),
    [
        ("InactivateDeviceCertificate", {"CaSn": CA, "DeviceSn": "unknown"}, "FindDeviceBySnError"),
        ("InactivateDeviceCertificate", {"CaSn": "unknown", "DeviceSn": DEVICE}, "FindDeviceBySnError"),
        ("ActiveDeviceCertificate", {"CaSn": CA, "DeviceSn": DEVICE.upper() + "0"}, "FindDeviceBySnError"),
        ("DeleteDeviceCertificate", {"CaSn": CA, "DeviceSn": "0" + DEVICE}, "FindDeviceBySnError"),
        ("GetDeviceCertificate", {"CaSn": CA.lstrip("0"), "DeviceSn": DEVICE}, "FindDeviceBySnError"),
        ("ListDeviceCertificateByCaSn", {"CaSn": "unknown", "PageNo": "1", "PageSize": "1"}, "FindDeviceBySnError"),
        ("GetCaCertificate", {"Sn": "unknown"}, "FindCaBySnError"),
        ("ActiveCaCertificate", {"Sn": "unknown"}, "FindCaBySnError"),
        ("InactivateCaCertificate", {"Sn": CA.lstrip("0")}, "FindCaBySnError"),
        ("DeleteCaCertificate", {"Sn": "unknown"}, "FindCaBySnError"),
        ("GetCaCertificate", {"Sn": "é" * 64}, "FindCaBySnError"),
        ("GetCaCertificate", {"Sn": "é" * 65}, "ParameterFieldCheckFailed"),
    ],
)
async def test_unknown_serials(action, serials, code):
    """A serial is found only as it was registered, digit by digit, under its own CA; it has 128 bytes at most."""
    async with InProcess() as call:
        assert await call.code(action, **serials) == code


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
async def test_parameters_are_required(operation):
    """Every parameter of every operation is required and must not be empty."""
    async with InProcess() as call:
        for name in ("MqttInstanceId", *operation.parameters):
            for wrong in (None, ""):
                asked = asked_of(operation) | {name: wrong}
                assert await call.code(operation.name, **asked) == "ParameterFieldCheckFailed"


async def test_delete_ca_cascades():
    """Deleting a CA deletes the devices under it, and no others."""
    async with InProcess() as call:
        call.seed((CA, "second"), ("other", "third"))
        call.seed((CA, "fourth"), instance="another")

        assert await call.ok("DeleteCaCertificate", Sn=CA) == CA

        assert call.registry.states(INSTANCE) == {("other",): "1", ("other", "third"): "1"}
        assert call.registry.states("another") == {(CA,): "1", (CA, "fourth"): "1"}
        assert await call.code("DeleteCaCertificate", Sn=CA) == "FindCaBySnError"


async def test_first_connection_registers():
    """An unknown device under an active CA is registered, active; one that is there, or whose CA is not, stays."""
    async with InProcess() as call:

        def connect(ca, device):
            return call.registry.connect(INSTANCE, ca, device, "pump 7")

        assert await call.code("InactivateDeviceCertificate", CaSn=CA, DeviceSn="new") == "FindDeviceBySnError"
        assert [connect(CA, "new"), connect(CA, "new")] == [True, False]
        shown = await call.ok("GetDeviceCertificate", CaSn=CA, DeviceSn="new")
        assert (shown["Status"], shown["DeviceName"]) == ("1", "pump 7")

        await call.inactivate("new")
        assert not connect(CA, "new")
        assert call.status(CA, "new") == "0"
        await call.ok("DeleteDeviceCertificate", CaSn=CA, DeviceSn="new")
        assert connect(CA, "new"), "a deleted certificate registers itself again"
        await call.ok("InactivateCaCertificate", Sn=CA)
        assert not connect(CA, "another")
        assert not connect("unknown", "another")


async def test_changes_may_be_asked_by_get():
    """Operations that change state take POST and GET, reads GET only, and nothing else is taken."""
    allowed = {}
    async with InProcess() as call:
        for name in OPERATIONS:
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
                answer = await call(name, method=method)
                if answer.json().get("Code") != "UnsupportedHTTPMethod":
                    allowed.setdefault(name, []).append(method)

    assert allowed == {name: ["GET"] if name.startswith(("Get", "List")) else ["GET", "POST"] for name in OPERATIONS}


# Codes, with both HTTP statuses (reference, sections 1.3, 1.3b and 8.1).

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
    async with InProcess(Settings(status_table=table, fault=(f"{code}=1",))) as call:
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
            codes.append(await call.code(operation.name, **asked_of(operation)))

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
