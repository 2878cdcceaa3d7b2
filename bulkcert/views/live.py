"""The progress of a session: in place on a terminal, else a line every few seconds."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import anyio
from rich.text import Text

from bulkcert.engine.figures import Stats, Take
from bulkcert.engine.session import Observer
from bulkcert.views.console import stderr, wrapped
from bulkcert.views.status import done_of, figures, lane_words, pages_and_reads
from bulkcert.words import duration

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_S = 0.25
LINE_EVERY_S = 5.0

LANES_SHOWN = 8
"""Lanes of other machines that have a line; all are in the status."""


def shown(describe: Callable[[Stats], str]) -> Observer:
    """Returns what shows how a command gets on until it is cancelled.

    Args:
        describe: Says it in one line.
    """

    async def watch(take: Take) -> None:
        if not stderr.is_terminal:
            while True:
                await anyio.sleep(LINE_EVERY_S)
                stderr.print(Text(describe(take())))
        # In as many lines as it takes: what is cut is why it waits.
        await _redraw(take, lambda stats: wrapped(Text(describe(stats)), stderr), transient=True)

    return watch


async def _redraw(take: Take, view: Callable[[Stats], "Iterable[RenderableType]"], *, transient: bool) -> None:
    """Draws what a view makes of a session in place until cancelled, and once more then; if transient it goes then."""
    from rich.console import Group  # noqa: PLC0415 - for a terminal alone
    from rich.live import Live  # noqa: PLC0415

    with Live(console=stderr, auto_refresh=False, transient=transient) as live:
        try:
            while True:
                live.update(Group(*view(take())), refresh=True)
                await anyio.sleep(REFRESH_S)
        finally:
            live.update(Group(*view(take())), refresh=True)


def reading(stats: Stats) -> str:
    """Returns how many states were read so far, and how long the others take."""
    left = "" if stats.left_s is None else f"; {duration(stats.left_s)} left"
    last = f"; last error {stats.last_error}" if stats.last_error else ""
    return f"reading: {pages_and_reads(stats)}; {duration(stats.elapsed_s)} elapsed{left}{last}"


def reading_list(name: str) -> AbstractContextManager[object]:
    """Returns a context that shows on stderr that a list is read, if that is a terminal."""
    return stderr.status(Text(f"reading {name}")) if stderr.is_terminal else nullcontext()


async def board(take: Take) -> None:
    """Shows how far a session is, how fast, and what it is waiting for, until cancelled; on a terminal with a bar."""
    if not stderr.is_terminal:
        await shown(lambda stats: f"{done_of(stats)}; {figures(stats)}")(take)
    # For a terminal alone: what draws bars costs as much to load as a hundred rows to call.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn  # noqa: PLC0415

    # Red is for what is amiss.
    column = BarColumn(complete_style="blue", finished_style="green")
    bar = Progress(column, TaskProgressColumn(), MofNCompleteColumn(), console=stderr, auto_refresh=False)
    row = bar.add_task("rows", total=take().rows)

    def view(stats: Stats) -> "Iterator[RenderableType]":
        bar.update(row, completed=stats.done)
        yield bar
        yield from wrapped(Text(figures(stats)), stderr)
        for lane in stats.lanes[:LANES_SHOWN]:
            if lane.name:
                yield Text(f"  {lane.name}: {lane_words(lane)}", no_wrap=True, overflow="ellipsis")

    await _redraw(take, view, transient=False)
