"""What calls that fail mean for those after them: backoff, slowing down, outages, refusals, and when a run gives up.

Times are seconds, passed in.
"""

import logging
from typing import TYPE_CHECKING

import anyio
import msgspec

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import bind, event
from bulkcert.service.actions import INSTANCE_ACCESS, Operation
from bulkcert.service.client import Response
from bulkcert.service.codes import CERTIFICATE_REFUSED, INSTANCE_REFUSED, Verdict, rule_for
from bulkcert.service.credentials import RENEW_EVERY_S, CredentialProvider
from bulkcert.service.signing import Credentials

if TYPE_CHECKING:
    from bulkcert.engine.progress import Progress

IN_A_ROW = 10
"""So many calls in a row without an answer are an outage, not bad luck."""

SILENCE_S = 60.0
"""An outage that lasts this long after the last answer ends the run; a shorter one is waited for."""

REFUSAL_S = 600.0
"""Nothing but throttling for so long ends the run."""

PAUSE_S = 2.0
"""While there is an outage each failed call holds all lanes this long: an address that is blocked must be quiet."""

FIRST_BACKOFF_S = 0.5
"""Longest wait after the first attempt."""

MOST_BACKOFF_S = 15.0
"""Longest wait after any attempt."""

_ONE_OF_SEVERAL = (
    "Correct the instance or the region in the rows of the list, or take these rows out; another list wants other "
    "results (-o)."
)


class Stop(msgspec.Struct, frozen=True):
    """Why a run ends before all its rows are called.

    Attributes:
        status: The exit status.
        message: What happened.
        advice: What to do next.
        code: The service's code that ends it, as in ``codes``; empty for any other reason.
    """

    status: ExitStatus
    message: str
    advice: str = ""
    code: str = ""


class Outage:
    """Whether the service answers, as seen by all workers together; ``now`` is when the run starts."""

    def __init__(self, now: float) -> None:
        self.answered = False
        """Whether the service has answered at all."""
        self.since = now
        """Time of the last answer, or of the start."""
        self.confirmed = False
        """Whether something else was asked during the outage, and got no answer either."""
        self.count = 0
        """How many outages were confirmed."""
        self.waits_until = now
        """Time until which a service that has answered before is waited for, however long that takes."""
        self._decided_at = now
        self._silent_since = now
        self._unanswered = 0

    def answer(self, now: float, *, throttled: bool) -> None:
        """Takes note of an answer of the service."""
        self.answered = True
        self.since = now
        self._unanswered = 0
        self.confirmed = False
        if not throttled:
            self._decided_at = now

    def no_answer(self, now: float, *, probe: bool = False) -> None:
        """Takes note of a call that the service did not answer.

        A probe is made to find out whether the silence is the service's: a few rows that are never answered look like
        an outage, too.
        """
        if not self._unanswered:
            self._silent_since = now
        self._unanswered += 1
        if probe and self.ongoing and not self.confirmed:
            self.confirmed = True
            self.count += 1

    def paused(self, seconds: float) -> None:
        """Takes note that nothing was sent for so long since nothing was to be: that is nobody's silence."""
        self._silent_since += seconds
        self._decided_at += seconds

    @property
    def ongoing(self) -> bool:
        """Whether there seems to be an outage: attempts that fail now say nothing about their rows."""
        return self._unanswered >= IN_A_ROW

    def verdict(self, now: float) -> str:
        """Returns why continuing is senseless, or an empty text."""
        if self.confirmed and not self.answered:
            return "the service never answered"
        if now < self.waits_until:
            return ""
        # From the first call without an answer: a pause of our own is not the service's silence.
        if self.confirmed and (silence := now - self._silent_since) >= SILENCE_S:
            return (
                f"no answer for {silence:.0f} s: the service is unreachable, or this address is blocked "
                "for sending too fast"
            )
        if self.answered and self.since - self._decided_at >= REFUSAL_S:
            return f"nothing but throttling for {self.since - self._decided_at:.0f} s"
        return ""


