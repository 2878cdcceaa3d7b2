"""What happens while calls are made, as events of the log for machines."""

import logging
import os
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any

import anyio

from bulkcert.batch.progress import Progress
from bulkcert.batch.run import Run
from bulkcert.batch.summary import Summary, Verification
from bulkcert.log import event

LOOK_EVERY_S = 0.5
"""The smallest slow-down lasts a second, so none is missed."""

VERDICTS_EVERY_S = 10.0
CHECKPOINT_EVERY_S = 30.0


def tell_started(run: Run) -> None:
    """Logs what a run is about to do."""
    job, options, check = run.job, run.job.options, run.check
    event(
        "run_started",
        f"{job.action.name}: {check.rows:,} rows, {run.calls:,} to call",
        version=version("bulkcert"),
        pid=os.getpid(),
        input=str(job.input),
        results=str(job.results),
        endpoint=str(job.endpoint),
        rows=check.rows,
        invalid=check.invalid,
        duplicates=check.duplicates,
        protected=check.protected,
        to_call=run.calls,
        done_before=run.already_done,
        caps={"account": options.rate, "address": options.per_address_rate, "lane": job.lane_cap},
        source_addresses=[address or "any" for address in job.addresses],
        look_first=options.look_first,
    )


def tell_finished(summary: Summary, started: float) -> None:
    """Logs what a run came to.

    Args:
        summary: Of the run, all sessions.
        started: When this session was started, in monotonic seconds.
    """
    session = summary.sessions[-1]
    event(
        "run_finished",
        f"{summary.rows:,} rows, exit status {summary.exit_status}",
        logging.INFO if summary.exit_status == 0 else logging.WARNING,
        exit_status=summary.exit_status,
        stopped=summary.stopped or None,
        rows=summary.rows,
        outcomes=summary.outcomes,
        codes=summary.codes,
        calls=session.calls,
        achieved_rate=session.achieved_rate,
        worst_window=session.worst_window,
        retries=session.retries,
        throttles=session.throttles,
        duration_s=round(time.monotonic() - started, 3),
        results=summary.results,
    )


def tell_verified(verification: Verification, started: float) -> None:
    """Logs what a verification came to.

    Args:
        verification: What was read back.
        started: When the command was started, in monotonic seconds.
    """
    event(
        "verify_finished",
        f"{verification.wanted:,} rows as wanted, {verification.not_wanted:,} not, {verification.unread:,} not read",
        logging.INFO if verification.exit_status == 0 else logging.WARNING,
        exit_status=verification.exit_status,
        stopped=verification.stopped or None,
        statuses=verification.statuses,
        wanted=verification.wanted,
        not_wanted=verification.not_wanted,
        unread=verification.unread,
        unread_because=verification.unread_because,
        called_again=verification.called_again,
        calls=verification.calls,
        duration_s=round(time.monotonic() - started, 3),
    )


async def watch_events(progress: Progress) -> None:
    """Logs what changes, until cancelled; what has changed last is logged then."""
    watcher = _Watcher(progress)
    try:
        while True:
            await anyio.sleep(LOOK_EVERY_S)
            watcher.look(time.monotonic())
    finally:
        watcher.look(time.monotonic())
        watcher.count(time.monotonic())


def watch_checkpoints(synced: Callable[[], int]) -> Callable[[Progress], Coroutine[Any, Any, None]]:
    """Returns a watch that logs now and then how much of a run is safe on disk; the last is for ``tell_checkpoint``.

    Args:
        synced: Returns how many rows have their final outcome in the journal, on disk.
    """

    async def watch(_progress: Progress) -> None:
        told = synced()
        while True:
            await anyio.sleep(CHECKPOINT_EVERY_S)
            if synced() != told:
                told = synced()
                tell_checkpoint(told)

    return watch


def tell_checkpoint(rows: int) -> None:
    """Logs how many rows have their final outcome in the journal, on disk."""
    event("checkpoint", f"the journal holds {rows:,} outcomes on disk", rows=rows)


class _Watcher:
    """What was last told of a progress, and what has changed since."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._looks = 0
        self._looked: tuple[int, int, str] = (0, 0, "")
        self._slowed = ""
        """Why the lanes are slow, as it was told."""
        self._throttles = self._outages = 0
        self._stopping = False
        self._counted: dict[str, Any] = {}
        self._counted_at = time.monotonic()

    def look(self, now: float) -> None:
        """Logs what has changed; the verdicts only every few seconds."""
        self._see_looking()
        self._see_slow_down(now)
        stop = self._progress.stop
        if stop is not None and not self._stopping:
            self._stopping = True
            in_flight = self._progress.in_flight
            event("stopping", stop.message, logging.WARNING, exit_status=int(stop.status), in_flight=in_flight)
        if now - self._counted_at >= VERDICTS_EVERY_S:
            self.count(now)

    def count(self, now: float) -> None:
        """Logs the verdicts so far, if there are new ones."""
        self._counted_at = now
        progress = self._progress
        fresh: dict[str, Any] = {
            "outcomes": {str(outcome): count for outcome, count in progress.outcomes.items()},
            "codes": dict(progress.codes),
            "calls": progress.sends.sends,
            "retries": progress.retries,
            "throttles": progress.throttles,
            "left": max(0, progress.to_call - progress.outcomes.total()),
            "pages": progress.pages,
            "reads": progress.reads,
            "outages": progress.outage.count,
        }
        if fresh != self._counted:
            self._counted = fresh
            said = f"{progress.outcomes.total():,} rows finished, {fresh['left']:,} left"
            rate = progress.sends.recent_rate(now)
            factor = round(progress.slow_down.factor(now), 3)
            event("verdicts", said, **fresh, rate=rate, in_flight=progress.in_flight, factor=factor)

    def _see_looking(self) -> None:
        progress = self._progress
        looked = (progress.pages, progress.reads, progress.not_looked)
        if progress.looks > self._looks and looked != self._looked:
            self._looks, self._looked = progress.looks, looked
            said = f"{progress.pages:,} pages and {progress.reads:,} single certificates read"
            not_looked = progress.not_looked or None
            event("looking_done", said, pages=progress.pages, reads=progress.reads, not_looked=not_looked)

    def _see_slow_down(self, now: float) -> None:
        """Logs that all lanes slow down, and why, and that they are back; a new reason is told anew."""
        progress, slow_down = self._progress, self._progress.slow_down
        factor, pause_s = slow_down.factor(now), max(0.0, slow_down.paused_until - now)
        throttled, silent = progress.throttles > self._throttles, progress.outage.count > self._outages
        self._throttles, self._outages = progress.throttles, progress.outage.count
        why = "outage" if silent else "throttled" if throttled else ""
        # A throttled answer that came and went between two looks was told all the same.
        if why and why != self._slowed:
            self._slowed = why
            event(
                "slowed_down",
                f"lanes slowed down: {why}; at {factor:.0%} of the cap",
                logging.WARNING,
                reason=why,
                factor=round(factor, 3),
                pause_s=round(pause_s, 3),
                code=progress.throttle_code if why == "throttled" else None,
                retry_after_s=progress.retry_after_s if why == "throttled" else None,
                throttles=progress.throttles,
                last_error=progress.last_error,
            )
        elif self._slowed and not why and factor >= 1 and not pause_s and not progress.outage.ongoing:
            self._slowed = ""
            event("recovered", "lanes are back at their caps", throttles=progress.throttles)
