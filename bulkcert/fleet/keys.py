"""Keys of a cluster: an authority of its own, a certificate for the coordinator and one for each lane.

Each member has a file of its own certificate and key, beside that of the authority's certificate.
The authority's private key is never written: nobody can add a lane later. A lane's certificate is good for a client
only, so that whoever steals one cannot pose as the coordinator.
"""

import fcntl
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.files import cannot_write, whole

CA, COORDINATOR = "ca.pem", "coordinator.pem"
MOST_LANES = 1000


MAKE = "bulkcert cluster keys DIR --lanes N makes them; the coordinator needs its own file, each lane its own."


def tls_context(keys: Path) -> ssl.SSLContext:
    """Returns what a lane connects with.

    Raises:
        BulkcertError: Its keys cannot be read, or are none.
    """
    try:
        made = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(keys.with_name(CA)))
        made.check_hostname = False  # the authority is this cluster's alone, and has one server
        made.load_cert_chain(str(keys))
    except OSError as error:
        reason = "not a certificate and its key" if isinstance(error, ssl.SSLError) else error.strerror
        raise BulkcertError(ExitStatus.INPUT_UNREADABLE, f"cannot use {keys} with {CA}: {reason}", MAKE) from error
    return made


def confirm(keys: Path) -> Path:
    """Confirms that a member's keys are there, valid now, and keys; returns their file.

    Raises:
        BulkcertError: They are not.
    """
    for path in (keys.with_name(CA), keys):
        if not path.is_file():
            raise BulkcertError(ExitStatus.INPUT_UNREADABLE, f"--keys {keys.parent} has no {path.name}", MAKE)
    tls_context(keys)
    ends = x509.load_pem_x509_certificate(keys.read_bytes()).not_valid_after_utc
    if ends <= datetime.now(UTC):
        raise BulkcertError(ExitStatus.INPUT_UNREADABLE, f"{keys} was valid until {ends:%Y-%m-%d %H:%MZ}", MAKE)
    return keys


@contextmanager
def lane_keys(directory: Path) -> Iterator[Path]:
    """Yields the first keys of a lane in a directory that no other lane of this machine has in use.

    Raises:
        BulkcertError: There are none.
    """
    chains = sorted(filter(Path.is_file, directory.glob("lane-*.pem")), key=lambda path: (len(path.name), path.name))
    for chain in chains:
        try:
            file = chain.open("rb")
        except OSError as error:
            raise BulkcertError(ExitStatus.INPUT_UNREADABLE, f"cannot read {chain}: {error.strerror}", MAKE) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield confirm(chain)
            return
    reason = "each lane-….pem in it is in use" if chains else "no lane-….pem is there"
    raise BulkcertError(ExitStatus.INPUT_UNREADABLE, f"--keys {directory}: {reason}", MAKE)


def make_keys(directory: Path, lanes: int, days: int) -> None:
    """Writes the keys of a cluster.

    Args:
        directory: Where to; made if it is not there, and must be empty.
        lanes: How many lanes get a certificate.
        days: How long all are valid.

    Raises:
        BulkcertError: They cannot be written, or there are some already.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise BulkcertError(
                ExitStatus.CANNOT_WRITE, f"{directory} is not empty", "Name another directory; keys are never replaced."
            )
        for name, content in _made(lanes, days).items():
            with whole(directory / name) as file:
                file.write(content)
    except OSError as error:
        raise cannot_write(directory, error) from error


def _made(lanes: int, days: int) -> dict[str, bytes]:
    now, authority = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def signed(name: str, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        builder = x509.CertificateBuilder(
            named("bulkcert cluster"),
            named(name),
            key.public_key(),
            x509.random_serial_number(),
            now - timedelta(days=1),  # clocks of lanes may be off
            now + timedelta(days=days),
        )
        return builder.add_extension(extension, critical=True).sign(authority, SHA256()).public_bytes(Encoding.PEM)

    files = {CA: signed("bulkcert cluster", authority, x509.BasicConstraints(ca=True, path_length=0))}
    for chain in (COORDINATOR, *(f"lane-{number}.pem" for number in range(1, lanes + 1))):
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if chain == COORDINATOR else ExtendedKeyUsageOID.CLIENT_AUTH
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files[chain] = signed(Path(chain).stem, key, x509.ExtendedKeyUsage([usage])) + private
    return files
