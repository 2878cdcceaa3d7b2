"""Running: states are read first if wanted, then what is to be called is called, and results and summary are left."""

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import chain

import anyio
import anyio.to_thread
import msgspec
import polars as pl

from bulkcert.engine.calling import Engine
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.progress import Progress, StatsMaker
from bulkcert.engine.session import Supervision, calling
from bulkcert.engine.sightings import NUMBER_OF, Sightings
from bulkcert.engine.states import StateReader
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import Check
from bulkcert.output.evidence import serials_in
from bulkcert.output.summary import Summary
from bulkcert.runs.found import Found, Registered, ask_any, ask_instances, count_devices, on_swapped, worth_counting
from bulkcert.runs.job import ResolvedJob
from bulkcert.runs.opened import CALLING, OpenRun, limited
from bulkcert.runs.options import PreflightMode
from bulkcert.runs.planned import ANOTHER
from bulkcert.runs.session import after_reads, confirm_read, finalize, session
from bulkcert.runs.target import preflight_of
from bulkcert.service.actions import Status
from bulkcert.store import queries, read_states
from bulkcert.store.database import unusable
from bulkcert.store.evidence import Serials
from bulkcert.store.outcome import Outcome
from bulkcert.store.sessions import ChangeRecord, PlanRecord
from bulkcert.store.store import now_ms
from bulkcert.words import counted


