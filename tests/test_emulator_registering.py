"""CA certificates are registered, each with a register code (reference, sections 1.1 and 10)."""

import re
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from test_emulator_calls import InProcess

BEGIN, END = datetime(2022, 6, 2, 2, 35, 3, tzinfo=UTC), datetime(2032, 5, 30, 2, 35, 3, tzinfo=UTC)


def authority(serial=0x00F26900BA87):
    """Returns the certificate of a CA, as PEM."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    certificate = x509.CertificateBuilder(name, name, key.public_key(), serial, BEGIN, END).sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


async def register(call, content):
    return await call("RegisterCaCertificate", CaName="mqtt_ca", CaContent=content, VerificationContent="proof")


async def test_register_code_stays_until_used():
    """The register code belongs to the instance: the same until a CA is registered with it, then another."""
    async with InProcess() as call:
        code = await call.ok("GetRegisterCode")
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\d{10}", code)
        assert await call.ok("GetRegisterCode") == code
        assert (await register(call, authority())).status_code == 200
        assert await call.ok("GetRegisterCode") != code


async def test_register_ca():
    """A registered CA is active, and shown with all that was given and what its certificate says."""
    async with InProcess() as call:
        content, code = authority(), await call.ok("GetRegisterCode")

        assert (await register(call, content)).json()["Sn"] == "f26900ba87"
        assert await call.ok("GetCaCertificate", Sn="f26900ba87") == {
            "Sn": "f26900ba87",
            "CaName": "mqtt_ca",
            "CaContent": content,
            "VerificationContent": "proof",
            "RegistrationCode": code,
            "ValidBegin": "1654137303000",
            "ValidEnd": str(int(END.timestamp() * 1000)),
            "Status": "1",
        }
        assert (await register(call, authority())).json()["Code"] == "SnNotUnique"


async def test_serial_is_padded_to_whole_bytes():
    """A serial is lower-case hexadecimal of whole bytes, so a leading zero digit is kept."""
    async with InProcess() as call:
        assert (await register(call, authority(serial=0xABC))).json()["Sn"] == "0abc"


@pytest.mark.parametrize("content", ["no certificate", "-----BEGIN CERTIFICATE-----\nAA==\n"])
async def test_ca_must_be_a_certificate(content):
    """What cannot be read as a certificate is refused."""
    async with InProcess() as call:
        assert (await register(call, content)).json()["Code"] == "CertificateContentError"
