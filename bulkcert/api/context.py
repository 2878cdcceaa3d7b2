"""What is around the calls of a function of the API: credentials, progress, and cancellation."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio

from bulkcert.engine.failures import Stop
from bulkcert.engine.figures import Stats, Take
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.session import Observer, Supervision, fetch_credentials, unwrapped
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import unbound
from bulkcert.service.credentials import ChainCredentials, CredentialProvider, FixedCredentials
from bulkcert.service.signing import Credentials
from bulkcert.telemetry.events import watch_events

PROGRESS_EVERY_S = 0.5
"""How often progress is reported."""

OnProgress = Callable[[Stats], object]
"""Takes the figures of a session, on its event loop; what it raises stops the session in order, and is raised then."""

Came = TypeVar("Came")


class CallContext:
    """What is around the calls of one function: who signs them, who watches them, and what cancels them."""

    def __init__(self, on_progress: OnProgress | None, credentials: Credentials | None) -> None:
        self.provider: CredentialProvider = FixedCredentials(credentials) if credentials else ChainCredentials()
        self.cancelled = anyio.Event()
        self.failure: Exception | None = None
        self._on_progress = on_progress
        self._has_credentials = False

    async def call(self, work: Callable[[Supervision], Coroutine[Any, Any, object]], *watches: Observer) -> None:
        """Makes calls, with credentials.

        Raises:
            BulkcertError: It was cancelled before, there are no credentials, or the work has failed.
        """
        if self.cancelled.is_set():
            raise BulkcertError(ExitStatus.STOPPED_EARLY, "cancelled; no calls that change anything were made")
        if not self._has_credentials:
            await fetch_credentials(self.provider)
            self._has_credentials = True
        events = [watch_events] if logging.getLogger("bulkcert").isEnabledFor(logging.INFO) else []
        await work(Supervision(self.provider, (self._watch, *watches, *events), self._stop_where_cancelled))

    async def _stop_where_cancelled(self, lanes: Lanes) -> None:
        await self.cancelled.wait()
        lanes.stop(Stop(ExitStatus.STOPPED_EARLY, "cancelled"))

    async def _watch(self, take: Take) -> None:
        try:
            while True:
                self._report(take)
                await anyio.sleep(PROGRESS_EVERY_S)
        finally:
            self._report(take)

    def _report(self, take: Take) -> None:
        if self._on_progress is None or self.failure is not None:
            return
        try:
            self._on_progress(take())
        except Exception as error:  # noqa: BLE001 - whatever it is, calls in flight are waited for first
            self.failure = error
            self.cancelled.set()


async def drained(
    work: Callable[[CallContext], Coroutine[Any, Any, Came]],
    on_progress: OnProgress | None,
    credentials: Credentials | None,
) -> Came:
    """Awaits work; where it is cancelled, the work comes to its end in order first.

    The work is in a task of its own, in a shielded scope: so neither a cancelled scope of anyio nor a cancelled task of
    asyncio gets into it.
    """
    context = CallContext(on_progress, credentials)
    came: list[Came] = []
    failures: list[BaseException] = []

    async def do() -> None:
        with anyio.CancelScope(shield=True), unbound():
            try:
                with unwrapped():
                    came.append(await work(context))
            except BaseException as error:  # noqa: BLE001 - raised below, and not in a group
                failures.append(error)
        group.cancel_scope.cancel()

    async def await_cancellation() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            context.cancelled.set()

    async with anyio.create_task_group() as group:
        group.start_soon(do)
        group.start_soon(await_cancellation)
    for failure in filter(None, (context.failure, *failures)):
        raise failure
    return came[0]
