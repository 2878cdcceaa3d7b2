"""The engine: rows through lanes of paced workers into the journal; it stops when going on is senseless."""

import logging
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from bulkcert.actions import Action
from bulkcert.api.client import Answer, Client
from bulkcert.api.codes import rule_for
from bulkcert.api.credentials import RENEW_EVERY_S, Keyring
from bulkcert.api.operations import INSTANCE_ACCESS
from bulkcert.api.signing import Credentials
from bulkcert.api.verdicts import Verdict
from bulkcert.batch.journal import Intent, Journal
from bulkcert.batch.order import Order
from bulkcert.batch.outage import PAUSE_S, Outage
from bulkcert.batch.outcome import ERRORS, OUTCOME_OF, Outcome, Record, Row
from bulkcert.batch.pacer import Pacer, backoff_s
from bulkcert.batch.progress import Progress, Stop
from bulkcert.errors import BulkcertError, ExitStatus

_log = logging.getLogger("bulkcert")
_FINAL = frozenset({Verdict.DONE, Verdict.NOT_FOUND, Verdict.FAILED, Verdict.UNRECOGNIZED})


@dataclass(frozen=True, slots=True)
class _Lane:
    client: Client
    pacer: Pacer
    turn: anyio.Lock = field(default_factory=anyio.Lock)


