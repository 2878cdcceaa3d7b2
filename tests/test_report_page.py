"""The page of ``report`` in a real browser: fetches nothing, runs nothing, fits a phone and a sheet of paper."""

import re
from html.parser import HTMLParser

import pytest
from browser import CHROMIUM, browser
from made_store import START, made_run, row, session

from bulkcert.report.counting import count
from bulkcert.report.rendering import render
from bulkcert.words import speaking

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'$x^2$ #010101 {{7*7}}"
LONG = "9" * 5000


def called(after_ms=0, outcome="succeeded", **columns):
    return row(outcome, sent_at=START + after_ms, finished_at=START + after_ms + 80, **columns)


def page_of(files):
    files.report.write_bytes(render(count(files), "html"))
    return files.report


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with every chart, whose serials, codes and messages do what they can to break out of it."""
    rows = [called(7 * number, ca=f"00ca{number % 30:06d}") for number in range(3000)]
    wrong = {"outcome": "failed", "device": HOSTILE, "ca": HOSTILE, "code": HOSTILE}
    rows += [called(number, message=HOSTILE, request_id=HOSTILE, **wrong) for number in range(900)]
    long = {"device": LONG, "ca": LONG, "code": LONG, "message": LONG, "request_id": LONG}
    rows += [called(40_000_000, "unknown", **long)] * 800
    rows += [row("invalid", device="\x1b", ca="", why="DeviceSn is blank\x1b[31m\u202eabc")] * 3
    rows += [row("undone"), row(claimed_by=1, sent=True)]
    return page_of(made_run(tmp_path_factory.mktemp("page"), rows, [session(), session("undo", ended=None)]))


class Elements(HTMLParser):
    """Collects the names, ids and attributes of a page's elements."""

    def __init__(self, text):
        super().__init__()
        self.names, self.ids, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]


def test_nothing_runs_and_nothing_is_fetched(page):
    """No script, no image, no handler, no address that a browser would open; ids are there once."""
    elements = Elements(page.read_text())
    assert not {"script", "img", "iframe", "link", "object", "embed", "form", "a"} & set(elements.names)
    assert not [name for name, _ in elements.attributes if name.startswith("on") or name in ("src", "srcset")]
    assert all(value.startswith("#") for name, value in elements.attributes if name.endswith("href"))
    assert "default-src 'none'" in dict(elements.attributes)["content"] or "default-src 'none'" in page.read_text()
    assert len(elements.ids) == len(set(elements.ids))
    assert not re.search(r"url\((?!#)", page.read_text())


