"""What a report tells: every number of it, once. The formats only lay out what stands here.

Times are UTC, ISO 8601 with milliseconds; lengths of time are seconds unless a name says otherwise. What is not known,
since a file is missing or nothing was called, is null.
"""

from __future__ import annotations

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """What came of it, in one line.

    Attributes:
        line: The line.
        tone: ``good`` if everything is in the wanted state, ``bad`` if not, ``open`` while a run goes on, or if one
            was cut off or taken back.
        label: The tone in words.
        notes: What limits the line: not read back, files that do not fit together, a run that goes on.
        steps: What to do next.
    """

    line: str
    tone: str
    label: str
    notes: list[str]
    steps: list[str]


class Asked(msgspec.Struct, frozen=True):
    """What was asked, of which service, with which limits.

    Attributes:
        run: ID of the run; empty if there is no journal.
        action: Its name.
        by_device: Whether a row means a device certificate; else a CA.
        verb: The action in words.
        operation: The operation of the service.
        wanted: State that was asked for: ``active``, ``inactive``, ``deleted``.
        instance: ``MqttInstanceId``.
        endpoint: URL of the service.
        input: The list, as it was named; null if there is no summary.
        input_sha256: Of the list, as the run read it.
        results: The results file.
        results_sha256: Of the results file now.
        recorded_sha256: Of the results file when it was written; null if there is no summary.
        rows: Rows of the list.
        version: Of bulkcert, for the run.
        account_cap: Calls per second for the account; null if there is no summary.
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
    input: str | None
    input_sha256: str
    results: str
    results_sha256: str
    recorded_sha256: str | None
    rows: int
    version: str
    account_cap: int | None
    address_cap: int | None
    source_addresses: list[str]


class Start(msgspec.Struct, frozen=True):
    """One start of the command, by whom and what it did.

    Attributes:
        started: When.
        ended: Whether it ended in order; null if that is not known.
        verifies: Whether it read back what an earlier one did, instead of running.
        user: Account on the machine.
        host: The machine.
        pid: Number of its process there.
        access_key_id: What signed its calls; the secret is never stored.
        credentials: Where that came from.
        finished: When it ended; the figures from here on are null for a start that made no calls or was killed.
        calls: Requests sent.
        rate: Calls per second from the first to the last.
        worst_window: Most sends in any one-second window.
        retries: Calls beyond the first of a row.
        throttles: Answers that said to slow down.
        outages: How often the service went silent.
        stopped: Why it ended early, or an empty text.
    """

    started: str
    ended: bool | None
    verifies: bool
    user: str
    host: str
    pid: int | None
    access_key_id: str
    credentials: str
    finished: str | None = None
    calls: int | None = None
    rate: float | None = None
    worst_window: int | None = None
    retries: int | None = None
    throttles: int | None = None
    outages: int | None = None
    stopped: str = ""


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
    """Rows that are not in the wanted state for the same reason.

    Attributes:
        outcome: Their outcome.
        code: Code of the last answer; empty without one.
        read_back: Status that was read back, where that is what is wrong; empty otherwise.
        rows: How many.
        meaning: What the code or the outcome says.
        advice: What to do.
        samples: The first of them.
    """

    outcome: str
    code: str
    read_back: str
    rows: int
    meaning: str
    advice: str
    samples: list[Sample]


class CaCount(msgspec.Struct, frozen=True):
    """Rows of one CA, or of several together; ``wanted`` of them are in the wanted state by their outcome."""

    ca_sn: str
    cas: int
    rows: int
    wanted: int
    outcomes: dict[str, int]


class Part(msgspec.Struct, frozen=True):
    """A stretch of time with calls, in bins of equal width; what lies between two stretches is left out.

    Attributes:
        started: Beginning of the first bin.
        bin_s: Width of a bin, in whole seconds.
        calls: Last attempts sent, over all bins.
        mean: Calls per second in each bin.
        worst: Calls in the busiest second of each bin.
        p50_ms: Median latency in each bin, in milliseconds; null where nothing was sent.
        p99_ms: The 99th percentile.
    """

    started: str
    bin_s: int
    calls: int
    mean: list[float]
    worst: list[int]
    p50_ms: list[float | None]
    p99_ms: list[float | None]


class Calls(msgspec.Struct, frozen=True):
    """Calls, and how they are spread over time.

    Attributes:
        run: Requests of all starts that left figures; null if there is no summary.
        at_least: Whether there may be more, since a start was killed: it has left no figures.
        verification: Requests of the last verification; null without one.
        attempts: Attempts that the results tell of.
        shown: Rows with a call: the last attempt of each is what the parts are made from.
        not_shown: Earlier attempts, reads and pages, which the results do not tell of singly; null if not known.
        left_out: Of those shown, calls in stretches that the parts leave out.
        retries: Calls beyond the first of a row; null if there is no summary.
        throttles: Answers that said to slow down; null if there is no summary.
        worst_window: Most sends in any one-second window; null if there is no summary.
        parts: The busiest stretches, in order.
    """

    run: int | None
    at_least: bool
    verification: int | None
    attempts: int
    shown: int
    not_shown: int | None
    left_out: int
    retries: int | None
    throttles: int | None
    worst_window: int | None
    parts: list[Part]


class Latency(msgspec.Struct, frozen=True):
    """Latency of the last attempt of each called row, in milliseconds; null without calls.

    ``edges_ms`` has one number more than ``rows``: the bounds of each bar of the distribution.
    """

    least: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    most: float | None
    edges_ms: list[float]
    rows: list[int]


class Milestone(msgspec.Struct, frozen=True):
    """When so many certificates were in the wanted state; ``at`` and ``after_s`` are null if that was not reached."""

    name: str
    certificates: int
    at: str | None
    after_s: float | None


class Containment(msgspec.Struct, frozen=True):
    """How long it took until certificates were in the wanted state, as the outcomes of the run say.

    Attributes:
        since: Start of the run, from which it is measured.
        certificates: Certificates of the list: rows without duplicates.
        reached: Those that were in the wanted state in the end.
        milestones: First, half, 99 % and last.
        steps: Points of the curve: seconds since the start, certificates.
    """

    since: str | None
    certificates: int
    reached: int
    milestones: list[Milestone]
    steps: list[tuple[float, int]]


class Verified(msgspec.Struct, frozen=True):
    """What the last verification has read back, duplicates left out; without its figures, whatever was read back.

    Attributes:
        first: When the first status that the results hold was seen, by whichever verification; null if they hold none.
        last: When the last was.
        statuses: Certificates by status.
        unread: Certificates without one, by the reason (see ``summary.Verification``), or by their outcome.
        wanted: Certificates in the wanted state.
        calls: Requests sent; null if there is no summary.
        called_again: Certificates that were found in another state and called again; null if there is no summary.
        stopped: Why it ended early, or an empty text.
        finished: When it ended; null if there is no summary.
        exit_status: Of it; null if there is no summary.
        missed: Certificates that it was to read and did not: what is told of them is older.
        is_proof: Whether it came to its end and was told of some certificate.
    """

    first: str | None
    last: str | None
    statuses: dict[str, int]
    unread: dict[str, int]
    wanted: int
    calls: int | None
    called_again: int | None
    stopped: str
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
        going_on: Whether a run, an undo or a verification of it was going on.
        unfinished: Whether that was so, or the run was cut off or has left rows not attempted.
        summary: Whether the summary was there and readable.
        exit_status: Of the run; null if there is no summary.
        exit_meaning: The same in words.
        stopped: Why the run ended early, or an empty text.
        cas_in_all: Distinct CAs.
        findings_left_out: Rows whose reason is not among the findings, since there are too many reasons.
    """

    made: str
    made_by: str
    going_on: bool
    unfinished: bool
    summary: bool
    exit_status: int | None
    exit_meaning: str
    stopped: str
    verdict: Verdict
    asked: Asked
    starts: list[Start]
    outcomes: list[OutcomeCount]
    cas_in_all: int
    cas: list[CaCount]
    findings: list[Finding]
    findings_left_out: int
    calls: Calls
    latency: Latency
    containment: Containment
    verified: Verified | None
