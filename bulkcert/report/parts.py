"""What a report is made of as it is read, whatever its format."""

from typing import Literal

import msgspec

from bulkcert.report.figures import Headline
from bulkcert.words import printable

Kinds = dict[str, Literal["text", "number", "serial"]]
"""The columns of a table by name, and what stands in each."""


class TextTable(msgspec.Struct, frozen=True):
    """A table; ``total`` is its last row, or empty."""

    columns: Kinds
    rows: list[list[str]]
    total: list[str] = []


class Section(msgspec.Struct, frozen=True):
    """A section: what is said, facts by name, charts by name, a table, and what is said below it.

    Attributes:
        title: Its heading.
        words: Paragraphs; those that begin with an arrow say what to do.
        facts: Names and values.
        charts: Names of the charts, which only a page has.
        table: The table.
        after: Said below the table.
        is_part: Whether it belongs to the section before it.
    """

    title: str
    words: list[str] = []
    facts: list[tuple[str, str]] = []
    charts: tuple[str, ...] = ()
    table: TextTable | None = None
    after: str = ""
    is_part: bool = False


class Document(msgspec.Struct, frozen=True):
    """A report as it is read: first what came of it, and what to do; ``tiles`` are name, value and detail.

    Commands in the words of sections are between backquotes.
    """

    title: str
    verdict: Headline
    tiles: list[tuple[str, str, str]]
    tiles_note: str
    sections: list[Section]
    signing: list[tuple[str, str]]
    footer: str


def serial(text: str) -> str:
    return printable(text, 128)


def message(text: str) -> str:
    return printable(text, 300)
