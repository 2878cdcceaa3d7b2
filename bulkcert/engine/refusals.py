"""Calls that are refused: named in the log, what they mean for a run, and credentials that are renewed meanwhile."""

import logging

import anyio

from bulkcert.engine.progress import Progress, Stop
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import bind, event
from bulkcert.service.actions import INSTANCE_ACCESS, Operation
from bulkcert.service.client import Response
from bulkcert.service.codes import CERTIFICATE_REFUSED, INSTANCE_REFUSED, Verdict, rule_for
from bulkcert.service.credentials import RENEW_EVERY_S, CredentialProvider
from bulkcert.service.signing import Credentials

_ONE_OF_SEVERAL = (
    "Correct the instance or the region in the rows of the list, or take these rows out; another list wants other "
    "results (-o)."
)


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

    def __init__(self, provider: CredentialProvider, progress: Progress) -> None:
        self._provider, self._progress = provider, progress
        self.on_trial: Credentials | None = None

    def accepted(self, credentials: Credentials) -> None:
        """Takes note that a call was accepted with these."""
        if credentials == self.on_trial:
            self.on_trial = None

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
