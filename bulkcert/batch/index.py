"""What the lines of a journal come to, row by row."""

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from bulkcert.api.certificates import Status
from bulkcert.api.codes import rule_for
from bulkcert.api.verdicts import Verdict
from bulkcert.batch.lines import (
    NOT_SEEN,
    NUMBER_OF,
    End,
    Intent,
    Line,
    Look,
    Looked,
    Looking,
    Protected,
    Reach,
    Seen,
    Session,
)
from bulkcert.batch.marks import rows_marked
from bulkcert.batch.outcome import Outcome, Record
from bulkcert.batch.sessions import Sessions

_STATE_OF = {outcome: number for number, outcome in enumerate(Outcome, start=1)}
_OUTCOMES: tuple[Outcome | None, ...] = (None, *Outcome)
_AGAIN = 128
_UNCHANGED = _STATE_OF[Outcome.UNCHANGED]

_OPEN = bytes(_OUTCOMES[number % _AGAIN] in (None, Outcome.NOT_ATTEMPTED) for number in range(len(_OUTCOMES))).ljust(
    _AGAIN, b"\0"
)
_OPEN += _OPEN
"""Of the states of rows: 1 where there is no outcome yet."""

_NOT_FINAL = bytes(not 0 < number < _AGAIN for number in range(256))
_AT_ONCE = 65_536

_KEPT = bytes(255 * (number == ord("0")) for number in range(256))
"""Of the digits of a look: all bits where a row keeps what was seen of it before, none where it does not."""

_TOLD = bytes.maketrans(b"0123456789", bytes(number % NOT_SEEN for number in range(10)))
"""Of the digits of a look: the number that stands for the status, as in ``STATUSES``."""


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

    def forget(self, row: int) -> None:
        """Forgets what was seen of a row, since it was called after that."""
        self.statuses[row] = self.at[row] = 0


