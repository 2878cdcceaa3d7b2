"""Judging: what a response means, or that there was none. Pure; the network is the client's."""

import os
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import httpx
import msgspec

from bulkcert.service.actions import Operation, Status
from bulkcert.service.codes import (
    CERTIFICATE_REFUSED,
    CLOCK_REFUSED,
    NO_DATA,
    WRONG_ECHO,
    Verdict,
    rule_for,
    verdict_without_code,
)
from bulkcert.service.transport import NotSent

MOST_DIGITS = 9
"""Digits of a number that is read at all."""

MOST_RETRY_AFTER_S = 60.0
"""Longest wait that an answer can ask for: a header of rubbish must not hold a run for a day."""


class Reply(msgspec.Struct, frozen=True):
    """The parts of a response body that decide (reference, sections 1.1 and 8); others are ignored.

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


_STATUS_OF = {"0": Status.INACTIVE, "1": Status.ACTIVE}


class Certificate(msgspec.Struct, frozen=True):
    """A device certificate, or where ``device_sn`` is empty a CA certificate; PEM texts are ignored.

    Attributes:
        device_sn: Serial of the device certificate.
        ca_sn: Serial of the CA that issued it.
        sn: Serial of a CA certificate.
        device_name: Name of the device certificate.
        ca_name: Name of the CA certificate.
        valid_begin: Unix time in milliseconds, as text.
        valid_end: Unix time in milliseconds, as text.
        raw_status: ``"0"`` inactive, ``"1"`` active.
    """

    device_sn: str = msgspec.field(name="DeviceSn", default="")
    ca_sn: str = msgspec.field(name="CaSn", default="")
    sn: str = msgspec.field(name="Sn", default="")
    device_name: str | None = msgspec.field(name="DeviceName", default=None)
    ca_name: str | None = msgspec.field(name="CaName", default=None)
    valid_begin: str | int | None = msgspec.field(name="ValidBegin", default=None)
    valid_end: str | int | None = msgspec.field(name="ValidEnd", default=None)
    raw_status: str | int | None = msgspec.field(name="Status", default=None)

    @property
    def status(self) -> Status:
        """Its state."""
        return _STATUS_OF.get(str(self.raw_status), Status.UNRECOGNIZED)


class Page(msgspec.Struct, frozen=True):
    """One page of a listing, or the one certificate that was asked for.

    Attributes:
        certificates: What it holds, in the service's order.
        total: What the service says of the whole; not to be trusted (reference, section 1.2).
    """

    certificates: list[Certificate]
    total: int = 0


class _Listed(msgspec.Struct, frozen=True):
    total: int | str | None = msgspec.field(name="Total", default=None)
    cas: list[Certificate] | None = msgspec.field(name="CaCertificateVOS", default=None)
    devices: list[Certificate] | None = msgspec.field(name="DeviceCertificateVOS", default=None)


class _ListReply(msgspec.Struct, frozen=True):
    data: _Listed = msgspec.field(name="Data")


class _GetReply(msgspec.Struct, frozen=True):
    data: Certificate = msgspec.field(name="Data")


class Classification(msgspec.Struct, frozen=True, array_like=True):
    """What a response, or its absence, means.

    Attributes:
        verdict: What it means.
        code: The service's code, or one of our own that begins with ``Client.``.
        message: The service's message, or what happened.
        http_status: Status of the response; 0 where there was none.
        request_id: The service's id of the request; empty where there was none.
        retry_after_s: What ``x-acs-retry-after`` asked for, in seconds; 0 where it was absent.
        page: What a reading operation found; None unless the verdict is DONE.
        clock_ahead_s: How far this machine's clock is ahead of the service's, in seconds, to about a second; None where
            the answer does not say.
    """

    verdict: Verdict
    code: str = ""
    message: str = ""
    http_status: int = 0
    request_id: str = ""
    retry_after_s: float = 0.0
    page: Page | None = None
    clock_ahead_s: float | None = None

    @property
    def may_be_done(self) -> bool:
        """Whether a change may have been made though nothing says so.

        What fails on the way back was done, and a nonce that is ours was used already by a copy of the call. Only who
        throttles by a code of his own has looked at nothing.
        """
        if self.verdict is Verdict.THROTTLED:
            return rule_for(self.code).verdict is not Verdict.THROTTLED
        return self.verdict in (Verdict.UNANSWERED, Verdict.RETRY, Verdict.SIGN_AGAIN)

    @property
    def status(self) -> Status | None:
        """State of the one certificate that was asked for; None where the answer does not say."""
        if self.verdict is Verdict.NOT_FOUND:
            return Status.NOT_REGISTERED
        return None if self.page is None else self.page.certificates[0].status


def classify(response: httpx.Response, operation: Operation, parameters: Mapping[str, str]) -> Classification:
    """Returns the verdict on a response: by header, then by code, and by status only where there is no code.

    It must bear the serial that was sent.
    """
    status = response.status_code
    try:
        reply = _decode(response.content)
    except _UNREADABLE:
        return _classify_foreign(status, response.headers)
    request_id = reply.request_id or reply.other_request_id or ""
    echo = reply.device_sn if operation.result == "DeviceSn" else reply.sn
    is_echoed = not operation.reads and echo == parameters[operation.result]
    if reply.code or reply.other_code or status >= 400:  # noqa: PLR2004 - the errors of HTTP
        return _classify_error(status, response.headers, reply, request_id, is_echoed=is_echoed)
    if operation.reads:
        return _classify_read(response, operation, parameters, request_id)
    if is_echoed:
        return Classification(Verdict.DONE, "", "", status, request_id)
    code, message = ("Client.NoEcho", f"HTTP {status} without the {operation.result} that was sent")
    if echo is not None:
        code, message = WRONG_ECHO, f"HTTP {status} for {operation.result} {echo!r}"
    return Classification(Verdict.UNANSWERED, code, f"{message}; it may have been done", status, request_id)


def _classify_error(
    status: int, headers: Mapping[str, str], reply: Reply, request_id: str, *, is_echoed: bool
) -> Classification:
    """Returns the verdict on an answer of the service that is none of success."""
    code, message = reply.code or reply.other_code or "", reply.message or reply.other_message or ""
    if code and is_echoed:
        message = f"HTTP {status} for the serial that was sent, and yet: {message}; it may have been done"
        return Classification(Verdict.UNANSWERED, code, message, status, request_id)
    retry_after_s = _retry_after_s(headers)
    verdict = rule_for(code).verdict if code else verdict_without_code(status)
    if retry_after_s > 0:
        verdict = Verdict.THROTTLED
    return Classification(verdict, code or "Client.NoCode", message, status, request_id, retry_after_s)


def _classify_read(
    response: httpx.Response, operation: Operation, parameters: Mapping[str, str], request_id: str
) -> Classification:
    """Returns the verdict on a success of an operation that reads, with the page that it holds.

    One that holds nothing, or another certificate, is no answer to what was asked: it is asked again.
    """
    status, is_list = response.status_code, "PageNo" in operation.parameters
    try:
        if is_list:
            data = _decode_list(response.content).data
            total = str(data.total)
            is_number = total.isascii() and total.isdigit() and len(total) <= MOST_DIGITS
            # An array that is absent is an empty page.
            page = Page(data.cas or data.devices or [], int(total) if is_number else 0)
        else:
            page = Page([_decode_get(response.content).data])
    except _UNREADABLE:
        message = f"HTTP {status} without the {operation.result} that was asked for"
        return Classification(Verdict.RETRY, NO_DATA, message, status, request_id)
    if not is_list and not _is_asked_for(found := page.certificates[0], parameters):
        message = f"HTTP {status} for {found.device_sn or found.sn!r}"
        return Classification(Verdict.RETRY, WRONG_ECHO, message, status, request_id)
    return Classification(Verdict.DONE, "", "", status, request_id, page=page)


def _is_asked_for(found: Certificate, parameters: Mapping[str, str]) -> bool:
    """Returns whether a certificate bears the serial that was asked for; its CA may be missing, but not be another."""
    if "DeviceSn" not in parameters:
        return found.sn == parameters["Sn"]
    return found.device_sn == parameters["DeviceSn"] and found.ca_sn in ("", parameters["CaSn"])


_decode = msgspec.json.Decoder(Reply).decode
_decode_list = msgspec.json.Decoder(_ListReply).decode
_decode_get = msgspec.json.Decoder(_GetReply).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for a body that is not the service's JSON."""


