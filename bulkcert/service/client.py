"""One attempt: sign, send, read, have it classified. The transport is injected; nothing else here touches the network.

The transport is called directly rather than through ``httpx.AsyncClient``: what the client adds (redirects, cookies,
authentication flows) is not needed here, and costs a third of the time of a call.
"""

import base64
import re
import time
import unicodedata
from collections.abc import Awaitable, Mapping
from functools import lru_cache
from itertools import count
from secrets import token_hex

import httpx
import msgspec

from bulkcert.service.actions import VERSION, Operation
from bulkcert.service.classification import Classification, Page, classify, classify_failure, with_clock
from bulkcert.service.codes import CLOCK_REFUSED, Verdict
from bulkcert.service.connection import CONNECTING
from bulkcert.service.credentials import CredentialProvider
from bulkcert.service.signing import Credentials, Signing, canonical_query, signing
from bulkcert.service.transport import NO_BODY, Transport


class Response(Classification, frozen=True, kw_only=True, array_like=True):
    """What came of one attempt.

    Attributes:
        sent_at: Unix time in milliseconds.
        finished_at: Unix time in milliseconds.
        latency_ms: Time from sending to the end of the answer, in milliseconds.
        credentials: What it was signed with.
    """

    sent_at: int
    finished_at: int
    latency_ms: float
    credentials: Credentials

    @property
    def is_from_service(self) -> bool:
        """Whether the service itself answered, rather than nobody, a gateway or a proxy."""
        return bool(self.request_id) or not self.code.startswith("Client.")


