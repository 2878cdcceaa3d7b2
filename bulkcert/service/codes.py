"""What each error code of the service means, as one closed table (reference, sections 1.3, 1.3b, 8.1 and 8.2).

The code decides. The HTTP status says nothing where there is a code: the same code comes with different statuses in
different versions of the pages, and the vendor is moving them (section 1.3b). The status is used only where an answer
has no code at all.
"""

from enum import StrEnum
from http import HTTPStatus
from typing import Literal

import msgspec

from bulkcert.errors import ExitStatus
from bulkcert.words import later

StatusTable = Literal["old", "new"]
"""Which column of the vendor's status adjustment notice an emulator answers with (section 1.3b)."""


class Verdict(StrEnum):
    """What one response means for its row and for the run."""

    DONE = "done"
    """The certificate is in the desired state."""
    NOT_FOUND = "not_found"
    """No such certificate is registered."""
    FAILED = "failed"
    """Refused for a reason that lies in the row; a repeat would be refused again."""
    UNRECOGNIZED = "unrecognized"
    """A code that no table lists; the row failed, and the code is counted and shown."""
    RETRY = "retry"
    """A passing fault; the same call may work later."""
    THROTTLED = "throttled"
    """Too fast; slow down, then try again."""
    SIGN_AGAIN = "sign_again"
    """Only the nonce was refused; sign again and repeat."""
    REFRESH = "refresh"
    """The security token has expired; fetch credentials once and repeat."""
    UNANSWERED = "unanswered"
    """Sent, and no usable answer came: it may or may not have been done."""
    NOT_SENT = "not_sent"
    """No connection came about; nothing was sent."""
    STOP = "stop"
    """Every other row would be refused too; the run stops."""


FINAL = frozenset({Verdict.DONE, Verdict.NOT_FOUND, Verdict.FAILED, Verdict.UNRECOGNIZED})
"""Those that settle a row: a repeat would get the same."""


class Rule(msgspec.Struct, frozen=True):
    """One code.

    Attributes:
        code: Value of ``Code``, or its beginning where the name ends in ``*``.
        verdict: What it means.
        status: HTTP status; where the vendor's adjustment changes it (section 1.3b), that before and that after.
        message: ``Message``, verbatim where a source gives it.
        exit_status: Exit status of a run that stops for it; None unless the verdict is STOP or REFRESH.
        advice: What the operator can do about it.
    """

    code: str
    verdict: Verdict
    status: int | tuple[int, int]
    message: str
    exit_status: ExitStatus | None = None
    advice: str = ""

    def http_status(self, table: StatusTable) -> int:
        """Returns the HTTP status that goes with this code in one of the two tables."""
        return self.status if isinstance(self.status, int) else self.status[table == "new"]


# How a run ends that a code stops, and what to do about it.
_DENIED, _CONFIG = ExitStatus.DENIED, ExitStatus.MISCONFIGURED
_CLOCK = _CONFIG, later("Set this machine's clock (it must be within 15 minutes of the service's).")
_INSTANCE = _CONFIG, later("Check --instance and --region: an instance is known only in its own region.")
_ENDPOINT = _CONFIG, later("Check --region or --endpoint: this host does not offer the operation.")
_KEY = _DENIED, later("Check which access key is in use and that it is enabled.")
_RENEW = _DENIED, later("Renew the temporary credentials.")
_GRANT = _DENIED, later("Grant {ram} on the instance (RAM).")
_OWNER = _DENIED, later("Check that the instance belongs to the account of these credentials and to this region.")
_CHANGED = _DENIED, later("Something between here and the service changes the request.")
_SECRET = (
    _DENIED,
    later("Check the access key secret; if it is right, something between here and the service changes the request."),
)

WRONG_INSTANCE = "MqttInstanceNotFound"
"""Code of an instance that the region does not know."""

NO_DATA, WRONG_ECHO = "Client.NoData", "Client.WrongEcho"
"""Our codes of a success that holds nothing, or something else than what was asked for."""

CLOCK_REFUSED = frozenset({"InvalidTimeStamp.Expired", "InvalidTimeStamp.Format"})
"""Codes of a call whose time is too far from the service's."""

