"""The closed table of codes."""

import pytest

from bulkcert.errors import ExitStatus
from bulkcert.service.codes import RULES, Verdict, rule_for, verdict_without_code

MOVED = {  # the vendor's status adjustment notice: old and new HTTP status (reference, section 1.3b)
    "InternalError": (500, 417),
    "SystemOverFlow": (500, 403),
    "MqttInstanceNotFound": (500, 400),
    "FindCaBySnError": (500, 400),
    "MqttOwnerCheckError": (500, 403),
    "ParameterFieldCheckFailed": (500, 400),
    "RegisterCodeError": (500, 400),
    "RegisterCodeUsed": (500, 401),
    "GetCaNumError": (500, 401),
    "CaNumExceed": (500, 401),
    "CertificateContentError": (500, 401),
    "SnNotUnique": (500, 401),
}


@pytest.mark.parametrize("code", MOVED)
def test_both_status_tables(code):
    """The statuses of both columns of the notice are known, and neither changes the verdict."""
    rule = rule_for(code)

    assert (rule.http_status("old"), rule.http_status("new")) == MOVED[code]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_rule_is_reachable(rule):
    """No rule is hidden behind another one, and a rule that stops the run says how it ends."""
    assert rule_for(rule.code.replace("*", ".Something")) is rule
    assert (rule.exit_status is not None) == (rule.verdict in (Verdict.STOP, Verdict.REFRESH))


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("Throttling.API", Verdict.THROTTLED),  # another spelling of Throttling.Api
        ("Throttling.Anything", Verdict.THROTTLED),
        ("MissingDeviceSn", Verdict.FAILED),
        ("InvalidParameter.CaSn", Verdict.FAILED),
        ("InvalidDeviceSn", Verdict.FAILED),
        ("FindDeviceBySnError", Verdict.NOT_FOUND),
        ("SomethingNew", Verdict.UNRECOGNIZED),
        ("throttling", Verdict.UNRECOGNIZED),
    ],
)
def test_verdict_by_code(code, verdict):
    """Families are matched by their beginning; what no table lists has a verdict of its own."""
    assert rule_for(code).verdict is verdict


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.UNANSWERED),  # never a success without the echo
        (204, Verdict.UNANSWERED),
        (302, Verdict.RETRY),
        (404, Verdict.RETRY),
        (429, Verdict.THROTTLED),
        (502, Verdict.RETRY),
        (503, Verdict.RETRY),
    ],
)
def test_verdict_without_code(status, verdict):
    """Only where an answer has no code does the status decide."""
    assert verdict_without_code(status) is verdict


def test_exit_statuses_of_stops():
    """Permission and ownership end with 77, instance and clock with 78 (the design's table)."""
    assert rule_for("PermissionCheckFailed").exit_status is ExitStatus.DENIED
    assert rule_for("MqttOwnerCheckError").exit_status is ExitStatus.DENIED
    assert rule_for("MqttInstanceNotFound").exit_status is ExitStatus.MISCONFIGURED
    assert rule_for("InvalidTimeStamp.Expired").exit_status is ExitStatus.MISCONFIGURED
