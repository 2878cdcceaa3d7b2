"""What the lines of a journal come to, row by row."""

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from bulkcert.batch.lines import End, Intent, Line, Look, Looked, Looking, Seen, Session
from bulkcert.batch.outcome import Outcome, Record

_NUMBER_OF = {outcome: number for number, outcome in enumerate(Outcome, start=1)}
_OUTCOMES: tuple[Outcome | None, ...] = (None, *Outcome)
_AGAIN = 128


class Seens:
    """What was seen of each row after it was called, newest only: nine bytes a row.

    Args:
        size: One more than the number of rows.
    """

    def __init__(self, size: int) -> None:
        self.statuses = bytearray(size)
        self.at = array("Q", bytes(8 * size))

    def note(self, line: Seen) -> None:
        """Takes note of a row's newest line."""
        self.statuses[line.row] = line.status
        self.at[line.row] = line.at


class Index:
    """Where each row's last line is, and what it says: ten bytes a row, whatever the number of rows.

    Args:
        rows: Number of rows in the input.
    """

    def __init__(self, rows: int) -> None:
        self.offsets = array("Q", bytes(8 * (rows + 1)))
        """Byte offset of the last line of each row; meaningless where the row has none."""
        self._state = bytearray(rows + 1)
        self.intents: set[int] = set()
        """Rows with a call that may have been made and whose outcome is not known."""
        self.prior = bytearray(rows + 1)
        """What was seen of each row before the first call, as numbers in ``STATUSES``."""
        self.looked = False
        """Whether calls may have been made: what is seen from then on is not the state before them."""
        self.sessions = 0
        """Starts of the command that called, or may have."""
        self.ended = 0
        """How many of them ended in order; calls of the others may be without a line."""
        self.seen: Seens | None = None
        """What was seen of each row after it was called, if anything was."""

    def take(self, line: Line, offset: int) -> None:
        """Takes note of a line of the journal and of where it is."""
        match line:
            case Record():
                self._note(line, offset)
            case Intent():
                self.intents.add(line.row)
            case Look():
                self.prior[line.first : line.first + len(line.statuses)] = bytes(map(int, line.statuses))
            case Looking():
                self.forget_look()
            case Looked():
                self.looked = True
            case Session():
                self.sessions += 1
            case End():
                self.ended += 1
            case Seen():
                self.seen = self.seen or Seens(len(self._state))
                self.seen.note(line)

    def _note(self, record: Record, offset: int) -> None:
        self.offsets[record.row] = offset
        self._state[record.row] = _NUMBER_OF[record.outcome] | (_AGAIN if record.again else 0)
        if record.outcome is not Outcome.UNKNOWN:
            self.intents.discard(record.row)

    def forget_look(self) -> None:
        """Drops what a look has found that was cut off: no call was made yet, and it may be long ago."""
        self.prior = bytearray(len(self._state))
        unchanged = _NUMBER_OF[Outcome.UNCHANGED]
        self._state = self._state.replace(bytes([unchanged]), b"\0")

    def fits(self, line: Line) -> bool:
        """Returns whether a line is about rows that there are."""
        rows = len(self._state) - 1
        if isinstance(line, Look):
            inside = 0 < line.first <= rows + 1 - len(line.statuses)
            return inside and line.statuses.isascii() and line.statuses.isdigit()
        return not isinstance(line, Record | Intent | Seen) or 0 < line.row <= rows

    def outcome(self, row: int) -> Outcome | None:
        """Returns the outcome on a row's newest line, or None if it has none."""
        return _OUTCOMES[self._state[row] % _AGAIN]

    def is_final(self, row: int) -> bool:
        """Returns whether the next run leaves this row alone."""
        return 0 < self._state[row] < _AGAIN

    def rows_with_lines(self, first: int, last: int) -> Iterator[int]:
        """Yields the rows from ``first`` to ``last``, both included, that have a line."""
        return (row for row in range(first, last + 1) if self._state[row])

    @property
    def again(self) -> int:
        """Number of rows that have a line and are taken up again nevertheless."""
        return sum(self._state.count(number | _AGAIN) for number in _NUMBER_OF.values())

    @property
    def final(self) -> int:
        """Number of rows that the next run leaves alone."""
        return sum(self._state.count(number) for number in _NUMBER_OF.values())

    def settled(self) -> Counter[Outcome]:
        """Returns how many rows that the next run leaves alone have each outcome."""
        return Counter({outcome: self._state.count(number) for outcome, number in _NUMBER_OF.items()})

    def reopen(self, outcomes: Collection[Outcome]) -> None:
        """Takes up again the rows that have one of these outcomes."""
        reopened = {_NUMBER_OF[outcome] for outcome in outcomes}
        table = bytes(number | _AGAIN if number in reopened else number for number in range(256))
        self._state = self._state.translate(table)

    def reopen_rows(self, rows: Iterable[int]) -> None:
        """Takes up again some rows that have a line."""
        for row in rows:
            self._state[row] |= _AGAIN
