"""One attempt: sign, send, read, have it classified. The transport is injected; nothing else here touches the network.

The transport is called directly rather than through ``httpx.AsyncClient``: what the client adds (redirects, cookies,
authentication flows) is not needed here, and costs a third of the time of a call.
"""

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from secrets import token_hex
from typing import cast

import aiohttp
import anyio
import httpx
from httpx_aiohttp import AiohttpTransport

from bulkcert.service.certificates import Page
from bulkcert.service.classification import (
    MOST_MESSAGE,
    Classification,
    classify,
    classify_failure,
    classify_read,
    with_clock,
)
from bulkcert.service.credentials import CredentialProvider
from bulkcert.service.operations import VERSION, Operation
from bulkcert.service.signing import Credentials, canonical_query, signed_headers
from bulkcert.service.verdicts import Verdict

KEEPALIVE_S = 30.0
"""How long an idle connection is kept: longer than any pause between two calls of a lane at work."""


@dataclass(frozen=True, slots=True)
class Response:
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
        page: What a reading operation found; None unless the verdict is DONE.
        clock_ahead_s: How far this machine's clock is ahead of the service's, in seconds, to about a second; None where
            the answer does not say.
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
    page: Page | None = None
    clock_ahead_s: float | None = None

    @property
    def is_from_service(self) -> bool:
        """Whether the service itself answered, rather than nobody, a gateway or a proxy."""
        return bool(self.request_id) or not self.code.startswith("Client.")


Classify = Callable[[int, Mapping[str, str], bytes], Classification]
"""Judges a response: its status, headers and body."""


class Client:
    """Makes calls to one endpoint.

    Args:
        transport: What carries the requests.
        endpoint: Scheme, host and port, as in ``https://onsmqtt.cn-hangzhou.aliyuncs.com``.
        provider: What to sign with.
        timeout_s: Most seconds for one attempt, from connecting to the last byte.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, endpoint: httpx.URL, provider: CredentialProvider, timeout_s: float
    ) -> None:
        self._transport = transport
        self._base = f"{endpoint.scheme}://{endpoint.netloc.decode()}/?"
        self._host = endpoint.netloc.decode()
        self._provider = provider
        self._timeout_s = timeout_s
        # Unique for each call, without asking the system for randomness each time.
        self._nonce, self._calls = token_hex(8), count()
        # Connecting gets less, so that a host that never answers is distinguished from an answer that never came.
        self._extensions = {"timeout": httpx.Timeout(timeout_s, connect=timeout_s / 2).as_dict()}

    async def call(self, operation: Operation, parameters: Mapping[str, str], serial: str) -> Response:
        """Makes one attempt and classifies it; raises nothing that the network or the service can cause.

        Args:
            operation: What to call.
            parameters: Its query, ``MqttInstanceId`` included.
            serial: What the service must echo in the operation's result field.
        """
        return await self._attempt(operation, parameters, partial(classify, operation=operation, serial=serial))

    async def read(self, operation: Operation, parameters: Mapping[str, str]) -> Response:
        """Makes one attempt of an operation that changes nothing; raises as little as ``call``.

        Args:
            operation: What to call, one of the List and Get operations of certificates.
            parameters: Its query, ``MqttInstanceId`` included.
        """
        return await self._attempt(
            operation, parameters, partial(classify_read, operation=operation, parameters=parameters)
        )

    async def _attempt(self, operation: Operation, parameters: Mapping[str, str], classify: Classify) -> Response:
        credentials = self._provider.current
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
        classification = await self._send(request, classify)
        elapsed = time.perf_counter() - started
        return Response(
            classification.verdict,
            classification.code,
            _without_secrets(classification.message, credentials),
            classification.http_status,
            classification.request_id,
            classification.retry_after_s,
            round(sent_at * 1000),
            round((sent_at + elapsed) * 1000),
            round(elapsed * 1000, 1),
            credentials,
            classification.page,
            classification.clock_ahead_s,
        )

    async def _send(self, request: httpx.Request, classify: Classify) -> Classification:
        classification = Classification(
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
                classification = classify(response.status_code, response.headers, content)
                if classification.page is not None or classification.code.startswith("InvalidTimeStamp"):
                    classification = with_clock(classification, response.headers, time.time())
        except (httpx.TransportError, aiohttp.ClientError, OSError) as error:
            classification = classify_failure(error)
        return classification

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()


def _without_secrets(message: str, credentials: Credentials) -> str:
    """Returns a message fit for results and terminals; a signature error repeats the request, token included."""
    message = message.partition("\n")[0]
    for secret in (credentials.security_token, credentials.access_key_secret):
        if secret and message:
            message = message.replace(secret, "***")
    if not message.isprintable():
        message = "".join([character if character.isprintable() else "\ufffd" for character in message])
    return message[:MOST_MESSAGE]


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending a GET again, unpaced and with the same nonce, when a kept connection has died."""
    try:
        return await send(request)
    except aiohttp.ServerDisconnectedError as error:
        raise aiohttp.ClientPayloadError(str(error)) from error
    except aiohttp.ClientConnectorError:
        raise
    except aiohttp.ClientOSError as error:
        raise aiohttp.ClientPayloadError(str(error)) from error


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
        return aiohttp.ClientSession(
            connector=connector, headers=constant, cookie_jar=aiohttp.DummyCookieJar(), middlewares=(_send_once,)
        )

    return AiohttpTransport(verify=context, client=open_session)


def _user_agent() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - needed once

    return f"bulkcert/{version('bulkcert')}"


USER_AGENT = _user_agent()
