"""In which language and time zone people read, and numbers and times in words.

Texts are English in the code, and looked up in a catalogue: ``catalogue/zh/LC_MESSAGES/bulkcert.po`` is the Chinese
one; ``tests/catalogue.py`` updates and compiles it.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len

if TYPE_CHECKING:  # loaded where a text is translated
    from gettext import NullTranslations

Language = Literal["en", "zh"]

CATALOGUE = Path(__file__).parent / "catalogue"

_translations: ContextVar["NullTranslations | None"] = ContextVar("translations", default=None)
_zone: ContextVar[tzinfo] = ContextVar("zone", default=UTC)


@contextmanager
def speaking(language: Language, zone: tzinfo = UTC) -> Iterator[None]:
    """Sets the language and the time zone of what is written within."""
    found = None
    if language != "en":
        from gettext import translation  # noqa: PLC0415 - no English text needs it

        found = translation("bulkcert", CATALOGUE, [language])
    before = _translations.set(found), _zone.set(zone)
    try:
        yield
    finally:
        _translations.reset(before[0])
        _zone.reset(before[1])


def spoken() -> Language:
    """Returns the language of what is written."""
    return "en" if _translations.get() is None else "zh"


def tr(text: str, /, **values: object) -> str:
    """Returns a text in the language, its places filled in; a text that the catalogue has not stays English."""
    found = _translations.get()
    shown = text if found is None or not text else found.gettext(text)
    return shown.format(**values) if values else shown


def trn(one: str, many: str, count: int, /, **values: object) -> str:
    """Returns the text for so many, in the language; its places are ``count`` and the values."""
    return tr(one if count == 1 else many, count=count, **values)


def later(text: str) -> str:
    """Marks a text of a table, which is looked up where it is shown."""
    return sys.intern(text)


NAMES = (
    *(later("active"), later("inactive"), later("deleted"), later("refused"), later("called again")),
    *(later("not reached"), later("already"), later("to change"), later("drifted"), later("maybe undone")),
    *(later("run"), later("undo"), later("verify"), later("resume"), later("pause"), later("continue"), later("stop")),
)
"""Names of states, kinds of rows, commands, and of what is asked of a session, as words; outcomes name themselves."""

REHEARSAL = later("REHEARSAL")
"""Stands wherever somebody could take a run against an emulator for one against the service."""

REHEARSED = later("an emulator answered; no real certificate was called")
"""What that means."""


def counted(count: int, noun: str) -> str:
    """Returns a number of things for people: ``1 row``, ``4,997 rows``, ``2 retries``, ``2 addresses``."""
    if _translations.get() is not None:
        return f"{count:,} {tr(noun)}"
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}es" if noun.endswith("ss") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else many}"


def instances_in_words(instance: str, several: Sized) -> str:
    """Returns on which instance something is done, or on how many.

    Args:
        instance: Its ID; empty where rows name it.
        several: The instances that they name, if there are several.
    """
    if instance:
        return instance
    if not several:
        return tr("the instances of the list")
    return trn("{count:,} instance", "{count:,} instances", len(several))


def endpoints_in_words(endpoint: str, several: Mapping[str, object]) -> str:
    """Returns at which endpoint something is done, or at how many.

    Args:
        endpoint: The endpoint; empty where it follows from the regions of rows.
        several: The endpoint of each instance, if there are several.
    """
    found = list(dict.fromkeys(map(str, several.values()))) or [endpoint]
    if len(found) > 1:
        return trn("{count:,} endpoint", "{count:,} endpoints", len(found))
    return found[0] or tr("the endpoints of the list")


def faults(retries: int, throttles: int) -> str:
    """Returns what went wrong for a while: ``1 retry, 3 throttles``."""
    return f"{counted(retries, 'retry')}{tr(', ')}{counted(throttles, 'throttle')}"


def spaced(name: str) -> str:
    """Returns a name of a status or an outcome as words: ``not registered``."""
    return tr(name.replace("_", " "))


def clock(at: str | None) -> str:
    """Returns a time in ISO 8601, UTC, in the time zone of what is written; a dash for none.

    ``2027-01-15 08:00:00 UTC``, ``2027-01-15 16:00:00 +08:00``.
    """
    if not at:
        return "—"
    shown = datetime.fromisoformat(at).astimezone(_zone.get()).isoformat(" ", "seconds")
    return f"{shown[:19]} {shown[19:].replace('+00:00', 'UTC')}"


def local(at: float) -> str:
    """Returns a Unix time by this machine's clock, with its zone: ``2027-01-15 09:00:00+01:00``."""
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")


