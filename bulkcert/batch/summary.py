"""The summary of a run: what stands in ``RESULTS.summary.json``."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec


class Kind(msgspec.Struct, frozen=True):
    """The rows that have an outcome and a code in common.

    Attributes:
        outcome: What became of them.
        code: Code of their last answer; empty where there was none.
        rows: How many they are.
        row: Number of the first of them.
        serial: Its serial: of the device, or of the CA in actions on CAs.
        message: Its message.
        request_id: The service's id of its last request.
    """

    outcome: str
    code: str
    rows: int
    row: int
    serial: str
    message: str
    request_id: str


class Caps(msgspec.Struct, frozen=True):
    """The limits that a run kept, in calls per second."""

    account: int
    address: int
    lane: int
    source_addresses: list[str]


class Session(msgspec.Struct, frozen=True):
    """What one start of the command did.

    Attributes:
        started: UTC.
        finished: UTC.
        calls: Requests sent.
        achieved_rate: Calls per second from the first to the last.
        worst_window: Most sends in any half-open second.
        throttles: Answers that said to slow down.
        retries: Calls beyond the first of a row.
        outages: How often the service went silent.
        stopped: Why it ended early, or an empty text.
        user: Account that it ran as.
        host: The machine.
        access_key_id: What signed its calls; empty if it made none.
        credentials: Where that came from.
    """

    started: str
    finished: str
    calls: int
    achieved_rate: float
    worst_window: int
    throttles: int
    retries: int
    outages: int
    stopped: str
    user: str = ""
    host: str = ""
    access_key_id: str = ""
    credentials: str = ""


class Latency(msgspec.Struct, frozen=True):
    """Quantiles of the latency of the last attempt of each called row, in milliseconds; null without calls."""

    p50: float | None
    p90: float | None
    p99: float | None


class TakenBack(msgspec.Struct, frozen=True):
    """An undo of the run; it is noted before its first call, so that one that is killed has left its mark.

    Attributes:
        finished: UTC; when its calls began if it has not ended in order.
        results: Its results.
        rows: Rows that it took back, or was to.
        exit_status: Of the undo; 75 until it has ended.
        standing: Of these rows, those that were not done, or seen to be done, again since (see ``batch.taken_back``);
            null until the results of the run are written anew.
        called_since: Whether the journal tells of later calls of the run, or of a later session that was killed.
    """

    finished: str
    results: str
    rows: int
    exit_status: int
    standing: int | None = None
    called_since: bool = False


NEVER_READ = frozenset({"invalid", "protected"})
"""Reasons in ``Verification.unread_because`` of rows that no verification reads."""


class Verification(msgspec.Struct, frozen=True):
    """What was read back after the calls.

    Attributes:
        finished: UTC.
        statuses: Rows by the status in which this verification read them, a watch in its last look, and that were not
            called after that. Whatever an earlier one has read does not count.
        wanted: Rows in the wanted state.
        not_wanted: Rows that were read, and are in another state.
        calls: Requests sent, those of certificates that were called again included.
        called_again: Rows that were found in another state and called again, those left out whose call was refused.
        not_attempted: Rows that the run has not come to, and that a watch therefore leaves alone.
        exit_status: Of the command.
        stopped: Why it ended early, or an empty text.
        unread: All other rows but the duplicates: what they are is not known.
        unread_because: The same by the reason: ``invalid`` and ``protected`` are never read; ``refused``;
            ``called_again`` after they were read; ``not_come_to`` before it ended.
        refusal: The newest answer to a row that was refused, or an empty text.
    """

    finished: str
    statuses: dict[str, int]
    wanted: int
    not_wanted: int
    calls: int
    called_again: int
    not_attempted: int
    exit_status: int
    stopped: str
    unread: int = 0
    unread_because: dict[str, int] = {}
    refusal: str = ""

    @property
    def is_proof(self) -> bool:
        """Whether it came to its end, and was told the state of some row if there was one to be read."""
        return not self.stopped and (bool(self.statuses) or not self.unread)


class Summary(msgspec.Struct, frozen=True):
    """What a run came to.

    ``sessions`` has one entry for each start that made calls and was not killed, the latest last; rate and window are
    the latest's and the worst of them. Where one was killed, ``calls_at_least``, not all of its calls are in ``calls``.
    ``unknown_before`` is the number of rows that were called, and of which nobody knows what they were before.
    """

    action: str
    instance: str
    endpoint: str
    input: str
    input_sha256: str
    results: str
    results_sha256: str
    rows: int
    outcomes: dict[str, int]
    codes: dict[str, int]
    kinds: list[Kind]
    caps: Caps
    calls: int
    achieved_rate: float
    worst_window: int
    throttles: int
    retries: int
    latency_ms: Latency
    started: str
    finished: str
    sessions: list[Session]
    versions: dict[str, str]
    exit_status: int
    stopped: str
    advice: str
    verification: Verification | None = None
    taken_back: TakenBack | None = None
    calls_at_least: bool = False
    unknown_before: int = 0

    @property
    def called_since_undo(self) -> bool:
        """Whether rows were called after the run was taken back."""
        if (undone := self.taken_back) is None or undone.called_since:
            return undone is not None
        called = [session.finished for session in self.sessions if session.calls]
        if (read_back := self.verification) is not None and read_back.called_again:
            called.append(read_back.finished)
        return any(finished > undone.finished for finished in called)

    @property
    def standing_undo(self) -> TakenBack | None:
        """The undo of the run, unless all that it has taken back was done, or seen to be done, again since.

        This is the one rule for whoever asks whether the run still counts.
        """
        undone = self.taken_back
        return None if undone is None or undone.standing == 0 else undone

    @property
    def done_since_undo(self) -> str | None:
        """When rows were called or read back after the run was taken back last, UTC; None if they were not."""
        if (undone := self.taken_back) is None:
            return None
        times = [session.finished for session in self.sessions if session.calls]
        times += [self.verification.finished] if self.verification and self.verification.statuses else []
        return max((at for at in times if at > undone.finished), default=None)


def earlier_summary(path: Path) -> Summary | None:
    """Returns the summary of a run; None if it is missing, as after a kill, or cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Summary)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def millis(at: str) -> int:
    """Returns a time of a summary in Unix milliseconds."""
    return round(datetime.fromisoformat(at).timestamp() * 1000)
