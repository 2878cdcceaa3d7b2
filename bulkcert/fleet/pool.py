"""The calls of a session that wait for a lane, or that one holds; each counts once."""

import asyncio
from collections import deque
from dataclasses import dataclass

import msgspec

from bulkcert.engine.lanes import CallResult
from bulkcert.fleet.messages import Call
from bulkcert.service.client import Response
from bulkcert.service.codes import Verdict
from bulkcert.service.signing import Credentials

LOST = "Client.LaneLost"
"""Code of our own: the lane that held a call was gone when the session stopped."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A call that somebody waits for.

    Attributes:
        number: Its number.
        operation: Name of what is called.
        values: Of its parameters.
        unanswered: Whether it may have been made without an answer.
        attempts: Made by lanes that did not finish it.
        done: Takes what came of it.
    """

    number: int
    operation: str
    values: tuple[str, ...]
    unanswered: bool
    done: asyncio.Future[CallResult | None]
    attempts: int = 0


class CallPool:
    """All calls that are not over, in the order in which they are to be made."""

    def __init__(self) -> None:
        self._queue: deque[Waiting] = deque()
        self._open: dict[int, Waiting] = {}
        self._last = 0
        self.handed_over = 0
        """Calls that were taken from a lane that was silent or gone, and that may be made twice."""

    @property
    def open(self) -> int:
        """How many calls are not over."""
        return len(self._open)

    def call(
        self, operation: str, values: tuple[str, ...], *, ahead: bool, unanswered: bool
    ) -> asyncio.Future[CallResult | None]:
        """Has some lane make a call; returns what comes of it, None where none has sent it."""
        self._last += 1
        done: asyncio.Future[CallResult | None] = asyncio.get_running_loop().create_future()
        call = self._open[self._last] = Waiting(self._last, operation, values, unanswered, done)
        if ahead:
            self._queue.appendleft(call)
        else:
            self._queue.append(call)
        return done

    def take(self, most: int) -> list[Call]:
        """Takes the next calls for a lane."""
        taken: list[Call] = []
        while self._queue and len(taken) < most:
            call = self._queue.popleft()
            if not call.done.done():
                taken.append(Call(call.number, call.operation, call.values, call.unanswered))
        return taken

    def settle(self, number: int, result: CallResult) -> None:
        """Takes what came of a call, whichever lane had it; only the first counts."""
        if (call := self._open.pop(number, None)) is not None and not call.done.done():
            if call.attempts or call.unanswered:
                result = msgspec.structs.replace(result, attempts=result.attempts + call.attempts, unanswered=True)
            call.done.set_result(result)

    def again(self, number: int, *, attempts: int = 0, unanswered: bool = False) -> None:
        """Puts a call that a lane has not finished before all others."""
        if (call := self._open.get(number)) is not None:
            call.attempts += attempts
            call.unanswered = call.unanswered or unanswered
            self._queue.appendleft(call)

    def drop(self, number: int) -> None:
        """Takes note that a call was not sent and is not to be; what an earlier lane may have done is not known."""
        if (call := self._open.pop(number, None)) is None or call.done.done():
            return
        call.done.set_result(_lost(call) if call.unanswered and call.attempts else None)

    def lose(self, number: int, *, stopping: bool) -> None:
        """Takes a call from a lane that is silent or gone and may have made it."""
        if number not in self._open:
            return
        self.handed_over += 1
        self.again(number, attempts=1, unanswered=True)
        if stopping:
            self.drop(number)

    def drain(self) -> None:
        """Drops what no lane holds: nothing more is to be sent."""
        for call in self._queue:
            self.drop(call.number)
        self._queue.clear()


def _lost(call: Waiting) -> CallResult:
    message = "the lane that held it was gone when the session stopped: it may have been made"
    answer = Response(
        verdict=Verdict.UNANSWERED,
        code=LOST,
        message=message,
        sent_at=0,
        finished_at=0,
        latency_ms=0.0,
        credentials=Credentials("", ""),
    )
    return CallResult(answer, call.attempts, final=False, again=True, unanswered=True, refused=False)
