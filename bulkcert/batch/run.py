"""One run from end to end: check the input, open the journal, call, write results and summary."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import polars as pl

from bulkcert.api.credentials import Keyring
from bulkcert.batch.engine import Engine, journaling
from bulkcert.batch.index import Index
from bulkcert.batch.job import Job
from bulkcert.batch.journal import Journal
from bulkcert.batch.lines import Key, Protected, key_line
from bulkcert.batch.look.first import LookFirst
from bulkcert.batch.order import Order
from bulkcert.batch.outcome import Outcome, Row
from bulkcert.batch.progress import Progress
from bulkcert.batch.results import write_results
from bulkcert.batch.rows import as_rows, only_callable
from bulkcert.batch.session import Leave, Watch, announce, calling
from bulkcert.batch.source import Check, Source, annotated
from bulkcert.batch.summarizing import confirm_sum, still_holding, summarize, this_session
from bulkcert.batch.summary import Summary, earlier_summary
from bulkcert.batch.taken_back import still_back
from bulkcert.batch.totals import Totals
from bulkcert.errors import BulkcertError, ExitStatus


@dataclass(slots=True)
class Run:
    """An opened run: the input is checked, the journal is held; nothing was called yet.

    Attributes:
        job: What was asked.
        source: The input.
        check: What the pass over it found.
        journal: The open journal.
        to_call: Certificates that are still to be called, those included that are looked at again first.
        looks_again: Whether the look is too old for what it has settled: a list that is gone on with is as wanted now.
        run_id: The same in all sessions of the run.
        kept: What the journal must say of the protected rows, if it does not.
        lifted: Certificates that a list has protected until now, and that are to be called.
        progress: What this session does.
        started_at: Unix time in seconds.
        key: What signs the calls; None while there are none.
    """

    job: Job
    source: Source
    check: Check
    journal: Journal
    to_call: int
    looks_again: bool = False
    run_id: str = ""
    kept: tuple[Protected, ...] = ()
    lifted: int = 0
    progress: Progress = field(default_factory=Progress)
    started_at: float = field(default_factory=time.time)
    key: Key | None = None

    @property
    def calls(self) -> int:
        """Certificates that this session calls at most."""
        limit = self.job.options.limit_rows
        return self.to_call if limit is None else min(self.to_call, limit)

    @property
    def looks(self) -> bool:
        """Whether states are read before the first call, so that there may be fewer."""
        wanted = self.job.options.look_first != "never"
        return wanted and (self.looks_again or not self.journal.index.looked)

    @property
    def already_done(self) -> int:
        """Certificates whose outcome an earlier session has settled."""
        return self.check.callable - self.to_call

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yields the rows that may be called, in order, as annotated."""
        return only_callable(annotated(self.source, self.check))

    def batches(self) -> Iterator[list[Row]]:
        """Yields the rows that may be called, in order."""
        return as_rows(self.frames(), self.job.action)

    async def call(
        self, keyring: Keyring, watch: Watch, leave: Leave, *, before_calls: Callable[[], None] | None = None
    ) -> None:
        """Looks first if wanted, then calls what is to be called, until done or stopped.

        Args:
            keyring: What to sign with; has credentials.
            watch: Shows the progress.
            leave: Called on the second signal; ends the process at once.
            before_calls: Called once looking is over, before anything is changed; its BulkcertError stops the run.

        Raises:
            BulkcertError: The journal cannot be written; nothing was called.
        """
        self.key = key_line(keyring.current)
        self.journal.begin(*self.kept, self.key)
        self.started_at = time.time()
        self.progress.to_call = self.calls
        job = self.job
        order = Order(job.action, job.instance, job.workers, job.max_errors, job.options.limit_rows)
        limit = job.options.deadline
        async with (
            calling(job, keyring, self.progress, watch, leave, deadline=limit) as lanes,
            journaling(self.journal, lanes),
        ):
            look = LookFirst(lanes, job, self.check, self.journal)
            if not self.journal.index.looked:
                await look.look(self.frames, self.batches)
            elif self.looks_again:
                await look.look_again(self.frames, self.batches)
            if before_calls is not None:
                await announce(before_calls, lanes)
            await Engine(order, lanes, self.journal).run(self.batches())

    def finish(self) -> Summary:
        """Writes results and summary; the journal stays.

        Raises:
            BulkcertError: They cannot be written, or the outcomes do not add up.
        """
        try:
            return self._finished()
        except BulkcertError as error:
            if (stop := self.progress.stop) is None:
                raise
            advice = stop.advice if self.journal.failure else error.advice
            raise BulkcertError(error.status, f"stopped: {stop.message}; then: {error.message}", advice) from error

    def _finished(self) -> Summary:
        self.journal.begin(*self.kept)
        earlier = None if self.journal.is_new else earlier_summary(self.job.summary)
        undo = earlier.taken_back if earlier else None
        back = still_back(undo, self.job.action, self.journal.index)
        totals = write_results(self.job.results, annotated(self.source, self.check), self.journal, back=back)
        confirm_sum(self.job.results, totals, self.check.rows)
        sessions = list(earlier.sessions) if earlier else []
        if self.progress.sends.sends or not sessions:
            sessions.append(this_session(self.progress, self.started_at, self.key))
        status = self._status(totals)
        # A stop that came when nothing was left to do has stopped nothing.
        stop = None if status in (ExitStatus.OK, ExitStatus.INCOMPLETE) else self.progress.stop
        self.journal.end()
        return summarize(
            self.job,
            self.check,
            totals,
            self.journal.index,
            sessions,
            stop=stop,
            status=status,
            verification=still_holding(earlier.verification, self.journal.index) if earlier else None,
            taken_back=undo,
        )

    def _status(self, totals: Totals) -> ExitStatus:
        if self.journal.failure:
            return ExitStatus.CANNOT_WRITE
        left = totals.outcomes[Outcome.NOT_ATTEMPTED] or _again(self.journal.index, self.check)
        if left and self.progress.stop is not None:
            return self.progress.stop.status
        if left:
            return ExitStatus.STOPPED_EARLY
        otherwise = self.journal.index.read_back_otherwise(self.job.action.wanted_status)
        return ExitStatus.OK if totals.all_wanted and not otherwise else ExitStatus.INCOMPLETE


def _again(index: Index, checked: Check) -> int:
    """Returns how many rows are taken up again by the next session; one that was protected since is not."""
    return index.again - sum(map(index.is_again, checked.protected_rows))
