"""The TLS settings of a server with a certificate of its own making."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


def server_context(path, *, host="127.0.0.1", begins=0, ends=1, key=None):
    """Writes a key and its certificate for a host into a file, and returns the settings of a server with them.

    Args:
        path: The file.
        host: An IP address.
        begins: Days from now from which it is valid.
        ends: Days from now until which it is.
        key: Its key; by default one that is good enough.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "made here")])
    now = datetime.now(UTC)
    valid = (now + timedelta(days=begins), now + timedelta(days=ends))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), *valid)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if isinstance(key, rsa.RSAPrivateKey):
        context.set_ciphers("ALL:@SECLEVEL=0")  # it may be weak
    context.load_cert_chain(path)
    return context
