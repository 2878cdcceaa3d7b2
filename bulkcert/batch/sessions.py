"""The sessions of a run as its journal tells of them: which were killed, and what those may have called."""

from collections import Counter

from bulkcert.batch.lines import End, Session


class Sessions:
    """What the lines of sessions come to.

    Args:
        rows: Number of rows in the input.

    Attributes:
        began_ms: When the run was started last, Unix time in milliseconds; verifying it does not count.
        killed_at: When the newest run was started that was killed after looking, in the same way; 0 if none was.
        is_damaged: Whether lines are missing from the middle of the journal.
    """

    def __init__(self, rows: int) -> None:
        self.began_ms = self.killed_at = 0
        self.is_damaged = False
        self._rows = rows
        self._unended = Counter[bool]()
        """How many have no end, those of verifications apart."""
        self._verifies = False
        self._open: Session | None = None
        """The newest, if it has no end and has not verified."""
        self._reach = self._doubtful = 0

    def take(self, line: Session | End, *, looked: bool) -> None:
        """Takes note of the begin or the end of a session.

        Args:
            line: Which tells of it.
            looked: Whether calls may have been made before this line.
        """
        if isinstance(line, End):
            self._unended[self._verifies] -= 1
            self._open = None
            return
        self.close(looked=looked)
        self._verifies = line.verifies
        self._unended[line.verifies] += 1
        if not line.verifies:
            self._open, self.began_ms = line, line.started_at

    def reach(self, row: int) -> None:
        """Takes note that the newest session may call rows up to this one; rows are called in order."""
        self._reach = max(self._reach, row)

    def close(self, *, looked: bool) -> None:
        """Takes note that the newest session is over: if it has no end, it was killed."""
        if self._open is not None and looked:
            self.killed_at = self._open.started_at
            self._doubtful = max(self._doubtful, self._reach if self._open.foresees else self._rows)
        self._open, self._reach = None, 0

    @property
    def foreseen(self) -> int:
        """The last row that one which was killed may have called without a trace; 0 if none was."""
        return self._rows if self.is_damaged and self.killed_at else self._doubtful

    @property
    def has_killed(self) -> bool:
        """Whether one of the run was killed: nobody knows all of its calls."""
        return self._unended[False] > 0

    @property
    def has_killed_verification(self) -> bool:
        """Whether a verification was killed."""
        return self._unended[True] > 0
