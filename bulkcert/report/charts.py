"""The charts of a report, from its figures; each with its title and what it shows in words."""

import math
from collections.abc import Callable, Iterator

import msgspec

from bulkcert.language import later, tr, trn
from bulkcert.report import svg
from bulkcert.report.figures import Figures
from bulkcert.report.svg import BOTTOM, HEIGHT, INK, LEFT, MAIN, MUTED, RIGHT, SECOND, THIRD, TOP, Axis
from bulkcert.report.timing import Stretch
from bulkcert.words import clock, counted, length

_FAR = 3
"""A limit more than so many times above what was sent is not drawn: it would flatten everything else."""
_GAP = 14
"""Between two stretches of time, in pixels."""


class Chart(msgspec.Struct, frozen=True):
    """One chart: its SVG, the title above it and what is to be known of it below."""

    name: str
    title: str
    svg: str
    caption: str


def charts_of(figures: Figures) -> list[Chart]:
    """Returns the charts that there is something to show in."""
    called = [_pace(figures)] if figures.calls.stretches else []
    return [*([_containment(figures)] if figures.containment.steps else []), *called]


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
        svg.grid(y, tr("certificates")),
        svg.below(x),
        svg.label(tr("{unit} since the run began", unit=tr(unit)), (LEFT + RIGHT) / 2, HEIGHT - 4, anchor="middle"),
        svg.line(LEFT, every, RIGHT, every, color=MUTED, dash="4 3"),
        svg.label(tr("all {count:,} of the list", count=shown.certificates), RIGHT, every - 4, anchor="end"),
        svg.stairs(edges, heights, color=MAIN),
    ]
    picture = svg.picture("containment", title, words, drawn)
    return Chart("containment", title, picture, tr("{words}, by the outcomes of the run.", words=words))


def _pace(figures: Figures) -> Chart:
    calls, title = figures.calls, tr("Calls a second, over time")
    busiest = max(max(stretch.worst) for stretch in calls.stretches)
    limits = [limit for limit in _limits(figures) if limit[1] <= _FAR * busiest]
    y = Axis(0, max([busiest, *(cap for _, cap, _, _ in limits)]) * 1.1, BOTTOM, TOP)
    binned = calls.stretches[0].bin_s > 1

    def show(stretch: Stretch, edges: list[float]) -> Iterator[str]:
        yield svg.stairs(edges, [y.at(value) for value in stretch.mean], color=MAIN, base=BOTTOM)
        if binned:
            yield svg.stairs(edges, [y.at(value) for value in stretch.worst], color=SECOND)
        for _, cap, color, dash in limits:
            yield svg.line(edges[0], y.at(cap), edges[-1], y.at(cap), color=color, width=1.4, dash=dash)

    entries = [(tr("mean") if binned else tr("each second"), MAIN, "")]
    entries += [(tr("busiest second"), SECOND, "20")] if binned else []
    drawn = [
        svg.legend([*entries, *((f"{name} {cap:,}/s", color, dash) for name, cap, color, dash in limits)]),
        svg.grid(y, tr("calls a second")),
        *_over_time(calls.stretches, show),
    ]
    most = max(max(stretch.mean) for stretch in calls.stretches)
    words = tr("at most {mean:,.0f} a second on average, {peak:,} in the busiest second", mean=most, peak=busiest)
    caption = tr("{calls}, the last attempt of each called row.", calls=counted(calls.shown, "call"))
    if calls.not_shown:
        caption += tr(" Not in it: {count:,} earlier attempts, reads and pages.", count=calls.not_shown)
    if calls.left_out:
        caption += tr(
            " {count:,} of the calls shown lie in shorter stretches that are not drawn.", count=calls.left_out
        )
    return Chart("pace", title, svg.picture("pace", title, words, drawn), caption)


def _limits(figures: Figures) -> list[tuple[str, int, str, str]]:
    """Returns the limits on all addresses together, with colour and dashes: the addresses' only if it is the lower."""
    caps, addresses = figures.limits, len(figures.limits.source_addresses)
    limits = [(tr("account limit"), caps.account, INK, "7 3")]
    if (lower := caps.address * addresses) < caps.account:
        name = trn("address limit", "limit of {count} addresses", addresses)
        limits.append((name, lower, THIRD, "2 3"))
    return limits


def _over_time(stretches: list[Stretch], show: Callable[[Stretch, list[float]], Iterator[str]]) -> Iterator[str]:
    """Yields stretches of time from left to right, each as wide as it is long, within reason, and their axes."""
    longest = max(len(stretch.mean) for stretch in stretches)
    widths = [max(len(stretch.mean), 0.3 * longest) for stretch in stretches]
    one = (RIGHT - LEFT - _GAP * (len(stretches) - 1)) / sum(widths)
    scale, unit = _unit(longest * stretches[0].bin_s)
    start: float = LEFT
    for stretch, width in zip(stretches, widths, strict=True):
        x = Axis(0, len(stretch.mean) * stretch.bin_s / scale, start, start + width * one)
        yield from show(stretch, [x.at(number * stretch.bin_s / scale) for number in range(len(stretch.mean) + 1)])
        yield svg.below(x, max(2, int(width * one) // 80))
        if len(stretches) > 1:
            yield svg.label(clock(stretch.started)[5:16], start, TOP - 2, font_size=9.5)
        start += width * one + _GAP
    began = clock(stretches[0].started)
    since = tr("since {when}", when=began) if len(stretches) == 1 else tr("since each beginning")
    yield svg.label(f"{tr(unit)} {since}", (LEFT + RIGHT) / 2, HEIGHT - 4, anchor="middle")


def _unit(seconds: float) -> tuple[int, str]:
    return next((scale, unit) for limit, scale, unit in _UNITS if seconds < limit)


_UNITS = (
    (180, 1, later("seconds")),
    (3 * 3600, 60, later("minutes")),
    (72 * 3600, 3600, later("hours")),
    (math.inf, 86400, later("days")),
)
