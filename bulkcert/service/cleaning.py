"""What the service, or whoever answers in its place, says: made fit to be kept and shown, here and nowhere else.

Serials stay as they are: whoever gets one compares it.
"""

import base64
import re
import unicodedata
from functools import lru_cache

import msgspec

from bulkcert.service.certificates import Certificate, Page

MOST_CHARACTERS = {"code": 128, "request_id": 64, "message": 1024}
"""Characters that are kept of each text of an answer; a signature error repeats the whole request."""

MOST_NAME = 256
"""Characters that are kept of the name of a certificate."""

_HIDDEN = "***"
_TELLING = 16
"""So many characters of a secret are one: who repeats a request may cut its headers."""


def clean(text: str, most: int, secrets: tuple[str, ...]) -> str:
    """Returns a text without secrets, and without what a terminal would obey or nobody would see.

    Args:
        text: As it came.
        most: Characters that are kept.
        secrets: What must not be in it, whole or cut short, plain, quoted for a URL or a page, or as base64.
    """
    text = _pattern(secrets).sub(_HIDDEN, text)
    if not text.isprintable():
        text = "".join(each if each.isprintable() else _visible(each) for each in text)
    return text[:most]


@lru_cache(maxsize=4)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    """Returns what finds the beginning of a secret, with the rest of the word."""
    encoded = [base64.b64encode(secret.encode()).decode() for secret in secrets]
    beginnings = ["".join(map(_quoted, secret[:_TELLING])) for secret in (*secrets, *encoded)]
    return re.compile(rf"(?:{'|'.join(beginnings)})[\w+/=%&#;.~-]*" if secrets else r"(?!)")


def _quoted(character: str) -> str:
    """Returns what finds a character as it is, and as URLs, pages and JSON may have it."""
    if character.isalnum():
        return character
    return rf"(?:{re.escape(character)}|%{ord(character):02x}|%{ord(character):02X}|&#?\w+;|\\u\w{{4}})"


def _visible(character: str) -> str:
    return " " if unicodedata.category(character) == "Zs" else "\ufffd"


def clean_page(page: Page, secrets: tuple[str, ...]) -> Page:
    """Returns a page with the names of its certificates cleaned."""
    return Page([_named(each, secrets) for each in page.certificates], page.total)


def _named(certificate: Certificate, secrets: tuple[str, ...]) -> Certificate:
    names = {name: getattr(certificate, name) for name in ("device_name", "ca_name")}
    cleaned = {name: clean(text, MOST_NAME, secrets) for name, text in names.items() if text}
    return msgspec.structs.replace(certificate, **cleaned) if cleaned else certificate
