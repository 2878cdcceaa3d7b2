"""CA certificates are registered with a code that proves possession of the key (reference, sections 1.1 and 10)."""

import re
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from test_emulator_calls import InProcess

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


@pytest.mark.parametrize(
    "content",
    ["no certificate", "-----BEGIN CERTIFICATE-----\nAA==\n", Authority(ca=False).pem, Authority(ca=None).pem],
    ids=["text", "broken", "no ca", "no constraints"],
)
async def test_ca_must_be_a_ca(content):
    """What cannot be read as a certificate, or does not say that it is a CA, is refused."""
    async with InProcess() as call:
        proof = Authority().verification("code")
        code = await call.code("RegisterCaCertificate", CaName="x", CaContent=content, VerificationContent=proof)
        assert code == "CertificateContentError"
