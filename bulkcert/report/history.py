"""What stands beside the results: the journal, which says by whom and when, and the summary, which says how."""

import mmap
import re
from dataclasses import dataclass, field
from pathlib import Path

from bulkcert.batch.holding import is_held
from bulkcert.batch.lines import End, Header, Key, Looked, Looking, Reach, Session, decode_line

# Quotes in a value are escaped, so a line that begins like this is of this kind.
_LINE = re.compile(rb'^\{"type":"(?:session|key|looking|looked|reach|end)"[^\n]*\n', re.MULTILINE)


@dataclass(slots=True)
class Begun:
    """One start of a command.

    Attributes:
        line: Who it was, and when.
        key: What signed its calls; None if it made none.
        ended: Whether it ended in order.
        looked: Whether looking was over, so that it may have made calls.
        reach: The last row that it has foreseen to call.
    """

    line: Session
    key: Key | None = None
    ended: bool = False
    looked: bool = False
    reach: int = 0


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

    @property
    def foreseen(self) -> int:
        """The last row that a killed session may have called without a trace; 0 if none was killed."""
        rows = self.header.rows if self.header else 0
        return max((begun.reach if begun.line.foresees else rows for begun in self._killed), default=0)

    @property
    def killed_at(self) -> int:
        """When the newest of these sessions was started, Unix time in milliseconds; 0 if none was killed."""
        return max((begun.line.started_at for begun in self._killed), default=0)

    @property
    def has_missing_calls(self) -> bool:
        """Whether a run was killed that may have called rows: such calls may be without a line and without figures."""
        return bool(self._killed)

    @property
    def _killed(self) -> list[Begun]:
        over = self.starts[:-1] if self.held else self.starts
        return [begun for begun in over if begun.looked and not begun.ended and not begun.line.verifies]


def is_killed(history: History) -> bool:
    """Returns whether the run's own last start did not end in order; its calls may not be in the results."""
    own = [begun for begun in history.starts if not begun.line.verifies]
    return bool(own) and not own[-1].ended


def is_reading_killed(history: History) -> bool:
    """Returns whether the last start was a verification that did not end in order."""
    return bool(history.starts) and history.starts[-1].line.verifies and not history.starts[-1].ended


@dataclass(slots=True)
class _Reader:
    starts: list[Begun] = field(default_factory=list)
    began: int | None = None
    looked: bool = False

    def take(self, text: bytes) -> None:
        match decode_line(text):
            case Session() as session:
                self.starts.append(Begun(session, looked=self.looked))
            case Key() as key if self.starts:
                self.starts[-1].key = key
            case End() if self.starts:
                self.starts[-1].ended = True
            case Looking(at=at) if self.began is None:
                self.began = at
            case Looked():
                self.looked = True
                if self.starts:
                    self.starts[-1].looked = True
            case Reach(row=row) if self.starts:
                self.starts[-1].reach = max(self.starts[-1].reach, row)
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
