"""Lanes: paced clients that make calls until they are settled, and what every answer means for all of them together."""

import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

import anyio
import msgspec

from bulkcert.engine.failures import PAUSE_S, Outage, Renewal, Stop, backoff_s, refusal, report
from bulkcert.engine.pacer import Pacer, Ticker
from bulkcert.engine.progress import LaneProgress, Progress
from bulkcert.engine.target import Target
from bulkcert.errors import ExitStatus
from bulkcert.service.actions import OPERATIONS, Operation
from bulkcert.service.client import Client, RegionalClient, Response
from bulkcert.service.codes import FINAL, NO_DATA, READING_REFUSED, WRONG_ECHO, Verdict
from bulkcert.service.credentials import CredentialProvider

_REFUSED = frozenset({Verdict.STOP, Verdict.NOT_SENT, Verdict.REFRESH, Verdict.SIGN_AGAIN})
"""What says that a call was not even examined."""

_PROBE = OPERATIONS["ListCaCertificate"]
"""What is asked where calls get no answer: about no row, and a refusal is an answer."""


class Lane(msgspec.Struct, frozen=True):
    """One source address with its client and its token bucket."""

    client: Client | RegionalClient
    pacer: Pacer
    progress: LaneProgress
    turn: anyio.Lock = msgspec.field(default_factory=anyio.Lock)
    """For what must be done one at a time."""


class CallResult(msgspec.Struct, frozen=True, array_like=True):
    """What came of a call, however many attempts it took.

    Attributes:
        answer: The last answer.
        attempts: Attempts made.
        final: Whether the answer says what became of it.
        again: Whether a stop cut it short, so that the next run takes it up; else its attempts are used up, or final.
        unanswered: Whether any attempt before the last answer may have been done without an answer that says so.
        refused: Whether no attempt can have been done: none came about but those that were refused unread.
    """

    answer: Response
    attempts: int
    final: bool
    again: bool
    unanswered: bool
    refused: bool

    @property
    def concerns_one(self) -> bool:
        """Whether it is refused for what it asks, or was answered with something else as often as it was asked.

        That says nothing about other calls.
        """
        if self.final:
            return self.answer.verdict is not Verdict.STOP
        return not self.again and self.answer.code in (NO_DATA, WRONG_ECHO)


Acquire = Callable[[bool], Awaitable[bool]]
"""Waits until an attempt may be sent, given whether it is the first; False if nothing may be sent any more."""


