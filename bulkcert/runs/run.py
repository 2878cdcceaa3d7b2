"""Running: states are read first if wanted, then what is to be called is called, and results and summary are left."""

from dataclasses import dataclass, field

from bulkcert.engine.calling import Engine
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.preflight import is_old, read_before
from bulkcert.engine.progress import Progress
from bulkcert.engine.session import Leave, Observer
from bulkcert.engine.sightings import Sightings
from bulkcert.engine.stats import StatsMaker
from bulkcert.input import Check
from bulkcert.output.summary import Summary
from bulkcert.runs.job import Job
from bulkcert.runs.opened import OpenRun
from bulkcert.runs.session import finalize, session
from bulkcert.service.credentials import CredentialProvider
from bulkcert.store import queries
from bulkcert.store.outcome import Outcome


@dataclass(slots=True)
class Run:
    """An opened run: the list is checked, the lock is held; no calls were made yet.

    Attributes:
        job: What was asked.
        opened: The run.
        check: What the pass over the list found.
        lifted: Certificates that a list has protected until now, and that are to be called.
        to_call: Certificates that are still to be called, those included that are read again first.
        preflights: Whether states are read before the first call, so that there may be fewer.
        is_undone: Whether an undo was the last to call, so that no calls are made unless ``--retry undone`` says so.
        progress: What this session does.
    """

    job: Job
    opened: OpenRun
    check: Check
    lifted: int = 0
    to_call: int = 0
    preflights: bool = False
    is_undone: bool = False
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        db, rows, doing = self.opened.store.db, self.opened.asked.rows, self.opened.doing
        if doing is not None and doing.kind == "undo" and Outcome.UNDONE not in self.job.options.retry:
            self.is_undone = self.opened.status().is_undone
        if self.is_undone:
            return
        self.to_call = queries.counts(db, rows).to_call
        self.preflights = self.job.options.preflight != "never" and is_old(queries.preflight_at(db))
        if self.preflights and self.to_call:
            self.opened.store.forget_unchanged()
            self.to_call = queries.counts(db, rows).to_call

    @property
    def calls(self) -> int:
        """Certificates that this session calls at most."""
        limit = self.job.options.limit_rows
        return self.to_call if limit is None else min(self.to_call, limit)

    @property
    def already_done(self) -> int:
        """Certificates that earlier sessions have finished."""
        return self.check.callable - self.to_call

    async def call(self, provider: CredentialProvider, watch: Observer, leave: Leave) -> None:
        """Reads states first if wanted, then calls what is to be called, until done or stopped.

        Args:
            provider: What to sign with; has credentials.
            watch: Shows the figures.
            leave: Called on the second signal; ends the process at once.

        Raises:
            BulkcertError: The store cannot be written; no calls were made.
        """
        job, opened, options = self.job, self.opened, self.job.options
        settled = queries.counts(opened.store.db, opened.asked.rows).left_alone
        opened.begin("run", options, provider.current)
        stats = StatsMaker(
            self.progress,
            "calling",
            job,
            rows=opened.asked.rows,
            settled=settled,
            to_call=self.calls,
            limited=options.limit_rows is not None,
        )
        async with session(opened, job, provider, watch, leave, stats=stats, deadline=options.deadline) as lanes:
            if is_old(queries.preflight_at(opened.store.db)):
                await self._preflight(lanes)
            self.progress.preflight_over = True
            engine = Engine(job.action, lanes, opened.store, max_errors=job.max_errors, limit_rows=options.limit_rows)
            await engine.run(opened.batches(without=queries.LEFT_ALONE))

    async def _preflight(self, lanes: Lanes) -> None:
        opened = self.opened
        await read_before(
            lanes,
            self.job.action,
            opened.store,
            Sightings.from_now(self.check, by_device=self.job.action.by_device),
            mode=self.job.options.preflight,
            frames=lambda: opened.frames(without=queries.LEFT_ALONE),
            batches=lambda: opened.batches(without=queries.LEFT_ALONE),
        )

    def finish(self) -> Summary:
        """Writes results and summary.

        Raises:
            BulkcertError: They cannot be written, or the outcomes do not add up.
        """
        store = self.opened.store
        if not store.session:
            # A run of which nothing was to be called is one all the same; one that was killed after its last outcome
            # comes to its end.
            if self.opened.is_new or self.opened.is_unended("run"):
                self.opened.begin("run", self.job.options, None)
            else:
                store.keep_draft()
        return finalize(self.opened, self.progress.stop)
