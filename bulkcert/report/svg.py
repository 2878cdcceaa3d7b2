"""Drawing by hand: SVG to stand inline in a page, one drawing for light, dark and paper, its colours the page's."""

import math
from collections.abc import Iterable, Sequence
from html import escape

import msgspec
from rich.cells import cell_len

INK, MUTED, GRID, MAIN, SECOND, THIRD = (
    f"var(--{name})" for name in ("ink", "muted", "grid", "main", "second", "third")
)
WIDTH, HEIGHT = 475, 208
LEFT, RIGHT, TOP, BOTTOM = 62, 467, 28, 172
"""Edges of what is plotted, in pixels; the legend stands above, ticks and labels left and below."""
_LETTER = 5.8
"""About the width of a letter, in pixels: a little more than that of most."""


class Axis(msgspec.Struct, frozen=True):
    """An axis: the values ``low`` to ``high`` stand at the pixels ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Returns the pixel of a value."""
        return round(self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low), 1)

    def ticks(self, most: int = 5, least: float = 0) -> list[float]:
        """Returns round values, at most so many and at least so far apart."""
        wanted = max((self.high - self.low) / most, least)
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


def below(axis: Axis, most: int = 5) -> str:
    """Returns a level axis with at most so many values, below the plot."""
    drawn = [line(axis.start, BOTTOM, axis.end, BOTTOM, color=MUTED)]
    for value in axis.ticks(most):
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
    """Returns a chart as an SVG element.

    Args:
        name: Its name in the page; its ids begin with it.
        title: What it shows, for those who do not see it.
        description: What can be seen, for the same.
        drawn: Its parts.
    """
    words = tag("title", escape(title), id=f"{name}-title") + tag("desc", escape(description), id=f"{name}-desc")
    labelled = {"role": "img", "aria_labelledby": f"{name}-title {name}-desc", "font_size": 10.5}
    # The name of this one attribute has capitals.
    return tag("svg", words + "".join(drawn), viewBox=f"0 0 {WIDTH} {HEIGHT}", **labelled)
