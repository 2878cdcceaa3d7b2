"""The charts of a report, from its figures; each with its title and what it shows in words.

They are drawn by hand: SVG to stand inline in a page, one drawing for light, dark and paper, its colours the page's.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape

import msgspec
from rich.cells import cell_len

from bulkcert.report.figures import Figures
from bulkcert.report.timing import CallsOverTime
from bulkcert.words import clock, counted, later, length, tr, trn

INK, MUTED, GRID, MAIN, SECOND, THIRD = (
    f"var(--{name})" for name in ("ink", "muted", "grid", "main", "second", "third")
)
WIDTH, HEIGHT = 475, 208
LEFT, RIGHT, TOP, BOTTOM = 62, 467, 28, 172
"""Edges of what is plotted, in pixels; the legend stands above, ticks and labels left and below."""
_LETTER = 5.8
"""About the width of a letter, in pixels: a little more than that of most."""
_FAR = 3
"""A limit more than so many times above what was sent is not drawn: it would flatten everything else."""


class Chart(msgspec.Struct, frozen=True):
    """One chart: its SVG, the title above it and what is to be known of it below."""

    title: str
    svg: str
    caption: str


def charts_of(figures: Figures) -> dict[str, Chart]:
    """Returns the charts that there is something to show in, by name."""
    charts = {"containment": _containment(figures)} if figures.containment.steps else {}
    return charts | ({"pace": _pace(figures, shown)} if (shown := figures.calls.over_time) else {})


def _containment(figures: Figures) -> Chart:
    shown = figures.containment
    last = shown.steps[-1][0]
    scale, unit = _unit(last)
    x, y = Axis(0, max(last / scale, 0.001), LEFT, RIGHT), Axis(0, shown.certificates * 1.14, BOTTOM, TOP)
    edges = [x.at(0), *(x.at(second / scale) for second, _ in shown.steps), RIGHT]
    heights = [y.at(0), *(y.at(count) for _, count in shown.steps)]
    title = tr("Certificates {state}, over time", state=tr(figures.action.desired))
    counts = {"reached": shown.reached, "all": shown.certificates}
    words = tr("{reached:,} of {all:,} after {time}", **counts, time=length(last))
    every = y.at(shown.certificates)
    drawn = [
        grid(y, tr("certificates")),
        below(x),
        label(tr("{unit} since the run began", unit=tr(unit)), (LEFT + RIGHT) / 2, HEIGHT - 4, anchor="middle"),
        line(LEFT, every, RIGHT, every, color=MUTED, dash="4 3"),
        label(tr("all {count:,} of the list", count=shown.certificates), RIGHT, every - 4, anchor="end"),
        stairs(edges, heights, color=MAIN),
    ]
    caption = tr("{words}, by the outcomes of the run.", words=words)
    return Chart(title, picture("containment", title, words, drawn), caption)


def _pace(figures: Figures, shown: CallsOverTime) -> Chart:
    calls, title = figures.calls, tr("Calls a second, over time")
    busiest, binned, length_s = max(shown.worst), shown.bin_s > 1, len(shown.mean) * shown.bin_s
    limits = [limit for limit in _limits(figures) if limit[1] <= _FAR * busiest]
    scale, unit = _unit(length_s)
    x = Axis(0, length_s / scale, LEFT, RIGHT)
    y = Axis(0, max([busiest, *(cap for _, cap, _, _ in limits)]) * 1.1, BOTTOM, TOP)
    edges = [x.at(number * shown.bin_s / scale) for number in range(len(shown.mean) + 1)]
    entries = [(tr("mean") if binned else tr("each second"), MAIN, "")]
    entries += [(tr("busiest second"), SECOND, "20")] if binned else []
    since = tr("since {when}", when=clock(shown.started))
    drawn = [
        legend([*entries, *((f"{name} {cap:,}/s", color, dash) for name, cap, color, dash in limits)]),
        grid(y, tr("calls a second")),
        stairs(edges, [y.at(value) for value in shown.mean], color=MAIN, base=BOTTOM),
        stairs(edges, [y.at(value) for value in shown.worst], color=SECOND) if binned else "",
        *(line(LEFT, y.at(cap), RIGHT, y.at(cap), color=color, width=1.4, dash=dash) for _, cap, color, dash in limits),
        below(x),
        label(f"{tr(unit)} {since}", (LEFT + RIGHT) / 2, HEIGHT - 4, anchor="middle"),
    ]
    most = max(shown.mean)
    words = tr("at most {mean:,.0f} a second on average, {peak:,} in the busiest second", mean=most, peak=busiest)
    caption = tr("{calls}, the last attempt of each called row.", calls=counted(calls.shown, "call"))
    if calls.not_shown:
        caption += tr(" Not in it: {count:,} earlier attempts, reads and pages.", count=calls.not_shown)
    return Chart(title, picture("pace", title, words, drawn), caption)


def _limits(figures: Figures) -> list[tuple[str, int, str, str]]:
    """Returns the limits on all addresses together, with colour and dashes: the addresses' only if it is the lower."""
    caps, addresses = figures.limits, len(figures.limits.source_addresses)
    limits = [(tr("account limit"), caps.account, INK, "7 3")]
    if (lower := caps.address * addresses) < caps.account:
        name = trn("address limit", "limit of {count} addresses", addresses)
        limits.append((name, lower, THIRD, "2 3"))
    return limits