class Engine:
    """Calls rows and journals their outcomes; works on any slice of the rows, with any share of the cap.

    Args:
        order: What to do with each row.
        clients: One client a lane.
        keyring: What the clients sign with, to be renewed.
        journal: Where outcomes go.
        progress: Kept up to date.
    """

    def __init__(
        self, order: Order, clients: list[Client], keyring: Keyring, journal: Journal, progress: Progress
    ) -> None:
        self._order = order
        self._keyring = keyring
        self._journal = journal
        self.progress = progress
        self._stopping = anyio.Event()
        self._feeding = anyio.CancelScope()
        self._on_trial: Credentials | None = None
        """Credentials fetched because others had expired, while no call that they signed has been accepted."""
        self._lanes = [_Lane(client, Pacer(order.lane_cap, progress.slow_down, self._stopping)) for client in clients]

    def stop(self, stop: Stop) -> None:
        """Takes no new rows, lets the calls in flight finish; the first reason counts."""
        if self.progress.stop is None:
            self.progress.stop = stop
            self._stopping.set()
            self._feeding.cancel()

    async def run(self, batches: Iterator[list[Row]]) -> None:
        """Calls all rows that have no final outcome yet; returns when their outcomes are on disk, or on a stop.

        Args:
            batches: The rows, in order; read in a worker thread.
        """
        self.progress.outage = Outage(time.monotonic())
        send, receive = anyio.create_memory_object_stream[Row](2 * self._order.workers * len(self._lanes))
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._journal.commit_groups, self._journal_failed)
            beside.start_soon(self._renew_credentials)
            async with anyio.create_task_group() as workers, receive:
                workers.start_soon(self._feed, batches, send)
                for lane in self._lanes:
                    for _ in range(self._order.workers):
                        workers.start_soon(self._work, lane, receive.clone())
            await self._journal.sync()
            beside.cancel_scope.cancel()

    async def _feed(self, batches: Iterator[list[Row]], send: MemoryObjectSendStream[Row]) -> None:
        left = self._order.limit_rows
        is_final = self._journal.index.is_final
        # On a stop the workers may be gone before this hears of it.
        with self._feeding, suppress(anyio.BrokenResourceError):
            async with send:
                while left != 0 and (batch := await self._read(batches)) is not None:
                    rows = list(islice((row for row in batch if not is_final(row.number)), left))
                    for row in rows:
                        try:
                            send.send_nowait(row)
                        except anyio.WouldBlock:
                            await send.send(row)
                    left = None if left is None else left - len(rows)

    async def _read(self, batches: Iterator[list[Row]]) -> list[Row] | None:
        """Returns the next batch; None after the last one, or if the input fails, which stops the run."""
        try:
            return await anyio.to_thread.run_sync(next, batches, None)
        except BulkcertError as error:
            self.stop(Stop(error.status, error.message, error.advice))
            return None

    async def _work(self, lane: _Lane, receive: MemoryObjectReceiveStream[Row]) -> None:
        with receive:
            while not self._stopping.is_set():
                try:
                    row = receive.receive_nowait()
                except anyio.WouldBlock:
                    try:
                        row = await receive.receive()
                    except anyio.EndOfStream:
                        return
                except anyio.EndOfStream:
                    return
                record = await self._settle(lane, row)
                if record is not None:
                    await self._journal.append(record)
                    if not self._order.action.repeatable:
                        await self._journal.sync()
                    self._count(record)

    async def _settle(self, lane: _Lane, row: Row) -> Record | None:
        """Calls one row until its outcome is known or its attempts are used up; None if it was not called at all."""
        order = self._order
        # A call of an earlier session may have been made and never answered.
        unanswered = row.number in self._journal.index.intents
        answer, attempts, charged = None, 0, 0
        while charged < order.attempts and await self._admit(lane, row, first=not attempts):
            attempts += 1
            answer = await self._call(lane, row, attempts)
            charged += await self._weigh(answer)
            if answer.verdict in _FINAL:
                return _final(row, answer, attempts, order.action, unanswered=unanswered)
            unanswered = unanswered or answer.verdict is Verdict.UNANSWERED
            unanswered = unanswered or (answer.verdict is Verdict.RETRY and not answer.is_from_service)
            if self._stopping.is_set() or charged >= order.attempts:
                break
            with anyio.move_on_after(backoff_s(attempts, random.random)):
                await self._stopping.wait()
        if answer is None:
            return None
        if not self.progress.outage.answered:
            self._unreachable("the service never answered", answer)
        given_up = charged >= order.attempts and answer.verdict is not Verdict.STOP and self.progress.outage.answered
        return _unfinished(row, answer, attempts, again=not given_up, unanswered=unanswered)

    async def _admit(self, lane: _Lane, row: Row, *, first: bool) -> bool:
        """Waits until a call may be sent; its intent is on disk then, where it must not be repeated blindly."""
        if self._order.action.repeatable or not first:
            return await lane.pacer.admit()
        # After the wait, and one at a time: an intent whose call a kill prevents makes a later "not found" look like
        # the doing of that call.
        async with lane.turn:
            if not await lane.pacer.admit():
                return False
            await self._journal.append(Intent(row.number))
            await self._journal.sync()
            return self._journal.failure is None

    async def _call(self, lane: _Lane, row: Row, attempt: int) -> Answer:
        action, progress = self._order.action, self.progress
        parameters = action.parameters(self._order.instance, row.device_sn, row.ca_sn)
        progress.retries += attempt > 1
        progress.in_flight += 1
        progress.sends.sent(time.monotonic())
        answer = await lane.client.call(action.operation, parameters, action.serial(row.device_sn, row.ca_sn))
        progress.in_flight -= 1
        return answer

    async def _weigh(self, answer: Answer) -> int:
        """Draws the consequences of an answer for the whole run; returns how many attempts it costs its row."""
        progress, verdict, now = self.progress, answer.verdict, time.monotonic()
        if answer.code:
            _log.debug("%s, request %s: %s", answer.code, answer.request_id or "unknown", answer.message)
            progress.codes[answer.code] += 1
            progress.last_error = f"{answer.code}: {answer.message}"
        if answer.is_from_service or verdict is Verdict.THROTTLED:
            progress.outage.answer(now, throttled=verdict is Verdict.THROTTLED)
        else:
            progress.outage.no_answer(now)
            if progress.outage.ongoing:
                progress.slow_down.silent(now, PAUSE_S)
        if reason := progress.outage.verdict(now):
            self._unreachable(reason, answer)
        if verdict is Verdict.THROTTLED:
            progress.throttles += 1
            progress.slow_down.throttled(now, answer.retry_after_s)
            return 0
        progress.slow_down.answered()
        if verdict is Verdict.STOP:
            self._refused(answer)
        elif verdict is Verdict.REFRESH:
            await self._renew_after(answer)
            return 0
        elif answer.is_from_service and answer.credentials == self._on_trial:
            self._on_trial = None
        return 0 if progress.outage.ongoing else 1

    async def _renew_after(self, answer: Answer) -> None:
        """Fetches credentials once for an expired token; the run stops if that brings none that are accepted."""
        if answer.credentials == self._on_trial:
            self._refused(answer)
            return
        try:
            await self._keyring.renew(answer.credentials)
        except BulkcertError as error:
            self.stop(Stop(error.status, error.message, error.advice))
            return
        if self._keyring.current == answer.credentials:
            self._refused(answer)
        else:
            self._on_trial = self._keyring.current

    async def _renew_credentials(self) -> None:
        while True:
            await anyio.sleep(RENEW_EVERY_S)
            try:
                await self._keyring.renew()
            except BulkcertError as error:
                # What is held may still be valid; the service says so when it no longer is.
                self.progress.last_error = error.message

    def _refused(self, answer: Answer) -> None:
        if answer.code.startswith("Client."):
            advice = "Check the endpoint; the certificate that it shows is not trusted by this machine."
            self.stop(Stop(ExitStatus.UNAVAILABLE, f"{answer.code}: {answer.message}", advice))
            return
        rule = rule_for(answer.code)
        said = f"{answer.code} (HTTP {answer.http_status}, request {answer.request_id or 'unknown'}): {answer.message}"
        operation = self._order.action.operation
        ram = f"{operation.ram_action}{f' and {INSTANCE_ACCESS}' if operation.needs_instance_access else ''}"
        self.stop(Stop(rule.exit_status or ExitStatus.INTERNAL, said, rule.advice.format(ram=ram)))

    def _unreachable(self, reason: str, answer: Answer) -> None:
        advice = (
            "Check the endpoint and the network; if this address was blocked, wait. Then run the same command again."
        )
        self.stop(Stop(ExitStatus.UNAVAILABLE, f"{reason}; last: {answer.code}: {answer.message}", advice))

    def _journal_failed(self, error: OSError) -> None:
        message = f"cannot write {self._journal.path}: {error.strerror or error}"
        advice = "Make room, then run the same command again: calls whose outcome was not written are made again."
        self.stop(Stop(ExitStatus.CANNOT_WRITE, message, advice))

    def _count(self, record: Record) -> None:
        outcomes = self.progress.outcomes
        outcomes[record.outcome] += 1
        if record.outcome in ERRORS and not record.again:
            errors = sum(outcomes[outcome] for outcome in ERRORS)
            if self._order.max_errors.exceeded(errors, outcomes.total()):
                message = f"too many errors: {errors} of {outcomes.total()} rows; last: {self.progress.last_error}"
                advice = "See the results, then run the same command again, with --retry-failed for the failed rows."
                self.stop(Stop(ExitStatus.TOO_MANY_ERRORS, message, advice))


def _final(row: Row, answer: Answer, attempts: int, action: Action, *, unanswered: bool) -> Record:
    if answer.verdict is Verdict.NOT_FOUND and unanswered and not action.repeatable:
        message = "not found after an attempt whose answer was lost: that attempt did it"
        return _record(row, answer, attempts, Outcome.SUCCEEDED, message=message)
    return _record(row, answer, attempts, OUTCOME_OF[answer.verdict])


def _unfinished(row: Row, answer: Answer, attempts: int, *, again: bool, unanswered: bool) -> Record:
    """Returns the record of a row whose attempts are used up, or (``again``) which a stop cut short."""
    given_up = Outcome.NOT_ATTEMPTED if again else OUTCOME_OF[answer.verdict]
    return _record(row, answer, attempts, Outcome.UNKNOWN if unanswered else given_up, again=again)


def _record(
    row: Row, answer: Answer, attempts: int, outcome: Outcome, *, again: bool = False, message: str = ""
) -> Record:
    return Record(
        row.number,
        outcome,
        answer.code,
        message or answer.message,
        answer.http_status,
        answer.request_id,
        attempts,
        answer.sent_at,
        answer.finished_at,
        answer.latency_ms,
        again,
    )
