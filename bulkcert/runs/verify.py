"""Verifying: the state of every row is read back; in a watch, what is not in the desired state is called again."""

import time
from collections import Counter
from collections.abc import Iterator

import anyio
import anyio.to_thread
import msgspec

from bulkcert.engine.calling import Engine
from bulkcert.engine.failures import Stop
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.progress import Progress, StatsMaker
from bulkcert.engine.session import Supervision
from bulkcert.engine.sightings import Sightings
from bulkcert.engine.states import Scanned, StateReader
from bulkcert.engine.target import Limit, Target
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import ROW, ca_keys
from bulkcert.log import bind
from bulkcert.output.failed import FailedRows
from bulkcert.output.summary import utc
from bulkcert.runs.job import check_required, confirm_required
from bulkcert.runs.opened import OpenRun
from bulkcert.runs.other_options import VerifyOptions
from bulkcert.runs.session import session, summarize
from bulkcert.runs.target import refuse
from bulkcert.service.actions import Action, Status
from bulkcert.store import queries, read_states
from bulkcert.store.outcome import NEVER_CALLED, NEVER_READ, Outcome
from bulkcert.store.sessions import Verification

CAS_KEPT = 100_000
"""CAs that are paged through, each for itself."""

LONGEST_WATCH_S, SHORTEST_PAUSE_S = 30 * 86400, 1.0

_LASTING = frozenset({ExitStatus.DENIED, ExitStatus.MISCONFIGURED})
"""Why a reading fails that fails again in the next round."""


