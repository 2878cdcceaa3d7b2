"""Looking first: what is in the wanted state already is not called, and what is called is remembered as it was."""

import time
from collections.abc import Callable, Iterator

import anyio.lowlevel
import anyio.to_thread
import polars as pl

from bulkcert.batch.job import Job
from bulkcert.batch.journal import Journal
from bulkcert.batch.lanes import Lanes
from bulkcert.batch.lines import NOT_SEEN, NUMBER_OF
from bulkcert.batch.lines import Look as LookLine
from bulkcert.batch.lines import Looked as LookedLine
from bulkcert.batch.lines import Looking as LookingLine
from bulkcert.batch.look.looking import Look
from bulkcert.batch.look.sightings import Sightings
from bulkcert.batch.marks import rows_marked
from bulkcert.batch.outcome import Outcome, Record, Row
from bulkcert.batch.source import ROW, Check

ROWS_OF_A_LINE = 8192
"""Rows that one line of the journal tells of."""

_DIGITS = bytes.maketrans(bytes(range(10)), b"0123456789")
"""The digit in the journal for each number in memory."""

KEPT_S = 15 * 60
"""How long a look is believed: long enough to call a few rows and see what came of them, too short for a night, in
which devices connect and others change what the run has left alone."""


def is_old(looked_at: int) -> bool:
    """Returns whether a look that was over at a time, Unix milliseconds, is not to be believed any more."""
    return not 0 <= time.time() * 1000 - looked_at <= KEPT_S * 1000


class LookFirst:
    """The look of one run, before its calls: when a row was called, nothing tells its state before any more.

    Args:
        lanes: Where calls go through.
        job: What is asked for.
        check: What the pass over the input found.
        journal: Where it is kept.
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

        Nothing was called yet. Rows that are in the wanted state get their outcome. Where states cannot be read, the
        progress says why, and the run goes on without.

        Args:
            frames: Gives the annotated rows that may be called.
            batches: Gives the same as rows.
        """
        await self._journal.append(LookingLine(round(time.time() * 1000)))
        sightings = await self._read(frames, batches)
        if self._job.options.look_first != "never" and not self._lanes.stopping.is_set():
            await self._keep(sightings)
        await self._over()

    async def look_again(
        self, frames: Callable[[], Iterator[pl.DataFrame]], batches: Callable[[], Iterator[list[Row]]]
    ) -> None:
        """Reads again the states of the rows that an older look has settled, in the same way.

        Those that are not seen in the wanted state are open again, and were before what is seen of them now. No other
        row is looked at: it is called anyway, or was called, or may have been by a session that was killed.

        Args:
            frames: Gives the annotated rows that may be called.
            batches: Gives the same as rows.
        """
        settled = self._is_settled
        sightings = await self._read(
            lambda: (frame.filter(pl.Series(map(settled, frame[ROW]), dtype=pl.Boolean)) for frame in frames()),
            lambda: ([row for row in batch if settled(row.number)] for batch in batches()),
        )
        if not self._lanes.stopping.is_set():
            await self._open_again(sightings)
        await self._over()

    def _is_settled(self, row: int) -> bool:
        return self._journal.index.outcome(row) is Outcome.UNCHANGED

    async def _over(self) -> None:
        # A look that was cut off counts for nothing: the next session looks anew.
        if not self._lanes.stopping.is_set():
            await self._journal.append(LookedLine(round(time.time() * 1000)))
            await self._journal.sync()

    async def _read(
        self, frames: Callable[[], Iterator[pl.DataFrame]], batches: Callable[[], Iterator[list[Row]]]
    ) -> Sightings:
        job = self._job
        sightings = Sightings.from_now(self._check, by_device=job.action.by_device)
        if job.options.look_first == "never":
            return sightings
        await anyio.to_thread.run_sync(lambda: sightings.expect(frames()))
        look = Look(self._lanes, job.workers, job.action, job.instance, sightings)
        looked = await look.read(one_by_one=batches() if job.options.look_first == "always" else None)
        if looked.failure is not None:
            self._lanes.progress.not_looked = looked.failure.message
            self._lanes.progress.looks += 1  # it is over, and the run goes on
        return sightings

    async def _keep(self, sightings: Sightings) -> None:
        statuses, rows = sightings.statuses, self._check.rows
        for first in range(1, rows + 1, ROWS_OF_A_LINE):
            part = statuses[first : first + ROWS_OF_A_LINE]
            if any(part):
                await self._journal.append(LookLine(first, part.translate(_DIGITS).decode()))
        wanted = NUMBER_OF[self._job.action.wanted_status]
        if self._job.action.wanted == "deleted":
            # What is not listed may be called all the same: it costs little, and "not found" is an outcome of its own.
            return
        for row in rows_marked(statuses, wanted):
            if self._lanes.stopping.is_set():
                break
            if self._journal.index.outcome(row) is None:
                await self._journal.append(Record(row, Outcome.UNCHANGED, finished_at=sightings.seen_at(row)))
                self._lanes.progress.outcomes[Outcome.UNCHANGED] += 1

    async def _open_again(self, sightings: Sightings) -> None:
        wanted, rows = NUMBER_OF[self._job.action.wanted_status], self._check.rows
        for first in range(1, rows + 1, ROWS_OF_A_LINE):
            part = range(first, min(first + ROWS_OF_A_LINE, rows + 1))
            unchanged = self._journal.index.rows_with(Outcome.UNCHANGED, first, part[-1])
            settled = {row: sightings.statuses[row] for row in unchanged}
            opened = {row: status or NOT_SEEN for row, status in settled.items() if status != wanted}
            self._lanes.progress.outcomes[Outcome.UNCHANGED] += len(settled) - len(opened)
            if opened:
                await self._journal.append(LookLine(first, "".join(str(opened.get(row, 0)) for row in part)))
            # A long list has many parts; signals and snapshots come between them.
            await anyio.lowlevel.checkpoint()