class Lanes:
    """All lanes of a run, and when it is senseless to continue with them.

    Args:
        clients: One a lane.
        provider: What the clients sign with, to be renewed.
        progress: Kept up to date.
        service: How fast they may be, and how many attempts a call gets; those that met a throttle or an outage do not
            count.
        ticker: Lets their calls through; one of their own unless it has more to ask.
    """

    def __init__(
        self,
        clients: Collection[Client | RegionalClient],
        provider: CredentialProvider,
        progress: Progress,
        service: Target,
        ticker: Ticker | None = None,
    ) -> None:
        self.renewal = Renewal(provider, progress)
        """Its ``keep`` is to be run next to the calls."""
        self.service = service
        self.progress = progress
        outages = {endpoint: Outage(time.monotonic()) for endpoint in service.endpoints}
        self.progress.outages = [*outages.values()]
        self._outages = {instance: outages[endpoint] for instance, endpoint in service.instances.items()}
        """That of each instance's endpoint; empty where all have the same."""
        self.stopping = anyio.Event()
        self._paused_at = 0.0
        self._probing = anyio.Lock()
        self._ticker = ticker or Ticker(progress.slow_down)
        self.lanes = [
            Lane(client, Pacer(service.lane_cap, self._ticker), LaneProgress(address or "any"))
            for client, address in zip(clients, service.addresses, strict=False)
        ]
        progress.lanes = [lane.progress for lane in self.lanes]

    def stop(self, stop: Stop) -> None:
        """Lets nothing more be sent; calls in flight finish; the first reason counts."""
        if self.progress.stop is None:
            self.progress.stop = stop
            self.stopping.set()
            self._ticker.stop()

    async def change(self, service: Target) -> None:
        """Changes how fast all lanes may be together, and each of them."""
        self.service = service
        for lane in self.lanes:
            await lane.pacer.change(service.lane_cap)

    def pause(self, by: str) -> None:
        """Lets nothing more be sent until ``resume``, or a stop; ``by`` says who asks, and since when, in words."""
        if not self.progress.paused_by:
            self.progress.paused_by, self._paused_at = by, time.monotonic()
            self._ticker.is_paused = True

    def resume(self) -> None:
        """Ends a pause, if there is one."""
        if self.progress.paused_by:
            for outage in self.progress.outages:
                outage.paused(time.monotonic() - self._paused_at)
            self.progress.paused_by = ""
            self._ticker.is_paused = False
            self._ticker.wake()

    async def settle(
        self,
        lane: Lane,
        operation: Operation,
        parameters: Mapping[str, str],
        *,
        acquire: Acquire | None = None,
        ahead: bool = False,
        unanswered: bool = False,
    ) -> CallResult | None:
        """Makes a call until it is settled or its attempts are used up; None if it was not sent at all.

        Args:
            lane: Where to send from.
            operation: What is called.
            parameters: Its query, ``MqttInstanceId`` included.
            acquire: Waits until an attempt may be sent; the lane's pacer unless it has more to do than wait.
            ahead: Whether it goes before all calls that wait.
            unanswered: Whether an attempt was made earlier whose answer is not known.
        """
        answer, attempts, charged, refused = None, 0, 0, True
        while charged < self.service.attempts:
            if (connecting := lane.client.prepare(parameters)) is not None:
                await connecting
            if not await (acquire(not attempts) if acquire else lane.pacer.acquire(ahead=ahead)):
                break
            attempts += 1
            answer = await self._send(lane, operation, parameters, attempts)
            charged += self._weigh(answer, operation, parameters)
            if answer.verdict is Verdict.REFRESH and (stop := await self.renewal.after(answer, operation)):
                self.stop(stop)
            refused, unanswered = refused and answer.verdict in _REFUSED, unanswered or answer.may_be_done
            if answer.verdict in FINAL or _is_tolerated(answer, operation):
                return CallResult(answer, attempts, final=True, again=False, unanswered=unanswered, refused=refused)
            if self._outage(parameters).ongoing:
                charged += await self._probe(lane, parameters)
            if self.stopping.is_set() or charged >= self.service.attempts:
                break
            with anyio.move_on_after(backoff_s(attempts, random.random())):
                await self.stopping.wait()
        if answer is None:
            return None
        is_answered = await self._answers(lane, answer, parameters)
        used_up = charged >= self.service.attempts and answer.verdict is not Verdict.STOP and is_answered
        return CallResult(answer, attempts, final=False, again=not used_up, unanswered=unanswered, refused=refused)

    async def _answers(self, lane: Lane, answer: Response, parameters: Mapping[str, str]) -> bool:
        """Returns whether the service has answered at all, if only something else; the run stops if it has not."""
        outage = self._outage(parameters)
        if not outage.answered:
            await self._probe(lane, parameters)
        if not outage.answered:
            self._unreachable("the service never answered", answer, parameters)
        return outage.answered

    def _outage(self, parameters: Mapping[str, str]) -> Outage:
        """Returns whether the service answers where a call goes to."""
        return self._outages.get(parameters["MqttInstanceId"], self.progress.outages[0])

    def _named(self, parameters: Mapping[str, str]) -> str:
        """Returns the instance of a call, to be read before what came of it, if it is one of several."""
        instance = parameters["MqttInstanceId"]
        endpoint = self.service.instances.get(instance)
        return f"{instance} at {endpoint}: " if endpoint is not None else ""

    async def _probe(self, lane: Lane, parameters: Mapping[str, str]) -> int:
        """Asks something else, of the same instance, while calls get no answer.

        Returns:
            1 if that is answered: the silence is that of the calls, and each has to pay for its attempt; else 0.
        """
        outage = self._outage(parameters)
        was_confirmed = outage.confirmed
        if was_confirmed and self._probing.locked():
            return 0
        async with self._probing:
            is_silent = outage.ongoing or not outage.answered
            is_first = outage.confirmed == was_confirmed and not self.stopping.is_set()
            if is_silent and is_first and await lane.pacer.acquire():
                query = {"MqttInstanceId": parameters["MqttInstanceId"], "PageNo": "1", "PageSize": "1"}
                answer = await self._send(lane, _PROBE, query, 1)
                self._weigh(answer, _PROBE, query, probe=True)
        return int(outage.answered and not (was_confirmed or outage.ongoing))

    async def _send(self, lane: Lane, operation: Operation, parameters: Mapping[str, str], attempt: int) -> Response:
        progress = self.progress
        progress.retries += attempt > 1
        progress.in_flight += 1
        lane.progress.in_flight += 1
        now = time.monotonic()
        progress.sends.sent(now)
        lane.progress.window.sent(now)
        answer = await lane.client.call(operation, parameters)
        progress.in_flight -= 1
        lane.progress.in_flight -= 1
        return answer

    def _weigh(
        self, answer: Response, operation: Operation, parameters: Mapping[str, str], *, probe: bool = False
    ) -> int:
        """Draws the consequences of an answer for the whole run; returns how many attempts it costs its call."""
        progress, verdict, now = self.progress, answer.verdict, time.monotonic()
        outage = self._outage(parameters)
        progress.count(answer)
        if answer.code:
            report(answer)
        if answer.is_from_service or verdict is Verdict.THROTTLED:
            outage.answer(now, throttled=verdict is Verdict.THROTTLED)
        else:
            outage.no_answer(now, probe=probe)
            if outage.confirmed:
                progress.slow_down.silent(now, PAUSE_S)
        if reason := outage.verdict(now):
            self._unreachable(reason, answer, parameters)
        if verdict is Verdict.THROTTLED:
            progress.throttles += 1
            progress.throttle_code, progress.retry_after_s = answer.code, answer.retry_after_s
            progress.slow_down.throttled(now, answer.retry_after_s)
            return 0
        progress.slow_down.answered()
        if verdict is Verdict.STOP and not _is_tolerated(answer, operation):
            self.stop(refusal(answer, operation, self._named(parameters)))
        elif verdict is Verdict.REFRESH:
            return 0
        elif (on_trial := self.renewal.on_trial) and answer.is_from_service and answer.credentials == on_trial:
            self.renewal.on_trial = None
        return 0 if outage.ongoing else 1

    def _unreachable(self, reason: str, answer: Response, parameters: Mapping[str, str]) -> None:
        advice = "Check the endpoint and the network; if this address was blocked, wait."
        self.stop(
            Stop(
                ExitStatus.UNAVAILABLE,
                f"{self._named(parameters)}{reason}; last: {answer.code}: {answer.message}",
                advice,
            )
        )


def _is_tolerated(answer: Response, operation: Operation) -> bool:
    """Returns whether a refusal does not stop the run: one that reads is not permitted, and others may be."""
    return operation.reads and answer.code in READING_REFUSED
