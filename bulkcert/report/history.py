"""What stands beside the results: the journal, which says by whom and when, and the summary, which says how."""

import mmap
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bulkcert.batch.holding import is_held
from bulkcert.batch.lines import End, Header, Key, Looking, Session, decode_line
from bulkcert.batch.summary import Summary

# Quotes in a value are escaped, so a line that begins like this is of this kind.
_LINE = re.compile(rb'^\{"type":"(?:session|key|looking|end)"[^\n]*\n', re.MULTILINE)


@dataclass(slots=True)
class Begun:
    """One start of a command.

    Attributes:
        line: Who it was, and when.
        key: What signed its calls; None if it made none.
        ended: Whether it ended in order.
    """

    line: Session
    key: Key | None = None
    ended: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """What the journal tells of its run.

    Attributes:
        header: What it is the record of; None if it is missing or no journal.
        starts: Each start of a command.
        began: When the first start began to look or to call, Unix time in milliseconds; None if that is not known.
        held: Whether a run or a verification is going on.
    """

    header: Header | None = None
    starts: tuple[Begun, ...] = ()
    began: int | None = None
    held: bool = False


@dataclass(slots=True)
class _Reader:
    starts: list[Begun] = field(default_factory=list)
    began: int | None = None

    def take(self, text: bytes) -> None:
        match decode_line(text):
            case Session() as session:
                self.starts.append(Begun(session))
            case Key() as key if self.starts:
                self.starts[-1].key = key
            case End() if self.starts:
                self.starts[-1].ended = True
            case Looking(at=at) if self.began is None:
                self.began = at
            case _:
                pass


def read_history(journal: Path) -> History:
    """Returns what a journal tells; an empty history if it is missing, unreadable or no journal."""
    try:
        with journal.open("rb") as file:
            header = decode_line(file.readline())
            if not isinstance(header, Header):
                return History()
            reader = _Reader()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for line in _LINE.finditer(content):
                    reader.take(line.group())
            return History(header, tuple(reader.starts), reader.began, is_held(journal))
    except OSError:
        return History()


def read_summary(path: Path) -> Summary | None:
    """Returns the summary of a run, or None if it is missing, as after a kill, or cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Summary)
    except (OSError, msgspec.DecodeError):
        return None


def beside(results: Path, suffix: str) -> Path:
    """Returns a file that stands beside the results under their name and a suffix."""
    return results.with_name(os.fspath(results.name) + suffix)