def backoff_s(attempt: int, chance: float) -> float:
    """Returns how long to wait after a failed attempt, counted from 1: exponential, with full jitter.

    Chance is a random number in [0, 1).
    """
    return chance * min(MOST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(attempt - 1, 30))


def report(answer: Response) -> None:
    """Names a call that did not succeed at once, to whoever wants to know (-v)."""
    event(
        "api_error",
        f"{answer.code}, request {answer.request_id or 'unknown'}: {answer.message}",
        logging.DEBUG,
        code=answer.code,
        request_id=answer.request_id,
        http_status=answer.http_status,
        latency_ms=answer.latency_ms,
    )


def refusal(answer: Response, operation: Operation, one_of_several: str = "") -> Stop:
    """Returns why a run ends whose calls are all refused like this one.

    Where one of several instances refuses, that is named first: then the list may be wrong.
    """
    if answer.code == CERTIFICATE_REFUSED:
        advice = "Check the endpoint; the certificate that it shows is not trusted by this machine."
        return Stop(ExitStatus.UNAVAILABLE, f"{one_of_several}{answer.code}: {answer.message}", advice, answer.code)
    rule = rule_for(answer.code)
    said = f"{answer.code} (HTTP {answer.http_status}, request {answer.request_id or 'unknown'}): {answer.message}"
    ram = f"{operation.ram_action}{f' and {INSTANCE_ACCESS}' if operation.needs_instance_access else ''}"
    advice = _ONE_OF_SEVERAL if one_of_several and answer.code in INSTANCE_REFUSED else rule.advice.format(ram=ram)
    return Stop(rule.exit_status or ExitStatus.INTERNAL, f"{one_of_several}{said}", advice, answer.code)


def unreadable(answer: Response, operation: Operation) -> BulkcertError:
    """Returns what to show the user when an answer cannot be had."""
    if answer.verdict is Verdict.STOP and rule_for(answer.code).exit_status is not None:
        stop = refusal(answer, operation)
        return BulkcertError(stop.status, f"{operation.name}: {stop.message}", stop.advice)
    asks = f"ask the service's support about {answer.code}"
    advice = f"If it stays so, {asks if answer.is_from_service else 'see what is between here and the service'}."
    message = f"{operation.name}: {answer.code}: {answer.message}"
    return BulkcertError(ExitStatus.UNAVAILABLE, message, advice, again=True)


class Renewal:
    """Renews what the calls of some lanes are signed with; their progress takes note of what fails.

    Attributes:
        on_trial: Credentials fetched because others had expired, while no call that they signed has been accepted.
    """

    def __init__(self, provider: CredentialProvider, progress: "Progress") -> None:
        self._provider, self._progress = provider, progress
        self.on_trial: Credentials | None = None

    async def after(self, answer: Response, operation: Operation) -> Stop | None:
        """Fetches credentials once for an expired token; returns why the run ends if they are no others."""
        if answer.credentials == self.on_trial:
            return refusal(answer, operation)
        try:
            await self._renew(answer.credentials)
        except BulkcertError as error:
            return Stop(error.status, error.message, error.advice)
        if self._provider.current == answer.credentials:
            return refusal(answer, operation)
        self.on_trial = self._provider.current
        return None

    async def keep(self) -> None:
        """Keeps the credentials fresh until cancelled."""
        while True:
            await anyio.sleep(RENEW_EVERY_S)
            try:
                await self._renew(None)
            except BulkcertError as error:
                # What is held may still be valid; the service says so when it no longer is.
                self._progress.last_error = error.message

    async def _renew(self, stale: Credentials | None) -> None:
        """Fetches credentials; reports if they are others than before, or if there are none."""
        before = self._provider.current
        try:
            await self._provider.renew(stale)
        except BulkcertError as error:
            event("credentials_failed", error.message, logging.WARNING, advice=error.advice)
            raise
        if (held := self._provider.current) != before:
            bind(access_key_id=held.access_key_id)
            event(
                "credentials_renewed", f"signing with access key {held.access_key_id} from now on", source=held.source
            )
