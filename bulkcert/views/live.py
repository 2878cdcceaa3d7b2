"""The progress of a session on a terminal or in a log: how far, how fast, and what it is waiting for."""

import anyio
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn
from rich.progress import Progress as Bar
from rich.text import Text

from bulkcert.engine.figures import Stats, Take
from bulkcert.views.console import stderr, wrapped
from bulkcert.words import counted, duration, faults

REFRESH_S = 0.25
LINE_EVERY_S = 5.0


class Board:
    """Shows a session while it runs: a bar on a terminal, else a line every few seconds.

    Args:
        quiet: Whether nothing is shown.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    async def watch(self, take: Take) -> None:
        """Shows the figures until cancelled."""
        if self._quiet:
            await anyio.sleep_forever()
        elif stderr.is_terminal:
            await self._bar(take)
        else:
            while True:
                await anyio.sleep(LINE_EVERY_S)
                stats = take()
                share = stats.done / stats.rows if stats.rows else 1.0
                stderr.print(Text(f"{stats.done:,}/{stats.rows:,} rows ({share:.0%}); {figures(stats)}"))

    async def _bar(self, take: Take) -> None:
        # Red is for what is amiss.
        column = BarColumn(complete_style="blue", finished_style="green")
        bar = Bar(column, TaskProgressColumn(), MofNCompleteColumn(), console=stderr, auto_refresh=False)
        task = bar.add_task("rows", total=take().rows)

        def show(live: Live) -> None:
            stats = take()
            bar.update(task, completed=stats.done)
            live.update(Group(bar, *wrapped(Text(figures(stats)), stderr)), refresh=True)

        with Live(console=stderr, auto_refresh=False) as live:
            try:
                while True:
                    await anyio.sleep(REFRESH_S)
                    show(live)
            finally:
                show(live)


def figures(stats: Stats) -> str:
    """Returns what a session does, on one line."""
    if stats.phase == "reading states":
        read = f"{counted(stats.pages, 'page')} and {counted(stats.reads, 'single certificate')} read"
        return f"{stats.rate:.0f}/s; reading states: {read}; {stats.waiting_for}"
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in stats.outcomes.items())
    parts = [f"{duration(stats.elapsed_s)}; {stats.rate:.0f}/s", outcomes or "nothing finished yet"]
    if stats.retries or stats.throttles:
        parts.append(faults(stats.retries, stats.throttles))
    if stats.left_s is not None:
        parts.append(f"{duration(stats.left_s)} left")
    return "; ".join([*parts, stats.waiting_for])