class Index:
    """Where each row's last line is, and what it says: eleven bytes a row, whatever the number of rows.

    Args:
        rows: Number of rows in the input.
    """

    def __init__(self, rows: int) -> None:
        self.offsets = array("Q", bytes(8 * (rows + 1)))
        """Byte offset of the last line of each row; meaningless where the row has none."""
        self._state = bytearray(rows + 1)
        self._counts = Counter({0: rows + 1})
        """How often each number stands in ``_state``: counting ten million rows would hold up the calls."""
        self._called = bytearray(rows + 1)
        self.intents: set[int] = set()
        """Rows with a call that may have been made and whose outcome is not known."""
        self.prior = bytearray(rows + 1)
        """What was seen of each row before it was called, as numbers in ``STATUSES``."""
        self.looked = False
        """Whether calls may have been made: what is seen of a called row from then on is not its state before."""
        self.looked_at = 0
        """When the newest look was over, Unix time in milliseconds; 0 if no line says so."""
        self.sessions = Sessions(rows)
        self.called_at = 0
        """When the newest call of all was over, Unix time in milliseconds; 0 without one."""
        self.seen: Seens | None = None
        """What was seen of each row after it was called, if anything was."""
        self.protected_by = ""
        """Name of the list that protects rows, or has lifted the protection of all; empty if none ever was."""
        self.protected_marks = b""
        """A byte for each row and one for row 0, 1 where that list protects it; empty if none ever was."""

    def take(self, line: Line, offset: int) -> None:
        """Takes note of a line of the journal and of where it is."""
        match line:
            case Record():
                self._note(line, offset)
            case Intent():
                self.intents.add(line.row)
                self._called[line.row] = 1
                self.looked = True
            case Look():
                self._see(line)
            case Looking():
                self.forget_look()
            case Looked():
                self.looked, self.looked_at = True, line.at
            case Reach():
                self.sessions.reach(line.row)
            case Session() | End():
                self.sessions.take(line, looked=self.looked)
            case Protected():
                self.protected_by, self.protected_marks = line.by, line.marked(self.rows) or b""
            case Seen():
                self.seen = self.seen or Seens(len(self._state))
                self.seen.note(line)

    def _note(self, record: Record, offset: int) -> None:
        self.offsets[record.row] = offset
        self._put(record.row, _STATE_OF[record.outcome] | (_AGAIN if record.again else 0))
        if record.attempts:
            # Only a damaged journal has calls without a line that says that looking was over.
            self.looked = True
            self.called_at = max(self.called_at, record.finished_at)
            if not _is_refusal(record):
                self._called[record.row] = 1
            if self.seen is not None:
                self.seen.forget(record.row)
        if record.outcome is not Outcome.UNKNOWN:
            self.intents.discard(record.row)

    def _put(self, row: int, state: int) -> None:
        self._counts[self._state[row]] -= 1
        self._counts[state] += 1
        self._state[row] = state

    def _see(self, line: Look) -> None:
        digits, after = line.statuses.encode(), line.first + len(line.statuses)
        kept = int.from_bytes(self.prior[line.first : after]) & int.from_bytes(digits.translate(_KEPT))
        told = int.from_bytes(digits.translate(_TOLD))
        self.prior[line.first : after] = (kept | told).to_bytes(len(digits))
        for row in rows_marked(self._state, _UNCHANGED, line.first, after - 1):
            if line.statuses[row - line.first] != "0":
                self._put(row, 0)

    def forget_look(self) -> None:
        """Drops what the first look has found if it was cut off: no call was made yet, and it may be long ago."""
        if not self.looked:
            self.prior = bytearray(len(self._state))
            self._replace({_UNCHANGED: 0})

    def _replace(self, new: Mapping[int, int]) -> None:
        """Puts other numbers for some, in all rows at once."""
        self._state = self._state.translate(bytes(new.get(number, number) for number in range(256)))
        for old, number in new.items():
            self._counts[number] += self._counts.pop(old, 0)

    @property
    def rows(self) -> int:
        """Number of rows in the input."""
        return len(self._state) - 1

    def fits(self, line: Line) -> bool:
        """Returns whether a line is about rows that there are."""
        rows = self.rows
        if isinstance(line, Look):
            return 0 < line.first <= rows + 1 - len(line.statuses)
        if isinstance(line, Protected):
            return line.marked(rows) is not None
        return not isinstance(line, Record | Intent | Reach | Seen) or 0 < line.row <= rows

    def outcome(self, row: int) -> Outcome | None:
        """Returns the outcome on a row's newest line, or None if it has none."""
        return _OUTCOMES[self._state[row] % _AGAIN]

    def was_called(self, row: int) -> bool:
        """Returns whether a call of a row is known that may have changed it."""
        return bool(self._called[row])

    def is_protected(self, row: int) -> bool:
        """Returns whether a list has protected a row in the newest session of the run."""
        return bool(self.protected_marks) and bool(self.protected_marks[row])

    def changed(self, watched: Status) -> bytes:
        """Returns a byte for each row, 1 where a call may have changed it, whatever came of later ones.

        Where a session was killed, that may be without a line.

        Args:
            watched: The status in which ``verify --watch`` calls a row again.
        """
        marks = int.from_bytes(self._called)
        open_rows = self._state.translate(_OPEN)
        marks |= int.from_bytes(open_rows[: self.sessions.foreseen + 1].ljust(self.rows + 1, b"\0"))
        if self.sessions.has_killed_verification and self.seen is not None:
            found = self.seen.statuses.translate(bytes(number == NUMBER_OF[watched] for number in range(256)))
            marks |= int.from_bytes(found) & ~int.from_bytes(open_rows)
        return b"\0" + marks.to_bytes(self.rows + 1)[1:]

    def after_open(self, row: int, count: int) -> int:
        """Returns the row up to which so many behind a row have no final outcome; the last if there are fewer."""
        for first in range(row + 1, self.rows + 1, _AT_ONCE):
            marks = self._state[first : first + _AT_ONCE].translate(_NOT_FINAL)
            if (found := marks.count(1)) < count:
                count -= found
                continue
            place = -1
            for _ in range(count):
                place = marks.find(1, place + 1)
            return first + place
        return self.rows

    def unknown_before(self, watched: Status, never_called: Iterable[int]) -> int:
        """Returns how many rows a call may have changed of which nobody knows what they were before.

        Args:
            watched: As in ``changed``.
            never_called: Rows that are not called.
        """
        marks = bytearray(self.changed(watched))
        for row in never_called:
            marks[row] = 0
        known = NUMBER_OF[Status.ACTIVE], NUMBER_OF[Status.INACTIVE]
        unknown = self.prior.translate(bytes(number not in known for number in range(256)))
        return (int.from_bytes(unknown) & int.from_bytes(marks)).bit_count()

    def is_final(self, row: int) -> bool:
        """Returns whether the next run leaves this row alone."""
        return 0 < self._state[row] < _AGAIN

    def rows_with_lines(self, first: int, last: int) -> Iterator[int]:
        """Yields the rows from ``first`` to ``last``, both included, that have a line."""
        return (row for row in range(first, last + 1) if self._state[row])

    def rows_with(self, outcome: Outcome, first: int, last: int) -> Iterator[int]:
        """Yields the rows from ``first`` to ``last``, both included, whose newest line says this outcome."""
        states, state = self._state[first : last + 1], _STATE_OF[outcome]
        return (row for row, found in enumerate(states, start=first) if found % _AGAIN == state)

    def is_again(self, row: int) -> bool:
        """Returns whether this row has a line and is taken up again nevertheless."""
        return self._state[row] > _AGAIN

    @property
    def again(self) -> int:
        """Number of rows that have a line and are taken up again nevertheless."""
        return sum(self._counts[number | _AGAIN] for number in _STATE_OF.values())

    @property
    def unchanged(self) -> int:
        """Number of rows that a look has settled, without a call."""
        return self._counts[_UNCHANGED]

    @property
    def final(self) -> int:
        """Number of rows that the next run leaves alone."""
        return sum(self._counts[number] for number in _STATE_OF.values())

    def settled(self) -> Counter[Outcome]:
        """Returns how many rows that the next run leaves alone have each outcome."""
        return Counter({outcome: self._counts[number] for outcome, number in _STATE_OF.items()})

    def reopen(self, outcomes: Collection[Outcome]) -> None:
        """Takes up again the rows that have one of these outcomes."""
        self._replace({_STATE_OF[outcome]: _STATE_OF[outcome] | _AGAIN for outcome in outcomes})

    def read_back_otherwise(self, wanted: Status) -> list[int]:
        """Returns the rows that were read back in another state than the wanted one, and not called since.

        Args:
            wanted: The wanted status.
        """
        if self.seen is None:
            return []
        as_wanted = (0, NUMBER_OF[wanted])
        return [row for row, seen in enumerate(self.seen.statuses) if seen not in as_wanted and self._state[row]]

    def reopen_rows(self, rows: Iterable[int]) -> None:
        """Takes up again some rows that have a line."""
        for row in rows:
            if self._state[row]:
                self._put(row, self._state[row] | _AGAIN)


def _is_refusal(record: Record) -> bool:
    """Returns whether all that is known to have been called was refused, so that nothing was changed."""
    if record.outcome is Outcome.NOT_REGISTERED:
        return True
    stopped = record.outcome is Outcome.NOT_ATTEMPTED and record.attempts == 1
    return stopped and rule_for(record.code).verdict is Verdict.STOP
