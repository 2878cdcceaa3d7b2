"""The four formats of a report: a page, plain text, Markdown and JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import jinja2
import msgspec
from markupsafe import Markup

from bulkcert.input import printable
from bulkcert.report.charts import charts_of
from bulkcert.report.figures import Figures
from bulkcert.words import duration

Format = Literal["html", "text", "json", "md"]

_SERIAL_WIDTH = 128
_MESSAGE_WIDTH = 300
_MARKS = re.compile(r"([\\`*_{}\[\]<>()#|~!&$])")


def render(figures: Figures, format_: Format) -> bytes:
    """Returns a report in a format, UTF-8."""
    if format_ == "json":
        return msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"
    template = _environment(format_).get_template(f"report.{_SUFFIXES[format_]}.j2")
    charts = charts_of(figures) if format_ == "html" else []
    return template.render(f=figures, charts={chart.name: chart for chart in charts}).encode()


_SUFFIXES = {"html": "html", "text": "txt", "md": "md"}


def _environment(format_: Format) -> jinja2.Environment:
    """Returns where templates come from; whatever they print is made harmless for the format, unasked."""
    finalize: dict[Format, Callable[[object], object] | None] = {"html": None, "text": _plain, "md": _markdown}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bulkcert.report"),
        autoescape=format_ == "html",  # noqa: S701 - the others are made harmless by their finalize
        finalize=finalize[format_],
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": _number,
        "counted": _counted,
        "share": _share,
        "time": _time,
        "length": _length,
        "ms": _latency,
        "serial": lambda text: printable(text, _SERIAL_WIDTH),
        "message": lambda text: printable(text, _MESSAGE_WIDTH),
        "svg": Markup,
        "right": lambda text, width: str(text).rjust(width),
        "left": lambda text, width: str(text).ljust(width),
    }
    return environment


def _plain(value: object) -> str:
    """Returns text that does nothing to a terminal."""
    text = "" if value is None else str(value)
    return text if text.isprintable() else printable(text, len(text))


def _markdown(value: object) -> str:
    """Returns text that stays text in Markdown, in a cell of a table as well."""
    return _MARKS.sub(r"\\\1", _plain(value))


def _number(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _counted(value: int | None, one: str, many: str = "") -> str:
    """Returns a number of things in words; ``many`` only where it is not ``one`` and an s."""
    return f"{_number(value)} {one if value == 1 else many or f'{one}s'}"


def _share(value: float) -> str:
    """Returns a share in percent; what is not all is never rounded to all, what is not nothing never to nothing."""
    percent = 100 * value
    if 0 < percent < 0.01:  # noqa: PLR2004 - what two decimals can show
        return "< 0.01 %"
    if 99.99 < percent < 100:  # noqa: PLR2004 - the same
        return "> 99.99 %"
    return f"{percent:.2f} %"


def _time(value: str | None) -> str:
    return f"{value[:10]} {value[11:19]} UTC" if value else "—"


def _length(seconds: float | None) -> str:
    if seconds is None:
        return "not reached"
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)  # noqa: PLR2004 - seconds in a minute


def _latency(value: float | None) -> str:
    return "—" if value is None else f"{value:,.1f} ms"
