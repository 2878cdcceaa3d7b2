"""Whether a run ended in order, by its journal: its own newest session counts, a verification of it does not."""

import os
from pathlib import Path
from typing import BinaryIO

from bulkcert.batch.lines import End, Session, decode_line

# Quotes in a value are escaped, so a line that begins like this is of this kind; the header stands before any session.
_SESSION = b'\n{"type":"session"'

_BLOCK = 1 << 20
"""Bytes that are searched at once."""


def own_end(journal: Path) -> End | None:
    """Returns the line with which the newest session of a run has ended in order; None if it was cut off.

    What has verified the run since has neither ended it nor cut it off.

    Args:
        journal: Its journal; nothing is written, nothing is locked.

    Raises:
        OSError: It cannot be read.
    """
    with journal.open("rb") as lines:
        until = os.fstat(lines.fileno()).st_size
        while (before := _rfind(lines, _SESSION, until)) >= 0:
            lines.seek(before + 1)
            session = decode_line(lines.readline())
            if isinstance(session, Session) and not session.verifies:
                # Who comes next cuts a torn line off first: what stands before the next session is a whole line.
                lines.seek(_rfind(lines, b"\n", until - 1) + 1)
                last = decode_line(lines.readline())
                return last if isinstance(last, End) else None
            until = before + 1
    return None


def _rfind(file: BinaryIO, wanted: bytes, until: int) -> int:
    """Returns where some bytes stand last in the first ``until`` bytes of a file, or -1; it may shrink meanwhile."""
    end = until
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        found = file.read(min(end + len(wanted) - 1, until) - start).rfind(wanted)
        if found >= 0:
            return start + found
        end = start
    return -1
