"""What a finding means and what to do about it, in words."""

from bulkcert.actions import Action
from bulkcert.api.codes import rule_for
from bulkcert.api.operations import INSTANCE_ACCESS
from bulkcert.api.verdicts import Verdict
from bulkcert.batch.outcome import Outcome
from bulkcert.unregistered import on_unregistered

MEANINGS: dict[Outcome, str] = {
    Outcome.SUCCEEDED: "the service did it and echoed the serial",
    Outcome.UNCHANGED: "already in the wanted state; no call was made",
    Outcome.NOT_REGISTERED: "the service knows no such certificate",
    Outcome.FAILED: "refused, or the attempts were used up",
    Outcome.UNKNOWN: "sent and never answered: it may or may not have been done",
    Outcome.INVALID: "the serial cannot be right; never sent",
    Outcome.DUPLICATE: "the same certificate as an earlier row",
    Outcome.NOT_ATTEMPTED: "the run stopped first",
    Outcome.PROTECTED: "on the list of protected serials; never sent",
}

WANTED_WORD = {
    Outcome.SUCCEEDED: "yes",
    Outcome.UNCHANGED: "yes",
    Outcome.UNKNOWN: "unknown",
    Outcome.DUPLICATE: "as that row",
}
"""Whether a row with this outcome is in the wanted state; ``no`` for the others."""

_OWN_CODES = {
    "Client.Timeout": "no answer came in time",
    "Client.Disconnected": "the connection was lost before the answer",
    "Client.ConnectFailed": "no connection came about; nothing was sent",
    "Client.CertificateRefused": "this machine does not trust the server's certificate",
    "Client.NoEcho": "the answer said success without the serial that was sent",
    "Client.WrongEcho": "the answer named another serial than the one that was sent",
    "Client.NoCode": "the answer had no code",
    "Client.NotJson": "the answer was not the service's, but of something in front of it",
    "Client.NoData": "the answer held nothing",
}
_AGAIN = "Run the same command again with --retry-failed"
_BY_VERDICT = {
    Verdict.FAILED: "Look at the message: the service refuses these rows as they are, and would again. Correct them.",
    Verdict.UNRECOGNIZED: "No table lists this code: give the request id to the service's support.",
    Verdict.RETRY: f"A passing fault of the service. {_AGAIN}.",
    Verdict.THROTTLED: f"Too many calls on this account at the time. {_AGAIN}, best when nothing else calls.",
    Verdict.SIGN_AGAIN: f"{_AGAIN}.",
    Verdict.NOT_FOUND: f"{_AGAIN} once they are registered.",
}


_BY_OUTCOME = {
    Outcome.INVALID: "Correct the serials in the list, and run the corrected rows.",
    Outcome.PROTECTED: "Left alone on purpose. To have it done, take them off the list of protected serials.",
    Outcome.NOT_ATTEMPTED: "Run the same command again: it goes on with them.",
}


def meaning_of(outcome: Outcome, code: str) -> str:
    """Returns what a code says, or the outcome where there is none or no table lists it."""
    if not code:
        return MEANINGS[outcome]
    return _OWN_CODES.get(code) or rule_for(code).message or "no table lists this code"


def advice_for(outcome: Outcome, code: str, action: Action, *, protected: bool) -> str:
    """Returns what to do about rows with an outcome and a code.

    Args:
        outcome: Of the rows.
        code: Of the rows; empty where there is none.
        action: What was asked.
        protected: Whether other rows are protected.
    """
    rule = rule_for(code)
    if rule.advice:
        also = f" and {INSTANCE_ACCESS}" if action.operation.needs_instance_access else ""
        return rule.advice.format(ram=f"{action.operation.ram_action}{also}")
    if outcome is Outcome.NOT_REGISTERED:
        advice = on_unregistered(action, protected=protected)
        return f"{advice[0].upper()}{advice[1:]}"
    if outcome is Outcome.UNKNOWN:
        harm = " A repeat does no harm." if action.repeatable else ""
        return f"{_AGAIN}: it calls these rows again.{harm} verify tells what they are now."
    if outcome in _BY_OUTCOME:
        return _BY_OUTCOME[outcome]
    if code.startswith("Client."):
        return f"Check the endpoint and the network. {_AGAIN}."
    return _BY_VERDICT.get(rule.verdict, f"{_AGAIN}.")


def advice_read_back(status: str, action: Action, *, protected: bool) -> str:
    """Returns what to do about certificates that were done and then read back in another state.

    Args:
        status: The state.
        action: What was asked.
        protected: Whether other rows are protected, which may be of the same CA.
    """
    if status == "not_registered":
        by_ca = "" if protected else "inactivate its CA, or "
        return f"Deleted since. A device that registers itself anew is active: {by_ca}verify again."
    again = "" if action.inverse is None else f" {_AGAIN}; verify --watch keeps looking."
    return f"Somebody or something has changed them since: look into the service's audit log.{again}"
