"""The preflight: what is in the desired state already is not called, and what is called is remembered as it was."""

import time
from collections.abc import Callable, Iterator
from typing import Literal

import anyio.to_thread
import polars as pl

from bulkcert.engine.lanes import Lanes
from bulkcert.engine.limits import RunLimits
from bulkcert.engine.sightings import Sightings
from bulkcert.engine.states import StateReader
from bulkcert.input import ROW
from bulkcert.service.certificates import Status
from bulkcert.store.outcome import Outcome, Row
from bulkcert.store.store import Store, now_ms

Mode = Literal["auto", "always", "never"]
"""When the state of certificates is read before they are called."""

BELIEVED_S = 15 * 60
"""How long a preflight is believed: long enough to call a few rows and see what came of them, too short for a night, in
which devices connect and others change what the run has not called."""


def is_old(preflight_at: int | None) -> bool:
    """Returns whether what was read at a time, Unix milliseconds, is not to be believed any more."""
    return preflight_at is None or not 0 <= time.time() * 1000 - preflight_at <= BELIEVED_S * 1000


class Preflight:
    """The reading of states before a run's calls: once a row was called, its state before cannot be read any more.

    Args:
        lanes: Where calls go through.
        order: What is asked for.
        mode: When states are read.
        store: Where it is kept.
        frames: Gives the annotated rows that are to be read.
        batches: Gives the same as rows.
    """

    def __init__(
        self,
        lanes: Lanes,
        order: RunLimits,
        store: Store,
        *,
        mode: Mode,
        frames: Callable[[], Iterator[pl.DataFrame]],
        batches: Callable[[], Iterator[list[Row]]],
    ) -> None:
        self._lanes = lanes
        self._order = order
        self._mode = mode
        self._store = store
        self._frames = frames
        self._batches = batches

    async def make(self, sightings: Sightings, *, again: bool) -> None:
        """Reads states as ``--preflight`` says and keeps them; all is on disk when it returns, unless stopped.

        Rows that are in the desired state get their outcome. Where states cannot be read, the progress says why, and
        the run continues without. One that is stopped counts for nothing: the next session makes another.

        Args:
            sightings: Where they go meanwhile; knows no row yet.
            again: Whether the rows were found unchanged earlier: those that are not any more are to be called.

        Raises:
            sqlite3.Error: The disk refuses.
        """
        if self._mode != "never":
            await self._read(sightings)
            if not self._lanes.stopping.is_set():
                await self._keep(sightings, again=again)
        if not self._lanes.stopping.is_set():
            await anyio.to_thread.run_sync(lambda: self._store.note(preflight_at=now_ms()))
            self._lanes.progress.preflight_over = True

    async def _read(self, sightings: Sightings) -> None:
        order = self._order
        await anyio.to_thread.run_sync(lambda: sightings.expect(self._frames()))
        reader = StateReader(self._lanes, order.workers, order.action, order.instance, sightings)
        scanned = await reader.read(one_by_one=self._batches() if self._mode == "always" else None)
        if scanned.failure is not None:
            self._lanes.progress.unread_because = scanned.failure.message
            self._lanes.progress.scans += 1  # it is over, and the run continues

    async def _keep(self, sightings: Sightings, *, again: bool) -> None:
        frames = self._frames()
        while (frame := await anyio.to_thread.run_sync(next, frames, None)) is not None:
            states = list(self._states(sightings, frame, again=again))
            await anyio.to_thread.run_sync(lambda found: self._store.keep_states(found, again=again), states)
            unchanged = sum(newest is not None for _, newest, _, _ in states)
            self._lanes.progress.outcomes[Outcome.UNCHANGED] += unchanged
            if self._lanes.stopping.is_set():
                return

    def _states(
        self, sightings: Sightings, frame: pl.DataFrame, *, again: bool
    ) -> Iterator[tuple[str | None, str | None, int | None, int]]:
        """Yields of some rows what they were, and the outcome where they need no call."""
        # What is not listed may be called all the same: it costs little, and "not found" is an outcome of its own.
        desired = None if self._order.action.deletes else self._order.action.desired_status
        for row in frame[ROW]:
            status: Status | None = sightings.status(row)
            if status is None and not again:
                continue
            if status is not None and status == desired:
                yield status.value, Outcome.UNCHANGED.value, sightings.seen_at(row), row
            else:
                yield (None if status is None else status.value), None, None, row
