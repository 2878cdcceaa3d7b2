"""One attempt: sign, send, read, judge. The transport is injected; nothing else here touches the network.

The transport is called directly rather than through ``httpx.AsyncClient``: what the client adds (redirects, cookies,
authentication flows) is not wanted here, and costs a third of the time of a call.
"""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from itertools import count
from secrets import token_hex
from typing import cast

import aiohttp
import anyio
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

from bulkcert.api.codes import rule_for, verdict_without_code
from bulkcert.api.credentials import Keyring
from bulkcert.api.operations import VERSION, Operation
from bulkcert.api.signing import Credentials, canonical_query, signed_headers
from bulkcert.api.verdicts import Verdict

KEEPALIVE_S = 30.0
"""How long an idle connection is kept: longer than any pause between two calls of a lane at work."""

MOST_MESSAGE = 500
"""Characters of a message that are kept; a signature error repeats the whole request."""


MOST_RETRY_AFTER_S = 60.0
"""Longest wait that an answer can ask for: a header of rubbish must not hold a run for a day."""

MOST_DIGITS = 9
"""Digits of a wait in milliseconds that are read at all."""


class Reply(msgspec.Struct, frozen=True):
    """The parts of a response body that decide (reference, sections 1.1 and 8); others are passed over.

    Errors come in two spellings, and the vendor's SDK takes both.
    """

    request_id: str | None = msgspec.field(name="RequestId", default=None)
    code: str | None = msgspec.field(name="Code", default=None)
    message: str | None = msgspec.field(name="Message", default=None)
    other_request_id: str | None = msgspec.field(name="requestId", default=None)
    other_code: str | None = msgspec.field(name="code", default=None)
    other_message: str | None = msgspec.field(name="message", default=None)
    device_sn: str | None = msgspec.field(name="DeviceSn", default=None)
    sn: str | None = msgspec.field(name="Sn", default=None)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt.

    Attributes:
        verdict: What it means.
        code: The service's code, or one of our own that begins with ``Client.``.
        message: The service's message, or what happened.
        http_status: Status of the response; 0 where there was none.
        request_id: The service's id of the request; empty where there was none.
        retry_after_s: What ``x-acs-retry-after`` asked for, in seconds; 0 where it was absent.
        sent_at: Unix time in milliseconds.
        finished_at: Unix time in milliseconds.
        latency_ms: Time from sending to the end of the answer, in milliseconds.
        credentials: What it was signed with.
    """

    verdict: Verdict
    code: str
    message: str
    http_status: int
    request_id: str
    retry_after_s: float
    sent_at: int
    finished_at: int
    latency_ms: float
    credentials: Credentials

    @property
    def is_from_service(self) -> bool:
        """Whether the service itself answered, rather than nobody, a gateway or a proxy."""
        return bool(self.request_id) or not self.code.startswith("Client.")


@dataclass(frozen=True, slots=True)
class _Judged:
    verdict: Verdict
    code: str = ""
    message: str = ""
    http_status: int = 0
    request_id: str = ""
    retry_after_s: float = 0.0


class Client:
    """Makes calls to one endpoint.

    Args:
        transport: What carries the requests.
        endpoint: Scheme, host and port, as in ``https://onsmqtt.cn-hangzhou.aliyuncs.com``.
        keyring: What to sign with.
        timeout_s: Most seconds for one attempt, from connecting to the last byte.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, endpoint: httpx.URL, keyring: Keyring, timeout_s: float
    ) -> None:
        self._transport = transport
        self._base = f"{endpoint.scheme}://{endpoint.netloc.decode()}/?"
        self._host = endpoint.netloc.decode()
        self._keyring = keyring
        self._timeout_s = timeout_s
        # Unique for each call, without asking the system for randomness each time.
        self._nonce, self._calls = token_hex(8), count()
        # Connecting gets less, so that a host that never answers is told from an answer that never came.
        self._extensions = {"timeout": httpx.Timeout(timeout_s, connect=timeout_s / 2).as_dict()}

    async def call(self, operation: Operation, parameters: Mapping[str, str], serial: str) -> Answer:
        """Makes one attempt and judges it; raises nothing that the network or the service can cause.

        Args:
            operation: What to call.
            parameters: Its query, ``MqttInstanceId`` included.
            serial: What the service must echo in the operation's result field.
        """
        credentials = self._keyring.current
        query = canonical_query(parameters)
        sent_at = time.time()
        headers = signed_headers(
            credentials,
            method=operation.method,
            host=self._host,
            operation=operation.name,
            version=VERSION,
            query=query,
            date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(sent_at)),
            nonce=f"{self._nonce}{next(self._calls):016x}",
        )
        request = httpx.Request(operation.method, self._base + query, headers=headers, extensions=self._extensions)
        started = time.perf_counter()
        judged = await self._send(request, operation, serial)
        elapsed = time.perf_counter() - started
        return Answer(
            judged.verdict,
            judged.code,
            _without_secrets(judged.message, credentials),
            judged.http_status,
            judged.request_id,
            judged.retry_after_s,
            round(sent_at * 1000),
            round((sent_at + elapsed) * 1000),
            round(elapsed * 1000, 1),
            credentials,
        )

    async def _send(self, request: httpx.Request, operation: Operation, serial: str) -> _Judged:
        judged = _Judged(
            Verdict.UNANSWERED, "Client.Timeout", f"no answer within {self._timeout_s:g} s; it may have been done"
        )
        try:
            with anyio.move_on_after(self._timeout_s):
                response = await self._transport.handle_async_request(request)
                stream = cast(httpx.AsyncByteStream, response.stream)
                try:
                    # Read as it comes: no encoding was asked for, so there is none to undo.
                    content = b"".join([chunk async for chunk in stream])
                finally:
                    await stream.aclose()
                judged = judge(response.status_code, response.headers, content, operation, serial)
                if judged.code.startswith("InvalidTimeStamp"):
                    judged = replace(judged, message=judged.message + _clock_difference(response.headers, time.time()))
        except (httpx.TransportError, aiohttp.ClientError, OSError) as error:
            judged = judge_failure(error)
        return judged

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()