def in_utc(at: float) -> str:
    """Returns a Unix time in UTC, to the second: ``2027-01-15T08:00:00Z``."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def about(seconds: float) -> str:
    """Returns how long something may take, for people."""
    return tr("about {time}", time=duration(seconds)) if seconds >= 1 else tr("less than a second")


def duration(seconds: float) -> str:
    """Returns a length of time for people: ``8 s``, ``6 min 43 s``, ``5 h 36 min``."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - clock arithmetic
        return tr("{s} s", s=whole)
    if whole < 3600:  # noqa: PLR2004 - clock arithmetic
        return tr("{min} min {s} s", min=whole // 60, s=whole % 60)
    return tr("{h} h {min} min", h=whole // 3600, min=whole % 3600 // 60)


def length(seconds: float) -> str:
    """Returns a measured length of time, for people: ``8.16 s``, ``6 min 43 s``."""
    return tr("{s} s", s=f"{seconds:.3g}") if seconds < 60 else duration(seconds)  # noqa: PLR2004 - clock arithmetic


_CHINESE, _OPENS, _CLOSES = r"\u2e80-\uffef", r"\u300a\uff08", r"\u3001\u3002\u300b\uff01\uff09\uff0c\uff1a\uff1b\uff1f"


@cache
def _word(*, chinese: bool) -> re.Pattern[str]:
    """Returns what a line is not broken in: a word, or a Chinese character with the punctuation around it.

    The pattern of the latter takes a hundredth of a start to be made.
    """
    return re.compile(rf"[{_OPENS}]*(?:[^\s{_CHINESE}]+|[{_CHINESE}])[{_CLOSES}]*" if chinese else r"\S+")


def line_starts(text: str, width: int, indent: int) -> list[int]:
    """Returns where the lines of a text begin that fit a width; only a word makes one longer.

    Args:
        text: The text; what stands in its first ``indent`` columns is not broken.
        width: Columns of a line.
        indent: Columns that the lines below the first are indented by.
    """
    starts = [0]
    for word in _word(chinese=max(text, default="") >= "\u2e80").finditer(text):
        indented = indent * (len(starts) > 1)
        is_over = indented + cell_len(text[starts[-1] : word.end()].rstrip()) > width
        if is_over and indented + cell_len(text[starts[-1] : word.start()]) > indent:
            starts.append(word.start())
    return starts


def folded(text: str, width: int, first: str, below: str) -> list[str]:
    """Returns a text as lines that begin with ``first`` and ``below``; only a word makes one longer than the width."""
    whole = first + text
    starts = line_starts(whole, width, max(cell_len(below), cell_len(first)))
    ends = [*starts[1:], len(whole)]
    lines = [whole[start:end].rstrip() for start, end in zip(starts, ends, strict=True)]
    return [lines[0], *(below + line for line in lines[1:])]


def printable(text: str, width: int = 40) -> str:
    """Returns text that is safe on a terminal: escaped where nothing would be seen, and cut to the width."""
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[: width + 1]
    )
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def nearest(word: str, words: Iterable[str], n: int = 1, cutoff: float = 0.6) -> list[str]:
    """Returns what may have been meant by a word: at most ``n``, the nearest first, each at least so near (0 to 1)."""
    from difflib import get_close_matches  # noqa: PLC0415 - nobody waits for it who has typed no mistake

    return get_close_matches(word, [*words], n=n, cutoff=cutoff)
