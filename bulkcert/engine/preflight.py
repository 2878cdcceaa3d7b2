"""The preflight: what is in the desired state already is not called, and what is called is remembered as it was."""

import time
from collections.abc import Callable, Iterator
from typing import Literal

import anyio.to_thread
import polars as pl

from bulkcert.engine.lanes import Lanes
from bulkcert.engine.sightings import Sightings
from bulkcert.engine.states import StateReader
from bulkcert.input import ROW
from bulkcert.service.actions import Action
from bulkcert.service.certificates import Status
from bulkcert.store import queries
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


async def read_before(
    lanes: Lanes,
    action: Action,
    store: Store,
    sightings: Sightings,
    *,
    mode: Mode,
    frames: Callable[[], Iterator[pl.DataFrame]],
    batches: Callable[[], Iterator[list[Row]]],
) -> None:
    """Reads states before a run's calls: once a row was called, its state before cannot be read any more.

    Rows that are in the desired state get their outcome. Where states cannot be read, the progress says why, and the
    run continues without. All is on disk when it returns, unless it is stopped: such a preflight counts for nothing,
    the next session makes another.

    Args:
        lanes: Where calls go through.
        action: What is asked for.
        store: Where states are kept; no row that it is to call is unchanged there.
        sightings: Where they go meanwhile; knows no row yet.
        mode: When they are read.
        frames: Gives the annotated rows that are to be called.
        batches: Gives the same as rows.

    Raises:
        sqlite3.Error: The disk refuses.
    """
    progress = lanes.progress
    if mode != "never":
        await anyio.to_thread.run_sync(lambda: sightings.expect(frames()))
        reader = StateReader(lanes, action, sightings)
        scanned = await reader.read(one_by_one=batches() if mode == "always" else None)
        if scanned.failure is not None:
            progress.unread_because = scanned.failure.message
            progress.scans += 1  # it is over, and the run continues
        each = frames()
        # What is not listed may be called all the same: it costs little, and "not found" is an outcome of its own.
        desired = None if action.deletes else action.desired_status
        while not lanes.stopping.is_set():
            if (frame := await anyio.to_thread.run_sync(next, each, None)) is None:
                break
            await anyio.to_thread.run_sync(store.keep_states, _states(sightings, frame, desired))
        found = await anyio.to_thread.run_sync(store.read, queries.count, queries.UNCHANGED)
        progress.outcomes[Outcome.UNCHANGED] = found
    if not lanes.stopping.is_set():
        await anyio.to_thread.run_sync(lambda: store.note(preflight_at=now_ms()))
        progress.preflight_over = True


def _states(
    sightings: Sightings, frame: pl.DataFrame, desired: Status | None
) -> Iterator[tuple[str, str | None, int | None, int]]:
    """Yields of the rows that were seen what they were, and the outcome where they need no call."""
    for row in frame[ROW]:
        if (status := sightings.status(row)) is not None:
            unchanged = (Outcome.UNCHANGED.value, sightings.seen_at(row)) if status == desired else (None, None)
            yield status.value, *unchanged, row
