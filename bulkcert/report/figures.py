"""What a report shows: every number of it, once. The formats only lay out what is here.

Times are UTC, ISO 8601 with milliseconds; lengths of time are seconds unless a name says otherwise. What is not known,
since no calls were made, is null.
"""

import msgspec

from bulkcert.engine.figures import Stats
from bulkcert.output.summary import Caps, SessionSummary
from bulkcert.report.timing import CallsOverTime, Containment, Exposure
from bulkcert.service.actions import ACTIONS, Action
from bulkcert.store.outcome import NEVER_READ
from bulkcert.store.sessions import Asked, Verification


class Headline(msgspec.Struct, frozen=True):
    """What came of it, in one line.

    Attributes:
        line: The line.
        tone: ``good`` if everything is in the desired state, ``bad`` if not, ``open`` while a session runs, or if one
            was interrupted.
        label: The tone in words.
        notes: What limits the line: not read back, a session that runs or was interrupted.
        steps: What to do next.
    """

    line: str
    tone: str
    label: str
    notes: list[str]
    steps: list[str]


class ResultsFile(msgspec.Struct, frozen=True):
    """The results file: its SHA-256 now, and as it was written last; null where it is not there, or not recorded."""

    path: str
    sha256: str | None
    recorded: str | None

    @property
    def is_changed(self) -> bool:
        """Whether it is another one than was recorded, or is gone."""
        return self.recorded not in (None, self.sha256)


class SessionFigures(SessionSummary, frozen=True, kw_only=True):
    """One start of a command, by whom and what it did; the figures of one that has not ended are what it has said.

    Attributes:
        state: ``ended``, ``running`` or ``killed``.
        last_sign: When it gave its last sign of life; null if it gave none.
    """

    state: str
    last_sign: str | None


class Controlled(msgspec.Struct, frozen=True):
    """What an operator asked of a session while it was running: in words, by whom, and whether it was done."""

    asked: str
    words: str
    user: str
    host: str
    pid: int
    is_done: bool


class Certificates(msgspec.Struct, frozen=True):
    """Certificates of the list by what is known of them now, duplicates not counted; each is counted once.

    What was read back counts more than an outcome.

    Attributes:
        desired: In the desired state.
        undone: In the opposite state again: an undo has changed them back.
        maybe_undone: Perhaps in that state: an undo has called them, or was about to, and no answer is known.
        statuses: Read back in another state, by status.
        outcomes: Not read back, by an outcome that says that they are not in the desired state, or may not be.
        unread: Those of ``desired`` that were not read back; 0 if nothing was.
        in_doubt: Those not attempted that a killed session may have called without a trace; 0 while one runs.
    """

    desired: int
    undone: int
    maybe_undone: int
    statuses: dict[str, int]
    outcomes: dict[str, int]
    unread: int
    in_doubt: int

    @property
    def is_undone(self) -> bool:
        """Whether any is in the opposite state again, or may be."""
        return self.undone + self.maybe_undone > 0


class Sample(msgspec.Struct, frozen=True):
    """One row, so that somebody can look into it."""

    row: int
    device_sn: str
    ca_sn: str
    http_status: int | None
    request_id: str
    message: str
    instance: str = ""


class Finding(msgspec.Struct, frozen=True):
    """Rows that are not in the desired state for the same reason.

    Attributes:
        outcome: Their outcome.
        code: Code of the last answer; empty without one.
        read_back: Status that was read back, where that is what is wrong; empty otherwise.
        maybe_undone: Whether an undo may have changed them back, without an answer.
        rows: How many.
        meaning: What the code or the outcome says.
        advice: What to do.
        export: The command that writes them into a file; empty where no outcome singles them out.
        samples: The first of them, or all.
    """

    outcome: str
    code: str
    read_back: str
    maybe_undone: bool
    rows: int
    meaning: str
    advice: str
    export: str
    samples: list[Sample]


class CaCount(msgspec.Struct, frozen=True):
    """Rows of one CA, or of several (``cas``) together, by outcome; its instance where a list names several."""

    ca_sn: str
    cas: int
    rows: int
    outcomes: dict[str, int]
    instance: str = ""


