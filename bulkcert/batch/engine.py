"""The engine: rows through lanes of paced workers into the journal; it stops when going on is senseless."""

from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice

import anyio

from bulkcert.actions import Action
from bulkcert.api.client import Answer, Client
from bulkcert.api.verdicts import Verdict
from bulkcert.batch.feeding import each_row
from bulkcert.batch.journal import Journal
from bulkcert.batch.lanes import Lane, Lanes, Settled
from bulkcert.batch.lines import Intent, Reach
from bulkcert.batch.order import Order
from bulkcert.batch.outcome import ERRORS, OUTCOME_OF, Outcome, Record, Row
from bulkcert.batch.progress import Stop
from bulkcert.errors import ExitStatus

FORESEEN_CALLS = 500
"""Rows, of those that are to be called, of which a killed session may leave in doubt whether it came to them."""


@asynccontextmanager
async def journaling(journal: Journal, lanes: Lanes) -> AsyncIterator[None]:
    """Writes a journal beside the calls; in the end all that was appended is on disk.

    If the disk refuses, the lanes are stopped.
    """

    def failed(error: OSError) -> None:
        message = f"cannot write {journal.path}: {error.strerror or error}"
        advice = "Make room, then run the same command again: calls whose outcome was not written are made again."
        lanes.stop(Stop(ExitStatus.CANNOT_WRITE, message, advice))

    async with anyio.create_task_group() as beside:
        beside.start_soon(journal.commit_groups, failed)
        yield
        await journal.sync()
        beside.cancel_scope.cancel()


class _Foreseen:
    """How far into the rows calls may go: on disk before they go there, so that a kill leaves few rows in doubt.

    Args:
        journal: Where it is kept.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._reach = self._half = 0
        self._extending = anyio.Lock()

    async def confirm(self, row: int) -> None:
        """Returns once a row may be called; that waits for the disk only where calls outrun it."""
        if not self._is_near(row) or (row <= self._reach and self._extending.locked()):
            return
        async with self._extending:
            if self._is_near(row):
                index = self._journal.index
                reach = index.after_open(row, FORESEEN_CALLS)
                await self._journal.append(Reach(reach))
                await self._journal.sync()
                self._reach, self._half = reach, index.after_open(row, FORESEEN_CALLS // 2)

    def _is_near(self, row: int) -> bool:
        """Returns whether a row is so far on that more rows should be foreseen, and there are more."""
        return row > self._half and self._reach < self._journal.index.rows


class Engine:
    """Calls rows and journals their outcomes; works on any slice of the rows, with any share of the cap.

    Args:
        order: What to do with each row.
        lanes: Where calls go through; their progress is kept up to date.
        journal: Where outcomes go; ``journaling`` must be entered.
    """

    def __init__(self, order: Order, lanes: Lanes, journal: Journal) -> None:
        self._order = order
        self._lanes = lanes
        self._journal = journal
        self._foreseen = _Foreseen(journal)

    async def run(self, batches: Iterator[list[Row]]) -> None:
        """Calls all rows that have no final outcome yet; returns after the last of them, or on a stop.

        Args:
            batches: The rows, in order; read in a worker thread.
        """
        await each_row(self._lanes, self._order.workers, self._open(batches), self._call)

    def _open(self, batches: Iterator[list[Row]]) -> Iterator[list[Row]]:
        """Leaves out what has a final outcome, and what is beyond the limit."""
        left, is_final = self._order.limit_rows, self._journal.index.is_final
        for batch in batches:
            rows = list(islice((row for row in batch if not is_final(row.number)), left))
            yield rows
            if left is not None and (left := left - len(rows)) == 0:
                return

    async def _call(self, lane: Lane, row: Row) -> None:
        await self._foreseen.confirm(row.number)
        record = await self._settle(lane, row)
        if record is not None:
            await self._journal.append(record)
            if not self._order.action.repeatable:
                await self._journal.sync()
            self._count(record)

    async def _settle(self, lane: Lane, row: Row) -> Record | None:
        """Calls one row until its outcome is known or its attempts are used up; None if it was not called at all."""
        action = self._order.action
        parameters = action.parameters(self._order.instance, row.device_sn, row.ca_sn)
        serial = action.serial(row.device_sn, row.ca_sn)

        def send(client: Client) -> Awaitable[Answer]:
            return client.call(action.operation, parameters, serial)

        # A call of an earlier session may have been made and never answered.
        index = self._journal.index
        unanswered = row.number in index.intents or index.outcome(row.number) is Outcome.UNKNOWN
        admit = None if action.repeatable else partial(self._admit, lane, row)
        settled = await self._lanes.settle(lane, action.operation, send, admit=admit, unanswered=unanswered)
        if settled is None:
            return None
        return _final(row, settled, action) if settled.final else _unfinished(row, settled)

    async def _admit(self, lane: Lane, row: Row, first: bool) -> bool:
        """Waits until a call may be sent that must not be repeated blindly; its intent is on disk then."""
        if not first:
            return await lane.pacer.admit()
        # After the wait, and one at a time: an intent whose call a kill prevents makes a later "not found" look like
        # the doing of that call.
        async with lane.turn:
            if not await lane.pacer.admit():
                return False
            await self._journal.append(Intent(row.number))
            await self._journal.sync()
            return self._journal.failure is None

    def _count(self, record: Record) -> None:
        progress = self._lanes.progress
        progress.outcomes[record.outcome] += 1
        progress.errors.ended(record.code, record.row)
        if record.outcome in ERRORS and not record.again:
            errors = sum(progress.outcomes[outcome] for outcome in ERRORS)
            # Rows that were not called say nothing about how calls fare.
            called = progress.outcomes.total() - progress.outcomes[Outcome.UNCHANGED]
            if self._order.max_errors.exceeded(errors, called):
                message = f"too many errors: {errors} of {called} rows called; last: {progress.last_error}"
                advice = "See the results, then run the same command again, with --retry-failed for the failed rows."
                self._lanes.stop(Stop(ExitStatus.TOO_MANY_ERRORS, message, advice))


def _final(row: Row, settled: Settled, action: Action) -> Record:
    if settled.answer.verdict is Verdict.NOT_FOUND and settled.unanswered and not action.repeatable:
        message = "not found after an attempt whose answer was lost: that attempt did it"
        return _record(row, settled, Outcome.SUCCEEDED, message=message)
    outcome = OUTCOME_OF[settled.answer.verdict]
    if outcome is Outcome.FAILED and settled.unanswered:
        message = f"{settled.answer.message} (the answer to an earlier attempt was lost: that one may have done it)"
        return _record(row, settled, Outcome.UNKNOWN, message=message)
    return _record(row, settled, outcome)


def _unfinished(row: Row, settled: Settled) -> Record:
    """Returns the record of a row whose attempts are used up, or which a stop cut short."""
    given_up = Outcome.NOT_ATTEMPTED if settled.again else OUTCOME_OF[settled.answer.verdict]
    return _record(row, settled, Outcome.UNKNOWN if settled.unanswered else given_up)


def _record(row: Row, settled: Settled, outcome: Outcome, *, message: str = "") -> Record:
    answer = settled.answer
    return Record(
        row.number,
        outcome,
        answer.code,
        message or answer.message,
        answer.http_status,
        answer.request_id,
        settled.attempts,
        answer.sent_at,
        answer.finished_at,
        answer.latency_ms,
        settled.again,
    )