class Verifier(msgspec.Struct):
    """Reads back what a run has done.

    Attributes:
        opened: The run.
        service: Where it is read.
        options: As given: how long to keep reading, and the pause between two rounds.
        progress: What happens.
        left_out: Rows that are not read, by outcome.
        sightings: What the newest round has seen; a row that was called after that is not seen any more.
        scanned: What came of that round.
        has_read: Whether any round has seen anything.
        called_again: Rows that were called again.
        called_since: Those of them that were called after the newest round.
        failed: The rows that are not in the desired state in the end; None where there are none.
    """

    opened: OpenRun
    service: Target
    options: VerifyOptions
    progress: Progress = msgspec.field(default_factory=Progress)
    left_out: Counter[str] = msgspec.field(default_factory=Counter)
    sightings: Sightings | None = None
    scanned: Scanned = msgspec.field(default_factory=Scanned)
    has_read: bool = False
    called_again: set[int] = msgspec.field(default_factory=set)
    called_since: set[int] = msgspec.field(default_factory=set)
    failed: FailedRows | None = None
    _kept: bytearray = msgspec.field(default_factory=bytearray)

    async def read(self, supervision: Supervision) -> None:
        """Reads the state of every row into the store; what is found otherwise is called again in a watch.

        A round that fails is made again, and a service that goes silent is waited for until the watch is over;
        ``finish`` says why the last round failed.

        Raises:
            BulkcertError: The store cannot be written.
        """
        stats = StatsMaker(
            self.progress, "verifying", self.service, rows=self.opened.asked.rows, to_call=self.opened.asked.rows
        )
        self.opened.begin("verify", self.options, supervision.provider.current)
        deadline = time.monotonic() + self.options.watch
        self.progress.watched_until = time.time() + self.options.watch
        async with session(self.opened, self.service, supervision, stats) as lanes:
            for outage in self.progress.outages:
                outage.waits_until = deadline
            await self._rounds(lanes, deadline)

    async def _rounds(self, lanes: Lanes, deadline: float) -> None:
        self.sightings = sightings = await anyio.to_thread.run_sync(self._expected)
        self._kept = bytearray(len(sightings.statuses))
        acted: set[int] = set()
        while True:
            sightings.forget()
            self.called_since = set()
            await self._scan(lanes, sightings)
            lasting = (failure := self.scanned.failure) is not None and failure.status in _LASTING
            over = lasting or lanes.stopping.is_set() or time.monotonic() >= deadline
            await anyio.to_thread.run_sync(self._keep, sightings, over)
            if over or self.opened.store.failure is not None:
                return
            before, acted = acted, await self._act(lanes, sightings)
            # What was called is read again at once, unless it was called in vain already.
            pause = 0.0 if acted - before else min(self.options.every, deadline - time.monotonic())
            self.progress.next_scan_at = time.monotonic() + pause if pause > 0 else 0.0
            with anyio.move_on_after(max(0.0, pause)):
                await lanes.stopping.wait()
            self.progress.next_scan_at = 0.0
            if lanes.stopping.is_set():
                # No other round can be made: this one counts, but for what was called after it.
                await anyio.to_thread.run_sync(self._keep, sightings, True)
                return

    def _expected(self) -> Sightings:
        opened = self.opened
        for outcome in NEVER_CALLED:
            self.left_out[outcome] = opened.store.read(queries.count, "never = ?", outcome)
        rows_by_ca: Counter[str] = Counter()
        for frame in opened.frames():
            rows_by_ca.update(dict(ca_keys(frame).value_counts().iter_rows()))
        cas = [ca for ca, _ in rows_by_ca.most_common(CAS_KEPT)]
        sightings = Sightings(opened.asked.rows, cas, by_device=opened.action.by_device)
        sightings.expect(opened.frames())
        return sightings

    async def _scan(self, lanes: Lanes, sightings: Sightings) -> None:
        """Reads all rows, each absent one for itself."""
        reader = StateReader(lanes, self.opened.action, sightings)
        self.scanned = await reader.read(one_by_one=self.opened.batches(), misses=False)

    def _keep(self, sightings: Sightings, everything: bool) -> None:
        """Keeps what was seen; between two rounds only what has changed, so that watching for hours stays cheap."""
        statuses, kept = sightings.statuses, self._kept
        self.has_read = self.has_read or statuses.count(0) < len(statuses)
        states = (
            (str(sightings.status(row)), sightings.seen_at(row), row)
            for row, status in enumerate(statuses)
            if status and (everything or status != kept[row])
        )
        read_states.keep_later(self.opened.store, states, self.opened.serials)
        self._kept = bytearray(statuses)

    async def _act(self, lanes: Lanes, sightings: Sightings) -> set[int]:
        """Calls again what is registered and not in the desired state; returns the rows."""
        opened = self.opened
        found = await anyio.to_thread.run_sync(set, self._to_call())
        if not found:
            return found
        rows = ([row for row in batch if row.number in found] for batch in opened.batches())
        await Engine(opened.action, lanes, opened.store, max_errors=Limit()).run(iter(rows))
        await opened.store.sync()
        store = opened.store
        called = await anyio.to_thread.run_sync(store.read, queries.called_by, store.session)
        for row in found & called.keys():
            if called[row] is not Outcome.NOT_ATTEMPTED:
                sightings.statuses[row] = 0
                self._kept[row] = 0
                self.called_since.add(row)
        self.called_again |= self.called_since
        return found

    def _to_call(self) -> Iterator[int]:
        """Yields the rows that are registered, not in the desired state, and that the run has called."""
        if self.sightings is not None:
            other = Status(self.opened.action.before)
            for frame in (each for each in self.opened.frames() if each.height):
                reached = self.opened.store.read(queries.rows, queries.REACHED, frame[ROW][0], frame[ROW][-1])
                yield from (row for row in reached if self.sightings.status(row) is other)

    @property
    def would_call(self) -> bool:
        """Whether a watch would call rows, as they were read."""
        return any(self._to_call())

    def finish(self) -> Verification:
        """Writes the results again with what was read, if anything was, and keeps what came of it.

        Raises:
            BulkcertError: They cannot be written.
        """
        opened = self.opened
        written = opened.write_results() if self.has_read else None
        verification = self._verification()
        stop = self.stop
        encoded = msgspec.json.encode(verification).decode()
        reason = {"stopped": stop.message, "advice": stop.advice} if stop else {}
        opened.store.end(verification.exit_status, verification=encoded, **reason)
        self.failed = summarize(opened, written)
        return verification

    @property
    def stop(self) -> Stop | None:
        """Why it ended early, or None."""
        if self.progress.stop is None and (failure := self.scanned.failure) is not None:
            return Stop(failure.status, failure.message, failure.advice)
        return self.progress.stop

    @property
    def rows(self) -> int:
        """Rows that must be in the desired state: all but the duplicates."""
        return self.opened.asked.rows - self.left_out[Outcome.DUPLICATE]

    def _verification(self) -> Verification:
        stop, opened = self.stop, self.opened
        statuses = self.sightings.counted() if self.sightings is not None else {}
        wanted, read = statuses.get(str(opened.action.desired_status), 0), sum(statuses.values())
        unread = self.rows - read
        return Verification(
            finished=utc(time.time()),
            statuses=statuses,
            wanted=wanted,
            not_desired=read - wanted,
            calls=self.progress.sends.sends,
            called_again=len(self.called_again),
            exit_status=int(stop.status if stop else ExitStatus.OK if wanted == self.rows else ExitStatus.INCOMPLETE),
            stopped=stop.message if stop else "",
            unread=unread,
            unread_because=self._unread_because(unread),
            refusal=self.scanned.refusal,
        )

    def _unread_because(self, unread: int) -> dict[str, int]:
        """Returns how many rows were not read for each reason; they add up."""
        because = {str(outcome): self.left_out[outcome] for outcome in NEVER_READ}
        because["refused"] = self.scanned.refused
        because["called_again"] = len(self.called_since)
        because["not_reached"] = unread - sum(because.values())
        return {reason: count for reason, count in because.items() if count}


def resolve_reading(opened: OpenRun, options: VerifyOptions) -> Target:
    """Returns where to read, and whether the options may be.

    Raises:
        BulkcertError: An option cannot be.
    """
    bind(ticket=options.ticket or None)
    problems: list[str] = []
    service = opened.target(options, problems)
    if options.watch > LONGEST_WATCH_S:
        problems.append(f"--watch must be 30d at most, not {options.watch / 86400:g}d; start it again after that")
    if options.every < SHORTEST_PAUSE_S:
        problems.append(f"--every must be 1s at least, not {options.every:g}s")
    if options.watch:  # else nothing is changed
        check_required(options, problems)
    refuse(problems, "verify")
    if options.watch:
        confirm_required(options, opened.plan)
        confirm_watchable(opened.action)
    return service


def confirm_watchable(action: Action) -> None:
    """Confirms that what is not in the desired state may be called again without a new question.

    Raises:
        BulkcertError: It may not.
    """
    if not action.repeatable:
        since = ", whoever has registered them since" * action.deletes
        advice = f"Leave --watch out; to {'delete them' if action.deletes else 'do it'} again, run {action.name} again."
        raise BulkcertError(ExitStatus.USAGE, f"--watch would {action.verb} again{since}", advice)
