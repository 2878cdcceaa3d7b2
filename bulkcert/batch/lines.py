"""The lines of a journal: NDJSON, each with the kind of line that it is."""

import os
import socket

import msgspec

from bulkcert.batch.outcome import Record


class Header(msgspec.Struct, frozen=True, tag="run"):
    """First line: what the journal is the record of. A resume must match all of it but the version."""

    action: str
    instance: str
    endpoint: str
    sha256: str
    rows: int
    keys: tuple[str, ...]
    version: str


class Session(msgspec.Struct, frozen=True, tag="session"):
    """One start of the command: who holds the journal, and since when (Unix time in milliseconds)."""

    pid: int
    host: str
    started_at: int
    version: str


class Intent(msgspec.Struct, frozen=True, tag="intent"):
    """Written and synced before a call that may not be repeated blindly."""

    row: int


class Look(msgspec.Struct, frozen=True, tag="look"):
    """What was seen of consecutive rows before any was called: a digit for each, see ``STATUSES``."""

    first: int
    statuses: str


class Looking(msgspec.Struct, frozen=True, tag="looking"):
    """Looking begins: what an earlier look saw that was cut off does not count."""

    at: int


class Looked(msgspec.Struct, frozen=True, tag="looked"):
    """Looking is over, whether or not anything was looked at: from here on calls may have been made.

    Only the first counts: what is seen once calls were made says nothing about the state before them.
    """

    at: int


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """What was seen of a row after it was called: a number as in ``STATUSES``, and Unix time in milliseconds."""

    row: int
    status: int
    at: int


class End(msgspec.Struct, frozen=True, omit_defaults=True, tag="end"):
    """A session ended in order: no call of it is without a line."""

    at: int


Line = Header | Session | Record | Intent | Looking | Look | Looked | Seen | End

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


def encode_lines(*lines: Line) -> bytes:
    """Returns lines as they stand in the file."""
    return b"".join([_encode(line) + b"\n" for line in lines])


def decode_line(text: bytes) -> Line | None:
    """Returns the line that stands in the file, or None if it is torn or damaged."""
    if not text.endswith(b"\n"):
        return None
    try:
        line: Line = _decode(text)
    except msgspec.DecodeError:
        return None
    return line


def session_line(started_at: int, version: str) -> Session:
    """Returns the session line of this process."""
    return Session(os.getpid(), socket.gethostname(), started_at, version)
