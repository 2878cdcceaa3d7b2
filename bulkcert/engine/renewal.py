"""Credentials that stay fresh while calls are made, and what it means when they do not."""

import logging

import anyio

from bulkcert.engine.progress import Progress, Stop
from bulkcert.engine.refusals import refusal
from bulkcert.errors import BulkcertError
from bulkcert.log import bind, event
from bulkcert.service.client import Response
from bulkcert.service.credentials import RENEW_EVERY_S, CredentialProvider
from bulkcert.service.operations import Operation
from bulkcert.service.signing import Credentials


class Renewal:
    """Renews what the calls of some lanes are signed with.

    Args:
        provider: What they are signed with.
        progress: Takes note of what fails.

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
        """Fetches credentials once for an expired token.

        Returns:
            Why the run ends if that brings none that are accepted; else None.
        """
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
