"""A session of a run, whatever it does: what ``opening`` has prepared calls, and leaves results and summary.

``run``, ``undo`` and ``verify`` say what is called; each begins (``OpenRun.begin``), calls in ``session``, and ends.
"""

import os
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from bulkcert.engine.calling import committing, stop_unwritable
from bulkcert.engine.failures import Stop
from bulkcert.engine.figures import Stats, Take
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.progress import Progress, StatsMaker
from bulkcert.engine.session import Supervision, calling
from bulkcert.engine.target import Target
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import event
from bulkcert.output.failed import FailedRows, write_failed
from bulkcert.output.results import Written, remove_rows
from bulkcert.output.summary import Summary, summary_of, write_summary
from bulkcert.runs.opened import CALLING, OpenRun
from bulkcert.store import control as asking
from bulkcert.store import queries
from bulkcert.store.outcome import Outcome
from bulkcert.store.sessions import Control
from bulkcert.store.status import RunStatus
from bulkcert.store.store import Store
from bulkcert.words import in_utc

BEAT_EVERY_S = 1.0
"""How often a session says in the store what it does."""

POLL_EVERY_S = 0.5
"""How often a session reads what is asked of it: one small query off the loop."""


@asynccontextmanager
async def session(
    opened: OpenRun, service: Target, supervision: Supervision, stats: StatsMaker, *, deadline: float | None = None
) -> AsyncIterator[Lanes]:
    """Opens lanes for a session that has begun; the store takes what comes of the calls, and what the session does.

    Where the disk refuses, no further call is made.

    Args:
        opened: The run.
        service: Which is called, from where and how fast.
        supervision: Who signs and who watches the calls, and what stops them.
        stats: Makes the figures.
        deadline: Unix time in seconds after which nothing is sent, or None.
    """
    store = opened.store

    async def beating(take: Take) -> None:
        while True:
            # Taken here: in a thread what it counts would change meanwhile.
            await anyio.to_thread.run_sync(_beat, store, take())
            await anyio.sleep(BEAT_EVERY_S)

    supervision = supervision._replace(watches=(*supervision.watches, beating))
    async with (
        calling(service, supervision, stats, deadline=deadline) as lanes,
        committing(store, lanes),
        anyio.create_task_group() as group,
    ):
        group.start_soon(_obey, store, lanes, stats)
        try:
            yield lanes
        except sqlite3.Error as error:
            store.failure = error
            stop_unwritable(store, lanes, error)
        group.cancel_scope.cancel()
    await anyio.to_thread.run_sync(_beat, store, stats.take())


async def _obey(store: Store, lanes: Lanes, stats: StatsMaker) -> None:
    """Does what is asked of a session (``bulkcert control``), next to its calls."""
    while store.failure is None:
        await anyio.sleep(POLL_EVERY_S)
        # Where the disk refuses, the next group of outcomes says so.
        with suppress(sqlite3.Error, BulkcertError):
            for control in await anyio.to_thread.run_sync(asking.waiting, store):
                await _do(control, lanes, stats)
                await anyio.to_thread.run_sync(asking.take, store, control)


async def _do(control: Control, lanes: Lanes, stats: StatsMaker) -> None:
    since = in_utc(control.asked_at / 1000)
    event(
        "control",
        f"{control.words}, asked by {control.by}",
        request=control.request,
        rate=control.rate,
        per_address_rate=control.per_address_rate,
        user=control.user,
        host=control.host,
        pid=control.pid,
        asked_at=since,
    )
    match control.request:
        case "pause":
            lanes.pause(f"{control.by} since {since}")
        case "continue":
            lanes.resume()
        case "stop":
            lanes.stop(Stop(ExitStatus.STOPPED_EARLY, f"bulkcert control --stop by {control.by}"))
        case "rate" if control.rate and control.per_address_rate:
            service = msgspec.structs.replace(
                lanes.service, account_cap=control.rate, address_cap=control.per_address_rate
            )
            await lanes.change(service)
            stats.change(service)


def confirm_read(progress: Progress, also: str = "") -> None:
    """Confirms that reading before a question was not stopped; if it was, something may be said besides.

    Raises:
        BulkcertError: It was, by a signal, or by what would stop the calls as well.
    """
    if (stop := progress.stop) is not None:
        advice = stop.advice or "States were read; no calls that change anything were made."
        raise BulkcertError(stop.status, stop.message, f"{advice} {also}".rstrip())


