"""The lines of a journal: NDJSON, each with the kind of line that it is."""

import os
import pwd
import socket
import zlib
from collections.abc import Iterable
from typing import Annotated

import msgspec

from bulkcert.api.certificates import Status
from bulkcert.api.signing import Credentials
from bulkcert.batch.outcome import Millis, Record

STATUSES: tuple[Status | None, ...] = (None, *Status)
"""Statuses by the number that stands for each in memory and, as a digit, in the journal; 0 is not seen."""

NUMBER_OF = {status: number for number, status in enumerate(STATUSES)}

NOT_SEEN = 9
"""Digit of a row that a later look did not see: what it is now is not known."""


class Header(msgspec.Struct, frozen=True, tag="run"):
    """First line: what the journal is the record of. A resume must match all of it but the version.

    Attributes:
        keys_sha256: Of the serials, whatever file holds them (see ``source.Check``): the results hold the same.
        result_keys: Names of the key columns in the results, where one may have been renamed.
        run: ID of the run: the same in all its sessions, and made up by the first.
    """

    action: str
    instance: str
    endpoint: str
    sha256: str
    rows: int
    keys: tuple[str, ...]
    version: str
    keys_sha256: str = ""
    result_keys: tuple[str, ...] = ()
    run: str = ""


class Session(msgspec.Struct, frozen=True, omit_defaults=True, tag="session"):
    """One start of a command: who holds the journal, and since when (Unix time in milliseconds).

    One that ``verifies`` calls no row that the run has not called. One that ``foresees`` writes ``Reach`` lines.
    ``user`` is the account that it runs as.
    """

    pid: int
    host: str
    started_at: Millis
    version: str
    verifies: bool = False
    user: str = ""
    foresees: bool = False


class Key(msgspec.Struct, frozen=True, tag="key"):
    """What signs the calls of a session, and where it came from; never the secret."""

    access_key_id: str
    source: str


class Protected(msgspec.Struct, frozen=True, tag="protected"):
    """The rows that a list of protected serials has kept from being called, from here on; the newest line counts.

    Attributes:
        by: Name of the list.
        rows: Their number; 0 where none is protected any more.
        marks: A byte for each row and one for row 0, 1 where it is protected, compressed by zlib.
    """

    by: str
    rows: int
    marks: bytes

    def marked(self, rows: int) -> bytes | None:
        """Returns the marks, uncompressed, or None if they are not those of so many rows."""
        try:
            marks = zlib.decompressobj().decompress(self.marks, rows + 2)
        except zlib.error:
            return None
        return marks if len(marks) == rows + 1 else None


class Intent(msgspec.Struct, frozen=True, tag="intent"):
    """Written and synced before a call that may not be repeated blindly."""

    row: int


class Look(msgspec.Struct, frozen=True, tag="look"):
    """What was seen of consecutive rows before they were called: a digit for each, see ``STATUSES``.

    0 tells nothing. Any other digit of a row that is ``unchanged`` comes from a later look, and opens the row: it is
    not as wanted any more, or ``NOT_SEEN``.
    """

    first: int
    statuses: Annotated[str, msgspec.Meta(pattern=r"^[0-49]*\Z")]


class Looking(msgspec.Struct, frozen=True, tag="looking"):
    """The first look begins: what an earlier one saw that was cut off does not count."""

    at: Millis


class Looked(msgspec.Struct, frozen=True, tag="looked"):
    """Looking is over, whether or not anything was looked at: from here on calls may have been made.

    The newest says how old the look is. What was seen of a row that was called, or may have been, stays as the first
    look saw it: what is seen later says nothing about the state before the call.
    """

    at: Millis


class Reach(msgspec.Struct, frozen=True, tag="reach"):
    """On disk before a session calls a row beyond its last such line: it has called no later row than this one."""

    row: int


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """What was seen of a row after it was called: a number as in ``STATUSES``, and Unix time in milliseconds."""

    row: int
    status: Annotated[int, msgspec.Meta(ge=1, le=4)]
    at: Millis


class End(msgspec.Struct, frozen=True, omit_defaults=True, tag="end"):
    """A session ended in order: no call of it is without a line."""

    at: Millis


Line = Header | Session | Key | Protected | Record | Intent | Looking | Look | Looked | Reach | Seen | End

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
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return line


def session_line(started_at: int, version: str, *, verifies: bool = False) -> Session:
    """Returns the session line of this process."""
    return Session(os.getpid(), socket.gethostname(), started_at, version, verifies, this_user(), not verifies)


def key_line(credentials: Credentials) -> Key:
    """Returns the line that says what signs the calls of this session."""
    return Key(credentials.access_key_id, credentials.source)


def protected_line(by: str, protected: Iterable[int], rows: int) -> Protected:
    """Returns the line that keeps which of so many rows are protected, and by which list."""
    marks = bytearray(rows + 1)
    for row in protected:
        marks[row] = 1
    return Protected(by, sum(marks), zlib.compress(marks))


def this_user() -> str:
    """Returns the account that this process runs as; its number where it has no name, as in a container."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
