"""Whether a session was killed: told from a journal without reading all of it, which may be gigabytes."""

import mmap
from pathlib import Path

from bulkcert.batch.lines import Session, decode_line

# Quotes in a value are escaped, so a line that begins like this is of this kind.
_SESSION, _END = b'\n{"type":"session"', b'\n{"type":"end"'


def has_killed_session(journal: Path) -> bool:
    """Returns whether a session that was to call rows, and is over, has not ended in order.

    Its calls are in the journal as far as they were answered, and in no other figure.

    Args:
        journal: Of a run that nobody holds.

    Raises:
        OSError: It cannot be read.
    """
    with journal.open("rb") as file:
        if not file.read(1):
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = content.find(_SESSION)
            while start >= 0:
                following = content.find(_SESSION, start + 1)
                stop = following if following >= 0 else len(content)
                line = decode_line(content[start + 1 : content.find(b"\n", start + 1) + 1])
                if isinstance(line, Session) and not line.verifies and content.rfind(_END, start, stop) < 0:
                    return True
                start = following
    return False
