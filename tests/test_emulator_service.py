"""The thirteen operations and the life of certificates (reference, sections 1, 1.2 and 10)."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from test_emulator_calls import CA, DEVICE, INSTANCE, InProcess

from bulkcert.api.operations import OPERATIONS
from bulkcert.emulator.service import _HANDLERS

BEGIN, END = datetime(2022, 6, 2, 2, 35, 3, tzinfo=UTC), datetime(2032, 5, 30, 2, 35, 3, tzinfo=UTC)


class Authority:
    """A certificate authority of our own."""

    def __init__(self, *, serial=0x00F26900BA87, ca=True, name="authority") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = self._named(name)
        constraints = [(x509.BasicConstraints(ca=ca, path_length=None), True)] if ca is not None else []
        self.certificate = self._issue(self.name, self.key.public_key(), serial, constraints)

    @staticmethod
    def _named(name):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])

    def _issue(self, subject, public_key, serial, extensions=()):
        builder = x509.CertificateBuilder(self.name, subject, public_key, serial, BEGIN, END)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    @property
    def pem(self):
        return pem_of(self.certificate)

    def verification(self, code):
        """The certificate that proves possession of the key: the register code is its common name."""
        public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
        return pem_of(self._issue(self._named(code), public_key, 1))


def pem_of(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


async def register(call, authority, code=None, verification=None):
    code = code or await call.ok("GetRegisterCode")
    return await call(
        "RegisterCaCertificate",
        CaName="mqtt_ca",
        CaContent=authority.pem,
        VerificationContent=verification or authority.verification(code),
    )


def test_all_operations_have_a_handler():
    """The emulator knows exactly the thirteen operations of the table."""
    assert set(_HANDLERS) == set(OPERATIONS)
    assert len(_HANDLERS) == 13


async def test_register_code_stays_until_used():
    """The register code belongs to the instance: the same until a CA is registered with it, then another."""
    async with InProcess() as call:
        code = await call.ok("GetRegisterCode")
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\d{10}", code)
        assert await call.ok("GetRegisterCode") == code
        assert (await register(call, Authority(), code)).status_code == 200
        assert await call.ok("GetRegisterCode") != code


async def test_register_ca():
    """A registered CA is active, and shown with all that was given and what its certificate says."""
    async with InProcess() as call:
        authority, code = Authority(), await call.ok("GetRegisterCode")
        verification = authority.verification(code)
        answer = await register(call, authority, code, verification)

        assert answer.json()["Sn"] == "f26900ba87"
        assert await call.ok("GetCaCertificate", Sn="f26900ba87") == {
            "Sn": "f26900ba87",
            "CaName": "mqtt_ca",
            "CaContent": authority.pem,
            "VerificationContent": verification,
            "RegistrationCode": code,
            "ValidBegin": "1654137303000",
            "ValidEnd": str(int(END.timestamp() * 1000)),
            "Status": "1",
        }


async def test_serial_is_padded_to_whole_bytes():
    """A serial is lower-case hexadecimal of whole bytes, so a leading zero digit is kept."""
    async with InProcess() as call:
        assert (await register(call, Authority(serial=0xABC))).json()["Sn"] == "0abc"


@pytest.mark.parametrize(
    ("ca", "code"),
    [(True, None), (False, "CertificateContentError"), (None, "CertificateContentError")],
    ids=["ca", "no ca", "no constraints"],
)
async def test_ca_must_be_a_ca(ca, code):
    """BasicConstraints must be there and say that it is a CA."""
    async with InProcess() as call:
        assert (await register(call, Authority(ca=ca))).json().get("Code") == code


async def test_verification_must_prove_the_key():
    """The verification certificate must be issued by this CA over a code of this instance that was never used."""
    async with InProcess() as call:
        authority, code = Authority(), await call.ok("GetRegisterCode")
        other = Authority(name="other")
        impostor = Authority()
        for verification, expected in (
            ("no certificate", "CertificateContentError"),
            (other.verification(code), "RegisterCodeError"),
            (impostor.verification(code), "RegisterCodeError"),
            (authority.verification("not the code"), "RegisterCodeError"),
            (authority.verification(None), "RegisterCodeError"),
        ):
            answer = await register(call, authority, code, verification)
            assert answer.json()["Code"] == expected

        assert (await register(call, authority, code)).status_code == 200
        assert (await register(call, Authority(serial=2), code)).json()["Code"] == "RegisterCodeUsed"
        assert (await register(call, authority)).json()["Code"] == "SnNotUnique"


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAA==\n"])
async def test_ca_must_be_a_certificate(content):
    """What cannot be read as a certificate is refused."""
    async with InProcess() as call:
        answer = await call("RegisterCaCertificate", CaName="x", CaContent=content or None, VerificationContent="y")
        expected = "CertificateContentError" if content else "ParameterFieldCheckFailed"
        assert answer.json()["Code"] == expected


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


async def pages(call, action, field, size, **parameters):
    """All pages of a list, and the serials on each."""
    found, number = [], 1
    while True:
        page = await call.ok(action, PageNo=str(number), PageSize=str(size), **parameters)
        assert (page["PageNo"], page["PageSize"]) == (number, size)
        found.append((page["Total"], [shown.get("DeviceSn", shown.get("Sn")) for shown in page[field]]))
        if len(page[field]) < size:
            return found
        number += 1


async def test_paging_by_ca():
    """Pages of a CA's devices are full up to the last, and ``Total`` is the number of devices."""
    async with InProcess() as call:
        call.state.seed(INSTANCE, [("ca", f"{number:03}") for number in range(7)])

        found = await pages(call, "ListDeviceCertificateByCaSn", "DeviceCertificateVOS", 3, CaSn="ca")

        assert found == [(7, ["000", "001", "002"]), (7, ["003", "004", "005"]), (7, ["006"])]


