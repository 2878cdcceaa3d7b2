"""The thirteen operations and the life of certificates (reference, sections 1 and 10)."""

from datetime import timedelta

import pytest
from test_emulator_calls import CA, DEVICE, INSTANCE, InProcess

from bulkcert.emulator.service import _HANDLERS
from bulkcert.service.operations import OPERATIONS


def test_all_operations_have_a_handler():
    """The emulator knows exactly the thirteen operations of the table."""
    assert set(_HANDLERS) == set(OPERATIONS)
    assert len(_HANDLERS) == 13


async def test_ca_status():
    """A CA is switched off and on, again and again, and its devices keep their own status."""
    async with InProcess() as call:
        for action, status in (
            ("InactivateCaCertificate", "0"),
            ("InactivateCaCertificate", "0"),
            ("ActiveCaCertificate", "1"),
            ("ActiveCaCertificate", "1"),
        ):
            assert await call.ok(action, Sn=CA) == CA
            assert (await call.ok("GetCaCertificate", Sn=CA))["Status"] == status
            assert (await call.ok("GetDeviceCertificate", CaSn=CA, DeviceSn=DEVICE))["Status"] == "1"


async def test_device_status():
    """A device is switched off and on, again and again."""
    async with InProcess() as call:
        for action, status in (
            ("InactivateDeviceCertificate", "0"),
            ("InactivateDeviceCertificate", "0"),
            ("ActiveDeviceCertificate", "1"),
            ("ActiveDeviceCertificate", "1"),
        ):
            assert await call.ok(action, CaSn=CA, DeviceSn=DEVICE) == DEVICE
            shown = await call.ok("GetDeviceCertificate", CaSn=CA, DeviceSn=DEVICE)
            assert shown["Status"] == status


async def test_device_is_shown_as_documented():
    """A device has exactly the documented fields, all of them strings, times in milliseconds."""
    async with InProcess() as call:
        shown = await call.ok("GetDeviceCertificate", CaSn=CA, DeviceSn=DEVICE)

        names = ["DeviceSn", "CaSn", "DeviceName", "DeviceContent", "ValidBegin", "ValidEnd", "Status"]
        assert list(shown) == names
        assert all(isinstance(value, str) for value in shown.values())
        assert (shown["DeviceSn"], shown["CaSn"]) == (DEVICE, CA)
        assert int(shown["ValidEnd"]) - int(shown["ValidBegin"]) == timedelta(days=3650) / timedelta(milliseconds=1)


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
    ],
)
async def test_unknown_serials(action, serials, code):
    """A serial is found only as it was registered, digit by digit, under its own CA."""
    async with InProcess() as call:
        assert (await call(action, **serials)).json()["Code"] == code


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
async def test_parameters_are_required(operation):
    """Every parameter of every operation is required and must not be empty."""
    good = {"Sn": CA, "CaSn": CA, "DeviceSn": DEVICE, "PageNo": "1", "PageSize": "1"}
    given = {name: good.get(name, "x") for name in ("MqttInstanceId", *operation.parameters)}
    async with InProcess() as call:
        for name in given:
            for wrong in (None, ""):
                answer = await call(operation.name, **given | {name: wrong})
                assert answer.json()["Code"] == "ParameterFieldCheckFailed"


@pytest.mark.parametrize(("serial", "code"), [("é" * 64, "FindCaBySnError"), ("é" * 65, "ParameterFieldCheckFailed")])
async def test_serials_are_128_bytes_at_most(serial, code):
    """A serial has at most 128 bytes, not characters."""
    async with InProcess() as call:
        assert (await call("GetCaCertificate", Sn=serial)).json()["Code"] == code


async def test_delete_ca_cascades():
    """Deleting a CA deletes the devices under it, and no others."""
    async with InProcess() as call:
        call.state.seed(INSTANCE, [(CA, "second"), ("other", "third")])
        call.state.seed("another", [(CA, "fourth")])

        assert await call.ok("DeleteCaCertificate", Sn=CA) == CA

        assert call.state.counts(INSTANCE) == {"cas": {"1": 1}, "devices": {"1": 1}}
        assert call.state.counts("another") == {"cas": {"1": 1}, "devices": {"1": 1}}
        assert (await call("DeleteCaCertificate", Sn=CA)).json()["Code"] == "FindCaBySnError"


async def test_first_connection_registers():
    """An unknown device under an active CA is registered, active; afterwards it is known."""
    async with InProcess() as call:
        device = {"instance": INSTANCE, "ca_sn": CA, "device_sn": "new", "device_name": "pump 7"}
        assert (await call.inactivate("new")).json()["Code"] == "FindDeviceBySnError"

        first, second = await call.admin("connect", **device), await call.admin("connect", **device)

        assert first == {"accepted": True, "registered": True, "reason": ""}
        assert second == {"accepted": True, "registered": False, "reason": ""}
        shown = await call.ok("GetDeviceCertificate", CaSn=CA, DeviceSn="new")
        assert (shown["Status"], shown["DeviceName"]) == ("1", "pump 7")


async def test_connections_that_are_refused():
    """An inactive device, an inactive CA and an unknown CA keep a device out; a deleted device comes back."""
    async with InProcess() as call:
        device = {"instance": INSTANCE, "ca_sn": CA, "device_sn": DEVICE}

        async def accepted(**changed):
            answer = await call.admin("connect", **device | changed)
            assert answer["accepted"] == (not answer["reason"])
            return answer["accepted"]

        assert await accepted()
        await call.inactivate()
        assert not await accepted()
        await call.ok("DeleteDeviceCertificate", CaSn=CA, DeviceSn=DEVICE)
        assert await accepted()
        await call.ok("InactivateCaCertificate", Sn=CA)
        assert not await accepted()
        assert not await accepted(device_sn="new")
        assert not await accepted(ca_sn="unknown")


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
