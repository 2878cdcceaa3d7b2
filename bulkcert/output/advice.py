"""What a finding means and what to do next: the one table that all commands read from."""

from enum import StrEnum

import msgspec

from bulkcert.service.actions import ACTIONS, INSTANCE_ACCESS, Action, Status
from bulkcert.service.codes import NO_DATA, WRONG_ECHO, Verdict, rule_for
from bulkcert.store.outcome import Outcome
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Asked
from bulkcert.words import later, spaced, tr

_AGAIN = later("Call them again: {again}")

_BY_OUTCOME: dict[Outcome, tuple[str, str]] = {
    Outcome.SUCCEEDED: (later("the service did it and echoed the serial"), ""),
    Outcome.UNCHANGED: (later("already in the desired state; no call was made"), ""),
    Outcome.NOT_REGISTERED: (later("the service knows no such certificate"), "{unregistered}"),
    Outcome.FAILED: (later("refused, or the attempts were used up"), ""),
    Outcome.UNKNOWN: (
        later("sent and never answered: it may or may not have been done"),
        later("What they are now: {verify}. To call them again: {again}.{harmless}"),
    ),
    Outcome.INVALID: (
        later("the serial cannot be right; never sent"),
        later("Correct the serials in the list, and run the corrected rows."),
    ),
    Outcome.DUPLICATE: (later("the same certificate as an earlier row"), ""),
    Outcome.NOT_ATTEMPTED: (later("the run stopped first"), later("The run has not reached them: {resume}")),
    Outcome.PROTECTED: (
        later("on the list of protected serials; never sent"),
        later("Not called on purpose. To have it done, take them off the list of protected serials."),
    ),
    Outcome.UNDONE: (
        later("changed by this run, and changed back by its undo"),
        later("Undone on purpose. To do it again: {again}"),
    ),
}
_BY_VERDICT: dict[Verdict, str] = {
    Verdict.FAILED: later(
        "Look at the message: the service refuses these rows as they are, and would again. Correct them."
    ),
    Verdict.UNRECOGNIZED: later("No table lists this code: give the request id to the service's support."),
    Verdict.RETRY: later("A passing fault of the service. Call them again: {again}"),
    Verdict.THROTTLED: later("Too many calls on this account at the time. Best when nothing else calls: {again}"),
    Verdict.NOT_FOUND: later("Once they are registered: {again}"),
}
_OWN_CODES = {
    "Client.Timeout": later("no answer came in time"),
    "Client.Disconnected": later("the connection was lost before the answer"),
    "Client.NotHttp": later("what came was no answer, or too long"),
    "Client.ConnectFailed": later("no connection came about; nothing was sent"),
    "Client.CertificateRefused": later("this machine does not trust the server's certificate"),
    "Client.NoEcho": later("the answer said success without the serial that was sent"),
    WRONG_ECHO: later("the answer named another serial than the one that was sent"),
    "Client.NoCode": later("the answer had no code"),
    "Client.NotJson": later("the answer was not the service's, but of something in front of it"),
    NO_DATA: later("the answer held nothing"),
}


class Remedy(StrEnum):
    """What to do about what a check of this machine or of the service has found."""

    NO_SERVICE = "Name them with --instance and --region, or a job file that does with --job."
    NOT_RENEWED = "Such a token cannot be renewed: a run that outlives it stops with 77, and is resumed with a new one."
    CLOCK_OFF = "Set this machine's clock (it must be within 15 minutes of the service's)."
    UNANSWERED = "Check the endpoint and the network; if this address was blocked, wait."
    READING_REFUSED = "bulkcert policy ACTION prints all that a run needs; without reading there is no preflight."
    ADDRESS_SILENT = "Leave this --source-address out, or see why nothing that is sent from it comes back."
    LIMITS_RAISED = "Above the documented limits: an address that sends more is blocked, unless they were raised."
    DISK_SMALL = "Make room: a run over a million rows takes up to 1 GB. Or name results elsewhere with -o."
    DISK_REMOTE = "--state-dir names a local directory for the store, which is faster and safer there."
    LOOP_SLOW = "pip install uvloop: with asyncio's own loop a call costs twice as much CPU."


_CHECK_NETWORK = later("Check the endpoint and the network. Call them again: {again}")


class Step(msgspec.Struct, frozen=True):
    """What to do next: what for, and the command; empty where it is nothing that bulkcert does."""

    purpose: str
    command: str = ""


def sentence(step: Step) -> str:
    """Returns a step as a sentence of a report, with the command between backquotes."""
    purpose = f"{step.purpose[0].upper()}{step.purpose[1:]}"
    return f"{purpose}{tr(': ')}{quoted(step.command)}" if step.command else purpose


