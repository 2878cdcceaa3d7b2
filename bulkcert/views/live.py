"""The progress of a session on a terminal or in a log: how far, how fast, and what it is waiting for."""

import anyio
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn
from rich.progress import Progress as Bar
from rich.text import Text

from bulkcert.engine.figures import Take
from bulkcert.views.console import stderr, wrapped
from bulkcert.views.status import done_of, figures

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
                stderr.print(Text(f"{done_of(stats)}; {figures(stats)}"))

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
