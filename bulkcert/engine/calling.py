"""The engine: rows through lanes of paced workers into the store; it stops when continuing is senseless.

The trip of one row: the feeder takes it from the pinned list, a hundred at a time, and has the store keep that they may
be called (``Store.claim``). A worker of some lane takes it, waits for the lane's token bucket, and only then is the
request signed and sent (``Lanes.settle``). The timer that lets it through reads what has come as well, in the same wake
(``Ticker``). The answer is classified by the service's table of codes; what does not decide the row is tried again,
through the bucket again. The outcome goes to the store (``Store.add``), which writes it with others in one transaction,
and the row is done once that is on disk.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec

from bulkcert.engine.failures import Stop
from bulkcert.engine.lanes import CallResult, Lane, Lanes
from bulkcert.engine.target import Limit
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.actions import Action, Status
from bulkcert.service.codes import Verdict
from bulkcert.store.database import reason_of
from bulkcert.store.outcome import ERRORS, OUTCOME_OF, Outcome, Record, Row
from bulkcert.store.store import Store

BUFFERED_ROWS = 128
"""Rows that wait for a worker: enough for the time that the next ones take to be read."""

CLAIMED_ROWS = 128
"""Rows that are claimed at a time, at least: so many, and those in flight, a killed session leaves in doubt."""

CLAIMED_OF_FLIGHT = 16
"""Where thousands are in flight, on lanes of several machines, a sixteenth of them: each claim waits for the disk."""

Work = Callable[[Lane, Row], Awaitable[None]]
"""What is done with one row."""


@asynccontextmanager
async def committing(store: Store, lanes: Lanes) -> AsyncIterator[None]:
    """Writes what the store is given, next to the calls; in the end all of it is on disk.

    If the disk refuses, the lanes are stopped.
    """
    async with anyio.create_task_group() as group:
        group.start_soon(store.commit_groups, partial(stop_unwritable, store, lanes))
        yield
        await store.sync()
        group.cancel_scope.cancel()


def stop_unwritable(store: Store, lanes: Lanes, error: sqlite3.Error) -> None:
    """Stops the lanes of a run whose store cannot be written any more."""
    message = f"cannot write {store.path}: {reason_of(error)}"
    advice = "Make room; calls whose outcome was not written are made again."
    lanes.stop(Stop(ExitStatus.CANNOT_WRITE, message, advice))


class Engine:
    """Calls rows and stores their outcomes; works on any slice of the rows, with any share of the limit.

    Args:
        action: What is asked for each row.
        lanes: Where calls go through; their progress is kept up to date.
        store: Where outcomes go; ``committing`` must be entered.
        max_errors: When to give up.
        undoes: Whether the calls change back what the run has changed.
    """

    def __init__(
        self,
        action: Action,
        lanes: Lanes,
        store: Store,
        *,
        max_errors: Limit,
        undoes: bool = False,
    ) -> None:
        self._action = action
        self._max_errors = max_errors
        self._lanes = lanes
        self._store = store
        self._undoes = undoes

    async def run(self, batches: Iterator[list[Row]]) -> None:
        """Calls these rows, read in a worker thread; returns after the last of them, or on a stop."""
        await each_row(self._lanes, self._claimed(batches), self._call)

    def _claimed(self, batches: Iterator[list[Row]]) -> Iterator[list[Row]]:
        """Yields the rows a few at a time, each once it is on disk that they may be called."""
        at_once = max(CLAIMED_ROWS, self._lanes.service.workers // CLAIMED_OF_FLIGHT)
        for batch in batches:
            for first in range(0, len(batch), at_once):
                rows = batch[first : first + at_once]
                try:
                    self._store.claim(row.number for row in rows)
                except sqlite3.Error as error:
                    self._store.failure = error
                    anyio.from_thread.run_sync(stop_unwritable, self._store, self._lanes, error)
                    return
                yield rows

    async def _call(self, lane: Lane, row: Row) -> None:
        """Calls one row until its outcome is known, its attempts are used up, or the run stops."""
        action = self._action
        parameters = self._lanes.service.parameters(action, row)
        acquire = None if action.repeatable else partial(self._acquire, lane, row)
        # A call of an earlier session may have been made and never answered.
        settled = await self._lanes.settle(
            lane, action.operation, parameters, acquire=acquire, unanswered=row.unanswered
        )
        if settled is None:
            return
        read, answer = None, settled.answer
        is_doubtful = settled.unanswered and not settled.again and answer.verdict is not Verdict.DONE
        # Only reading says what became of it; who is not answered at all is not asked for more.
        if is_doubtful and answer.http_status > 0:
            # Before the calls that wait: whether there are too many errors must not wait for them.
            read = await self._lanes.settle(lane, action.reading, parameters, ahead=True)
            if read is None or read.again:  # a stop: the next session finds out
                settled = msgspec.structs.replace(settled, final=False, again=True)
        record = _record(row, settled, read, action, undoes=self._undoes)
        await self._store.add(record)
        if not action.repeatable:
            await self._store.sync()
        self._count(row, record)

    async def _acquire(self, lane: Lane, row: Row, first: bool) -> bool:
        """Waits until a call may be sent that must not be repeated blindly; its intent is on disk then."""
        if not first:
            return await lane.pacer.acquire()
        # After the wait, and one at a time: an intent whose call a kill prevents makes a later "not found" look like
        # the doing of that call.
        async with lane.turn:
            if not await lane.pacer.acquire():
                return False
            await self._store.add(row.number)
            await self._store.sync()
            return self._store.failure is None

    def _count(self, row: Row, record: Record) -> None:
        progress = self._lanes.progress
        progress.outcomes[record.outcome] += 1
        if record.outcome is Outcome.UNDONE and row.outcome is not None:
            progress.replaced[row.outcome] += 1
        if (error := progress.errors.get(record.code or "")) is not None:
            error.row = record.row
        if record.outcome in ERRORS and not record.again:
            errors = sum(progress.outcomes[outcome] for outcome in ERRORS)
            # Rows that were not called say nothing about how calls fare.
            called = progress.outcomes.total() - progress.outcomes[Outcome.UNCHANGED]
            if self._max_errors.exceeded(errors, called):
                message = f"too many errors: {errors} of {called} rows called; last: {progress.last_error}"
                advice = "See the results; then resume, with --retry failed,unknown for the failed rows."
                self._lanes.stop(Stop(ExitStatus.TOO_MANY_ERRORS, message, advice))


async def each_row(lanes: Lanes, batches: Iterator[list[Row]], work: Work) -> None:
    """Does something with each row, many at a time; returns after the last, or on a stop.

    Whichever lane has a worker free takes the next row.

    Args:
        lanes: What the rows are shared out to; an input that cannot be read stops them.
        batches: The rows, in order; read in a worker thread.
        work: What is done.
    """
    # asyncio's, since there may be thousands of workers: starting one in a group of anyio's costs six times as much.
    async with asyncio.TaskGroup() as group:
        rows = _Rows(lanes, work)
        group.create_task(rows.feed(batches, group))


class _Rows:
    """The rows that wait for a worker: a few only, and no hand-over costs a turn of the loop."""

    def __init__(self, lanes: Lanes, work: Work) -> None:
        self._lanes = lanes
        self._do = work
        self._waiting: deque[Row] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        """Workers without a row: each row wakes one of them, since there may be thousands."""
        self._room = asyncio.Event()
        self._is_over = False

    async def feed(self, batches: Iterator[list[Row]], group: asyncio.TaskGroup) -> None:
        lanes, stopping = self._lanes, self._lanes.stopping
        # In turn, so that a few rows go through all lanes.
        in_turn = (lane for _ in range(lanes.service.workers) for lane in lanes.lanes)
        try:
            while not stopping.is_set() and (batch := await anyio.to_thread.run_sync(next, batches, None)) is not None:
                self._waiting.extend(batch)
                for lane in islice(in_turn, len(batch) - self._wake(len(batch))):
                    group.create_task(self.work(lane))
                while len(self._waiting) >= BUFFERED_ROWS and not stopping.is_set():
                    self._room.clear()
                    await self._room.wait()
        except BulkcertError as error:
            lanes.stop(Stop(error.status, error.message, error.advice))
        self._is_over = True
        self._wake(len(self._idle))

    def _wake(self, most: int) -> int:
        """Wakes workers that have no row; returns how many."""
        woken = min(most, len(self._idle))
        for _ in range(woken):
            if not (turn := self._idle.popleft()).done():
                turn.set_result(None)
        return woken

    async def work(self, lane: Lane) -> None:
        while not self._lanes.stopping.is_set():
            if self._waiting:
                row = self._waiting.popleft()
                if len(self._waiting) < BUFFERED_ROWS:
                    self._room.set()
                await self._do(lane, row)
            elif self._is_over:
                return
            else:
                self._idle.append(turn := asyncio.get_running_loop().create_future())
                await turn
        self._room.set()


def _became(settled: CallResult, read: CallResult | None, action: Action) -> tuple[Outcome, str]:
    """Returns the outcome of a row, and why: the answer decides, or what was read where an attempt may have done it."""
    answer, state = settled.answer, read and read.answer.status
    outcome = Outcome.NOT_ATTEMPTED if settled.again else OUTCOME_OF[answer.verdict]
    if not settled.unanswered or outcome is Outcome.SUCCEEDED:
        return outcome, answer.message
    is_said = OUTCOME_OF.get(answer.verdict) is Outcome.UNKNOWN  # by the message of whatever was no answer
    if settled.again or state is None or state is Status.UNRECOGNIZED:
        is_gone = state is None and outcome is Outcome.NOT_REGISTERED and not action.repeatable
        message = answer.message + " (an attempt may have been carried out)" * (not is_said)
        return (Outcome.SUCCEEDED if is_gone else Outcome.UNKNOWN), message
    message = f"read back {state}, since an attempt may have been carried out; last answer: {answer.message}"
    if state is action.desired_status:
        return Outcome.SUCCEEDED, message
    if not action.repeatable:  # what was not found is there: an attempt may still be carried out
        return Outcome.UNKNOWN, message
    return Outcome.NOT_REGISTERED if state is Status.NOT_REGISTERED else Outcome.FAILED, message


def _record(row: Row, settled: CallResult, read: CallResult | None, action: Action, *, undoes: bool) -> Record:
    """Returns what became of a row; what was read of it, if it was, counts as a call for it."""
    answer, (outcome, message) = settled.answer, _became(settled, read, action)
    # Not where all calls that were made were refused.
    unexamined = outcome is Outcome.NOT_REGISTERED or (outcome is Outcome.NOT_ATTEMPTED and settled.refused)
    return Record(
        row.number,
        Outcome.UNDONE if undoes and outcome is Outcome.SUCCEEDED else outcome,
        answer.code or None,
        message or None,
        answer.http_status or None,
        answer.request_id or None,
        settled.attempts + (read.attempts if read is not None else 0),
        answer.sent_at or None,
        answer.finished_at or None,
        answer.latency_ms or None,
        row.device_sn,
        row.ca,
        settled.again,
        changed=settled.attempts > 0 and (settled.unanswered or not unexamined),
    )