class Run(msgspec.Struct):
    """An opened run: the list is checked, the lock is held; no calls were made yet.

    Attributes:
        job: What was asked.
        opened: The run.
        check: What the pass over the list found.
        lifted: Certificates that a list has protected until now, and that are to be called.
        plan: The plan that it is bound to.
        replaces: Whether it takes the place of another run with these results, which has changed nothing.
        settled: Rows that earlier sessions have finished, by outcome.
        to_call: Certificates that are still to be called, those included that are read again first.
        preflights: Whether states are read before the first call, so that there may be fewer.
        found: What was read before anything is asked; None where that was not done.
        read_at: When this start has read the states, Unix milliseconds; None if it has not.
        is_undone: Whether an undo was the last to call, so that no calls are made unless ``--retry undone`` says so.
        progress: What this session does.
    """

    job: ResolvedJob
    opened: OpenRun
    check: Check
    lifted: int = 0
    plan: PlanRecord | None = None
    replaces: bool = False
    settled: Counter[Outcome] = msgspec.field(default_factory=Counter)
    to_call: int = 0
    preflights: bool = False
    found: Found | None = None
    read_at: int | None = None
    is_undone: bool = False
    progress: Progress = msgspec.field(default_factory=Progress)

    def __post_init__(self) -> None:
        db, rows, doing = self.opened.store.db, self.opened.asked.rows, self.opened.newest(*CALLING)
        if doing is not None and doing.kind == "undo" and Outcome.UNDONE not in self.job.options.retry:
            self.is_undone = self.opened.status().is_undone
        if self.is_undone:
            return
        is_old = self.plan is not None or read_states.is_old(queries.preflight_at(db))  # under a plan every start reads
        self.preflights = self.mode != "never" and is_old
        if self.preflights and queries.counts(db, rows).to_call:
            read_states.forget_unchanged(self.opened.store)
        _, self.settled, self.to_call = queries.counts(db, rows)

    @property
    def mode(self) -> PreflightMode:
        """Which states are read before the first call; all that a plan has read, if it is bound to one."""
        mode = preflight_of(self.job.action, self.job.options.preflight)
        return "always" if mode == "auto" and self.plan is not None and self.plan.all_read else mode

    @property
    def reads_first(self) -> bool:
        """Whether states are read though nobody is asked: what an action on a CA hits, or whether it was planned.

        Also before what is there goes.
        """
        return not self.job.action.by_device or self.plan is not None or self.drops

    @property
    def drops(self) -> bool:
        """Whether results are there that it replaces: they must not go for a start that the service refuses."""
        return self.job.options.overwrite and not self.job.rehearsal and os.path.exists(self.job.files.results)

    @property
    def calls(self) -> int:
        """Certificates that this session calls at most."""
        return min(self.to_call, self.job.options.limit_rows or self.to_call)

    @property
    def change(self) -> ChangeRecord:
        """Why it is made, and who has approved it."""
        options = self.job.options
        return ChangeRecord(options.ticket, options.reason, options.approved_by, self.plan)

    @property
    def already_done(self) -> int:
        """Certificates that earlier sessions have finished."""
        return self.check.callable - self.to_call

    @property
    def left(self) -> int:
        """Certificates that this session calls at most, now that states were read: what needs no call is gone."""
        left = self.opened.store.read(queries.counts, self.opened.asked.rows).to_call
        return min(left, self.job.options.limit_rows or left)

    @property
    def changing(self) -> int:
        """Certificates that it changes, or may for all that is known: what somebody is asked about."""
        return self.left if self.found is None else min(self.left, self.found.states(self.job.action).may_change)

    @property
    def is_out_of_date(self) -> bool:
        """Whether what this start has read is too long ago to be believed."""
        return self.read_at is not None and read_states.is_old(self.read_at)

    async def preflight(self, supervision: Supervision) -> None:
        """Reads what somebody is asked about, before anything is asked: nothing of it is kept unless a session begins.

        Raises:
            BulkcertError: It was stopped, or the run itself would be refused like this.
        """
        job, store = self.job, self.opened.store
        if self.read_at is not None:
            read_states.forget_unchanged(store)
        self.found = Found()
        async with calling(job, supervision, self._stats(), deadline=job.options.deadline) as lanes:
            try:
                if self.preflights:
                    await self._read_states(lanes)
                if self.drops and not self.progress.sends.sends:
                    await ask_any(lanes)
                await anyio.to_thread.run_sync(self._count_states, self.found)
                if not lanes.stopping.is_set():
                    await self._count_devices(lanes, self.found)
            except sqlite3.Error as error:
                raise unusable(store.path, error, ExitStatus.CANNOT_WRITE) from error
        confirm_read(self.progress, "What is there is not overwritten." if self.drops else "")
        if self.plan is not None:
            self._confirm_planned(self.plan, self.found)

    def _confirm_planned(self, plan: PlanRecord, found: Found) -> None:
        """Confirms that no more would be changed than was planned, what sessions under the plan have called included.

        Raises:
            BulkcertError: INPUT_INVALID: it would.
        """
        rows = self.opened.store.read(queries.to_change, self.opened.asked.rows, plan.sha256)
        hit = found.devices.devices if found.devices is not None else 0
        if plan.devices is not None and found.uncounted is not None:
            raise found.uncounted
        for now, planned, noun in ((rows, plan.to_change, "row"), (hit, plan.devices, "device")):
            if planned is not None and now > planned:
                message = f"{counted(now, noun)} would be changed, and {planned:,} were planned ({plan.file})"
                raise BulkcertError(ExitStatus.INPUT_INVALID, message, ANOTHER)

    def _count_states(self, found: Found) -> None:
        """Counts by state the rows that are left, those included that were just found in the desired state."""
        statuses = bytearray(self.opened.asked.rows + 1)

        def take(db: sqlite3.Connection) -> None:
            for row, status in queries.states_before(db):
                statuses[row] = NUMBER_OF[Status(status)]

        self.opened.store.read(take)
        without = f"{queries.LEFT_ALONE} AND NOT ({queries.UNCHANGED})" if self.preflights else queries.LEFT_ALONE
        found.count(self.opened.frames(without=without), statuses, self.check.rows_by_ca)

    async def _count_devices(self, lanes: Lanes, found: Found) -> None:
        """Counts the devices of the CAs that are called; those of a list of devices were counted as it was read."""
        if not self.job.action.by_device:
            called = limited(self.opened.batches(without=queries.LEFT_ALONE), self.job.options.limit_rows)
            rows = chain.from_iterable(called)
            most = await anyio.to_thread.run_sync(lambda: dict.fromkeys((row.ca for row in rows), float("inf")))
            await count_devices(lanes, found, most)

    def _stats(self) -> StatsMaker:
        return StatsMaker(
            self.progress,
            "calling",
            self.job,
            rows=self.opened.asked.rows,
            settled=self.settled,
            to_call=self.calls,
            limited=self.job.options.limit_rows is not None,
        )

    async def call(self, supervision: Supervision) -> None:
        """Reads states first if wanted, then calls what is to be called, until done or stopped.

        Raises:
            BulkcertError: The store cannot be written; no calls were made.
        """
        job, opened, options = self.job, self.opened, self.job.options
        opened.begin("run", options, supervision.provider.current, plan=self.plan)
        if self.read_at is not None:
            await after_reads(self.progress)
        async with session(opened, job, supervision, self._stats(), deadline=options.deadline) as lanes:
            if self.read_at is None and read_states.is_old(queries.preflight_at(opened.store.db)):
                await self._read_states(lanes)
            if self.read_at is not None:
                await anyio.to_thread.run_sync(lambda: opened.store.note(preflight_at=self.read_at))
            self.progress.preflight_over = True
            batches = limited(opened.batches(without=queries.LEFT_ALONE), options.limit_rows)
            await Engine(job.action, lanes, opened.store, max_errors=job.max_errors).run(batches)

    async def _read_states(self, lanes: Lanes) -> None:
        """Reads states before the first call: once a row was called, its state before cannot be read any more.

        Rows that are in the desired state get their outcome. Where states cannot be read, the progress says why, and
        the run continues without. All is in the store when it returns, unless it is stopped: such a preflight counts
        for nothing, the next session makes another.
        """
        action, opened, progress, mode = self.job.action, self.opened, self.progress, self.mode
        store, left = opened.store, queries.LEFT_ALONE
        if lanes.service.instances:
            await ask_instances(lanes)
        if mode != "never" and not lanes.stopping.is_set():
            sightings = Sightings(self.check.rows, self.check.rows_by_ca, by_device=action.by_device)
            await anyio.to_thread.run_sync(sightings.expect, opened.frames(without=left))
            count_to = {}
            if self.found is not None and action.by_ca:  # somebody is asked, and may rather call their CA
                count_to = worth_counting(sightings.rows_by_ca(), self.check.rows_by_ca)
            reader = StateReader(lanes, action, sightings, count_to)
            scanned = await reader.read(one_by_one=opened.batches(without=left) if mode == "always" else None)
            if self.found is not None:
                self.found.registered = {ca: Registered(*counted) for ca, counted in scanned.counted.items()}
            if (failure := scanned.failure or scanned.incomplete) is not None:
                progress.unread_because = failure.message
            progress.scans += scanned.failure is not None  # it is over, and the run continues
            frames = opened.frames(without=left)
            # What is not listed may be called all the same: it costs little, and "not found" is an outcome of its own.
            desired = None if action.deletes else action.desired_status
            while not lanes.stopping.is_set():
                if (frame := await anyio.to_thread.run_sync(next, frames, None)) is None:
                    break
                await anyio.to_thread.run_sync(read_states.keep, store, _states(sightings, frame, desired))
            found = await anyio.to_thread.run_sync(store.read, queries.count, queries.UNCHANGED)
            progress.outcomes[Outcome.UNCHANGED] = found
            if await reader.are_swapped(opened.batches(without=left)):
                lanes.stop(on_swapped(opened.pinned))
        if not lanes.stopping.is_set():
            self.read_at = now_ms()

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
                self.opened.begin("run", self.job.options, None, plan=self.plan)
            else:
                store.keep_draft()
        return finalize(self.opened, self.progress.stop)


def _states(
    sightings: Sightings, frame: pl.DataFrame, desired: Status | None
) -> Iterator[tuple[int, Serials, str, int | None]]:
    """Yields of the rows that were seen what they were, and when where they need no call."""
    for row, serials in serials_in(frame):
        if (status := sightings.status(row)) is not None:
            yield row, serials, status.value, sightings.seen_at(row) if status == desired else None