class Client:
    """Makes calls to one endpoint.

    Args:
        transport: What carries the requests; its answers are whole.
        endpoint: Scheme, host and port, as in ``https://onsmqtt.cn-hangzhou.aliyuncs.com``.
        provider: What to sign with.
        timeout_s: Most seconds for one attempt, from connecting to the last byte.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, endpoint: httpx.URL, provider: CredentialProvider, timeout_s: float
    ) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._host = endpoint.netloc.decode()
        self._provider = provider
        self._kept: dict[str, tuple[int, Credentials, Signing, httpx.Headers]] = {}
        """What calls of an operation have in common, with the second and the credentials for which it holds."""
        # Unique for each call, without asking the system for randomness each time.
        self._nonce, self._calls = token_hex(8), count()
        self._timeout = httpx.Timeout(timeout_s, connect=timeout_s * CONNECTING).as_dict()

    async def call(self, operation: Operation, parameters: Mapping[str, str]) -> Response:
        """Makes one attempt and classifies it; raises nothing that the network or the service can cause."""
        credentials, sent_at = self._provider.current, time.time()
        request = self._request(operation, parameters, credentials, sent_at)
        started = time.perf_counter()
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            found = classify_failure(error)
        else:
            found = classify(response, operation, parameters)
            if found.code.startswith("Client.") and (discard := response.extensions.get("discard")) is not None:
                # Perhaps it was the answer to another call, and the one to this call is still to come.
                discard()
            if found.page is not None or found.verdict is Verdict.NOT_FOUND or found.code in CLOCK_REFUSED:
                found = with_clock(found, response.headers, time.time())
        return _response(found, credentials, sent_at, time.perf_counter() - started)

    def _request(
        self, operation: Operation, parameters: Mapping[str, str], credentials: Credentials, sent_at: float
    ) -> httpx.Request:
        """Returns a call, signed."""
        second, kept = int(sent_at), self._kept.get(operation.name)
        if kept is None or kept[0] != second or kept[1] is not credentials:
            signs = signing(
                credentials,
                method=operation.method,
                host=self._host,
                operation=operation.name,
                version=VERSION,
                date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second)),
            )
            self._kept[operation.name] = kept = (second, credentials, signs, httpx.Headers(signs.headers))
        query, (_, _, signs, headers) = canonical_query(parameters), kept
        extensions = {"target": f"/?{query}".encode(), "timeout": self._timeout}
        request = httpx.Request(
            operation.method, self._endpoint, headers=headers, stream=NO_BODY, extensions=extensions
        )
        for name, value in signs.headers_of(query, f"{self._nonce}{next(self._calls):016x}"):
            request.headers[name] = value
        return request

    def prepare(self, _parameters: Mapping[str, str]) -> Awaitable[object] | None:
        """Sees to a connection for a call to come; returns what is to be waited for before it may be sent, or None."""
        return self._transport.prepare(self._timeout) if isinstance(self._transport, Transport) else None

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()


class RegionalClient:
    """Makes calls to several endpoints, each to that of its instance; a client connects when it is first called."""

    def __init__(self, clients: Mapping[httpx.URL, Client], endpoints: Mapping[str, httpx.URL]) -> None:
        self._clients = clients
        self._by_instance = {instance: clients[endpoint] for instance, endpoint in endpoints.items()}

    async def call(self, operation: Operation, parameters: Mapping[str, str]) -> Response:
        """Makes one attempt; see ``Client.call``."""
        return await self._by_instance[parameters["MqttInstanceId"]].call(operation, parameters)

    def prepare(self, parameters: Mapping[str, str]) -> Awaitable[object] | None:
        """Sees to a connection for a call to come; see ``Client.prepare``."""
        return self._by_instance[parameters["MqttInstanceId"]].prepare(parameters)

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            await client.aclose()


def _response(found: Classification, credentials: Credentials, sent_at: float, elapsed: float) -> Response:
    """Returns a verdict fit for results and terminals, with its times in seconds."""
    secrets = tuple(filter(None, (credentials.security_token, credentials.access_key_secret)))
    # A signature error repeats the request, token included.
    message = found.message.partition("\n")[0].partition(" server string to sign is:")[0]
    return Response(
        found.verdict,
        clean(found.code, MOST_CODE, secrets),
        clean(message, MOST_MESSAGE, secrets),
        found.http_status,
        clean(found.request_id, MOST_REQUEST_ID, secrets),
        found.retry_after_s,
        found.page and _clean_page(found.page, secrets),
        found.clock_ahead_s,
        sent_at=round(sent_at * 1000),
        finished_at=round((sent_at + elapsed) * 1000),
        latency_ms=round(elapsed * 1000, 1),
        credentials=credentials,
    )


MOST_CODE, MOST_REQUEST_ID, MOST_MESSAGE, MOST_NAME = 128, 64, 1024, 256
"""Characters that are kept of each text of an answer; a signature error repeats the whole request."""

_HIDDEN = "***"
_TELLING = 16
"""So many characters of a secret are one: who repeats a request may cut its headers."""


def clean(text: str, most: int, secrets: tuple[str, ...]) -> str:
    """Returns a text without secrets, and without what a terminal would obey or nobody would see.

    Secrets are found whole or cut short, plain, quoted for a URL or a page, or as base64.
    """
    if not text:
        return ""
    text = _pattern(secrets).sub(_HIDDEN, text)
    if not text.isprintable():
        text = "".join(each if each.isprintable() else _visible(each) for each in text)
    return text[:most]


@lru_cache(maxsize=4)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    """Returns what finds the beginning of a secret, with the rest of the word."""
    encoded = [base64.b64encode(secret.encode()).decode() for secret in secrets]
    beginnings = ["".join(map(_quoted, secret[:_TELLING])) for secret in (*secrets, *encoded)]
    return re.compile(rf"(?:{'|'.join(beginnings)})[\w+/=%&#;.~-]*" if secrets else r"(?!)")


def _quoted(character: str) -> str:
    """Returns what finds a character as it is, and as URLs, pages and JSON may have it."""
    if character.isalnum():
        return character
    return rf"(?:{re.escape(character)}|%{ord(character):02x}|%{ord(character):02X}|&#?\w+;|\\u\w{{4}})"


def _visible(character: str) -> str:
    return " " if unicodedata.category(character) == "Zs" else "\ufffd"


def _clean_page(page: Page, secrets: tuple[str, ...]) -> Page:
    """Returns a page with the names of its certificates cleaned."""
    certificates = []
    for each in page.certificates:
        names = {"device_name": each.device_name, "ca_name": each.ca_name}
        cleaned = {name: clean(text, MOST_NAME, secrets) for name, text in names.items() if text}
        certificates.append(msgspec.structs.replace(each, **cleaned) if cleaned else each)
    return Page(certificates, page.total)
