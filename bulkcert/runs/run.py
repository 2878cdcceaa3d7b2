"""One session of a run: prepared by ``opening``, it calls, and leaves results and summary."""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import polars as pl

from bulkcert.engine.calling import Engine, committing, stop_unwritable
from bulkcert.engine.figures import Take
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.limits import RunLimits
from bulkcert.engine.preflight import Preflight
from bulkcert.engine.progress import Progress, Stop
from bulkcert.engine.session import Leave, Observer, announce, calling, together
from bulkcert.engine.sightings import Sightings
from bulkcert.engine.stats import StatsMaker
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.results import write_results
from bulkcert.output.summary import Summary, summary_of, write_summary
from bulkcert.runs.job import Job
from bulkcert.runs.opened import OpenRun
from bulkcert.runs.opening import Found, preflights_again
from bulkcert.service.credentials import CredentialProvider
from bulkcert.store import queries
from bulkcert.store.outcome import Outcome, Row
from bulkcert.store.status import RunStatus, status_in
from bulkcert.store.store import Store

BEAT_EVERY_S = 1.0
"""How often a session says in the store what it does."""


@dataclass(slots=True)
class Run:
    """An opened run: the list is checked, the lock is held; no calls were made yet.

    Attributes:
        job: What was asked.
        opened: The run.
        found: What opening it has found.
        to_call: Certificates that are still to be called, those included that are read again first.
        preflights_again: Whether what an earlier preflight has settled is too old to be believed.
        progress: What this session does.
    """

    job: Job
    opened: OpenRun
    found: Found
    to_call: int = 0
    preflights_again: bool = False
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        db, rows = self.opened.store.db, self.opened.asked.rows
        if self.is_undone:
            return
        self.to_call = queries.to_call(db, rows)
        if preflights_again(self.opened):
            self.preflights_again = True
            self.to_call += queries.unchanged(db)

    @property
    def is_undone(self) -> bool:
        """Whether an undo was the last to call, so that no calls are made unless ``--retry undone`` says so."""
        if self.opened.is_new or Outcome.UNDONE in self.job.options.retry:
            return False
        status = status_in(self.opened.files, self.opened.store.db)
        return status.is_undone and status.doing is not None and status.doing.kind == "undo"

    @property
    def calls(self) -> int:
        """Certificates that this session calls at most."""
        limit = self.job.options.limit_rows
        return self.to_call if limit is None else min(self.to_call, limit)

    @property
    def preflights(self) -> bool:
        """Whether states are read before the first call, so that there may be fewer."""
        first = queries.preflight_at(self.opened.store.db) is None
        return self.job.options.preflight != "never" and (self.preflights_again or first)

    @property
    def already_done(self) -> int:
        """Certificates that earlier sessions have finished."""
        return self.found.check.callable - self.to_call

    async def call(
        self,
        provider: CredentialProvider,
        watch: Observer,
        leave: Leave,
        *,
        before_calls: Callable[[], None] | None = None,
    ) -> None:
        """Reads states first if wanted, then calls what is to be called, until done or stopped.

        Args:
            provider: What to sign with; has credentials.
            watch: Shows the figures.
            leave: Called on the second signal; ends the process at once.
            before_calls: Called after the preflight, before anything is changed; its BulkcertError stops the run.

        Raises:
            BulkcertError: The store cannot be written; no calls were made.
        """
        job, store, options = self.job, self.opened.store, self.job.options
        first = queries.preflight_at(store.db) is None
        settled = queries.settled(store.db)
        if self.preflights_again:
            del settled[Outcome.UNCHANGED]
        self.opened.begin("run", options, provider.current)
        stats = stats_of(self, "calling", settled)
        order = RunLimits(job.action, job.instance, job.workers, job.max_errors, options.limit_rows)
        async with (
            calling(job, provider, stats, beating(store, watch), leave, deadline=options.deadline) as lanes,
            committing(store, lanes),
        ):
            if first or self.preflights_again:
                await self._preflight(lanes, order, again=not first)
            self.progress.preflight_over = True
            if before_calls is not None:
                await announce(before_calls, lanes)
            await Engine(order, lanes, store).run(self.opened.to_call())
        await anyio.to_thread.run_sync(beat, store, stats.take)

    async def _preflight(self, lanes: Lanes, order: RunLimits, *, again: bool) -> None:
        sightings = Sightings.from_now(self.found.check, by_device=self.job.action.by_device)
        frames, batches = (self._unchanged, self._unchanged_rows) if again else (self._all, self._all_rows)
        store, mode = self.opened.store, self.job.options.preflight
        try:
            await Preflight(lanes, order, store, mode=mode, frames=frames, batches=batches).make(sightings, again=again)
        except sqlite3.Error as error:
            store.failure = error
            stop_unwritable(store, lanes, error)

    def _all(self) -> Iterator[pl.DataFrame]:
        return self.opened.frames()

    def _all_rows(self) -> Iterator[list[Row]]:
        return map(self.opened.rows, self._all())

    def _unchanged(self) -> Iterator[pl.DataFrame]:
        store = self.opened.store
        return self.opened.frames(only=lambda first, last: store.read(queries.unchanged_in, first, last))

    def _unchanged_rows(self) -> Iterator[list[Row]]:
        return map(self.opened.rows, self._unchanged())

    def finish(self) -> Summary:
        """Writes results and summary.

        Raises:
            BulkcertError: They cannot be written, or the outcomes do not add up.
        """
        store = self.opened.store
        if not store.session:
            # A run of which nothing was to be called is one all the same; one that was killed after its last outcome
            # comes to its end.
            if self.opened.is_new or self.opened.is_unended("run"):
                self.opened.begin("run", self.job.options, None)
                beat(store, stats_of(self, "calling", Counter()).take)
            else:
                store.keep_draft()
        return finished(self.opened, self.progress.stop)


