"""One run from end to end: check the input, open the journal, call, write results and summary."""

import os
import signal
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, NoReturn

import anyio
import httpx
import polars as pl

from bulkcert.api.client import Client, make_transport
from bulkcert.api.credentials import Keyring
from bulkcert.batch.engine import Engine
from bulkcert.batch.job import Job
from bulkcert.batch.journal import Header, Journal, session_line
from bulkcert.batch.order import Order
from bulkcert.batch.outcome import Outcome, Row
from bulkcert.batch.progress import Progress, Stop
from bulkcert.batch.recovery import open_journal
from bulkcert.batch.results import Totals, write_results
from bulkcert.batch.source import CA_SN, DEVICE_SN, OUTCOME, ROW, Check, Source, annotated, check, open_source
from bulkcert.batch.summary import Summary, earlier_sessions, summarize, this_session
from bulkcert.errors import BulkcertError, ExitStatus

RETRIED = frozenset({Outcome.FAILED, Outcome.NOT_REGISTERED, Outcome.UNKNOWN})
"""Outcomes that ``--retry-failed`` takes up again."""

Watch = Callable[[Engine], Coroutine[Any, Any, None]]
"""Shows a run while it goes on; is cancelled when it ends."""

Leave = Callable[[int], NoReturn]
"""Ends the process at once, for the signal of this number."""


@dataclass(slots=True)
class Run:
    """An opened run: the input is checked, the journal is held; nothing was called yet.

    Attributes:
        job: What was asked.
        source: The input.
        check: What the pass over it found.
        journal: The open journal.
        to_call: Certificates that are still to be called.
        progress: What this session does.
        started_at: Unix time in seconds.
    """

    job: Job
    source: Source
    check: Check
    journal: Journal
    to_call: int
    progress: Progress = field(default_factory=Progress)
    started_at: float = field(default_factory=time.time)

    @property
    def calls(self) -> int:
        """Certificates that this session calls at most."""
        return min(self.to_call, self.job.options.limit_rows or self.to_call)

    @property
    def already_done(self) -> int:
        """Certificates whose outcome an earlier session has settled."""
        return self.check.callable - self.to_call

    def batches(self) -> Iterator[list[Row]]:
        """Yields the rows that may be called, in order."""
        serials = (DEVICE_SN, CA_SN) if self.job.action.by_device else (pl.lit("").alias(DEVICE_SN), CA_SN)
        for batch in annotated(self.source, self.check):
            rows = batch.filter(pl.col(OUTCOME).is_null()).select(ROW, *serials)
            yield [Row(*row) for row in rows.iter_rows()]

    async def call(self, keyring: Keyring, watch: Watch, leave: Leave) -> None:
        """Calls what is to be called, until done or stopped.

        Args:
            keyring: What to sign with; has credentials.
            watch: Shows the progress.
            leave: Called on the second signal; ends the process at once.

        Raises:
            BulkcertError: The journal cannot be written; nothing was called.
        """
        self.journal.begin()
        self.started_at = time.time()
        job = self.job
        order = Order(
            job.action,
            job.instance,
            job.lane_cap,
            job.workers,
            job.options.attempts,
            job.max_errors,
            job.options.limit_rows,
        )
        context = httpx.create_ssl_context()
        clients = [_client(job, address, keyring, context) for address in job.addresses]
        engine = Engine(order, clients, keyring, self.journal, self.progress)
        async with anyio.create_task_group() as group:
            group.start_soon(_obey_signals, engine, leave)
            group.start_soon(watch, engine)
            try:
                await engine.run(self.batches())
            finally:
                with anyio.CancelScope(shield=True):
                    for client in clients:
                        await client.aclose()
            group.cancel_scope.cancel()

    def finish(self) -> Summary:
        """Writes results and summary; the journal stays.

        Raises:
            BulkcertError: They cannot be written, or the outcomes do not add up.
        """
        try:
            return self._finished()
        except BulkcertError as error:
            if (stop := self.progress.stop) is None:
                raise
            advice = stop.advice if self.journal.failure else error.advice
            raise BulkcertError(error.status, f"stopped: {stop.message}; then: {error.message}", advice) from error

    def _finished(self) -> Summary:
        self.journal.begin()
        totals = write_results(self.job.results, annotated(self.source, self.check), self.journal.lines)
        if totals.rows != self.check.rows or totals.outcomes.total() != totals.rows:
            raise BulkcertError(
                ExitStatus.INTERNAL,
                f"{self.job.results}: {self.check.rows} rows came in, {totals.outcomes.total()} outcomes went out",
                "Please report this; the journal holds every outcome.",
            )
        sessions = [] if self.journal.is_new else earlier_sessions(self.job.summary)
        if self.progress.sends.sends or not sessions:
            sessions.append(this_session(self.progress, self.started_at))
        status = self._status(totals)
        # A stop that came when nothing was left to do has stopped nothing.
        stop = None if status in (ExitStatus.OK, ExitStatus.INCOMPLETE) else self.progress.stop
        return summarize(self.job, self.check, totals, sessions, stop=stop, status=status)

    def _status(self, totals: Totals) -> ExitStatus:
        if self.journal.failure:
            return ExitStatus.CANNOT_WRITE
        left = totals.outcomes[Outcome.NOT_ATTEMPTED] or self.journal.index.again
        if left and self.progress.stop is not None:
            return self.progress.stop.status
        if left:
            return ExitStatus.STOPPED_EARLY
        return ExitStatus.OK if totals.all_wanted else ExitStatus.INCOMPLETE