class InstanceCount(msgspec.Struct, frozen=True):
    """Rows of one of several instances, by outcome, and where it is."""

    instance: str
    endpoint: str
    rows: int
    outcomes: dict[str, int]


class Verified(Verification, frozen=True, kw_only=True):
    """What the last verification has read back; if rows were called since, whatever was read, and ``finished`` empty.

    Attributes:
        first: When the first status that the store holds was seen, by whichever verification; null if it holds none.
        last: When the last was.
    """

    first: str | None
    last: str | None

    @property
    def missed(self) -> int:
        """Certificates that it was to read and did not: what is reported of them is older."""
        reasons = self.unread_because.items() if self.finished else ()
        return sum(rows for reason, rows in reasons if reason not in NEVER_READ)

    @property
    def in_doubt(self) -> bool:
        """Whether not all was read that was to be read."""
        return self.missed > 0 or not self.is_proof


class Calls(msgspec.Struct, frozen=True):
    """Calls, and how they are spread over time.

    Attributes:
        run: Requests of all sessions that ran or undid, as far as they have said.
        at_least: Whether there may be more, since one of them has not ended.
        shown: Rows with a call: the last attempt of each is what ``over_time`` is made from.
        not_shown: Earlier attempts, reads and pages.
        retries: Calls beyond the first of a row.
        throttles: Answers that said to slow down.
        peak_window: Most sends in any one-second window.
        over_time: How they are spread; null without calls.
        latency_ms: Of the last attempt of each called row: ``p50``, ``p90``, ``p99``, ``longest``; empty without calls.
    """

    run: int
    at_least: bool
    shown: int
    not_shown: int
    retries: int
    throttles: int
    peak_window: int
    over_time: CallsOverTime | None
    latency_ms: dict[str, float]


class Headings(msgspec.Struct, frozen=True):
    """What a report is given by those who make it.

    Attributes:
        title: Stands above all; empty for none.
        executor: Who has executed it, by name; empty for the accounts of its sessions.
        exposed_since: When the key has leaked, Unix time in milliseconds; None if that is not asked for.
    """

    title: str = ""
    executor: str = ""
    exposed_since: int | None = None


class Figures(msgspec.Struct, frozen=True):
    """A report.

    Attributes:
        headings: What it was given.
        made: When it was made.
        made_by: Version of bulkcert that made it.
        state: State of the run (``store.status.State``).
        exit_status: Of the run; null while a session runs.
        exit_meaning: The same in words.
        verdict: What came of it.
        asked: What was asked.
        limits: Those of the newest session that called.
        results: The results file.
        rows_digest: Of all rows in order (``output.evidence``); null while a session runs.
        starts: The sessions.
        controls: What operators have asked of them while they were running.
        certificates: What is known of them now.
        outcomes: Rows by outcome.
        cas_in_all: Distinct CAs.
        cas: Those with the most rows, and all others together.
        instances: All instances that rows name, if they name several, those with the most rows first.
        findings: What is not in the desired state.
        failed: The file of all those rows; null where there is none, or while it may be older than the run.
        calls: How it went.
        containment: How long it took.
        exposure: How long certificates could be misused; null if that is not asked for.
        live: How far the session is that runs, and how fast; null unless one does.
        verified: What was read back; null if nothing was.
    """

    headings: Headings
    made: str
    made_by: str
    state: str
    exit_status: int | None
    exit_meaning: str
    verdict: Headline
    asked: Asked
    limits: Caps
    results: ResultsFile
    rows_digest: str | None
    starts: list[SessionFigures]
    controls: list[Controlled]
    certificates: Certificates
    outcomes: dict[str, int]
    cas_in_all: int
    cas: list[CaCount]
    instances: list[InstanceCount]
    findings: list[Finding]
    failed: str | None
    calls: Calls
    containment: Containment
    exposure: Exposure | None
    live: Stats | None
    verified: Verified | None

    @property
    def action(self) -> Action:
        """What was asked for each row."""
        return ACTIONS[self.asked.action]
