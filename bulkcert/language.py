"""In which language and time zone people read: texts are English in the code, and looked up in a catalogue.

``catalogue/zh/LC_MESSAGES/bulkcert.po`` is the Chinese one; ``tests/catalogue.py`` updates and compiles it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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


def in_zone(at: str) -> str:
    """Returns a time in ISO 8601 in the time zone: ``2027-01-15 08:00:00 UTC``, ``2027-01-15 16:00:00 +08:00``."""
    shown = datetime.fromisoformat(at).astimezone(_zone.get()).isoformat(" ", "seconds")
    return f"{shown[:19]} {shown[19:].replace('+00:00', 'UTC')}"


NAMES = (
    *(later("active"), later("inactive"), later("deleted"), later("refused"), later("called again")),
    *(later("not reached"), later("already"), later("to change"), later("drifted"), later("maybe undone")),
    *(later("run"), later("undo"), later("verify"), later("resume"), later("pause"), later("continue"), later("stop")),
)
"""Names of states, kinds of rows, commands, and of what is asked of a session, as words; outcomes name themselves."""