def quoted(command: str) -> str:
    """Returns a command as it stands in the sentences of a report."""
    return f"`{command}`"


def meaning_of(outcome: Outcome, code: str = "") -> str:
    """Returns what a code says, or the outcome where there is none or no table lists it."""
    if not code or outcome is Outcome.UNDONE:
        return tr(_BY_OUTCOME[outcome][0])
    return tr(_OWN_CODES.get(code, "")) or rule_for(code).message or tr("no table lists this code")


def on_unregistered(action: Action, *, protected: bool) -> str:
    """Returns what it means that certificates are not registered, and what to do (reference, section 10).

    Others that are ``protected`` may be of the same CA.
    """
    if action.deletes:
        return tr("check the serials: there is nothing to delete under them")
    if not action.by_device:
        return tr("the instance knows no such CA: check the serials and the instance")
    if action.desired == "active":
        return tr("such a certificate becomes active at its first connection, and nothing can switch it on before")
    by_ca = "" if protected else tr("inactivate its CA (inactivate-ca), or ")
    return tr(
        "NOT safe: such a certificate becomes active at its first connection; {by_ca}once it has connected call it "
        "again",
        by_ca=by_ca,
    )


class Advice(msgspec.Struct, frozen=True):
    """What to do about rows of a run.

    Attributes:
        files: Of the run, for the commands.
        asked: What the run was asked.
    """

    files: RunFiles
    asked: Asked

    @property
    def action(self) -> Action:
        """What is asked for each row."""
        return ACTIONS[self.asked.action]

    def on(self, outcome: Outcome, code: str = "") -> str:
        """Returns what to do about rows with an outcome and a code; the code is empty where there is none."""
        rule, (_, by_outcome) = rule_for(code), _BY_OUTCOME[outcome]
        operation = self.action.operation
        if rule.advice and outcome is not Outcome.UNDONE:
            both = tr("{one} and {other}", one=operation.ram_action, other=INSTANCE_ACCESS)
            return tr(rule.advice, ram=both if operation.needs_instance_access else operation.ram_action)
        by_code = _CHECK_NETWORK if code in _OWN_CODES else ""
        return tr(
            by_outcome or by_code or _BY_VERDICT.get(rule.verdict, _AGAIN),
            again=quoted(self._again(outcome.value)),
            resume=quoted(self.files.command("resume")),
            verify=quoted(self.files.command("verify")),
            harmless=tr(" A repeat does no harm.") if self.action.repeatable else "",
            unregistered=sentence(self.on_unregistered()),
        )

    def _again(self, kind: str) -> str:
        return self.files.command("resume", "--retry", kind)

    def on_unregistered(self) -> Step:
        """Returns what to do about certificates that are not registered."""
        words = on_unregistered(self.action, protected=self.asked.spares_cas)
        again = self.action.desired == "inactive" and self.action.by_device
        return Step(words, self._again(Outcome.NOT_REGISTERED.value) if again else "")

    def finding(self, outcome: Outcome, code: str, read_back: str, *, maybe_undone: bool) -> tuple[str, str]:
        """Returns what it means that rows are not in the desired state, and what to do.

        An empty ``read_back`` is none; ``maybe_undone`` are rows that an undo may have changed back, without an answer.
        """
        if maybe_undone:
            meant = tr("{outcome}, then perhaps undone: no answer to that is known", outcome=spaced(outcome))
            verify, again = quoted(self.files.command("verify")), quoted(self._again("undone"))
            said = meant, tr("What they are now: {verify}. To do it again: {again}", verify=verify, again=again)
        elif read_back:
            meant = tr("{outcome}, then read back as {status}", outcome=spaced(outcome), status=spaced(read_back))
            is_open = outcome is Outcome.NOT_ATTEMPTED
            said = meant, self.on(outcome, code) if is_open else self.on_read_back(read_back)
        else:
            said = meaning_of(outcome, code), self.on(outcome, code)
        if not self.asked.rehearsal:
            return said
        # What is printed there is refused: the emulator is gone.
        return said[0], tr("REHEARSAL: nothing. Of a real run: {what}", what=said[1])

    def on_read_back(self, status: str) -> str:
        """Returns what to do about certificates that were done and then read back in this other state."""
        if status == Status.NOT_REGISTERED:
            words = on_unregistered(self.action, protected=self.asked.spares_cas)
            return tr("Deleted since. {what}", what=sentence(Step(words, self._again("drifted"))))
        said = tr("Somebody or something has changed them since: look into the service's audit log.")
        if not self.action.repeatable:
            return said
        commands = {"again": self._again("drifted"), "watch": self.files.command("verify", "--watch", "1h")}
        more = later(" To call them again: {again}; to keep watching: {watch}")
        return said + tr(more, **{name: quoted(command) for name, command in commands.items()})
