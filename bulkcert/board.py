"""The progress of a run, for whoever watches it: how far, how fast, and what it is waiting for."""

import time

import anyio
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn
from rich.progress import Progress as Bar
from rich.text import Text

from bulkcert.batch.progress import Progress
from bulkcert.batch.run import Run
from bulkcert.batch.waiting import left_s, rows_done, waiting_for
from bulkcert.terminal import stderr
from bulkcert.words import duration

REFRESH_S = 0.25
LINE_EVERY_S = 5.0


class Board:
    """Shows a run while it goes on: a bar on a terminal, else a line every few seconds.

    Args:
        run: What is shown.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._total = run.calls
        self._limited = run.job.options.limit_rows is not None
        self._called_from: float | None = None

    async def watch(self, progress: Progress) -> None:
        """Shows the progress until cancelled."""
        if self._run.job.options.quiet:
            await anyio.sleep_forever()
        elif stderr.is_terminal:
            await self._bar(progress)
        else:
            while True:
                await anyio.sleep(LINE_EVERY_S)
                done = self._done(progress)
                share = done / self._total if self._total else 1.0
                stderr.print(Text(f"{done:,}/{self._total:,} rows ({share:.0%}); {self._figures(progress)}"))

    async def _bar(self, progress: Progress) -> None:
        bar = Bar(BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), console=stderr, auto_refresh=False)
        task = bar.add_task("rows", total=self._total)
        with Live(console=stderr, auto_refresh=False) as live:
            try:
                while True:
                    await anyio.sleep(REFRESH_S)
                    bar.update(task, completed=self._done(progress))
                    live.update(Group(bar, Text(self._figures(progress))), refresh=True)
            finally:
                bar.update(task, completed=self._done(progress))
                live.update(Group(bar, Text(self._figures(progress))), refresh=True)

    def _figures(self, progress: Progress) -> str:
        now = time.monotonic()
        if progress.looking:
            self._called_from = None
            read = f"{progress.pages:,} pages and {progress.reads:,} single certificates read"
            return f"{progress.sends.recent_rate(now):.0f}/s; looking: {read}; {self._why(progress, now)}"
        self._called_from = self._called_from or now
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in progress.outcomes.items())
        parts = [f"{progress.sends.recent_rate(now):.0f}/s", outcomes or "nothing finished yet"]
        if progress.retries or progress.throttles:
            parts.append(f"{progress.retries:,} retries, {progress.throttles:,} throttles")
        if not progress.outage.ongoing:
            elapsed = now - self._called_from
            left = left_s(progress, self._total, elapsed, self._run.job.rate, limited=self._limited)
            parts.append(f"{duration(left)} left")
        return "; ".join([*parts, self._why(progress, now)])

    def _done(self, progress: Progress) -> int:
        return rows_done(progress, limited=self._limited)

    def _why(self, progress: Progress, now: float) -> str:
        """Says what the run is waiting for."""
        job = self._run.job
        return waiting_for(progress, now, rate=job.rate, workers=job.workers * len(job.addresses))
