"""The charts of a report, from its figures; each with its title and what it shows in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from bulkcert.input import printable
from bulkcert.report.figures import Figures
from bulkcert.report.svg import GRID, INK, MAIN, MUTED, SECOND, THIRD, draw
from bulkcert.report.timing import Stretch
from bulkcert.words import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (6.6, 2.9)
_NARROWEST = 0.12
_FAR = 3
"""A cap more than so many times above what was sent is named in words: drawn, it would flatten everything else."""
_TICKS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000]


class Chart(msgspec.Struct, frozen=True):
    """One chart: its SVG, the title above it and what is to be known of it below."""

    name: str
    title: str
    svg: str
    caption: str


def charts_of(figures: Figures) -> list[Chart]:
    """Returns the charts that there is something to show in."""
    charts = []
    if figures.containment.steps:
        charts.append(_containment(figures))
    if figures.calls.parts:
        charts += [_pace(figures), _latency_over_time(figures), _distribution(figures)]
    if figures.cas_in_all > 1:
        charts.append(_cas(figures))
    return charts


def _containment(figures: Figures) -> Chart:
    containment = figures.containment
    scale, unit = _unit(containment.steps[-1][0])
    title = f"Certificates {figures.asked.wanted}, over time"

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        seconds = [0.0, *(second / scale for second, _ in containment.steps)]
        axes.step(seconds, [0, *(count for _, count in containment.steps)], where="post", color=MAIN, linewidth=2)
        axes.axhline(containment.certificates, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f"all {containment.certificates:,} of the list",
            (1, containment.certificates),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=MUTED,
            fontsize=10,
        )
        axes.set_xlabel(f"{unit} since the run began")
        axes.set_ylabel("certificates")
        axes.set_xlim(left=0)
        axes.set_ylim(0, containment.certificates * 1.14)
        _finish(axes)

    last = containment.steps[-1][0]
    words = f"{containment.reached:,} of {containment.certificates:,} after {_length(last)}"
    return Chart(
        "containment", title, draw("containment", title, words, _SIZE, paint), f"{words}, by the outcomes of the run."
    )


def _pace(figures: Figures) -> Chart:
    calls, title = figures.calls, "Calls a second, over time"
    worst = max(max(part.worst) for part in calls.parts)
    caps = _caps(figures)
    drawn = {name: cap for name, cap in caps.items() if cap <= _FAR * worst}

    def paint(figure: Figure) -> None:
        top = max([worst, *drawn.values()]) * 1.16

        def show(axes: Axes, part: Stretch, times: list[float]) -> None:
            if part.bin_s > 1:
                axes.stairs(part.worst, times, color=SECOND, linewidth=1.1, label="busiest second")
            name = "mean" if part.bin_s > 1 else "each second"
            axes.stairs(part.mean, times, color=MAIN, fill=True, alpha=0.85, label=name)
            for name, cap in drawn.items():
                axes.axhline(cap, color=INK, linewidth=1, linestyle=(0, (4, 3)), label=f"{name} {cap:,}/s")
            axes.set_ylim(0, top)

        _stretches(figure, calls.parts, "calls a second", show)

    most = max(max(part.mean) for part in calls.parts)
    words = f"at most {most:,.0f} a second on average, {worst:,} in the busiest second"
    sentences = [f"{calls.shown:,} calls, the last attempt of each called row."]
    if calls.not_shown:
        sentences.append(f"Not in it: {calls.not_shown:,} earlier attempts, reads and pages.")
    sentences += [
        f"{name.capitalize()}: {cap:,}/s, above the chart." for name, cap in caps.items() if name not in drawn
    ]
    if calls.peak_window:
        sentences.append(f"Busiest one-second window of the run, all calls: {calls.peak_window:,}.")
    if calls.left_out:
        sentences.append(f"{calls.left_out:,} of the calls shown lie in shorter stretches that are not drawn.")
    return Chart("pace", title, draw("pace", title, words, _SIZE, paint), " ".join(sentences))


def _caps(figures: Figures) -> dict[str, int]:
    """Returns the caps on all addresses together, by name: that of the addresses only where it is the lower one."""
    asked = figures.asked
    caps, addresses = {"account cap": asked.account_cap}, max(1, len(asked.source_addresses))
    if asked.address_cap * addresses < asked.account_cap:
        caps["address cap" if addresses == 1 else f"cap of {addresses} addresses"] = asked.address_cap * addresses
    return caps


def _latency_over_time(figures: Figures) -> Chart:
    title, latency = "Latency, over time", figures.latency

    def paint(figure: Figure) -> None:
        def show(axes: Axes, part: Stretch, times: list[float]) -> None:
            middle = [(start + end) / 2 for start, end in pairwise(times)]
            for values, color, name in ((part.p99_ms, SECOND, "p99"), (part.p50_ms, MAIN, "p50")):
                plotted = [math.nan if value is None else max(value, 0.1) for value in values]
                mark = "o" if len(plotted) <= 1 else None
                axes.plot(middle, plotted, color=color, linewidth=1.6, marker=mark, markersize=5, label=name)
            axes.set_yscale("log")

        _stretches(figure, figures.calls.parts, "latency", show)
        shown = [value for part in figures.calls.parts for value in (*part.p50_ms, *part.p99_ms) if value is not None]
        _milliseconds(figure.axes[0], "yaxis", min(shown), max(shown))

    words = f"median {_ms(latency.p50)}, 99 % below {_ms(latency.p99)}, longest {_ms(latency.most)}"
    caption = (
        f"Of the last attempt of each called row, by bins of {_length(figures.calls.parts[0].bin_s)}; logarithmic."
    )
    return Chart("latency", title, draw("latency", title, words, _SIZE, paint), caption)


def _distribution(figures: Figures) -> Chart:
    title, latency = "Latency, distribution", figures.latency
    marks = {"p50": latency.p50, "p90": latency.p90, "p99": latency.p99}

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.stairs(latency.rows, latency.edges_ms, fill=True, color=MAIN, alpha=0.85)
        top = max(latency.rows) * 1.28
        for place, (name, value) in enumerate(marks.items()):
            axes.axvline(value or 0, color=SECOND, linewidth=1.3, ymax=0.98 - 0.09 * place)
            axes.annotate(
                f"{name} {_ms(value)}",
                (value or 0, top * (0.98 - 0.09 * place)),
                xytext=(4, -9),
                textcoords="offset points",
                fontsize=10,
                color=INK,
            )
        axes.set_xscale("log")
        axes.set_ylim(0, top)
        axes.set_ylabel("rows")
        axes.set_xlabel("latency")
        _finish(axes)
        _milliseconds(axes, "xaxis", latency.edges_ms[0], latency.edges_ms[-1])

    words = ", ".join(f"{name} {_ms(value)}" for name, value in marks.items())
    range_ = f"From {_ms(latency.least)} to {_ms(latency.most)}"
    return Chart(
        "distribution",
        title,
        draw("distribution", title, words, _SIZE, paint),
        f"{range_}; logarithmic, {sum(latency.rows):,} rows.",
    )


def _cas(figures: Figures) -> Chart:
    title, cas = "Outcomes, by CA", figures.cas
    groups: list[tuple[str, str, Callable[[dict[str, int]], int]]] = [
        ("in the desired state", MAIN, lambda counts: _sum(counts, "succeeded", "unchanged")),
        ("not in the desired state", SECOND, lambda counts: _sum(counts, *_OTHERS)),
        ("unknown", THIRD, lambda counts: _sum(counts, "unknown")),
        ("duplicate or protected", GRID, lambda counts: _sum(counts, "duplicate", "protected")),
    ]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        names = [_ca_name(ca.ca_sn, ca.cas) for ca in cas]
        shares = [[100 * of(ca.outcomes) / ca.rows for ca in cas] for _, _, of in groups]
        for (name, color, _), share, left in zip(groups, shares, _lefts(shares), strict=True):
            if any(share):
                axes.barh(range(len(cas)), share, left=left, color=color, height=0.68, label=name)
        for place, ca in enumerate(cas):
            axes.annotate(f"{ca.rows:,}", (101, place), va="center", color=INK, fontsize=10, annotation_clip=False)
        axes.set_yticks(range(len(cas)), names)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 114)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.set_xlabel("% of the CA's rows; their number at the end of the bar")
        axes.spines["left"].set_visible(False)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncol=4, borderaxespad=0.2, columnspacing=1.2)

    words = "; ".join(
        f"{_ca_name(ca.ca_sn, ca.cas)}: {ca.wanted:,} of {ca.rows:,} in the desired state" for ca in cas[:5]
    )
    size = (_SIZE[0], 0.95 + 0.26 * len(cas))
    caption = f"{figures.cas_in_all:,} CAs; exact numbers in the table below."
    return Chart("cas", title, draw("cas", title, words, size, paint), caption)


_OTHERS = ("not_registered", "failed", "not_attempted", "invalid", "undone")


def _sum(counts: dict[str, int], *outcomes: str) -> int:
    return sum(counts.get(outcome, 0) for outcome in outcomes)


def _lefts(shares: list[list[float]]) -> list[list[float]]:
    """Returns where each group's bars begin: where those of the groups before it end."""
    columns = [list(accumulate(column, initial=0.0))[:-1] for column in zip(*shares, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _ca_name(ca: str, cas: int) -> str:
    return f"{cas:,} others" if cas > 1 else printable(ca, 22) or "(blank)"


def _stretches(
    figure: Figure, parts: list[Stretch], label: str, show: Callable[[Axes, Stretch, list[float]], Any]
) -> None:
    """Draws stretches of time side by side, each as wide as it is long, within reason."""
    longest = max(len(part.mean) for part in parts)
    widths = [max(len(part.mean), _NARROWEST * longest * len(parts)) for part in parts]
    grid = figure.add_gridspec(1, len(parts), width_ratios=widths)
    scale, unit = _unit(longest * parts[0].bin_s)
    first: Axes | None = None
    for place, part in enumerate(parts):
        axes = figure.add_subplot(grid[0, place], sharey=first)
        show(axes, part, [number * part.bin_s / scale for number in range(len(part.mean) + 1)])
        axes.margins(x=0.01)
        if len(parts) > 1:
            axes.set_title(f"{part.started[5:10]} {part.started[11:16]}", fontsize=10, color=MUTED, loc="left")
        if first is None:
            first = axes
            axes.set_ylabel(label)
        else:
            axes.tick_params(axis="y", labelleft=False)
        _finish(axes)
    began = (
        f"since {parts[0].started[:10]} {parts[0].started[11:19]} UTC"
        if len(parts) == 1
        else "since each beginning (UTC)"
    )
    figure.supxlabel(f"{unit} {began}", fontsize=10.5, color=MUTED)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncol=4, columnspacing=1.2)


def _finish(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415 - see svg

    axes.grid(axis="y")
    axes.tick_params(length=3)
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(5, min_n_ticks=2))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _milliseconds(axes: Axes, side: str, least: float, most: float) -> None:
    """Puts round numbers of milliseconds on a logarithmic axis, few enough to be read."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator  # noqa: PLC0415 - see svg

    least, most = max(least, 0.1), max(most, 0.1)
    low, high = (least * 0.8, most * 1.25)
    inside = [tick for tick in _TICKS_MS if low <= tick <= high]
    ticks = inside[:: math.ceil(len(inside) / 6)] if len(inside) > 1 else [round(least, 1), round(most, 1)]
    axis = getattr(axes, side)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([_ms(tick) for tick in ticks]))
    axis.set_minor_locator(NullLocator())
    (axes.set_ylim if side == "yaxis" else axes.set_xlim)(low, high)


def _unit(seconds: float) -> tuple[int, str]:
    return next((scale, unit) for limit, scale, unit in _UNITS if seconds < limit)


_UNITS = ((180, 1, "seconds"), (3 * 3600, 60, "minutes"), (72 * 3600, 3600, "hours"), (math.inf, 86400, "days"))


def _ms(value: float | None) -> str:
    """Returns a latency for people: ``85 ms``, ``3 s``."""
    if value is None:
        return "—"
    return f"{value / 1000:.3g} s" if value >= 1000 else f"{value:.3g} ms"  # noqa: PLR2004 - milliseconds in a second


def _length(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 60 else duration(seconds)  # noqa: PLR2004 - seconds in a minute