def _classify_foreign(status: int, headers: Mapping[str, str]) -> Classification:
    """Judges a body that is not the service's JSON: an error page of a gateway or a proxy, or nothing at all."""
    kind = headers.get("content-type", "no content type")
    retry_after_s = _retry_after_s(headers)
    verdict = Verdict.THROTTLED if retry_after_s > 0 else verdict_without_code(status)
    message = f"HTTP {status} with a body that is not the service's JSON ({kind})"
    return Classification(verdict, "Client.NotJson", message, status, "", retry_after_s)


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Returns the wait that ``x-acs-retry-after`` asks for: milliseconds on the wire (reference, section 8.2)."""
    text = headers.get("x-acs-retry-after", "")
    if not (text.isascii() and text.isdigit()):
        return 0.0
    return min(int(text) / 1000 if len(text) <= MOST_DIGITS else MOST_RETRY_AFTER_S, MOST_RETRY_AFTER_S)


def with_clock(classification: Classification, headers: Mapping[str, str], now: float) -> Classification:
    """Returns a verdict that knows how far this machine's clock, now at this Unix time in seconds, is ahead.

    That is, as far as the ``Date`` header says.
    """
    try:
        ahead = now - parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return classification
    if classification.code not in CLOCK_REFUSED:
        return msgspec.structs.replace(classification, clock_ahead_s=ahead)
    text = f" This machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the service's."
    return msgspec.structs.replace(classification, message=classification.message + text, clock_ahead_s=ahead)


def classify_failure(error: httpx.TransportError) -> Classification:
    """Returns the verdict on an attempt that ended without a response.

    Only what is known not to have been sent counts as not sent.
    """
    if isinstance(error, NotSent):
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            text = f"the TLS certificate of {error.place} is not trusted: {error.reason.verify_message}"
            return Classification(Verdict.STOP, CERTIFICATE_REFUSED, text)
        text = f"cannot connect to {error.place}: {_reason(error.reason)}"
        return Classification(Verdict.NOT_SENT, "Client.ConnectFailed", text)
    if isinstance(error, httpx.TimeoutException):
        return Classification(Verdict.UNANSWERED, "Client.Timeout", f"{_said(error)}; it may have been done")
    if isinstance(error, httpx.RemoteProtocolError):
        return Classification(Verdict.UNANSWERED, "Client.NotHttp", f"{_said(error)}; it may have been done")
    said = f"the connection was lost before the answer: {_said(error)}; it may have been done"
    return Classification(Verdict.UNANSWERED, "Client.Disconnected", said)


def _reason(error: Exception) -> str:
    """Returns why a connection did not come about: the system's words, without the library's."""
    if isinstance(error, TimeoutError):
        return "nobody answers in time"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.lower().replace('_', ' ')}"
    number = getattr(error, "errno", None)
    if number is None or number < 0 or isinstance(error, ssl.SSLError):  # not a number of the system's
        return getattr(error, "strerror", None) or _said(error)
    return os.strerror(number).lower()


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
