"""``bulkcert help``: a topic of the documentation; and how the options of a command are laid out."""

import re
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from bulkcert.commands import COMMANDS
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.views import console as terminal
from bulkcert.words import folded, nearest

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

_CODE = re.compile(r"^((?:    .*\n|\n(?=    ))+)", re.MULTILINE)

DOCS = Path(__file__).parent.parent / "docs"
PLAIN_WIDTH = 80
"""Columns of a help that goes into a file or a pipe, however wide the terminal is."""


def topics() -> list[str]:
    """Returns the topics of the documentation."""
    return sorted(path.stem for path in DOCS.glob("*.md"))


def help_(topic: str = "") -> int:
    """Show the help of a command, or a topic.

    bulkcert help run
    bulkcert help exit-statuses

    Args:
        topic: A topic, or a command. Without it, which there are.

    Raises:
        BulkcertError: There is no such topic.
    """
    if not topic:
        width = terminal.stdout.width if terminal.stdout.is_terminal else PLAIN_WIDTH
        for name, listed in (("topics:", topics()), ("commands:", COMMANDS)):
            for line in folded(", ".join(listed), width, f"{name:<10}", " " * 10):
                terminal.stdout.print(line)
    elif topic not in topics():
        near = nearest(topic, [*topics(), *COMMANDS])
        advice = f"Did you mean bulkcert help {near[0]}?" if near else "bulkcert help lists the topics."
        raise BulkcertError(ExitStatus.USAGE, f"there is no topic {topic!r}", advice)
    else:
        options = f"\nIts options: `bulkcert {topic} --help`\n" if topic in COMMANDS else ""
        _show(f"{(DOCS / topic).with_suffix('.md').read_text(encoding='utf-8')}{options}")
    return ExitStatus.OK


def _show(text: str) -> None:
    """Renders Markdown on a terminal; elsewhere it stays as it is, but for tables, whose lines would be too long."""
    if not terminal.stdout.is_terminal:
        for is_table, lines in groupby(text.splitlines(), lambda line: line.startswith("|")):
            for line in _in_columns(lines) if is_table else lines:
                sys.stdout.write(f"{line}\n")
        return
    from rich.markdown import Markdown  # noqa: PLC0415 - for a terminal alone

    for number, part in enumerate(_CODE.split(text)):
        if number % 2:
            for line in _to_be_copied(part.splitlines()):
                terminal.stdout.print(Text(line))
        else:
            terminal.stdout.print(*[""] * part.startswith("\n"), Markdown(part), sep="\n", soft_wrap=False)


def _to_be_copied(lines: Iterable[str]) -> Iterator[str]:
    """Yields lines of code for a terminal: Markdown's would be broken anywhere, with spaces behind what is broken."""
    for line in lines:
        is_long = len(line) > terminal.stdout.width and line.split()[0] in ("bulkcert", "export")
        yield from terminal.command_lines(line, terminal.stdout.width) if is_long else [line]


def _in_columns(lines: Iterable[str]) -> Iterator[str]:
    """Yields a table of Markdown as one of plain text."""
    from rich.console import Console  # noqa: PLC0415 - as below
    from rich.table import Table  # noqa: PLC0415

    head, _, *rows = ([Text(cell.strip()) for cell in line.strip("|").split("|")] for line in lines)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for cell, *below in zip(head, *rows, strict=True):
        longest = max(len(word) for each in (cell, *below) for word in each.plain.split() or [""])
        table.add_column(cell, min_width=longest, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(width=PLAIN_WIDTH, color_system=None)
    with console.capture() as printed:
        console.print(table)
    yield from (line.rstrip() for line in printed.get().splitlines())


def show_panel(console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:  # noqa: ARG001 - a protocol
    """Prints a group of options without a frame, which would take lines and columns from what is read."""
    from cyclopts.help.inline_text import InlineText  # noqa: PLC0415 - for help alone
    from cyclopts.help.specs import DescriptionRenderer  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table, describe = Table.grid(padding=(0, 2, 0, 0)), DescriptionRenderer()
    for entry in panel.entries:
        label = re.sub(r"--(\S+) --no-\1", r"--[no-]\1", " ".join(entry.display_labels_with_metavar))
        if isinstance(entry.description, InlineText) and isinstance(text := entry.description.primary_renderable, Text):
            text.plain = " ".join(text.plain.split())  # a docstring is indented from its second line on
        table.add_row(Text(f"  {label}"), describe(entry))
    if panel.entries:
        console.print(Text(str(panel.title), "bold"))
        console.print(table)
        console.print()
