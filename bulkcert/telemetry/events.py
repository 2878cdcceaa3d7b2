"""What happens while calls are made, as events of the log for machines."""

import logging
import os
import time
from typing import Any

import anyio
import msgspec

from bulkcert import __version__
from bulkcert.engine.figures import Stats, Take
from bulkcert.engine.progress import Progress
from bulkcert.log import event
from bulkcert.output.summary import Summary
from bulkcert.runs.run import Run
from bulkcert.store.sessions import Verification
from bulkcert.words import counted

POLL_EVERY_S = 0.5
"""The smallest slow-down lasts a second, so none is missed."""

VERDICTS_EVERY_S = 10.0


def log_started(run: Run) -> None:
    """Logs what a run is about to do."""
    job, options, check = run.job, run.job.options, run.check
    event(
        "run_started",
        f"{job.action.name}: {check.rows:,} rows, {run.calls:,} to call",
        version=__version__,
        pid=os.getpid(),
        input=job.list_name,
        results=str(job.files.results),
        endpoint=str(job.endpoint),
        instances={instance: str(endpoint) for instance, endpoint in job.instances.items()},
        rows=check.rows,
        invalid=check.invalid,
        duplicates=check.duplicates,
        protected=check.protected,
        to_call=run.calls,
        done_before=run.already_done,
        caps={"account": options.rate, "address": options.per_address_rate, "lane": job.lane_cap},
        source_addresses=[address or "any" for address in job.addresses],
        preflight=options.preflight,
        reason=run.change.reason,
        approved_by=run.change.approved_by,
        plan=msgspec.to_builtins(run.change.plan),
    )


def log_finished(summary: Summary, progress: Progress, started: float) -> None:
    """Logs what a run came to.

    Args:
        summary: Of the run, all sessions.
        progress: What this session has done.
        started: When it was started, in monotonic seconds.
    """
    change = summary.latest.change
    event(
        "run_finished",
        f"{summary.rows:,} rows, exit status {summary.exit_status}",
        logging.INFO if summary.exit_status == 0 else logging.WARNING,
        **_of(summary, "exit_status", "stopped", "advice", "rows", "outcomes", "codes", "results"),
        retries=progress.retries,
        throttles=progress.throttles,
        reason=change.reason,
        approved_by=change.approved_by,
        plan=msgspec.to_builtins(change.plan),
        failed=summary.failed.file if summary.failed else None,
        calls=progress.sends.sends,
        achieved_rate=round(progress.sends.rate(), 1),
        peak_window=progress.sends.worst,
        duration_s=round(time.monotonic() - started, 3),
    )


def _of(figures: object, *names: str) -> dict[str, Any]:
    return {name: getattr(figures, name) for name in names}


def log_verified(verification: Verification, started: float) -> None:
    """Logs what a verification came to.

    Args:
        verification: What was read back.
        started: When the command was started, in monotonic seconds.
    """
    event(
        "verify_finished",
        f"{verification.wanted:,} rows in the desired state, {verification.not_desired:,} not, "
        f"{verification.unread:,} not read",
        logging.INFO if verification.exit_status == 0 else logging.WARNING,
        **msgspec.structs.asdict(verification),
        duration_s=round(time.monotonic() - started, 3),
    )


async def watch_events(take: Take) -> None:
    """Logs what changes, until cancelled; what has changed last is logged then."""
    watcher = _Watcher()
    try:
        while True:
            await anyio.sleep(POLL_EVERY_S)
            watcher.observe(take(), time.monotonic())
    finally:
        watcher.observe(take(), time.monotonic())
        watcher.count(take(), time.monotonic())


class _Watcher:
    """What was last logged of a session, and what has changed since."""

    def __init__(self) -> None:
        self._scans = 0
        self._reads: tuple[int, int, str] = (0, 0, "")
        self._slowed = ""
        """Why the lanes are slow, as it was logged."""
        self._throttles = self._outages = 0
        self._stopping = False
        self._counted: dict[str, Any] = {}
        self._counted_at = time.monotonic()

    def observe(self, stats: Stats, now: float) -> None:
        """Logs what has changed; the verdicts only every few seconds."""
        self._see_preflight(stats)
        self._see_slow_down(stats)
        if stats.stop_status is not None and not self._stopping:
            self._stopping = True
            status = int(stats.stop_status)
            event("stopping", stats.stop, logging.WARNING, exit_status=status, in_flight=stats.in_flight)
        if now - self._counted_at >= VERDICTS_EVERY_S:
            self.count(stats, now)

    def count(self, stats: Stats, now: float) -> None:
        """Logs the verdicts so far, if there are new ones."""
        self._counted_at = now
        finished = sum(stats.outcomes_now.values())
        left = max(0, stats.to_call - finished)
        fresh = _of(stats, "codes", "calls", "retries", "throttles", "pages", "reads", "outages")
        fresh |= {"outcomes": stats.outcomes_now, "left": left}
        if fresh != self._counted:
            self._counted = fresh
            said = f"{finished:,} rows finished, {left:,} left"
            event("progress", said, **fresh, **_of(stats, "rate", "in_flight", "factor"))

    def _see_preflight(self, stats: Stats) -> None:
        reads = (stats.pages, stats.reads, stats.unread_because)
        if stats.scans > self._scans and reads != self._reads:
            self._scans, self._reads = stats.scans, reads
            said = f"{counted(stats.pages, 'page')} and {counted(stats.reads, 'single certificate')} read"
            event("preflight_finished", said, **_of(stats, "pages", "reads", "unread_because"))

    def _see_slow_down(self, stats: Stats) -> None:
        """Logs that all lanes slow down, and why, and that they are back; a new reason is logged again."""
        throttled, silent = stats.throttles > self._throttles, stats.outages > self._outages
        self._throttles, self._outages = stats.throttles, stats.outages
        why = "outage" if silent else "throttled" if throttled else ""
        # A throttled answer that came and went between two polls was counted all the same.
        if why and why != self._slowed:
            self._slowed = why
            event(
                "slowed_down",
                f"lanes slowed down: {why}; at {stats.factor:.0%} of the limit",
                logging.WARNING,
                reason=why,
                pause_s=stats.paused_s,
                code=stats.throttle_code if why == "throttled" else None,
                retry_after_s=stats.retry_after_s if why == "throttled" else None,
                **_of(stats, "factor", "throttles", "last_error"),
            )
        elif self._slowed and not why and stats.factor >= 1 and not stats.paused_s and not stats.outage_s:
            self._slowed = ""
            event("recovered", "lanes are back at their limits", throttles=stats.throttles)
