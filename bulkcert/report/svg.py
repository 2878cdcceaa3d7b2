"""Drawing with matplotlib, and its SVG made fit to stand inline in a page: one drawing for light, dark and paper."""

import atexit
import io
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {
    "--ink": "#010101",
    "--muted": "#020202",
    "--grid": "#030303",
    "--main": "#040404",
    "--second": "#050505",
    "--third": "#060606",
    "--surface": "#070707",
}
"""What the page calls its colours, and what is in place of each while it is drawn; nobody would draw with these."""

INK, MUTED, GRID, MAIN, SECOND, THIRD, SURFACE = COLORS.values()

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": INK,
    # A serial may hold dollar signs.
    "text.parse_math": False,
    "text.usetex": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "legend.handlelength": 1.4,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"(?<=url\(#)[^)]*(?=\))|(?<=^#)[a-z]\S*$")
_FONT = re.compile(r"font: ([\d.]+)px '[^;]*")


def draw(name: str, title: str, description: str, size: tuple[float, float], paint: Callable[["Figure"], None]) -> str:
    """Returns a chart as an SVG element.

    Args:
        name: Its name in the page; its ids begin with it.
        title: What it shows, for those who do not see it.
        description: What can be seen, for the same.
        size: Width and height in inches, of 72 units each.
        paint: Draws it.
    """
    _prepare()
    import matplotlib as mpl  # noqa: PLC0415 - takes a second, and only a page with charts needs it
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    drawn = io.StringIO()
    with warnings.catch_warnings(), mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        # Characters that its font lacks are the browser's business: texts stay texts.
        warnings.simplefilter("ignore")
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        paint(figure)
        figure.savefig(drawn, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _inline(drawn.getvalue(), name, title, description)


def _inline(drawn: str, name: str, title: str, description: str) -> str:
    """Returns the SVG without what only a file of its own needs, in the page's colours, its ids its own."""
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    svg = ET.fromstring(drawn)  # noqa: S314 - drawn above
    for parent in list(svg.iter()):
        for child in list(parent):
            # Its style is for the whole page; ours says the same for charts.
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    used = {reference for element in svg.iter() for reference in _references(element)}
    for element in svg.iter():
        _adapt(element, name, used)
    svg.attrib = {"viewBox": svg.attrib["viewBox"], "role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        label = ET.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{tag}"})
        label.text = text
        svg.insert(place, label)
    return ET.tostring(svg, encoding="unicode")


def _references(element: ET.Element) -> list[str]:
    return [found for value in element.attrib.values() for found in _REFERENCE.findall(value)]


def _adapt(element: ET.Element, name: str, used: set[str]) -> None:
    """Gives an element the page's colours and font, and ids that no other chart has; an unused id goes."""
    own = element.attrib.pop("id", "")
    for key, value in element.attrib.items():
        text = _REFERENCE.sub(lambda found: f"{name}-{found[0]}", value)
        for variable, color in COLORS.items():
            text = text.replace(color, f"var({variable})")
        element.attrib[key] = _FONT.sub(r"font-size: \1px", text)
    if own in used:
        element.attrib["id"] = f"{name}-{own}"


def _prepare() -> None:
    """Keeps matplotlib from telling the user of its own affairs, and from a home that cannot be written."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    if "MPLCONFIGDIR" in os.environ or _may_write_home():
        return
    directory = tempfile.mkdtemp(prefix="bulkcert-")
    os.environ["MPLCONFIGDIR"] = directory
    atexit.register(shutil.rmtree, directory, ignore_errors=True)


def _may_write_home() -> bool:
    home = os.path.expanduser("~")  # noqa: PTH111 - Path raises where there is no home
    places = [
        os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config",
        os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache",
    ]
    return all(_may_write(Path(place, "matplotlib")) for place in places)


def _may_write(directory: Path) -> bool:
    """Returns whether files can be made in a directory, or it itself where it is not there yet."""
    existing = next((place for place in (directory, *directory.parents) if os.path.exists(place)), directory)
    return os.access(existing, os.W_OK | os.X_OK)