def judge(status: int, headers: Mapping[str, str], content: bytes, operation: Operation, serial: str) -> _Judged:
    """Returns the verdict on a response: by header, then by code, and by status only where there is no code.

    Args:
        status: HTTP status.
        headers: Response headers, names in any case.
        content: The body.
        operation: What was called.
        serial: What must be echoed.
    """
    try:
        reply = _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _judge_foreign(status, headers)
    code = reply.code or reply.other_code or ""
    request_id = reply.request_id or reply.other_request_id or ""
    if code or status >= 400:  # noqa: PLR2004 - the errors of HTTP
        retry_after_s = _retry_after_s(headers)
        verdict = rule_for(code).verdict if code else verdict_without_code(status)
        if retry_after_s > 0:
            verdict = Verdict.THROTTLED
        message = reply.message or reply.other_message or ""
        return _Judged(verdict, code or "Client.NoCode", message, status, request_id, retry_after_s)
    echo = reply.device_sn if operation.result == "DeviceSn" else reply.sn
    if echo == serial:
        return _Judged(Verdict.DONE, "", "", status, request_id)
    code, message = ("Client.NoEcho", f"HTTP {status} without the {operation.result} that was sent")
    if echo is not None:
        code, message = "Client.WrongEcho", f"HTTP {status} for {operation.result} {echo[:128]!r}"
    return _Judged(Verdict.UNANSWERED, code, f"{message}; it may have been done", status, request_id)


_decode = msgspec.json.Decoder(Reply).decode


def _judge_foreign(status: int, headers: Mapping[str, str]) -> _Judged:
    """Judges a body that is not the service's JSON: an error page of a gateway or a proxy, or nothing at all."""
    kind = headers.get("content-type", "no content type")[:80]
    retry_after_s = _retry_after_s(headers)
    verdict = Verdict.THROTTLED if retry_after_s > 0 else verdict_without_code(status)
    message = f"HTTP {status} with a body that is not the service's JSON ({kind})"
    return _Judged(verdict, "Client.NotJson", message, status, "", retry_after_s)


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Returns the wait that ``x-acs-retry-after`` asks for: milliseconds on the wire (reference, section 8.2)."""
    text = headers.get("x-acs-retry-after", "")
    if not (text.isascii() and text.isdigit()):
        return 0.0
    return min(int(text) / 1000 if len(text) <= MOST_DIGITS else MOST_RETRY_AFTER_S, MOST_RETRY_AFTER_S)


def _clock_difference(headers: Mapping[str, str], now: float) -> str:
    """Says how far this machine's clock is from the service's, as far as its ``Date`` header tells."""
    try:
        ahead = round(now - parsedate_to_datetime(headers["date"]).timestamp())
    except (KeyError, ValueError):
        return ""
    return f" This machine's clock is {abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} the service's."


def judge_failure(error: Exception) -> _Judged:
    """Returns the verdict on an attempt that ended without a response.

    The transport reports a connection that was dropped after the request was sent by the same exception as one that
    never came about; only the cause tells them apart. What cannot be told apart counts as sent.
    """
    cause = error.__cause__ or error
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return _Judged(Verdict.STOP, "Client.CertificateRefused", f"the server's TLS certificate: {_said(cause)}")
    if isinstance(cause, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return _Judged(Verdict.NOT_SENT, "Client.ConnectFailed", f"no connection: {_said(cause)}")
    if isinstance(cause, (aiohttp.SocketTimeoutError, TimeoutError)):
        return _Judged(Verdict.UNANSWERED, "Client.Timeout", "no answer in time; it may have been done")
    said = f"the connection was lost before the answer: {_said(cause)}; it may have been done"
    return _Judged(Verdict.UNANSWERED, "Client.Disconnected", said)


def _without_secrets(message: str, credentials: Credentials) -> str:
    """Returns a message fit for results and terminals; a signature error repeats the request, token included."""
    message = message.partition("\n")[0]
    for secret in (credentials.security_token, credentials.access_key_secret):
        if secret and message:
            message = message.replace(secret, "***")
    if not message.isprintable():
        message = "".join([character if character.isprintable() else "\ufffd" for character in message])
    return message[:MOST_MESSAGE]


def _said(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:MOST_MESSAGE]


def make_transport(connections: int, source_address: str | None, context: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    """Returns a transport with a pool that never makes a worker wait, bound to a local address if one is given.

    Args:
        connections: Most connections; at least the number of workers that use it.
        source_address: Local address to send from, or None for the system's choice.
        context: TLS settings; certificates are always checked.
    """

    def open_session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=connections,
            keepalive_timeout=KEEPALIVE_S,
            local_addr=(source_address, 0) if source_address else None,
            ssl=context,
        )
        # Headers that are the same in every call and not signed; and the service sets no cookies.
        constant = {"accept": "application/json", "accept-encoding": "identity", "user-agent": USER_AGENT}
        return aiohttp.ClientSession(connector=connector, headers=constant, cookie_jar=aiohttp.DummyCookieJar())

    return AiohttpTransport(verify=context, client=open_session)


def _user_agent() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - needed once

    return f"bulkcert/{version('bulkcert')}"


USER_AGENT = _user_agent()
