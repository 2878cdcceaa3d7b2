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
        call: What a lane is given of it.
        done: Takes what came of it.
        attempts: Made by lanes that did not finish it.
    """

    call: Call
    done: asyncio.Future[CallResult | None]
    attempts: int = 0


class CallPool:
    """All calls that are not over, in the order in which they are to be made."""

    def __init__(self) -> None:
        self._queue: deque[Waiting] = deque()
        self._open: dict[int, Waiting] = {}
        self._last = 0

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
        call = Call(self._last, operation, values, unanswered)
        waiting = self._open[self._last] = Waiting(call, done)
        if ahead:
            self._queue.appendleft(waiting)
        else:
            self._queue.append(waiting)
        return done

    def take(self, most: int) -> list[Call]:
        """Takes the next calls for a lane."""
        taken: list[Call] = []
        while self._queue and len(taken) < most:
            waiting = self._queue.popleft()
            if not waiting.done.done():
                taken.append(waiting.call)
        return taken

    def settle(self, number: int, result: CallResult | None) -> None:
        """Takes what came of a call, whichever lane had it, None if it is not to be sent; only the first counts."""
        if (waiting := self._open.pop(number, None)) is None or waiting.done.done():
            return
        if result is None and waiting.attempts and waiting.call.unanswered:
            result = _lost(waiting.attempts)  # what an earlier lane may have done is not known
        elif result is not None and (waiting.attempts or waiting.call.unanswered):
            result = msgspec.structs.replace(result, attempts=result.attempts + waiting.attempts, unanswered=True)
        waiting.done.set_result(result)

    def again(self, number: int, *, attempts: int = 0, unanswered: bool = False) -> None:
        """Puts a call that a lane has not finished before all others."""
        if (waiting := self._open.get(number)) is not None:
            waiting.attempts += attempts
            if unanswered:
                waiting.call = msgspec.structs.replace(waiting.call, unanswered=True)
            self._queue.appendleft(waiting)

    def lose(self, number: int, *, stopping: bool) -> bool:
        """Takes a call from a lane that is silent or gone and may have made it; returns whether it was not over."""
        if number not in self._open:
            return False
        self.again(number, attempts=1, unanswered=True)
        if stopping:
            self.settle(number, None)
        return True

    def drain(self) -> None:
        """Drops what no lane holds: nothing more is to be sent."""
        for waiting in self._queue:
            self.settle(waiting.call.number, None)
        self._queue.clear()


def _lost(attempts: int) -> CallResult:
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
    return CallResult(answer, attempts, final=False, again=True, unanswered=True, refused=False)
