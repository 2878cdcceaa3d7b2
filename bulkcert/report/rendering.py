"""The four formats of a report: a page, plain text, Markdown and JSON."""

import re
from collections.abc import Iterator
from functools import cache

import jinja2
import msgspec
from rich.cells import cell_len

from bulkcert.report import Format
from bulkcert.report.charts import charts_of
from bulkcert.report.document import document_of
from bulkcert.report.figures import Figures
from bulkcert.report.parts import Document, TextTable
from bulkcert.views.layout import padded
from bulkcert.words import REHEARSAL, folded, printable, spoken, tr

_WIDE = 100
"""Columns of a terminal or a mail; a text table that is wider stands as a block for each row."""
_LEAST = 24
"""Columns that the last cells of a table are folded into at least."""
_COMMAND = re.compile(r"`(bulkcert [^`]+)`")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#|~!&$])")


def render(figures: Figures, format_: Format, width: int | None = None, reload_s: int = 0) -> bytes:
    """Returns a report in a format, UTF-8.

    Args:
        figures: Of the run.
        format_: The format.
        width: Columns of the terminal that a text is for; None where it is for none.
        reload_s: After so many seconds a page loads itself again; never if 0.
    """
    if format_ == "json":
        return msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"
    document = document_of(figures, is_brief=format_ == "text" and width is not None)
    if format_ == "html":
        page = _template().render(
            f=figures,
            document=document,
            charts=charts_of(figures),
            rehearsal=REHEARSAL,
            tr=tr,
            language={"en": "en", "zh": "zh-Hans"}[spoken()],
            reload_s=reload_s,
        )
        return page.encode()
    lines = _text(document, width) if format_ == "text" else _markdown(document)
    return ("\n".join(lines) + "\n").encode()


@cache
def _template() -> jinja2.Template:
    """Returns that of a page: one that is made again and again while a run goes is compiled once."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bulkcert.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["parts"] = lambda text: _COMMAND.split(_plain(text))
    return environment.get_template("report.html.j2")


def _plain(text: str) -> str:
    """Returns text that does nothing to a terminal."""
    return text if text.isprintable() else printable(text, len(text))


def _text(document: Document, width: int | None) -> Iterator[str]:
    verdict = document.verdict
    yield from _lines(f"{verdict.label}{tr(': ')}{verdict.line}", width, "", 2)
    for note in verdict.notes:
        yield from _lines(note, width, "  ", 2)
    yield from ("", *_lines(document.title, width, "", 2))
    yield from _facts([(name, f"{value} ({detail})") for name, value, detail in document.tiles], width)
    if document.tiles:
        yield from _lines(document.tiles_note, width, "  ", 2)
    for section in document.sections:
        yield from ("", _plain(section.title) if section.is_part else f"== {section.title} ==")
        for word in section.words:
            yield from _lines(word, width, "" if word.startswith("→") else "  ", 2)
        yield from _facts(section.facts, width)
        if section.table:
            yield from _text_table(section.table, width)
        if section.after:
            yield from _lines(section.after, width, "  ", 2)
    yield from ("", *_lines(document.footer, width, "", 0))


def _lines(text: str, width: int | None, first: str, indent: int) -> list[str]:
    """Returns a text as lines that are not broken in words; a command is never broken, so that it can be copied."""
    parts = _COMMAND.split(_plain(text))
    if width is None or cell_len(first) + sum(map(cell_len, parts)) <= width:
        return [first + "".join(parts)]
    lines = []
    for number, part in enumerate(parts):
        if number % 2:
            lines.append(f"{'':{indent + 2}}{part}")
        elif words := part.strip() if number == 0 else part.strip(" .;"):
            lines += folded(words, width, " " * indent if number else first, " " * indent)
    return lines


def _facts(facts: list[tuple[str, str]], width: int | None) -> Iterator[str]:
    longest = max((cell_len(name) for name, _ in facts), default=0)
    for name, value in facts:
        first = f"  {padded(_plain(name), longest)}  "
        lines = _lines(value, width, first, longest + 4)
        if width is not None and max(map(cell_len, lines)) > width:
            lines = [first.rstrip(), *_lines(value, width, "    ", 4)]  # a digest or a path is whole, to be copied
        yield from lines


def _text_table(table: TextTable, width: int | None) -> Iterator[str]:
    """Yields a table in columns, or, where it is wider than a screen, each of its rows as a block."""
    rows = [[_plain(cell) for cell in row] for row in table.rows]
    lines = [list(table.columns), *rows, *([table.total] if table.total else [])]
    widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
    most = min(_WIDE, width or _WIDE)
    *before, last = widths
    room = most - sum(before) - 2 * len(widths)
    if last > room and (room < _LEAST or [*table.columns.values()][-1] != "text"):
        for number, row in enumerate(rows):
            yield from [""] if number else ()
            yield from _facts(list(zip(table.columns, row, strict=True)), width)
        return
    widths[-1] = min(last, room)
    for line in lines:
        cells = zip(line, widths, table.columns.values(), strict=True)
        fitted = (padded(cell, size, right=kind == "number") for cell, size, kind in cells)
        *others, end = fitted
        head = "".join(f"  {cell}" for cell in others) + "  "
        yield from (line.rstrip() for line in folded(end.rstrip(), most, head, " " * cell_len(head)))


def _escaped(text: str) -> str:
    """Returns text that stays text in Markdown, in a cell of a table as well."""
    return _SPECIAL.sub(r"\\\1", _plain(text))


def _markdown(document: Document) -> Iterator[str]:
    verdict = document.verdict
    yield from (
        f"# {_escaped(verdict.label)}{tr(': ')}{_escaped(document.title)}",
        "",
        f"**{_escaped(verdict.line)}**",
        "",
    )
    yield from (f"- {_escaped(note)}" for note in verdict.notes)
    yield ""
    yield from (f"- {_escaped(name)}: {value} ({detail})" for name, value, detail in document.tiles)
    yield from ("", document.tiles_note) if document.tiles else ()
    for section in document.sections:
        yield from ("", f"{'###' if section.is_part else '##'} {_escaped(section.title)}", "")
        yield from (f"{_marked(word)}\n" for word in section.words)
        yield from (f"- {_escaped(name)}: {_marked(value)}" for name, value in section.facts)
        if table := section.table:
            rule = ["---:" if kind == "number" else "---" for kind in table.columns.values()]
            yield from ("", _cells(list(table.columns)), f"| {' | '.join(rule)} |")
            yield from (_cells(row) for row in (*table.rows, *([table.total] if table.total else [])))
        if section.after:
            yield from ("", _marked(section.after))
    yield from ("", _escaped(document.footer))


def _marked(text: str) -> str:
    """Returns text with the commands in it as code, which stays as it is."""
    parts = enumerate(_COMMAND.split(text))
    return "".join(f"`{_plain(part)}`" if number % 2 else _escaped(part) for number, part in parts)


def _cells(cells: list[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"