INSTANCE_REFUSED = frozenset({WRONG_INSTANCE, "MqttOwnerCheckError", "InstancePermissionCheckFailed"})
"""Codes of a call on an instance that is not there, or not of this account."""

CERTIFICATE_REFUSED = "Client.CertificateRefused"
"""Code of our own where this machine does not trust the server: the only one of these that stops a run."""

_NOT_FOUND, _FAILED, _RETRY = Verdict.NOT_FOUND, Verdict.FAILED, Verdict.RETRY
_THROTTLED, _STOP = Verdict.THROTTLED, Verdict.STOP

RULES: tuple[Rule, ...] = (
    # Documented for the certificate operations (reference, sections 1.3 and 1.3b).
    Rule(
        "ParameterFieldCheckFailed",
        _FAILED,
        (500, 400),
        "Failed to validate the parameters. The parameters may be missing or invalid.",
    ),
    Rule(
        "FindDeviceBySnError",
        _NOT_FOUND,
        500,
        "Failed to find the device certificate by the SN. Please check sn is valid",
    ),
    Rule("FindCaBySnError", _NOT_FOUND, (500, 400), "Failed to find the CA by the SN. Please check sn is valid."),
    Rule(WRONG_INSTANCE, _STOP, (500, 400), "Specified instance is not found", *_INSTANCE),
    Rule("PermissionCheckFailed", _STOP, 403, "Failed to verify API permissions.", *_GRANT),
    Rule("MqttOwnerCheckError", _STOP, (500, 403), "Failed to validate the instance permission", *_OWNER),
    Rule(
        "InstancePermissionCheckFailed",
        _STOP,
        400,
        (
            "An error occurred while validating the permissions of the instance. Please verify the "
            "account that created the instance and its permissions settings."
        ),
        *_OWNER,
    ),
    Rule("RegisterCodeError", _FAILED, (500, 400), "Register code error in verification certificate."),
    Rule("RegisterCodeUsed", _FAILED, (500, 401), "Register code has been used."),
    Rule("GetCaNumError", _RETRY, (500, 401), "Failed to get ca num. Try again later."),
    Rule("CaNumExceed", _FAILED, (500, 401), "CA certificate num exceed."),
    Rule("CertificateContentError", _FAILED, (500, 401), "Certificate content error."),
    Rule("SnNotUnique", _FAILED, (500, 401), "Sn is not unique in global."),
    # Documented for the whole product (1.3, 1.3b).
    Rule("ApiNotSupport", _STOP, 404, "The API is not supported.", *_ENDPOINT),
    Rule("CheckAccountInfoFailed", _STOP, 400, "Failed to read the STS token.", *_RENEW),
    Rule("ParameterCheckFailed", _FAILED, 400, "Failed to check the parameters."),
    Rule("InternalError", _RETRY, (500, 417), "An error occurred while processing your request. Try again later."),
    Rule(
        "SystemOverFlow", _THROTTLED, (500, 403), "An error occurred while processing your request. Please try again."
    ),
    # Of the gateway in front of the product (8.1, 8.2).
    Rule("Throttling", _THROTTLED, 400, "Request was denied due to request throttling."),
    Rule("Throttling.User", _THROTTLED, 400, "Request was denied due to user flow control."),
    Rule("Throttling.Api", _THROTTLED, 400, "Request was denied due to api flow control."),
    Rule("Throttling*", _THROTTLED, 400, "Request was denied due to request throttling."),
    Rule("ServiceUnavailable", _RETRY, 503, "The request has failed due to a temporary failure of the server."),
    Rule("UnknownError", _RETRY, 500, "The request processing has failed."),
    Rule("SignatureNonceUsed", Verdict.SIGN_AGAIN, 400, "Specified signature nonce was used already."),
    Rule("SignatureDoesNotMatch", _STOP, 400, "Specified signature does not match our calculation.", *_SECRET),
    Rule("IncompleteSignature", _STOP, 400, "The request signature does not conform to Aliyun standards.", *_CHANGED),
    Rule("InvalidTimeStamp.Expired", _STOP, 400, "Specified time stamp or date value is expired.", *_CLOCK),
    Rule("InvalidTimeStamp.Format", _STOP, 400, "Specified time stamp or date value is not well formatted.", *_CLOCK),
    Rule("InvalidAccessKeyId.NotFound", _STOP, 404, "Specified access key is not found.", *_KEY),
    Rule("InvalidAccessKeyId.Inactive", _STOP, 400, "Specified access key is disabled.", *_KEY),
    Rule("InvalidSecurityToken.Expired", Verdict.REFRESH, 400, "Specified SecurityToken is expired.", *_RENEW),
    Rule("InvalidSecurityToken.Malformed", _STOP, 400, "Specified SecurityToken is malformed.", *_RENEW),
    Rule(
        "InvalidSecurityToken.MismatchWithAccessKey",
        _STOP,
        400,
        "Specified SecurityToken mismatch with the AccessKey.",
        *_RENEW,
    ),
    Rule("MissingSecurityToken", _STOP, 400, "SecurityToken is mandatory for this action.", *_RENEW),
    Rule("NoPermission", _STOP, 403, "User not authorized to operate.", *_GRANT),
    Rule("Forbidden.RAM", _STOP, 403, "User not authorized to operate.", *_GRANT),
    Rule("Forbidden", _STOP, 403, "User not authorized to operate.", *_GRANT),
    Rule("UnsupportedHTTPMethod", _STOP, 400, "This HTTP method is not supported.", ExitStatus.MISCONFIGURED),
    Rule(
        "InvalidApi.NotFound", _STOP, 404, "Specified api is not found, please check your url and method.", *_ENDPOINT
    ),
    Rule(
        "InvalidAction.NotFound",
        _STOP,
        404,
        "Specified api is not found, please check your url and method.",
        *_ENDPOINT,
    ),
    Rule("InvalidVersion", _STOP, 400, "Specified parameter Version is not valid.", *_ENDPOINT),
    Rule("InvalidProduct.NotFound", _STOP, 404, "Cannot find product according to your specified domain.", *_ENDPOINT),
    Rule("InvalidProtocol.NeedSsl", _STOP, 404, "The request needs HTTPS.", *_ENDPOINT),
    # Families whose names hold the parameter; last, so that the exact names above win.
    Rule("MissingParameter", _FAILED, 400, "A parameter is mandatory for this action."),
    Rule("Missing*", _FAILED, 400, "A parameter is mandatory for this action."),
    Rule("InvalidParameter*", _FAILED, 400, "A parameter is not valid."),
    Rule("Invalid*", _FAILED, 400, "A parameter is not valid."),
)

