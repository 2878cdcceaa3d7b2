"""ACS3-HMAC-SHA256, the V3 signature (reference, section 5): values in, values out; no clock, no randomness.

The canonical query that is signed is also what is sent, so nothing is encoded twice.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import NamedTuple
from urllib.parse import quote

ALGORITHM = "ACS3-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
"""``x-acs-content-sha256`` of every call made here: no operation has a body (reference, section 4)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key, with a security token if it is temporary. Only the id and the source are ever shown.

    Attributes:
        access_key_id: Id of the key.
        access_key_secret: What is signed with.
        security_token: Token of temporary credentials, or None.
        source: Where they were found, in the words of the vendor's chain.
        is_renewed: Whether their source gives new ones before temporary ones expire.
    """

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)
    source: str = ""
    is_renewed: bool = False


def encode(text: str) -> str:
    """Percent-encodes UTF-8 by RFC 3986: only ``A-Za-z0-9-_.~`` stay as they are (section 5, step 2)."""
    # Nearly every serial needs no encoding, and asking is ten times as fast as encoding; the instance recurs.
    return text if text.isascii() and text.isalnum() else _quoted(text)


_quoted = lru_cache(maxsize=64)(partial(quote, safe=""))


def canonical_query(parameters: Mapping[str, str]) -> str:
    """Returns ``name=value`` pairs, encoded, sorted by name, joined by ``&``."""
    return "&".join([f"{_quoted(name)}={encode(parameters[name])}" for name in sorted(parameters)])


def canonical_request(method: str, query: str, headers: Mapping[str, str], payload_sha256: str) -> str:
    """Returns the text whose digest is signed (section 5, steps 3 to 5).

    Args:
        method: HTTP method, upper case.
        query: What ``canonical_query`` returned.
        headers: The headers to sign, names in lower case, in any order.
        payload_sha256: Hex SHA-256 of the body.
    """
    names = sorted(headers)
    lines = "".join([f"{name}:{headers[name].strip()}\n" for name in names])
    return f"{method}\n/\n{query}\n{lines}\n{';'.join(names)}\n{payload_sha256}"


def string_to_sign(request: str) -> str:
    """Returns the text that is signed for a canonical request (section 5, step 6)."""
    return f"{ALGORITHM}\n{hashlib.sha256(request.encode()).hexdigest()}"


def signature(secret: str, text: str) -> str:
    """Returns the hex signature; the key is the bare secret (section 5, step 7)."""
    inner, outer = _keyed(secret)
    inner, outer = inner.copy(), outer.copy()
    inner.update(text.encode())
    outer.update(inner.digest())
    return outer.hexdigest()


@lru_cache(maxsize=2)
def _keyed(secret: str) -> "tuple[hashlib._Hash, hashlib._Hash]":
    """Returns what a key alone contributes to an HMAC (RFC 2104): half the work of each, and a third of hmac's time."""
    key = secret.encode()
    key = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in key)) for pad in (0x36, 0x5C))
    return inner, outer


_BLOCK = hashlib.sha256().block_size


class Signing(NamedTuple):
    """What all calls of an operation have in common while the date is the same.

    Attributes:
        headers: Those that are alike.
        authorized: ``Authorization`` up to the signature.
        pieces: The canonical request, between which query and nonce belong.
        secret: What is signed with.
    """

    headers: dict[str, str]
    authorized: str
    pieces: tuple[str, str, str]
    secret: str

    def headers_of(self, query: str, nonce: str) -> tuple[tuple[str, str], tuple[str, str]]:
        """Returns the headers in which one call differs from others; a nonce was never used before with this key."""
        first, second, third = self.pieces
        signed = signature(self.secret, string_to_sign(f"{first}{query}{second}{nonce}{third}"))
        return (_NONCE, nonce), ("authorization", f"{self.authorized}{signed}")


_NONCE = "x-acs-signature-nonce"


def signing(credentials: Credentials, *, method: str, host: str, operation: str, version: str, date: str) -> Signing:
    """Prepares to sign calls.

    Only ``host`` and ``x-acs-*`` are signed, so a proxy may rewrite the others (reference, section 5, trap).

    Args:
        credentials: The key to sign with.
        method: HTTP method, upper case.
        host: Host, with port where the URL has one.
        operation: Value of ``x-acs-action``.
        version: Value of ``x-acs-version``.
        date: UTC as ``yyyy-MM-ddTHH:mm:ssZ``; within 15 minutes of the server's clock.
    """
    headers = {
        "host": host,
        "x-acs-action": operation,
        "x-acs-content-sha256": EMPTY_SHA256,
        "x-acs-date": date,
        "x-acs-version": version,
    }
    if credentials.security_token is not None:
        headers["x-acs-accesskey-id"] = credentials.access_key_id
        headers["x-acs-security-token"] = credentials.security_token
    gap = "\0gap\0"
    signed = headers | {_NONCE: gap}
    first, second, third = canonical_request(method, gap, signed, EMPTY_SHA256).split(gap)
    names = ";".join(sorted(signed))
    authorized = f"{ALGORITHM} Credential={credentials.access_key_id},SignedHeaders={names},Signature="
    return Signing(headers, authorized, (first, second, third), credentials.access_key_secret)
