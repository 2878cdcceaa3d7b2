"""What a run came to that ended in order, as its summary tells; see ``summary.Summary``, which loads far more code."""

from datetime import datetime

import msgspec


class Ending(msgspec.Struct, frozen=True):
    """What a summary tells of a run that ended in order."""

    action: str
    instance: str
    endpoint: str
    input: str
    rows: int
    outcomes: dict[str, int]
    calls: int
    achieved_rate: float
    throttles: int
    retries: int
    started: datetime
    finished: datetime
    exit_status: int
    stopped: str = ""
    advice: str = ""
    verification: "Reading | None" = None
    sessions: "list[Called]" = msgspec.field(default_factory=list)
    taken_back: "Undo | None" = None
    calls_at_least: bool = False

    @property
    def done_since(self) -> "datetime | None":
        """When certificates were called or read back after an undo; None without one, or if nothing was."""
        if self.taken_back is None:
            return None
        times = [called.finished for called in self.sessions if called.calls]
        times += [self.verification.finished] if self.verification else []
        return max((at for at in times if at > self.taken_back.finished), default=None)

    @property
    def is_taken_back(self) -> bool:
        """Whether an undo has taken the run back, and all of it has not been done, or seen to be done, again since."""
        if (undo := self.taken_back) is None:
            return False
        reading = self.verification
        if reading is not None and reading.finished > undo.finished:
            return sum(reading.statuses.values()) > reading.wanted
        return sum(called.calls for called in self.sessions if called.finished > undo.finished) < undo.rows


class Called(msgspec.Struct, frozen=True):
    """What a summary tells of one session."""

    finished: datetime
    calls: int


class Undo(msgspec.Struct, frozen=True):
    """What a summary tells of the undo of its run."""

    finished: datetime
    results: str
    rows: int
    exit_status: int


class Reading(msgspec.Struct, frozen=True):
    """What a summary tells of the newest verification."""

    finished: datetime
    statuses: dict[str, int]
    wanted: int
    not_wanted: int
    exit_status: int
    stopped: str = ""