def check_input(job: Job, on_progress: Callable[[int], None] | None = None) -> tuple[Source, Check]:
    """Reads the whole input once and checks every row.

    Args:
        job: What was asked.
        on_progress: Told the number of rows checked so far.

    Raises:
        BulkcertError: The input cannot be used, or has invalid rows that were not to be skipped.
    """
    options = job.options
    source = open_source(
        job.input,
        by_device=job.action.by_device,
        device_column=options.device_column or None,
        ca_column=options.ca_column or None,
    )
    checked = check(source, trust_serials=options.trust_serials, on_progress=on_progress)
    if checked.invalid and not options.skip_invalid:
        raise _invalid(job, checked)
    return source, checked


def open_run(job: Job, source: Source, checked: Check) -> Run:
    """Opens the journal of a run; calls nothing.

    Args:
        job: What was asked.
        source: The input.
        checked: What the pass over it found.

    Raises:
        BulkcertError: The results cannot be written, or are those of another run.
    """
    options, release = job.options, version("bulkcert")
    # os.path, since Path raises where it may not look; opening the journal says why.
    exists = os.path.exists
    if exists(job.results) and not exists(job.journal) and not options.overwrite:
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"{job.results} exists, and no journal ({job.journal.name}) says which run made it",
            "Name another results file with -o, or replace this one with --overwrite. Nothing was called.",
        )
    header = Header(
        job.action.name, job.instance, str(job.endpoint), checked.sha256, checked.rows, source.key_columns, release
    )
    session = session_line(round(time.time() * 1000), release)
    journal = open_journal(job.journal, header, session, anew=options.overwrite)
    if options.retry_failed:
        journal.index.reopen(RETRIED)
    return Run(job, source, checked, journal, checked.callable - journal.index.final)


def _invalid(job: Job, checked: Check) -> BulkcertError:
    named = [
        f"  {job.input}:{row.line or row.row}: {row.column}: {row.reason} ({row.value})"
        for row in checked.first_invalid
    ]
    more = checked.invalid - len(named)
    return BulkcertError(
        ExitStatus.INPUT_INVALID,
        "\n".join([f"{checked.invalid} of {checked.rows} rows are invalid; nothing was called", *named])
        + (f"\n  and {more} more" if more else ""),
        "Correct them, or leave them out with --skip-invalid (they get the outcome invalid).",
    )


def _client(job: Job, address: str | None, keyring: Keyring, context: ssl.SSLContext) -> Client:
    return Client(make_transport(job.workers, address, context), job.endpoint, keyring, job.options.timeout)


async def fetch_credentials(keyring: Keyring, leave: Leave) -> None:
    """Fetches credentials before anything is called; a signal need not wait for a slow credentials server.

    Args:
        keyring: Where they go.
        leave: Called on the first signal; ends the process at once.

    Raises:
        BulkcertError: There are none.
    """
    denied: BulkcertError | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_leave_on_signal, leave)
        try:
            await keyring.renew()
        except BulkcertError as error:
            denied = BulkcertError(error.status, error.message, f"Nothing was called. {error.advice}")
        group.cancel_scope.cancel()
    if denied is not None:
        raise denied


async def _leave_on_signal(leave: Leave) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            leave(number)


async def _obey_signals(engine: Engine, leave: Leave) -> None:
    """Stops in order on the first signal, and at once on the second: the journal is safe at any time."""
    received = 0
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            received += 1
            if received > 1:
                leave(number)
            name = signal.Signals(number).name
            engine.stop(Stop(ExitStatus(128 + number), f"{name} received", "Run the same command again to go on."))