async def after_reads(progress: Progress) -> None:
    """Waits until reads that were made before a question share no second with the calls after it: so the limit holds.

    The pause is left out of their rate.
    """
    if progress.sends.sends:
        await anyio.sleep(max(0.0, progress.sends.last_s + 1 - time.monotonic()))
        progress.sends.resume(time.monotonic())


def _beat(store: Store, figures: Stats) -> None:
    """Keeps what a session does; where the disk refuses, the next group of outcomes says so."""
    if store.failure is None:
        with suppress(sqlite3.Error):
            store.note(beat_at=round(time.time() * 1000), figures=msgspec.json.encode(figures).decode())


def finalize(opened: OpenRun, stop: Stop | None, came_to: ExitStatus | None = None) -> Summary:
    """Ends a session that ran or undid: results, how it ended, the failed rows, and the summary.

    Args:
        opened: The run, without calls in flight.
        stop: Why the session ended early, or None.
        came_to: What an undo ends with; None for a run, of which the store knows.

    Raises:
        BulkcertError: They cannot be written, or the outcomes do not add up.
    """
    store = opened.store
    try:
        written = opened.write_results()
        reached = opened.status()
        _confirm_sum(reached, written.rows)
    except BulkcertError as error:
        store.stopped(error.status, stop.message if stop else error.message, stop.advice if stop else error.advice)
        if stop is None:
            raise
        advice = stop.advice if store.failure else error.advice
        raise BulkcertError(error.status, f"stopped: {stop.message}; then: {error.message}", advice) from error
    if store.failure:
        status = ExitStatus.CANNOT_WRITE
    elif came_to is not None:
        status = came_to
    elif reached.to_call:
        status = stop.status if stop is not None else ExitStatus.STOPPED_EARLY
    else:
        status = ExitStatus.INCOMPLETE if reached.not_desired else ExitStatus.OK
    if store.failure and stop is not None:
        store.stopped(status, stop.message, stop.advice)
    elif store.session:
        early = stop is not None and status not in (ExitStatus.OK, ExitStatus.INCOMPLETE)
        reason = {"stopped": stop.message, "advice": stop.advice, "stop_code": stop.code} if stop and early else {}
        store.end(status, **reason)
    summary = _summarized(opened, written)
    if store.failure and stop is not None:
        # The store could not take its end; what people are shown must not wait for that.
        summary = msgspec.structs.replace(summary, exit_status=int(status), stopped=stop.message, advice=stop.advice)
    write_summary(opened.files, summary)
    return summary


def summarize(opened: OpenRun, written: Written | None) -> FailedRows | None:
    """Writes the failed rows and the summary of a run again, unless it has not run or its results are gone.

    Without results that were written just now every row is proved.

    Returns:
        The failed rows; None where there are none, or nothing was written.

    Raises:
        BulkcertError: They cannot be written.
    """
    if opened.newest(*CALLING) is None or not opened.files.results.exists():
        return None
    if written is None:
        with Path(os.devnull).open("wb") as nowhere:  # every row is proved
            written = opened.write_results(into=nowhere)
    summary = _summarized(opened, written)
    write_summary(opened.files, summary)
    return summary.failed


def _summarized(opened: OpenRun, written: Written) -> Summary:
    """Seals results that were written, and writes the failed rows; returns the summary of all that."""
    opened.store.seal(written.digest)
    status = opened.status(brief=False)
    failed = None
    if status.not_desired:
        failed = write_failed(
            opened.files, opened.asked, opened.pinned, opened.store.read, guards=opened.store.read(queries.guards)
        )
    else:
        remove_rows(opened.files.failed)
    return summary_of(status, opened.pinned, opened.store.db, written, failed)


def _confirm_sum(status: RunStatus, rows: Counter[Outcome]) -> None:
    """Confirms that every row that came in has gone out with an outcome.

    Raises:
        BulkcertError: They do not add up.
    """
    asked, outcomes, out = status.asked.rows if status.asked else 0, status.outcomes, rows.total()
    if out != asked or rows != outcomes:
        raise BulkcertError(
            ExitStatus.INTERNAL,
            f"{status.files.results}: {asked} rows came in, {out} went out, {outcomes.total()} have an outcome",
            "Please report this; the store holds every outcome.",
        )
