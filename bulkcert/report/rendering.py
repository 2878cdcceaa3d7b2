"""The four formats of a report: a page, plain text, Markdown and JSON."""

import re
from collections.abc import Iterator

import jinja2
import msgspec

from bulkcert.report import Format
from bulkcert.report.charts import charts_of
from bulkcert.report.document import Document, TextTable, document_of
from bulkcert.report.figures import Figures
from bulkcert.words import printable

_WIDE = 100
"""Columns of a terminal or a mail; a text table that is wider stands as a block for each row."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#|~!&$])")


def render(figures: Figures, format_: Format) -> bytes:
    """Returns a report in a format, UTF-8."""
    if format_ == "json":
        return msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"
    document = document_of(figures)
    if format_ == "html":
        return _page(figures, document).encode()
    lines = _text(document) if format_ == "text" else _markdown(document)
    return ("\n".join(lines) + "\n").encode()


def _page(figures: Figures, document: Document) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bulkcert.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    charts = {chart.name: chart for chart in charts_of(figures)}
    return environment.get_template("report.html.j2").render(f=figures, document=document, charts=charts)


def _plain(text: str) -> str:
    """Returns text that does nothing to a terminal."""
    return text if text.isprintable() else printable(text, len(text))


def _text(document: Document) -> Iterator[str]:
    yield f"{document.verdict.label}: {_plain(document.verdict.line)}"
    yield from (f"  {_plain(note)}" for note in document.verdict.notes)
    yield from ("", _plain(document.title))
    yield from _facts([(name, f"{value} ({detail})") for name, value, detail in document.tiles])
    for section in document.sections:
        yield from ("", _plain(section.title) if section.is_part else f"== {section.title} ==")
        yield from (_plain(word) if word.startswith("→") else f"  {_plain(word)}" for word in section.words)
        yield from _facts(section.facts)
        if section.table:
            yield from _text_table(section.table)
        if section.after:
            yield f"  {section.after}"
    yield from ("", _plain(document.footer))


def _facts(facts: list[tuple[str, str]]) -> Iterator[str]:
    width = max((len(name) for name, _ in facts), default=0)
    yield from (f"  {_plain(name).ljust(width)}  {_plain(value)}" for name, value in facts)


def _text_table(table: TextTable) -> Iterator[str]:
    """Yields a table in columns, or, where it is wider than a screen, each of its rows as a block."""
    rows = [[_plain(cell) for cell in row] for row in table.rows]
    lines = [list(table.columns), *rows, *([table.total] if table.total else [])]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    if sum(widths) + 2 * len(widths) > _WIDE:
        for row in rows:
            yield from _facts(list(zip(table.columns, row, strict=True)))
        return
    for line in lines:
        cells = zip(line, widths, table.columns.values(), strict=True)
        padded = (cell.rjust(width) if kind == "number" else cell.ljust(width) for cell, width, kind in cells)
        yield f"  {'  '.join(padded)}".rstrip()


def _escaped(text: str) -> str:
    """Returns text that stays text in Markdown, in a cell of a table as well."""
    return _SPECIAL.sub(r"\\\1", _plain(text))


def _markdown(document: Document) -> Iterator[str]:
    verdict = document.verdict
    yield from (f"# {_escaped(verdict.label)}: {_escaped(document.title)}", "", f"**{_escaped(verdict.line)}**", "")
    yield from (f"- {_escaped(note)}" for note in verdict.notes)
    yield ""
    yield from (f"- {_escaped(name)}: {value} ({detail})" for name, value, detail in document.tiles)
    for section in document.sections:
        yield from ("", f"{'###' if section.is_part else '##'} {_escaped(section.title)}", "")
        yield from (f"{_escaped(word)}\n" for word in section.words)
        yield from (f"- {_escaped(name)}: {_escaped(value)}" for name, value in section.facts)
        if table := section.table:
            rule = ["---:" if kind == "number" else "---" for kind in table.columns.values()]
            yield from ("", _cells(list(table.columns)), f"| {' | '.join(rule)} |")
            yield from (_cells(row) for row in (*table.rows, *([table.total] if table.total else [])))
        if section.after:
            yield from ("", _escaped(section.after))
    yield from ("", _escaped(document.footer))


def _cells(cells: list[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"
