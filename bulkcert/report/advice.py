"""What a finding means and what to do about it, in words."""

from dataclasses import dataclass

from bulkcert.service.actions import Action
from bulkcert.service.certificates import Status
from bulkcert.service.codes import rule_for
from bulkcert.service.operations import INSTANCE_ACCESS
from bulkcert.service.verdicts import Verdict
from bulkcert.store.outcome import Outcome
from bulkcert.store.paths import RunFiles
from bulkcert.views.unregistered import on_unregistered

MEANINGS: dict[Outcome, str] = {
    Outcome.SUCCEEDED: "the service did it and echoed the serial",
    Outcome.UNCHANGED: "already in the desired state; no call was made",
    Outcome.NOT_REGISTERED: "the service knows no such certificate",
    Outcome.FAILED: "refused, or the attempts were used up",
    Outcome.UNKNOWN: "sent and never answered: it may or may not have been done",
    Outcome.INVALID: "the serial cannot be right; never sent",
    Outcome.DUPLICATE: "the same certificate as an earlier row",
    Outcome.NOT_ATTEMPTED: "the run stopped first",
    Outcome.PROTECTED: "on the list of protected serials; never sent",
    Outcome.UNDONE: "changed by this run, and changed back by its undo",
}

DESIRED_WORD = {
    Outcome.SUCCEEDED: "yes",
    Outcome.UNCHANGED: "yes",
    Outcome.UNKNOWN: "unknown",
    Outcome.DUPLICATE: "as that row",
}
"""Whether a row with this outcome is in the desired state; ``no`` for the others."""

_OWN_CODES = {
    "Client.Timeout": "no answer came in time",
    "Client.Disconnected": "the connection was lost before the answer",
    "Client.NotHttp": "what came was no answer, or too long",
    "Client.ConnectFailed": "no connection came about; nothing was sent",
    "Client.CertificateRefused": "this machine does not trust the server's certificate",
    "Client.NoEcho": "the answer said success without the serial that was sent",
    "Client.WrongEcho": "the answer named another serial than the one that was sent",
    "Client.NoCode": "the answer had no code",
    "Client.NotJson": "the answer was not the service's, but of something in front of it",
    "Client.NoData": "the answer held nothing",
}
_BY_VERDICT = {
    Verdict.FAILED: "Look at the message: the service refuses these rows as they are, and would again. Correct them.",
    Verdict.UNRECOGNIZED: "No table lists this code: give the request id to the service's support.",
    Verdict.RETRY: "A passing fault of the service. Call them again: {again}",
    Verdict.THROTTLED: "Too many calls on this account at the time. Best when nothing else calls: {again}",
    Verdict.NOT_FOUND: "Once they are registered: {again}",
}
_BY_OUTCOME = {
    Outcome.INVALID: "Correct the serials in the list, and run the corrected rows.",
    Outcome.PROTECTED: "Left alone on purpose. To have it done, take them off the list of protected serials.",
    Outcome.NOT_ATTEMPTED: "The run has not reached them: {resume}",
    Outcome.UNDONE: "Undone on purpose. To do it again: {again}",
}


def meaning_of(outcome: Outcome, code: str) -> str:
    """Returns what a code says, or the outcome where there is none or no table lists it."""
    if not code or outcome is Outcome.UNDONE:
        return MEANINGS[outcome]
    return _OWN_CODES.get(code) or rule_for(code).message or "no table lists this code"


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about the rows of a run.

    Attributes:
        files: Of the run, for the commands.
        action: What was asked.
        protected: Whether rows are protected, which may be of the same CA.
    """

    files: RunFiles
    action: Action
    protected: bool

    def _again(self, kind: str) -> str:
        return self.files.command("resume", "--retry", kind)

    def on(self, outcome: Outcome, code: str) -> str:
        """Returns what to do about rows with an outcome and a code; the code is empty where there is none."""
        rule, action, again = rule_for(code), self.action, self._again(outcome.value)
        if rule.advice and outcome is not Outcome.UNDONE:
            also = f" and {INSTANCE_ACCESS}" if action.operation.needs_instance_access else ""
            return rule.advice.format(ram=f"{action.operation.ram_action}{also}")
        if outcome is Outcome.NOT_REGISTERED:
            advice = on_unregistered(action, protected=self.protected, retry=again)
            return f"{advice[0].upper()}{advice[1:]}"
        if outcome is Outcome.UNKNOWN:
            harm = " A repeat does no harm." if action.repeatable else ""
            return f"What they are now: {self.files.command('verify')}. To call them again: {again}.{harm}"
        if outcome in _BY_OUTCOME:
            return _BY_OUTCOME[outcome].format(again=again, resume=self.files.command("resume"))
        if code in _OWN_CODES:
            return f"Check the endpoint and the network. Then call them again: {again}"
        return _BY_VERDICT.get(rule.verdict, "Call them again: {again}").format(again=again)

    def on_maybe_undone(self) -> str:
        """Returns what to do about rows that an undo may have changed back without an answer."""
        return f"What they are now: {self.files.command('verify')}. To do it again: {self._again('undone')}"

    def on_read_back(self, status: str) -> str:
        """Returns what to do about certificates that were done and then read back in this other state."""
        if status == Status.NOT_REGISTERED:
            by_ca = "" if self.protected else "inactivate its CA, or "
            return f"Deleted since. A device that registers itself anew is active: {by_ca}verify again."
        again = f" To call them again: {self._again('drifted')}" if self.action.repeatable else ""
        watch = self.files.command("verify", "--watch", "1h")
        keeps = f"; to keep looking: {watch}" if again else ""
        return f"Somebody or something has changed them since: look into the service's audit log.{again}{keeps}"
