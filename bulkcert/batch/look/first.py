"""Looking first: what is in the wanted state already is not called, and what is called is remembered as it was."""

import time
from collections.abc import Callable, Iterator

import anyio.to_thread
import polars as pl

from bulkcert.batch.job import Job
from bulkcert.batch.journal import Journal
from bulkcert.batch.lanes import Lanes
from bulkcert.batch.lines import Look as LookLine
from bulkcert.batch.lines import Looked as LookedLine
from bulkcert.batch.lines import Looking as LookingLine
from bulkcert.batch.look.looking import Look
from bulkcert.batch.look.sightings import NUMBER_OF, Sightings
from bulkcert.batch.outcome import Outcome, Record, Row
from bulkcert.batch.source import Check
from bulkcert.errors import ExitStatus

ROWS_OF_A_LINE = 8192
"""Rows that one line of the journal tells of."""


class LookFirst:
    """The look of one run, made once: when calls were made, nothing tells the state before them any more.

    Args:
        lanes: Where calls go through.
        job: What is asked for.
        check: What the pass over the input found.
        journal: Where it is kept; nothing was called yet.
    """

    def __init__(self, lanes: Lanes, job: Job, check: Check, journal: Journal) -> None:
        self._lanes = lanes
        self._job = job
        self._check = check
        self._journal = journal

    async def look(
        self, frames: Callable[[], Iterator[pl.DataFrame]], batches: Callable[[], Iterator[list[Row]]]
    ) -> None:
        """Reads states as ``--look-first`` says, and journals them; on disk when it returns, unless stopped.

        Rows that are in the wanted state get their outcome. Where states cannot be read, the progress says why, and the
        run goes on without.

        Args:
            frames: Gives the annotated rows that may be called.
            batches: Gives the same as rows.
        """
        await self._journal.append(LookingLine(round(time.time() * 1000)))
        if self._job.options.look_first != "never":
            sightings = Sightings(
                self._check.rows,
                tuple(self._check.rows_by_ca),
                by_device=self._job.action.by_device,
                since=round(time.time() * 1000),
            )
            await anyio.to_thread.run_sync(lambda: sightings.expect(frames()))
            await self._read(sightings, batches)
            if self._lanes.stopping.is_set():
                return
            await self._keep(sightings)
        await self._journal.append(LookedLine(round(time.time() * 1000)))
        await self._journal.sync()

    async def _read(self, sightings: Sightings, batches: Callable[[], Iterator[list[Row]]]) -> None:
        job = self._job
        look = Look(self._lanes, job.workers, job.action, job.instance, sightings)
        looked = await look.by_page()
        sightings.miss(looked.whole, looked.at)
        failure = looked.failure
        may_read = failure is None or failure.status is ExitStatus.DENIED
        if may_read and job.options.look_first == "always":
            failure = await look.one_by_one(batches())
        if failure is not None:
            self._lanes.progress.not_looked = failure.message

    async def _keep(self, sightings: Sightings) -> None:
        statuses, rows = sightings.statuses, self._check.rows
        for first in range(1, rows + 1, ROWS_OF_A_LINE):
            part = statuses[first : first + ROWS_OF_A_LINE]
            if any(part):
                await self._journal.append(LookLine(first, "".join(map(str, part))))
        wanted = NUMBER_OF[self._job.action.wanted_status]
        if self._job.action.wanted == "deleted":
            # What is not listed may be called all the same: it costs little, and "not found" is an outcome of its own.
            return
        row = statuses.find(wanted)
        while row > 0:
            await self._journal.append(Record(row, Outcome.UNCHANGED, finished_at=sightings.seen_at(row)))
            self._lanes.progress.outcomes[Outcome.UNCHANGED] += 1
            row = statuses.find(wanted, row + 1)
