"""How lines are laid out: words wrap whole on a terminal and tables fit it; in files and pipes a line stays a line."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.text import Text

from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.views.console import say, stdout

NAME_WIDTH, GAP = 14, 2

Pairs = Iterable[tuple[str, str | Text]]
"""Names and what there is to say of them; a line without a name belongs to the one above."""


def show(rows: Pairs, console: Console = stdout) -> None:
    """Prints names and values in two columns."""
    for name, value in rows:
        say(Text.assemble(f"{name:<{NAME_WIDTH}}", value), console, indent=NAME_WIDTH)


def outcome_lines(outcomes: Mapping[str, int]) -> Iterator[tuple[str, Text]]:
    """Yields a line for the rows of each outcome."""
    for outcome, count in outcomes.items():
        style = "green" if outcome in DESIRED else "yellow" if outcome == Outcome.DUPLICATE else "red"
        yield "", Text(f"{count:>9,} {outcome}", style=style)


def columns(
    table: Sequence[Sequence[str]], width: int | None, least: Mapping[int, int], *, figures_from: int | None = None
) -> Iterator[str]:
    """Yields the lines of a table; where they are too long columns are cut, those in a given order.

    Args:
        table: Cells of each row.
        width: Characters of a line at most; None for no limit.
        least: Characters that are left of the columns that may be cut, in the order in which they are.
        figures_from: The column from which on all are aligned to the right.
    """
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    if width is not None:
        over = sum(widths) + GAP * (len(widths) - 1) - width
        for column, left in least.items():
            taken = max(0, min(over, widths[column] - left))
            widths[column] -= taken
            over -= taken
    for cells in table:
        sizes = enumerate(zip(cells, widths, strict=True))
        right = len(cells) if figures_from is None else figures_from
        fitted = (cell.rjust(size) if place >= right else fit(cell, size) for place, (cell, size) in sizes)
        line = (" " * GAP).join(fitted).rstrip()
        yield fit(line, width or len(line)).rstrip()


def fit(text: str, width: int) -> str:
    """Returns a text as wide as a column; what is cut ends in an ellipsis."""
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"