def _unit(seconds: float) -> tuple[int, str]:
    return next((scale, unit) for limit, scale, unit in _UNITS if seconds < limit)


_UNITS = (
    (180, 1, later("seconds")),
    (3 * 3600, 60, later("minutes")),
    (72 * 3600, 3600, later("hours")),
    (math.inf, 86400, later("days")),
)


class Axis(msgspec.Struct, frozen=True):
    """An axis: the values ``low`` to ``high`` stand at the pixels ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Returns the pixel of a value."""
        return round(self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low), 1)

    def ticks(self, least: float = 0) -> list[float]:
        """Returns a few round values, at least so far apart."""
        wanted = max((self.high - self.low) / 5, least)
        step = next(value for value in _ROUND if value >= wanted)
        return [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


_ROUND = [digit * 10.0**power for power in range(-3, 12) for digit in (1, 2, 5)]


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """Returns an element; its attributes are escaped, its content is not."""
    given = "".join(f' {key.replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items())
    return f"<{name}{given}>{content}</{name}>" if content else f"<{name}{given}/>"


def label(text: str, x: float, y: float, *, color: str = MUTED, anchor: str = "start", **more: object) -> str:
    """Returns a text."""
    return tag("text", escape(text), x=x, y=y, fill=color, text_anchor=anchor, **more)


def line(x1: float, y1: float, x2: float, y2: float, *, color: str = GRID, width: float = 1, dash: str = "") -> str:
    """Returns a straight line."""
    dashed = {"stroke_dasharray": dash} if dash else {}
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=color, stroke_width=width, **dashed)


def stairs(edges: Sequence[float], heights: Sequence[float], *, color: str, base: float | None = None) -> str:
    """Returns steps between edges, one more than there are heights; filled down to a base where it is given."""
    path = "".join(f"V{height}H{edge}" for height, edge in zip(heights, edges[1:], strict=True))
    begin = f"M{edges[0]} {heights[0] if base is None else base}"
    if base is None:
        return tag("path", d=f"{begin}{path}", fill="none", stroke=color, stroke_width=1.6)
    return tag("path", d=f"{begin}{path}V{base}Z", fill=color, fill_opacity=0.85)


def grid(axis: Axis, what: str) -> str:
    """Returns the lines and values of an upright axis, and what it measures, over the whole plot."""
    ticks = axis.ticks(least=1)
    drawn = [line(LEFT, axis.at(value), RIGHT, axis.at(value)) for value in ticks]
    drawn += [label(f"{value:,.0f}", LEFT - 6, axis.at(value) + 3.5, anchor="end") for value in ticks]
    middle = (TOP + BOTTOM) / 2
    return "".join([*drawn, label(what, 10, middle, anchor="middle", transform=f"rotate(-90 10 {middle})")])


def below(axis: Axis) -> str:
    """Returns a level axis with its values, below the plot."""
    drawn = [line(axis.start, BOTTOM, axis.end, BOTTOM, color=MUTED)]
    for value in axis.ticks():
        drawn += [line(axis.at(value), BOTTOM, axis.at(value), BOTTOM + 3, color=MUTED)]
        drawn += [label(f"{value:g}", axis.at(value), BOTTOM + 15, anchor="middle")]
    return "".join(drawn)


def legend(entries: Iterable[tuple[str, str, str]]) -> str:
    """Returns what each colour means: name, colour and, for a line, its dashes, which are none for an area."""
    drawn, x = [], 2.0
    for name, color, dash in entries:
        swatch = {"x": x, "y": 5, "width": 14, "height": 8, "fill": color}
        drawn.append(line(x, 9, x + 14, 9, color=color, width=1.6, dash=dash) if dash else tag("rect", **swatch))
        drawn.append(label(name, x + 18, 12.5, color=INK))
        x += 30 + _LETTER * cell_len(name)
    return "".join(drawn)


def picture(name: str, title: str, description: str, drawn: Iterable[str]) -> str:
    """Returns a chart as an SVG element, whose ids begin with its name; the texts are for those who do not see it."""
    words = tag("title", escape(title), id=f"{name}-title") + tag("desc", escape(description), id=f"{name}-desc")
    labelled = {"role": "img", "aria_labelledby": f"{name}-title {name}-desc", "font_size": 10.5}
    # The name of this one attribute has capitals.
    return tag("svg", words + "".join(drawn), viewBox=f"0 0 {WIDTH} {HEIGHT}", **labelled)
