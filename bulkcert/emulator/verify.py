"""The gateway's check of one signed request (reference, sections 5 and 8.1)."""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256

from bulkcert.emulator.messages import Refusal, Request
from bulkcert.emulator.registry import ACCOUNT
from bulkcert.service.signing import EMPTY_SHA256, canonical_query, canonical_request, signature, string_to_sign

SKEW_S = 15 * 60
"""Most seconds between ``x-acs-date`` and the server's clock (section 5, time and nonce)."""

REQUIRED = frozenset(
    {"host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version"}
)
"""Headers that must be signed (section 5, last paragraph but two)."""

_AUTHORIZATION = re.compile(r"ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([^,]+),Signature=([0-9a-f]{64})")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_BUCKET_S = 300


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One access key.

    Attributes:
        id: Its id.
        secret: Its secret.
        account: Account that it belongs to.
        token: Security token that must come with it, or None for a key that needs none.
        expires_at: Unix time in seconds at which the token expires, or None.
        enabled: Whether it may be used.
        denied: RAM actions that it may not do.
    """

    id: str
    secret: str = field(repr=False)
    account: str = ACCOUNT
    token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    enabled: bool = True
    denied: frozenset[str] = frozenset()


class Nonces:
    """Nonces that were used, kept until the date they were signed with is too old to be accepted again."""

    def __init__(self) -> None:
        # By the five minutes in which they expire, so that whole sets are forgotten at once.
        self._buckets: dict[int, set[str]] = {}

    def use(self, nonce: str, expires_at: float, now: float) -> bool:
        """Returns whether a nonce is new, and remembers it until ``expires_at``; both times in Unix seconds."""
        for bucket in [bucket for bucket in self._buckets if (bucket + 1) * _BUCKET_S <= now]:
            del self._buckets[bucket]
        if any(nonce in used for used in self._buckets.values()):
            return False
        self._buckets.setdefault(int(expires_at // _BUCKET_S), set()).add(nonce)
        return True


@lru_cache(maxsize=64)
def _unix_time(date: str) -> float:
    """Returns a date in Unix seconds; cached, since all calls of one second carry the same text."""
    if not _DATE.fullmatch(date):
        raise Refusal("InvalidTimeStamp.Format")
    try:
        return datetime.fromisoformat(date).astimezone(UTC).timestamp()
    except ValueError as error:
        raise Refusal("InvalidTimeStamp.Format") from error


def _check_token(keys: Mapping[str, AccessKey], key: AccessKey, token: str | None, now: float) -> None:
    """Checks the security token of a request against that of its key; each case has its code (section 8.1)."""
    if token is None:
        if key.token is not None:
            raise Refusal("MissingSecurityToken")
        return
    if token != key.token:
        of_another = any(other.token == token for other in keys.values())
        raise Refusal(f"InvalidSecurityToken.{'MismatchWithAccessKey' if of_another else 'Malformed'}")
    if key.expires_at is not None and key.expires_at <= now:
        raise Refusal("InvalidSecurityToken.Expired")


def _signed_fields(request: Request, names: list[str]) -> dict[str, str]:
    """Returns the header fields that were signed.

    Raises:
        Refusal: One of those that must be signed is not, or one named is not there.
    """
    required = REQUIRED | {"x-acs-security-token"} if "x-acs-security-token" in request.headers else REQUIRED
    if not required.issubset(names) or not request.headers.keys() >= set(names):
        raise Refusal("IncompleteSignature")
    return {name: request.headers[name] for name in names}


def verify(
    request: Request, parameters: Mapping[str, str], keys: Mapping[str, AccessKey], nonces: Nonces, now: float
) -> AccessKey:
    """Returns the access key that signed a request.

    Args:
        request: The request.
        parameters: Its decoded query.
        keys: The access keys that are accepted, by id.
        nonces: Nonces used so far; that of a request with a right signature is added.
        now: The server's clock in Unix seconds.

    Raises:
        Refusal: With the code of section 8.1 for what is wrong.
    """
    match = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if match is None:
        raise Refusal("IncompleteSignature")
    key_id, names, signed = match.groups()
    key = keys.get(key_id)
    if key is None:
        raise Refusal("InvalidAccessKeyId.NotFound")
    if not key.enabled:
        raise Refusal("InvalidAccessKeyId.Inactive")
    _check_token(keys, key, request.headers.get("x-acs-security-token"), now)
    fields = _signed_fields(request, names.split(";"))
    date = _unix_time(fields["x-acs-date"])
    if abs(now - date) > SKEW_S:
        raise Refusal("InvalidTimeStamp.Expired")
    payload = sha256(request.body).hexdigest() if request.body else EMPTY_SHA256
    canonical = canonical_request(request.method, canonical_query(parameters), fields, payload)
    text = string_to_sign(canonical)
    right = signature(key.secret, text)
    if not hmac.compare_digest(right, signed):
        message = "Specified signature does not match our calculation."
        raise Refusal(
            "SignatureDoesNotMatch", f"{message} server string to sign is:{text} server canonical string is:{canonical}"
        )
    if not nonces.use(fields["x-acs-signature-nonce"], date + SKEW_S, now):
        raise Refusal("SignatureNonceUsed")
    return key
