"""What RegisterCaCertificate checks in its two certificates (reference, sections 1.1, 1.3b and 10)."""

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from bulkcert.emulator.messages import Refusal


def _parse(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise Refusal("CertificateContentError") from error


def ca_certificate(pem: str) -> x509.Certificate:
    """Returns a CA certificate.

    Raises:
        Refusal: ``CertificateContentError``: it is no certificate, or BasicConstraints do not say that it is a CA.
    """
    certificate = _parse(pem)
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Refusal("CertificateContentError") from error
    if not constraints.value.ca:
        raise Refusal("CertificateContentError")
    return certificate


def register_code(pem: str, ca: x509.Certificate) -> str:
    """Returns the register code that a verification certificate carries as its common name.

    Raises:
        Refusal: ``CertificateContentError`` if it is no certificate, ``RegisterCodeError`` if this CA did not issue it
            or it has no single common name.
    """
    certificate = _parse(pem)
    try:
        certificate.verify_directly_issued_by(ca)
        (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise Refusal("RegisterCodeError") from error
    return str(name.value)


def serial(certificate: x509.Certificate) -> str:
    """Returns the serial as the service spells it: lower-case hexadecimal of whole bytes, leading zero kept."""
    number = certificate.serial_number
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big").hex()


def milliseconds(time: datetime) -> str:
    """Returns a time as the service spells it: Unix time in milliseconds, as text."""
    return str(int(time.timestamp() * 1000))