def test_charts_tell_what_they_show(page):
    """Each chart has a title and a description, takes its colours from the page, and is small."""
    text = page.read_text()
    charts = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(charts) == 2
    for chart in charts:
        name, described = re.search(r'aria-labelledby="(\S+) (\S+)"', chart).groups()
        assert re.search(rf'<title id="{name}">[^<]+</title>\s*<desc id="{described}">[^<]+</desc>', chart)
        assert "var(--main)" in chart
        assert not re.search(r"(?:fill|stroke): ?#", chart)
    assert len(text) < 600_000


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")
def test_in_a_browser(page, tmp_path):
    """Light, dark, on a phone and on paper: no word on the console, no request, nothing beyond the edge."""
    with browser() as tab:
        tab.open(page)
        backgrounds = {}
        for width, scheme in ((1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")):
            tab.show(width=width, scheme=scheme)
            assert tab.value("document.documentElement.scrollWidth") <= width
            beyond = "[...document.querySelectorAll('figure, .card, .verdict, h1, h2, h3')].filter("
            assert tab.value(f"{beyond}each => each.getBoundingClientRect().right > {width}).length") == 0
            cut = (
                "[...document.querySelectorAll('.card, table, td')].filter(each => each.scrollWidth > each.clientWidth)"
            )
            assert tab.value(f"{cut}.length") == 0, "what must be scrolled is cut off on paper, and missed on a phone"
            column = tab.value("getComputedStyle(document.querySelector('.finding td'), '::before').content")
            assert (column == '"Row"') == (width == 360), "on a phone a finding's cells stand below each other, by name"
            backgrounds[scheme] = tab.value("getComputedStyle(document.body).backgroundColor")
            shot = tab.screenshot()
            (tmp_path / f"{scheme}-{width}.png").write_bytes(shot)
            assert shot.startswith(b"\x89PNG")
        assert backgrounds["light"] != backgrounds["dark"]
        signing = "getComputedStyle(document.querySelector('.signing')).display"
        assert tab.value(signing) == "none", "what is signed by hand is there on paper only"
        tab.tell("Emulation.setEmulatedMedia", media="print")
        assert tab.value(signing) == "block"
        assert tab.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        printed = tab.pdf()
        assert printed.startswith(b"%PDF")
        (tmp_path / "page.pdf").write_bytes(printed)
        assert tab.value("getComputedStyle(document.querySelector('.number')).fontVariantNumeric") == "tabular-nums"
    assert tab.asked == []
    assert tab.said == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")
def test_in_chinese(tmp_path):
    """Nothing is cut off either where a word is a character; the page says what language it is."""
    rows = [called(7 * number) for number in range(300)] + [
        called(outcome="not_registered", code="FindDeviceBySnError")
    ]
    rows += [row("invalid", why="DeviceSn is blank"), row("unknown"), row("duplicate", first_row=1)]
    files = made_run(tmp_path, rows, [session(ended=1)])
    with speaking("zh"):
        page_of(files)
    with browser() as tab:
        tab.open(files.report)
        for width in (1280, 360):
            tab.show(width=width)
            assert tab.value("document.documentElement.scrollWidth") <= width
            cut = "[...document.querySelectorAll('.card, td, h2')].filter(each => each.scrollWidth > each.clientWidth)"
            assert tab.value(f"{cut}.length") == 0
        assert tab.value("document.documentElement.lang") == "zh-Hans"
        assert "未处于期望状态的证书" in tab.value("document.body.innerText")
    assert (tab.asked, tab.said) == ([], [])


LIMITS = [{"rate": 5, "per_address_rate": 2, "source_address": ["127.0.0.2"]}, {"rate": 5, "per_address_rate": 3}]


@pytest.mark.parametrize(("limits", "drawn"), [(LIMITS[0], 2), (LIMITS[1], 1)])
def test_limits_differ(tmp_path, limits, drawn):
    """The account limit and, where it is the lower, that of the addresses are told apart by colour and dashes."""
    text = page_of(made_run(tmp_path, [called(300 * number) for number in range(20)], [session(options=limits)]))
    pace = re.search(r'<svg[^>]*"pace-title.*?</svg>', text.read_text(), re.DOTALL).group()
    strokes = re.findall(r'stroke="(\S+)"[^>]*stroke-width="1.4" stroke-dasharray="([^"]+)"', pace)
    assert len(strokes) == len(set(strokes)) == drawn
    assert len({color for color, _ in strokes}) == len({dash for _, dash in strokes}) == drawn


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")
def test_a_rehearsal_is_marked_on_screen_and_paper(tmp_path):
    """The mark is over the whole of a page, on a phone as well, on every sheet, and hides nothing below it."""
    page = page_of(made_run(tmp_path, [called(300 * number) for number in range(20)], rehearsal=True))
    mark = "getComputedStyle(document.querySelector('.watermark'))"
    with browser() as tab:
        tab.open(page)
        for media, width in (("screen", 1280), ("screen", 360), ("print", 800)):
            tab.show(width=width)
            tab.tell("Emulation.setEmulatedMedia", media=media)
            assert tab.value("document.querySelector('.watermark').textContent") == "REHEARSAL"
            assert tab.value("document.documentElement.scrollWidth") <= width
            # What is fixed is printed on each sheet.
            assert (tab.value(f"{mark}.position"), tab.value(f"{mark}.pointerEvents")) == ("fixed", "none")
            assert 0 < float(tab.value(f"{mark}.opacity")) < 0.3
