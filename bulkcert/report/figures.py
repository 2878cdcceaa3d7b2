"""What a report tells: every number of it, once. The formats only lay out what stands here.

Times are UTC, ISO 8601 with milliseconds; lengths of time are seconds unless a name says otherwise. What is not known,
since no calls were made, is null.
"""

import msgspec

from bulkcert.output.summary import SessionSummary
from bulkcert.report.timing import Calls, Containment, Latency


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


class RunFacts(msgspec.Struct, frozen=True):
    """What was asked, of which service, with which limits.

    Attributes:
        run: ID of the run.
        action: Its name.
        by_device: Whether a row means a device certificate; else a CA.
        verb: The action in words.
        operation: The operation of the service.
        wanted: State that was asked for: ``active``, ``inactive``, ``deleted``.
        instance: ``MqttInstanceId``.
        endpoint: URL of the service.
        rehearsal: Whether the service was an emulator.
        inputs: The files of the list, as they were named; ``-`` is standard input.
        directory: Where the run was started; these names count from there.
        input_sha256: Of the list, as the run read it.
        results: The results file.
        results_sha256: Of the results file now; null if it is not there or cannot be read.
        recorded_sha256: Of the results file as it was written last; null if it was not, or the summary is not there.
        rows: Rows of the list.
        version: Of bulkcert, for the run.
        account_cap: Calls per second for the account, in the newest session that called.
        address_cap: Calls per second for each source address.
        source_addresses: Addresses that it sent from.
    """

    run: str
    action: str
    by_device: bool
    verb: str
    operation: str
    wanted: str
    instance: str
    endpoint: str
    rehearsal: bool
    inputs: list[str]
    directory: str
    input_sha256: str
    results: str
    results_sha256: str | None
    recorded_sha256: str | None
    rows: int
    version: str
    account_cap: int
    address_cap: int
    source_addresses: list[str]


class SessionFigures(SessionSummary, frozen=True):
    """One start of a command, by whom and what it did; the figures of one that has not ended are what it has said.

    Attributes:
        state: ``ended``, ``running`` or ``killed``.
        last_sign: When it gave its last sign of life; null if it gave none.
    """

    state: str
    last_sign: str | None


class Certificates(msgspec.Struct, frozen=True):
    """Certificates of the list by what is known of them now, duplicates left out; each is counted once.

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


class OutcomeCount(msgspec.Struct, frozen=True):
    """Rows with one outcome; ``wanted`` is ``yes``, ``no``, ``unknown`` or, for duplicates, ``as that row``."""

    outcome: str
    rows: int
    share: float
    wanted: str
    meaning: str


class Sample(msgspec.Struct, frozen=True):
    """One row, so that somebody can look into it."""

    row: int
    device_sn: str
    ca_sn: str
    http_status: int | None
    request_id: str
    message: str
    at: str | None


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
        samples: The first of them.
    """

    outcome: str
    code: str
    read_back: str
    maybe_undone: bool
    rows: int
    meaning: str
    advice: str
    samples: list[Sample]


class CaCount(msgspec.Struct, frozen=True):
    """Rows of one CA, or of several together; ``wanted`` of them are in the desired state by their outcome."""

    ca_sn: str
    cas: int
    rows: int
    wanted: int
    outcomes: dict[str, int]


class Verified(msgspec.Struct, frozen=True):
    """What the last verification has read back, duplicates left out; if rows were called since, whatever was read.

    Attributes:
        first: When the first status that the store holds was seen, by whichever verification; null if it holds none.
        last: When the last was.
        statuses: Certificates by status.
        unread: Certificates without one, by the reason (see ``schema.Verification``), or by their outcome.
        wanted: Certificates in the desired state.
        calls: Requests sent; null, as all from here on, if rows were called since.
        called_again: Certificates that were found in another state and called again.
        stopped: Why it ended early, or an empty text.
        finished: When it ended.
        exit_status: Of it.
        missed: Certificates that it was to read and did not: what is reported of them is older.
        is_proof: Whether it came to its end and was told of some certificate.
    """

    first: str | None
    last: str | None
    statuses: dict[str, int]
    unread: dict[str, int]
    wanted: int
    calls: int | None = None
    called_again: int | None = None
    stopped: str = ""
    finished: str | None = None
    exit_status: int | None = None
    missed: int = 0
    is_proof: bool = True

    @property
    def in_doubt(self) -> bool:
        """Whether not all was read that was to be read."""
        return self.missed > 0 or not self.is_proof


class Figures(msgspec.Struct, frozen=True):
    """A report.

    Attributes:
        made: When it was made.
        made_by: Version of bulkcert that made it.
        state: How the run stands (``store.status.State``).
        unfinished: Whether a session runs, one was interrupted, or rows were not attempted.
        exit_status: Of the run; null while a session runs.
        exit_meaning: The same in words.
        stopped: Why the run ended early, or an empty text.
        certificates: What is known of them now.
        cas_in_all: Distinct CAs.
        findings_left_out: Rows whose reason is not among the findings, since there are too many reasons.
    """

    made: str
    made_by: str
    state: str
    unfinished: bool
    exit_status: int | None
    exit_meaning: str
    stopped: str
    verdict: Headline
    asked: RunFacts
    starts: list[SessionFigures]
    certificates: Certificates
    outcomes: list[OutcomeCount]
    cas_in_all: int
    cas: list[CaCount]
    findings: list[Finding]
    findings_left_out: int
    calls: Calls
    latency: Latency
    containment: Containment
    verified: Verified | None