async def test_paging_of_instance():
    """Elsewhere ``Total`` is the number of pages, and a full last page is followed by an empty one."""
    async with InProcess() as call:
        call.state.seed(INSTANCE, [("other", "1"), ("other", "2"), ("other", "3")])
        call.state.put_instance("another")
        call.state.seed("another", [("other", "4")])

        devices = await pages(call, "ListDeviceCertificate", "DeviceCertificateVOS", 2)
        cas = await pages(call, "ListCaCertificate", "CaCertificateVOS", 100)

        assert devices == [(2, [DEVICE, "1"]), (2, ["2", "3"]), (2, [])]
        assert cas == [(1, [CA, "other"])]


@pytest.mark.parametrize(
    ("number", "size"), [("0", "1"), ("-1", "1"), ("1", "0"), ("1", "101"), ("x", "1"), ("1", "1.5"), ("9" * 40, "1")]
)
@pytest.mark.parametrize("action", ["ListCaCertificate", "ListDeviceCertificate"])
async def test_pages_out_of_range(action, number, size):
    """Pages count from 1 and hold 1 to 100 certificates."""
    async with InProcess() as call:
        answer = await call(action, PageNo=number, PageSize=size)
        assert answer.json()["Code"] == "ParameterFieldCheckFailed"


async def test_delete_ca_cascades():
    """Deleting a CA deletes the devices under it, and no others."""
    async with InProcess() as call:
        call.state.seed(INSTANCE, [(CA, "second"), ("other", "third")])
        call.state.seed("another", [(CA, "fourth")])

        assert await call.ok("DeleteCaCertificate", Sn=CA) == CA

        assert call.state.counts(INSTANCE) == {"cas": {"1": 1}, "devices": {"1": 1}}
        assert call.state.counts("another") == {"cas": {"1": 1}, "devices": {"1": 1}}
        assert (await call("DeleteCaCertificate", Sn=CA)).json()["Code"] == "FindCaBySnError"


async def test_totals_follow_changes():
    """A list is up to date after deletions and first connections."""
    async with InProcess() as call:
        totals = []
        for change in (
            None,
            call.admin("connect", instance=INSTANCE, ca_sn=CA, device_sn="new"),
            call("DeleteDeviceCertificate", CaSn=CA, DeviceSn=DEVICE),
            call("DeleteDeviceCertificate", CaSn=CA, DeviceSn="new"),
        ):
            if change:
                await change
            page = await call.ok("ListDeviceCertificateByCaSn", CaSn=CA, PageNo="1", PageSize="1")
            totals.append(page["Total"])

        assert totals == [1, 2, 1, 0]


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
