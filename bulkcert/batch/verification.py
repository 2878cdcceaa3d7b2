"""Verifying: the status of every row is read back, and while it is watched, what is not as wanted is called again."""

import time
from collections import Counter
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from bulkcert.api.credentials import Keyring
from bulkcert.batch.engine import Engine, journaling
from bulkcert.batch.finished import Finished
from bulkcert.batch.lanes import Lanes
from bulkcert.batch.lines import Seen
from bulkcert.batch.look.looking import Look
from bulkcert.batch.look.sightings import NUMBER_OF, STATUSES, Sightings
from bulkcert.batch.order import Limit, Order
from bulkcert.batch.progress import Progress
from bulkcert.batch.results import write_results
from bulkcert.batch.service import Service
from bulkcert.batch.session import Leave, Watch, calling
from bulkcert.batch.summary import Verification, add_verification, utc
from bulkcert.errors import BulkcertError, ExitStatus


@dataclass(slots=True)
class Verifying:
    """Reads back what a run has done.

    Attributes:
        finished: The run.
        service: Where it is read.
        watch_s: How long to keep looking, in seconds; 0 looks once.
        every_s: Pause between two looks, in seconds.
        progress: What happens.
    """

    finished: Finished
    service: Service
    watch_s: float = 0.0
    every_s: float = 30.0
    progress: Progress = field(default_factory=Progress)
    called_again: set[int] = field(default_factory=set)

    async def read(self, keyring: Keyring, watch: Watch, leave: Leave) -> None:
        """Reads the status of every row into the journal; what is found otherwise is called again while watching.

        Args:
            keyring: What to sign with; has credentials.
            watch: Shows the progress.
            leave: Called on the second signal; ends the process at once.

        Raises:
            BulkcertError: The statuses cannot be read, or the journal cannot be written.
        """
        journal, failure = self.finished.journal, None
        journal.begin()
        deadline = time.monotonic() + self.watch_s
        async with calling(self.service, keyring, self.progress, watch, leave) as lanes, journaling(journal, lanes):
            sightings = await self._sightings()
            while True:
                sightings.forget()
                failure = await self._look(lanes, sightings)
                over = failure is not None or lanes.stopping.is_set() or time.monotonic() >= deadline
                await self._keep(sightings, changes_only=not over)
                if over:
                    break
                acted = await self._act(lanes, sightings)
                pause = 0.0 if acted else min(self.every_s, deadline - time.monotonic())
                with anyio.move_on_after(max(0.0, pause)):
                    await lanes.stopping.wait()
        if failure is not None:
            raise failure

    async def _sightings(self) -> Sightings:
        finished = self.finished
        sightings = Sightings(
            finished.check.rows,
            tuple(finished.check.rows_by_ca),
            by_device=finished.action.by_device,
            since=round(time.time() * 1000),
        )
        await anyio.to_thread.run_sync(lambda: sightings.expect(finished.frames()))
        return sightings

    async def _look(self, lanes: Lanes, sightings: Sightings) -> BulkcertError | None:
        """Reads all rows; returns why that was given up, or None."""
        finished = self.finished
        look = Look(lanes, self.service.workers, finished.action, finished.header.instance, sightings)
        paged = await look.by_page()
        failure = paged.failure
        if failure is None or failure.status is ExitStatus.DENIED:
            # What no page holds may have been missed: pages shift when certificates are deleted meanwhile.
            failure = await look.one_by_one(finished.batches())
        return failure

    async def _keep(self, sightings: Sightings, *, changes_only: bool) -> None:
        """Journals what was seen; between two looks only what has changed, so that watching for hours stays small."""
        journal = self.finished.journal
        before = journal.index.seen.statuses if changes_only and journal.index.seen else bytes(len(sightings.statuses))
        for row, (old, new) in enumerate(zip(before, sightings.statuses, strict=True)):
            if new not in (0, old):
                await journal.append(Seen(row, new, sightings.seen_at(row)))
        await journal.sync()

    async def _act(self, lanes: Lanes, sightings: Sightings) -> bool:
        """Calls again what is registered and not as wanted; returns whether there was any."""
        finished = self.finished
        other = finished.action.before
        found = {row for row in range(1, finished.check.rows + 1) if sightings.status(row) == other}
        if not found:
            return False
        self.called_again |= found
        finished.journal.index.reopen_rows(found)
        order = Order(finished.action, finished.header.instance, self.service.workers, Limit())
        rows = ([row for row in batch if row.number in found] for batch in finished.batches())
        await Engine(order, lanes, finished.journal).run(iter(rows))
        return True

    def finish(self) -> Verification:
        """Rewrites the results with what was seen, and adds it to the summary.

        Raises:
            BulkcertError: They cannot be written.
        """
        finished, stop = self.finished, self.progress.stop
        write_results(finished.results, finished.annotated(), finished.journal)
        finished.journal.end()
        verification = self._verification(stop.status if stop else None, stop.message if stop else "")
        add_verification(finished.summary, finished.results, verification)
        return verification

    def _verification(self, stopped: ExitStatus | None, why: str) -> Verification:
        finished, seen = self.finished, self.finished.journal.index.seen
        statuses = seen.statuses if seen is not None else bytearray()
        counts = Counter({str(STATUSES[number]): statuses.count(number) for number in range(1, len(STATUSES))})
        wanted = statuses.count(NUMBER_OF[finished.action.wanted_status])
        all_wanted = wanted == finished.check.rows - finished.check.duplicates
        status = ExitStatus.OK if all_wanted else ExitStatus.INCOMPLETE
        return Verification(
            finished=utc(time.time()),
            statuses={name: count for name, count in counts.items() if count},
            wanted=wanted,
            not_wanted=finished.check.rows - finished.check.duplicates - wanted,
            calls=self.progress.sends.sends,
            called_again=len(self.called_again),
            exit_status=int(stopped or status),
            stopped=why,
        )
