"""One request and its answer as values, and the refusals of the service (reference, section 8)."""

import uuid
from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec

from bulkcert.service.codes import StatusTable, rule_for

JSON_TYPE = b"application/json;charset=utf-8"

Headers = tuple[tuple[bytes, bytes], ...]


class Refusal(Exception):  # noqa: N818 - an answer of the service, not an error of the emulator
    """The service answers with a code.

    Args:
        code: Value of ``Code``.
        message: Value of ``Message``; None takes the documented one.
        detail: Further fields of the body.
    """

    def __init__(self, code: str, message: str | None = None, **detail: object) -> None:
        super().__init__(code)
        self.code = code
        self.message = rule_for(code).message if message is None else message
        self.detail = detail


class Request(msgspec.Struct, frozen=True):
    """One HTTP request.

    Attributes:
        at: Seconds on a monotonic clock when it arrived.
        address: Source address.
        method: HTTP method, upper case.
        path: Path without query.
        query: Query as it came over the wire.
        headers: Header fields, names in lower case; repeated ones joined as section 5, step 3 says.
        body: Body, nearly always empty.
    """

    at: float
    address: str
    method: str
    path: str
    query: bytes
    headers: Mapping[str, str]
    body: bytes = b""

    def parameters(self) -> dict[str, str]:
        """Returns the decoded query; a ``+`` is a space (reference, section 4)."""
        text = self.query.decode("ascii", "replace")
        return dict(parse_qsl(text, keep_blank_values=True, errors="replace"))


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer.

    Attributes:
        status: HTTP status; 0 where the connection is dropped instead.
        body: Body.
        headers: Header fields.
    """

    status: int
    body: bytes = b""
    headers: Headers = ((b"content-type", JSON_TYPE),)


DROPPED = Answer(0)
"""The connection is cut without an answer."""

BAD_GATEWAY = Answer(
    502,
    b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>",
    ((b"content-type", b"text/html"),),
)
"""What a proxy in front of the service answers: HTML, and no code."""


def header_fields(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Returns header fields by lower-case name."""
    fields: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1"), value.decode("utf-8", "replace").strip()
        fields[key] = ",".join(sorted([*fields[key].split(","), text])) if key in fields else text
    return fields


def success(fields: Mapping[str, object]) -> Answer:
    """Returns the answer of an operation that was carried out."""
    return _json(200, str(uuid.uuid4()).upper(), fields)


def failure(refusal: Refusal, host: str, table: StatusTable, retry_after_ms: int) -> Answer:
    """Returns the answer that carries a code.

    Args:
        refusal: What the service refuses.
        host: Value of ``HostId``, the host that was asked.
        table: Column of the status notice.
        retry_after_ms: Value of ``x-acs-retry-after``, which only the gateway's throttle has (section 8.2).
    """
    request_id = str(uuid.uuid4()).upper()
    content = {
        "HostId": host,
        "Code": refusal.code,
        "Message": refusal.message,
        "Recommend": f"https://api.aliyun.com/troubleshoot?q={refusal.code}&product=OnsMqtt&requestId={request_id}",
        **refusal.detail,
    }
    extra = ((b"x-acs-retry-after", b"%d" % retry_after_ms),) if refusal.code == "Throttling.User" else ()
    return _json(rule_for(refusal.code).http_status(table), request_id, content, *extra)


def _json(status: int, request_id: str, content: Mapping[str, object], *extra: tuple[bytes, bytes]) -> Answer:
    headers = ((b"content-type", JSON_TYPE), (b"x-acs-request-id", request_id.encode()), *extra)
    return Answer(status, msgspec.json.encode({"RequestId": request_id, **content}), headers)
