"""How lines are laid out: words wrap whole on a terminal and tables fit it; in files and pipes a line stays a line.

And the lines that several views have.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.views.console import say, stderr, stdout
from bulkcert.words import REHEARSAL, REHEARSED, clock, later, printable, tr

if TYPE_CHECKING:  # every command loads this
    from bulkcert.engine.figures import LaneState
    from bulkcert.engine.progress import Progress
    from bulkcert.store.sessions import ChangeRecord

NAME_WIDTH, GAP = 14, 2

LEAST = 12
"""Characters that are left of the first column of a table that is too wide."""

MESSAGE_WIDTH = 160
"""Characters of a message that are shown."""

LONGEST = 300
"""Characters of a ticket, a reason or a name that are shown."""

_ON_PURPOSE = (Outcome.DUPLICATE, Outcome.PROTECTED, Outcome.NOT_ATTEMPTED, Outcome.UNDONE)
"""Outcomes that nobody need be alarmed by: red is for what is amiss."""

Pairs = Iterable[tuple[str, str | Text]]
"""Names and what there is to say of them; a line without a name belongs to the one above."""


def show(rows: Pairs, console: Console = stdout) -> None:
    """Prints names and values in two columns."""
    for name, value in rows:
        own = len(str(value)) - len(str(value).lstrip())
        say(Text.assemble(padded(name, NAME_WIDTH), value), console, indent=NAME_WIDTH + (own + GAP if own else 0))


def over_echo() -> None:
    """Begins the line again in which a terminal has shown Ctrl-C, so that what comes next replaces that."""
    if stderr.is_terminal:
        stderr.control(Control((ControlType.CARRIAGE_RETURN,)))


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Returns a text that takes at least so many columns of a terminal, where a Chinese character takes two."""
    room = " " * (width - cell_len(text))
    return room + text if right else text + room


def rehearsal_line() -> Iterator[tuple[str, Text]]:
    """Yields a line that nobody overlooks: nothing of what follows is about real certificates."""
    yield tr(REHEARSAL), Text(tr(REHEARSED), style="bold yellow")


def outcome_line(outcome: str, count: int) -> tuple[str, Text]:
    """Returns a line for the rows of an outcome."""
    style = "green" if outcome in DESIRED else "yellow" if outcome in _ON_PURPOSE else "red"
    return "", Text(f"{count:>9,} {outcome}", style=style)


def change_rows(change: "ChangeRecord") -> Iterator[tuple[str, str]]:
    """Yields names and values that say why certificates are changed, and who has approved it."""
    given = ((tr("ticket"), change.ticket), (tr("reason"), change.reason), (tr("approved by"), change.approved_by))
    yield from ((name, printable(value, LONGEST)) for name, value in given if value)
    if plan := change.plan:
        made = {"when": clock(plan.made_at), "by": printable(plan.made_by, LONGEST)}
        yield tr("plan"), tr("{file}, made {when} by {by}", file=printable(plan.file, LONGEST), **made)
        yield tr("plan SHA-256"), plan.sha256
        if plan.signed_by:
            signed = f"{printable(plan.signed_by, LONGEST)}, {printable(plan.signed_with, LONGEST)}"
            yield tr("signed by"), signed


def named_lanes(progress: "Progress") -> list["LaneState"]:
    """Returns the lanes that have a name: those on several machines."""
    return [state for lane in progress.lanes if (state := lane.state(time.monotonic())).name]


def lane_rows(lanes: Sequence["LaneState"]) -> Iterator[tuple[str, str]]:
    """Yields where each such lane calls from, and what it signs with; nothing of one machine."""
    said = later("{lane} (egress {egress}): {key} from {source}")
    for number, lane in enumerate(lanes):
        signed = {"key": lane.key, "source": tr(lane.source)}
        yield "" if number else tr("lanes"), tr(said, lane=lane.name, egress=lane.egress, **signed)
    if len({lane.egress for lane in lanes}) > 1:
        yield "", tr("that the service sees each egress as an address of its own is your promise")


def columns(
    table: Sequence[Sequence[str]], width: int | None = None, *, figures_from: int | None = None
) -> Iterator[str]:
    """Yields the lines of a table; where they are too long the first column is cut.

    Args:
        table: Cells of each row.
        width: Characters of a line at most; None for no limit.
        figures_from: The column from which on all are aligned to the right.
    """
    widths = [max(map(cell_len, cells)) for cells in zip(*table, strict=True)]
    if width is not None:
        over = sum(widths) + GAP * (len(widths) - 1) - width
        widths[0] -= max(0, min(over, widths[0] - LEAST))
    for first, *others in table:
        cut = first if cell_len(first) <= widths[0] else f"{first[: widths[0] - 1]}…"
        right = len(widths) if figures_from is None else figures_from
        sizes = enumerate(zip([cut, *others], widths, strict=True))
        fitted = (padded(cell, size, right=place >= right) for place, (cell, size) in sizes)
        yield (" " * GAP).join(fitted).rstrip()
