"""Writes the snapshot of a session while it goes on, off the event loop, so that the calls do not wait for it."""

import os
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread

from bulkcert.batch import snapshot
from bulkcert.batch.finished import Finished
from bulkcert.batch.index import Index
from bulkcert.batch.outcome import Outcome
from bulkcert.batch.progress import Progress
from bulkcert.batch.run import Run
from bulkcert.batch.service import Service
from bulkcert.batch.snapshot import EVERY_S, Facts, LaneState, Snapshot
from bulkcert.batch.waiting import left_s, rows_done, waiting_for

ERRORS_KEPT = 5
"""Codes whose newest error is told."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a session works on.

    Attributes:
        action: Name of the action.
        input: The input file.
        results: The results file.
        service: Which service, from where, how fast.
        index: What the journal says.
        rows: Rows of the input.
        left_out: Rows that are never called, by outcome.
        to_call: Rows that this session calls at most.
        command: What goes on with the run, for a shell; empty where nothing does.
        limited: Whether it makes no more than so many calls.
        verifies: Whether it reads back what a run has done.
    """

    action: str
    input: Path
    results: Path
    service: Service
    index: Index
    rows: int
    left_out: Mapping[Outcome, int]
    to_call: int
    command: str
    limited: bool = False
    verifies: bool = False


class SnapshotWatch:
    """Keeps the snapshot of one session; its journal is held, so what an earlier one has left behind goes.

    Args:
        watched: What the session works on.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._calling_since: float | None = None
        self._earlier: tuple[float, list[int]] = (0.0, [])
        """When the last snapshot was taken, and how much each lane had sent."""
        snapshot.remove(watched.results)

    async def watch(self, progress: Progress) -> None:
        """Writes a snapshot about once a second until cancelled, and then one that says that results are written."""
        facts = _facts(self._watched)
        self._earlier = time.monotonic(), [0] * len(progress.lanes)
        try:
            while True:
                await anyio.to_thread.run_sync(snapshot.write, self._taken(progress, facts), self._watched.results)
                await anyio.sleep(EVERY_S)
        finally:
            snapshot.write(self._taken(progress, facts, phase=snapshot.WRITING), self._watched.results)

    def remove(self) -> None:
        """Removes the snapshot: the session ends in order."""
        snapshot.remove(self._watched.results)

    def _taken(self, progress: Progress, facts: Facts, phase: str = "") -> Snapshot:
        """Returns what the session does, and what the journal says."""
        service, now, outage = self._watched.service, time.monotonic(), progress.outage
        workers = service.workers * len(service.addresses)
        done_now, outcomes = rows_done(progress, limited=self._watched.limited), self._outcomes()
        return Snapshot(
            version=snapshot.VERSION,
            session=facts,
            now=datetime.now(UTC),
            phase=phase or self._phase(progress),
            done=done_now if self._watched.verifies else min(sum(outcomes.values()), self._watched.rows),
            done_now=done_now,
            outcomes=outcomes,
            calls=progress.sends.sends,
            rate=progress.sends.recent_rate(now),
            factor=round(progress.slow_down.factor(now), 3),
            paused_s=round(max(0.0, progress.slow_down.paused_until - now), 1),
            in_flight=progress.in_flight,
            lanes=self._lanes(progress, now),
            pages=progress.pages,
            reads=progress.reads,
            retries=progress.retries,
            throttles=progress.throttles,
            outage_s=round(now - outage.since, 1) if outage.ongoing else 0.0,
            outages=outage.count,
            waiting_for=waiting_for(progress, now, rate=service.rate, workers=workers),
            left_s=self._left_s(progress, now),
            errors=progress.errors.newest(ERRORS_KEPT),
            stop=progress.stop.message if progress.stop else "",
        )

    def _outcomes(self) -> dict[str, int]:
        """Returns how many rows have each outcome; a verification tells of none."""
        if self._watched.verifies:
            return {}
        settled = self._watched.index.settled() + Counter(self._watched.left_out)
        return {outcome.value: settled[outcome] for outcome in Outcome if settled[outcome]}

    def _phase(self, progress: Progress) -> str:
        if progress.stop is not None:
            return "stopping"
        if self._watched.verifies:
            return "verifying"
        return "looking" if progress.looking or not self._watched.index.looked else "calling"

    def _lanes(self, progress: Progress, now: float) -> list[LaneState]:
        then, sends = self._earlier
        self._earlier = now, [lane.sends for lane in progress.lanes]
        passed = max(now - then, 0.001)
        return [
            LaneState(address or "any", round((lane.sends - before) / passed, 1), lane.in_flight)
            for address, lane, before in zip(self._watched.service.addresses, progress.lanes, sends, strict=True)
        ]

    def _left_s(self, progress: Progress, now: float) -> float | None:
        if self._phase(progress) == "looking":
            self._calling_since = None
            return None
        if self._watched.verifies or progress.stop is not None or progress.outage.ongoing:
            return None
        self._calling_since = self._calling_since or now
        watched, elapsed_s = self._watched, now - self._calling_since
        return left_s(progress, watched.to_call, elapsed_s, watched.service.rate, limited=watched.limited)


def of_run(run: Run, command: str) -> SnapshotWatch:
    """Returns the watch of a run.

    Args:
        run: The opened run.
        command: What goes on with it, for a shell; empty where nothing does.
    """
    check, job = run.check, run.job
    left_out = {
        Outcome.INVALID: check.invalid,
        Outcome.DUPLICATE: check.duplicates,
        Outcome.PROTECTED: check.protected,
    }
    return SnapshotWatch(
        Watched(
            job.action.name,
            job.input,
            job.results,
            job,
            run.journal.index,
            check.rows,
            left_out,
            run.calls,
            command,
            limited=job.options.limit_rows is not None,
        )
    )


def of_verification(finished: Finished, service: Service, command: str) -> SnapshotWatch:
    """Returns the watch of a verification.

    Args:
        finished: The run that is verified.
        service: Where it is read.
        command: What verifies it, for a shell.
    """
    results, rows = finished.results, finished.check.rows
    watched = Watched(
        finished.action.name, results, results, service, finished.journal.index, rows, {}, rows, command, verifies=True
    )
    return SnapshotWatch(watched)


def _facts(watched: Watched) -> Facts:
    service = watched.service
    return Facts(
        action=watched.action,
        instance=service.instance,
        endpoint=str(service.endpoint),
        input=str(watched.input),
        results=str(watched.results),
        directory=_encodable(_directory()),
        command=_encodable(watched.command),
        pid=os.getpid(),
        host=socket.gethostname(),
        started=datetime.now(UTC),
        rows=watched.rows,
        to_call=watched.to_call,
        cap=round(service.rate, 1),
    )


def _directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return ""


def _encodable(text: str) -> str:
    """Returns text without the bytes that a name may hold and JSON may not."""
    return text.encode(errors="replace").decode()