_EXACT = {rule.code: rule for rule in RULES if not rule.code.endswith("*")}
_FAMILIES = tuple((rule.code[:-1], rule) for rule in RULES if rule.code.endswith("*"))
_UNRECOGNIZED = Rule("", Verdict.UNRECOGNIZED, 500, "")

READING_REFUSED = frozenset(
    {
        "PermissionCheckFailed",
        "NoPermission",
        "Forbidden.RAM",
        "Forbidden",
        "ApiNotSupport",
        "InvalidApi.NotFound",
        "InvalidAction.NotFound",
    }
)
"""Codes that, got by an operation that reads, say nothing about one that changes: permission and offer are by operation
(reference, section 1)."""


def rule_for(code: str) -> Rule:
    """Returns the rule of a code; one with the verdict UNRECOGNIZED where no table lists it."""
    if rule := _EXACT.get(code):
        return rule
    return next((rule for start, rule in _FAMILIES if code.startswith(start)), _UNRECOGNIZED)


def verdict_without_code(http_status: int) -> Verdict:
    """Returns the verdict on an answer that has no ``Code`` (section 8.2): all that is left is the status.

    A success without the echoed serial counts as unanswered, since nothing says what was done. Any other answer
    without a code was given by something in front of the service, and may be different the next time.
    """
    if http_status == HTTPStatus.TOO_MANY_REQUESTS:
        return Verdict.THROTTLED
    return Verdict.UNANSWERED if http_status < 300 else Verdict.RETRY  # noqa: PLR2004 - the 2xx of HTTP
