"""The errors of a session, newest last: what a person at 3 a.m. wants to see first."""

from datetime import UTC, datetime

import msgspec


class LastError(msgspec.Struct):
    """Answers with one code.

    Attributes:
        code: The code.
        message: That of the newest.
        at: UTC, when the newest came.
        request_id: The service's id of the newest; empty where there was none.
        count: Answers so far in this session.
        row: Newest row that ended with it; 0 where none has.
    """

    code: str
    message: str
    at: datetime
    request_id: str = ""
    count: int = 0
    row: int = 0


class LastErrors:
    """Keeps for each code how often it came, and its newest answer."""

    def __init__(self) -> None:
        self._by_code: dict[str, LastError] = {}

    def note(self, code: str, message: str, request_id: str, at_ms: int) -> None:
        """Takes note of one answer, which came at a Unix time in milliseconds."""
        # Taken out and put back, so that the newest is the last.
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        error = self._by_code.pop(code, None) or LastError(code, message, at)
        error.message, error.request_id, error.at = message, request_id, at
        error.count += 1
        self._by_code[code] = error

    def ended(self, code: str, row: int) -> None:
        """Takes note that a row's outcome is due to a code."""
        if (error := self._by_code.get(code)) is not None:
            error.row = row

    def newest(self, most: int) -> list[LastError]:
        """Returns the newest, one for each code, the latest first."""
        return list(reversed(self._by_code.values()))[:most]