def stats_of(run: Run, kind: Any, settled: Counter[Outcome]) -> StatsMaker:
    """Returns what makes the figures of a session."""
    job = run.job
    return StatsMaker(
        run.progress,
        kind,
        rows=run.opened.asked.rows,
        settled=settled,
        to_call=run.calls,
        addresses=job.addresses,
        limit=job.rate,
        workers=job.workers * len(job.addresses),
        limited=job.options.limit_rows is not None,
    )


def beating(store: Store, watch: Observer) -> Observer:
    """Returns a watch that also says in the store, about once a second, what the session does."""

    async def tick(take: Take) -> None:
        while True:
            await anyio.to_thread.run_sync(beat, store, take)
            await anyio.sleep(BEAT_EVERY_S)

    return together(watch, tick)


def beat(store: Store, take: Take) -> None:
    """Keeps what a session does; where the disk refuses, the next group of outcomes says so."""
    if store.failure is None:
        with suppress(sqlite3.Error):
            store.note(beat_at=round(time.time() * 1000), figures=msgspec.json.encode(take()).decode())


def finished(opened: OpenRun, stop: Stop | None, came_to: ExitStatus | None = None) -> Summary:
    """Ends a session: results, how it ended, and the summary.

    Args:
        opened: The run, without calls in flight.
        stop: Why the session ended early, or None.
        came_to: What an undo ends with; None for a run, of which the store knows.

    Raises:
        BulkcertError: They cannot be written, or the outcomes do not add up.
    """
    store = opened.store
    try:
        rows = write_results(opened.files.results, opened.pinned, store.read)
        _confirm_sum(opened, rows.total())
    except BulkcertError as error:
        if stop is None:
            raise
        advice = stop.advice if store.failure else error.advice
        raise BulkcertError(error.status, f"stopped: {stop.message}; then: {error.message}", advice) from error
    status = ExitStatus.CANNOT_WRITE if store.failure else came_to
    if status is None:
        status = _exit_status(status_in(opened.files, store.db), stop)
    if store.session:
        early = stop is not None and status not in (ExitStatus.OK, ExitStatus.INCOMPLETE)
        store.end(status, **(_reason(stop) if stop is not None and early else {}))
    ended = status_in(opened.files, store.db)
    summary = summary_of(ended, opened.pinned, store.db)
    if store.failure:
        # The store could not take its end; what people are shown must not wait for that.
        summary = msgspec.structs.replace(
            summary, exit_status=int(status), stopped=stop.message if stop else "", advice=stop.advice if stop else ""
        )
    write_summary(ended, summary)
    return summary


def _reason(stop: Stop) -> dict[str, str]:
    return {"stopped": stop.message, "advice": stop.advice, "stop_code": stop.code}


def _exit_status(status: RunStatus, stop: Stop | None) -> ExitStatus:
    if status.to_call:
        return stop.status if stop is not None else ExitStatus.STOPPED_EARLY
    return ExitStatus.OK if status.in_desired_state else ExitStatus.INCOMPLETE


def _confirm_sum(opened: OpenRun, rows: int) -> None:
    """Confirms that every row that came in has gone out with an outcome.

    Raises:
        BulkcertError: They do not add up.
    """
    asked = opened.asked.rows
    outcomes = queries.outcomes(opened.store.db, asked)
    if rows != asked or outcomes.total() != asked or min(outcomes.values(), default=0) < 0:
        raise BulkcertError(
            ExitStatus.INTERNAL,
            f"{opened.files.results}: {asked} rows came in, {rows} went out, {outcomes.total()} have an outcome",
            "Please report this; the store holds every outcome.",
        )
