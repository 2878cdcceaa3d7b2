"""Verifying: the status of every row is read back, and while it is watched, what is not as wanted is called again."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import anyio.to_thread
import polars as pl

from bulkcert.api.certificates import Status
from bulkcert.api.credentials import Keyring
from bulkcert.batch.engine import Engine, journaling
from bulkcert.batch.finished import Finished
from bulkcert.batch.lanes import Lanes
from bulkcert.batch.lines import NUMBER_OF, Seen, key_line
from bulkcert.batch.look.looking import Look, Looked
from bulkcert.batch.look.sightings import Sightings
from bulkcert.batch.marks import rows_marked
from bulkcert.batch.order import Limit, Order
from bulkcert.batch.outcome import Outcome
from bulkcert.batch.progress import Progress, Stop
from bulkcert.batch.results import write_results
from bulkcert.batch.rows import only_callable
from bulkcert.batch.service import Service
from bulkcert.batch.session import Leave, Watch, calling
from bulkcert.batch.source import OUTCOME
from bulkcert.batch.summarizing import add_verification, confirm_sum, unknown_before
from bulkcert.batch.summary import Verification, earlier_summary, utc
from bulkcert.batch.taken_back import still_back
from bulkcert.batch.totals import Totals
from bulkcert.errors import BulkcertError, ExitStatus

ROWS_AT_ONCE = 8192
"""Rows that are compared before other things may happen."""

_LASTING = frozenset({ExitStatus.DENIED, ExitStatus.MISCONFIGURED})
"""Why a look fails that fails again in the next round."""

_NOT_COME_TO = (None, Outcome.NOT_ATTEMPTED)
"""Outcomes of rows that are for the run to call, once it goes on."""


@dataclass(slots=True)
class Verifying:
    """Reads back what a run has done.

    Attributes:
        finished: The run.
        service: Where it is read.
        watch_s: How long to keep looking, in seconds; 0 looks once.
        every_s: Pause between two looks, in seconds.
        progress: What happens.
        failure: Why the newest look was given up, or None.
        left_out: Rows that are not read, by outcome.
        sightings: What the newest look has seen; a row that was called after that is not seen any more.
        looked: What came of that look.
        has_read: Whether any look has seen anything.
        called_again: Rows that were called again: a number with a bit for each.
        called_since: Those of them that were called after the newest look.
        refused: Rows whose call was refused, as all others would have been, or given up: a number with a bit for each.
    """

    finished: Finished
    service: Service
    watch_s: float = 0.0
    every_s: float = 30.0
    progress: Progress = field(default_factory=Progress)
    failure: BulkcertError | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    sightings: Sightings | None = None
    looked: Looked = field(default_factory=Looked)
    has_read: bool = False
    called_again: int = 0
    called_since: int = 0
    refused: int = 0

    async def read(self, keyring: Keyring, watch: Watch, leave: Leave) -> None:
        """Reads the status of every row into the journal; what is found otherwise is called again while watching.

        A look that fails is made again in the next round of a watch, and a service that goes silent is waited for until
        the watch is over; ``finish`` says why the last look failed.

        Args:
            keyring: What to sign with; has credentials.
            watch: Shows the progress.
            leave: Called on the second signal; ends the process at once.

        Raises:
            BulkcertError: The journal cannot be written.
        """
        journal = self.finished.journal
        journal.begin(key_line(keyring.current))
        deadline = time.monotonic() + self.watch_s
        self.progress.watched_until = time.time() + self.watch_s
        async with calling(self.service, keyring, self.progress, watch, leave) as lanes, journaling(journal, lanes):
            self.progress.outage.waits_until = deadline
            self.sightings = sightings = await self._sightings()
            acted = 0
            while True:
                sightings.forget()
                self.called_since = 0
                self.failure = failure = await self._look(lanes, sightings)
                lasting = failure is not None and failure.status in _LASTING
                over = lasting or lanes.stopping.is_set() or time.monotonic() >= deadline
                await self._keep(sightings, changes_only=not over)
                if over or journal.failure is not None:
                    break
                before, acted = acted, await self._act(lanes, sightings)
                # What was called is looked at again at once, unless it was called in vain already.
                pause = 0.0 if acted & ~before else min(self.every_s, deadline - time.monotonic())
                self.progress.next_look_at = time.monotonic() + pause if pause > 0 else 0.0
                with anyio.move_on_after(max(0.0, pause)):
                    await lanes.stopping.wait()
                self.progress.next_look_at = 0.0
                if lanes.stopping.is_set():
                    # No other look can be made: this one stands, but for what was called after it.
                    await self._keep(sightings, changes_only=False)
                    break

    async def _sightings(self) -> Sightings:
        finished = self.finished
        sightings = Sightings.from_now(finished.check, by_device=finished.action.by_device)
        await anyio.to_thread.run_sync(lambda: sightings.expect(only_callable(self._counted(finished.annotated()))))
        return sightings

    def _counted(self, batches: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yields annotated batches as they are, and counts their rows that are not read."""
        for batch in batches:
            self.left_out.update(batch[OUTCOME].drop_nulls().to_list())
            yield batch

    async def _look(self, lanes: Lanes, sightings: Sightings) -> BulkcertError | None:
        """Reads all rows, each absent one for itself; returns why that was given up, or None."""
        finished = self.finished
        look = Look(lanes, self.service.workers, finished.action, finished.header.instance, sightings)
        self.looked = await look.read(one_by_one=finished.batches(), misses=False)
        return self.looked.failure

    async def _keep(self, sightings: Sightings, *, changes_only: bool) -> None:
        """Journals what was seen; between two looks only what has changed, so that watching for hours stays small."""
        journal, statuses = self.finished.journal, sightings.statuses
        self.has_read = self.has_read or statuses.count(0) < len(statuses)
        before = journal.index.seen.statuses if changes_only and journal.index.seen else bytes(len(statuses))
        for first in range(0, len(statuses), ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            if before[part] == statuses[part]:
                continue
            for row, (old, new) in enumerate(zip(before[part], statuses[part], strict=True), start=first):
                if new not in (0, old):
                    await journal.append(Seen(row, new, sightings.seen_at(row)))
            await anyio.lowlevel.checkpoint()
        await journal.sync()

    async def _act(self, lanes: Lanes, sightings: Sightings) -> int:
        """Calls again what is registered and not as wanted, if the run has come to it; returns a bit for each row."""
        finished = self.finished
        found = await anyio.to_thread.run_sync(self._take_up, sightings.statuses)
        if 1 not in found:
            return 0
        order = Order(finished.action, finished.header.instance, self.service.workers, Limit())
        rows = ([row for row in batch if found[row.number]] for batch in finished.batches())
        await Engine(order, lanes, finished.journal).run(iter(rows))
        await finished.journal.sync()
        await anyio.to_thread.run_sync(self._note_calls, found, sightings)
        return int.from_bytes(found)

    def _note_calls(self, found: bytearray, sightings: Sightings) -> None:
        """Takes note of which rows were called, all lines of their calls being in the index."""
        index = self.finished.journal.index
        called, refused = bytearray(len(found)), bytearray(len(found))
        for row in rows_marked(found, 1):
            if index.seen is not None and index.seen.statuses[row]:
                continue  # it was seen, and the stop came before its call
            if index.outcome(row) is Outcome.NOT_ATTEMPTED:
                refused[row] = 1
            else:
                called[row] = 1
                sightings.forget_row(row)
        self.called_since = int.from_bytes(called)
        self.called_again |= self.called_since
        self.refused |= int.from_bytes(refused)

    def _take_up(self, statuses: bytearray) -> bytearray:
        """Takes up again the rows that are to be called, and returns their marks; nothing is journaled meanwhile."""
        found = bytearray(len(statuses))
        for row in self._to_call(statuses):
            found[row] = 1
        self.finished.journal.index.reopen_rows(rows_marked(found, 1))
        return found

    def _to_call(self, statuses: bytearray) -> Iterator[int]:
        """Yields the rows that are registered, not as wanted, and that the run has come to."""
        other = NUMBER_OF[Status(self.finished.action.before)]
        return filter(self._may_call, rows_marked(statuses, other))

    def _may_call(self, row: int) -> bool:
        """Returns whether the run has come to a row, so that it may be called again."""
        index = self.finished.journal.index
        # A row that was called before a list protected it has another outcome, and is not to be touched either.
        return index.outcome(row) not in _NOT_COME_TO and not index.is_protected(row)

    @property
    def would_call(self) -> bool:
        """Whether a watch would call rows, as they were read."""
        return self.sightings is not None and any(self._to_call(self.sightings.statuses))

    def finish(self) -> Verification:
        """Rewrites the results with what was seen, if anything was, and adds to the summary what came of it.

        Raises:
            BulkcertError: They cannot be written.
        """
        finished = self.finished
        totals = self._rewritten() if self.has_read else None
        finished.journal.end()
        verification = self._verification(totals)
        index = finished.journal.index
        unknown = unknown_before(index, finished.action, finished.check)
        add_verification(finished.summary, finished.results, totals, verification, index, unknown=unknown)
        return verification

    def _rewritten(self) -> Totals:
        finished = self.finished
        summary = earlier_summary(finished.summary)
        back = still_back(summary.taken_back if summary else None, finished.action, finished.journal.index)
        totals = write_results(finished.results, finished.annotated(), finished.journal, back=back)
        confirm_sum(finished.results, totals, finished.check.rows)
        return totals

    @property
    def stop(self) -> Stop | None:
        """Why it ended early, or None."""
        if self.progress.stop is None and (failure := self.failure) is not None:
            return Stop(failure.status, failure.message, failure.advice)
        return self.progress.stop

    @property
    def rows(self) -> int:
        """Rows that must be in the wanted state: all but the duplicates."""
        return self.finished.check.rows - self.left_out[Outcome.DUPLICATE]

    def _verification(self, totals: Totals | None) -> Verification:
        stop = self.stop
        statuses = self.sightings.counted() if self.sightings is not None else {}
        wanted, read = statuses.get(str(self.finished.action.wanted_status), 0), sum(statuses.values())
        unread = self.rows - read
        # What the run has not come to is in the results; those whose call was refused just now are no such rows.
        open_rows = totals.outcomes[Outcome.NOT_ATTEMPTED] - self.refused.bit_count() if totals is not None else 0
        return Verification(
            finished=utc(time.time()),
            statuses=statuses,
            wanted=wanted,
            not_wanted=read - wanted,
            calls=self.progress.sends.sends,
            called_again=self.called_again.bit_count(),
            not_attempted=open_rows,
            exit_status=int(stop.status if stop else ExitStatus.OK if wanted == self.rows else ExitStatus.INCOMPLETE),
            stopped=stop.message if stop else "",
            unread=unread,
            unread_because=self._unread_because(unread),
            refusal=self.looked.refusal,
        )

    def _unread_because(self, unread: int) -> dict[str, int]:
        """Returns how many rows were not read for each reason; they add up."""
        because = {str(outcome): self.left_out[outcome] for outcome in (Outcome.INVALID, Outcome.PROTECTED)}
        because["refused"] = self.looked.refused
        because["called_again"] = self.called_since.bit_count()
        because["not_come_to"] = unread - sum(because.values())
        return {reason: count for reason, count in because.items() if count}
