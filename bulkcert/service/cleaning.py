"""What the service, or whoever answers in its place, says: made fit to be kept and shown, here and nowhere else.

Serials stay as they are: whoever gets one compares it.
"""

import os
import unicodedata
from collections.abc import Collection

import msgspec

from bulkcert.service.certificates import Certificate, Page

MOST_CHARACTERS = {"code": 128, "request_id": 64, "message": 1024}
"""Characters that are kept of each text of an answer; a signature error repeats the whole request."""

MOST_NAME = 256
"""Characters that are kept of the name of a certificate."""

_HIDDEN = "***"
_TELLING = 16
"""So many characters of a secret are one: who repeats a request may cut its headers."""


def clean(text: str, most: int, secrets: Collection[str]) -> str:
    """Returns a text without secrets, and without what a terminal would obey or nobody would see.

    Args:
        text: As it came.
        most: Characters that are kept.
        secrets: What must not be in it, whole or cut short.
    """
    for secret in secrets:
        at = -1
        while (at := text.find(secret[:_TELLING], at + 1)) >= 0:
            end = at + len(os.path.commonprefix([text[at:], secret]))  # noqa: RUF071 - of any texts
            text = f"{text[:at]}{_HIDDEN}{text[end:]}"
    if not text.isprintable():
        text = "".join(each if each.isprintable() else _visible(each) for each in text)
    return text[:most]


def _visible(character: str) -> str:
    return " " if unicodedata.category(character) == "Zs" else "\ufffd"


def clean_page(page: Page, secrets: Collection[str]) -> Page:
    """Returns a page with the names of its certificates cleaned."""
    return Page([_named(each, secrets) for each in page.certificates], page.total)


def _named(certificate: Certificate, secrets: Collection[str]) -> Certificate:
    names = {name: getattr(certificate, name) for name in ("device_name", "ca_name")}
    cleaned = {name: clean(text, MOST_NAME, secrets) for name, text in names.items() if text}
    return msgspec.structs.replace(certificate, **cleaned) if cleaned else certificate
