"""The summary of a run: what stands in ``RESULTS.summary.json`` and on stdout."""

import platform
import socket
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from bulkcert.api.certificates import Status
from bulkcert.batch.index import Index
from bulkcert.batch.job import Job
from bulkcert.batch.lines import Key, this_user
from bulkcert.batch.look.sightings import NUMBER_OF, STATUSES
from bulkcert.batch.outcome import Outcome
from bulkcert.batch.progress import Progress, Stop
from bulkcert.batch.results import sha256_of, write_small
from bulkcert.batch.source import Check
from bulkcert.batch.totals import Kind, Totals
from bulkcert.errors import BulkcertError, ExitStatus


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
    """An undo of the run.

    Attributes:
        finished: UTC.
        results: Its results.
        rows: Rows that it took back, or was to.
        exit_status: Of the undo.
    """

    finished: str
    results: str
    rows: int
    exit_status: int


class Verification(msgspec.Struct, frozen=True):
    """What was read back after the calls.

    Attributes:
        finished: UTC.
        statuses: Rows by status; those that were not read are left out.
        wanted: Rows in the wanted state.
        not_wanted: Rows that are not, or were not read.
        calls: Requests sent, those of certificates that were called again included.
        called_again: Rows that were found in another state and called again.
        not_attempted: Rows that the run has not come to, and that a watch therefore leaves alone.
        exit_status: Of the command.
        stopped: Why it ended early, or an empty text.
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
        if (undone := self.taken_back) is None:
            return False
        called = [session.finished for session in self.sessions if session.calls]
        if (read_back := self.verification) is not None and read_back.called_again:
            called.append(read_back.finished)
        return any(finished > undone.finished for finished in called)

    @property
    def standing_undo(self) -> TakenBack | None:
        """The undo of the run, unless rows were called after it."""
        return None if self.called_since_undo else self.taken_back


def summarize(
    job: Job,
    check: Check,
    totals: Totals,
    index: Index,
    sessions: list[Session],
    *,
    stop: Stop | None,
    status: ExitStatus,
    verification: Verification | None = None,
    taken_back: TakenBack | None = None,
) -> Summary:
    """Returns the summary of a run whose results are written, and writes it beside them.

    Args:
        job: What was asked.
        check: What the pass over the input found.
        totals: What the results add up to.
        index: Of the journal.
        sessions: The starts that made calls, the latest last; at least one.
        stop: Why the latest one ended early, or None.
        status: Exit status of the command.
        verification: What was read back since the last call, if anything was.
        taken_back: The undo of the run, if there was one.

    Raises:
        BulkcertError: It cannot be written.
    """
    latest = sessions[-1]
    summary = Summary(
        action=job.action.name,
        instance=job.instance,
        endpoint=str(job.endpoint),
        input=str(job.input),
        input_sha256=check.sha256,
        results=str(job.results),
        results_sha256=sha256_of(job.results),
        rows=totals.rows,
        outcomes=_by_outcome(totals),
        codes=dict(totals.codes.most_common()),
        kinds=list(totals.kinds.values()),
        caps=Caps(
            job.options.rate,
            job.options.per_address_rate,
            job.lane_cap,
            [address or "any" for address in job.addresses],
        ),
        # A session that was killed has left no figures, but the calls of its rows are in the journal.
        calls=max(totals.attempts, sum(session.calls for session in sessions)),
        achieved_rate=latest.achieved_rate,
        worst_window=max(session.worst_window for session in sessions),
        throttles=sum(session.throttles for session in sessions),
        retries=sum(session.retries for session in sessions),
        latency_ms=Latency(**totals.latency_quantiles()),
        started=sessions[0].started,
        finished=latest.finished,
        sessions=sessions,
        versions={"bulkcert": version("bulkcert"), "python": platform.python_version()},
        exit_status=int(status),
        stopped=stop.message if stop else "",
        advice=stop.advice if stop else "",
        verification=verification,
        taken_back=taken_back,
        calls_at_least=index.has_killed_session,
        unknown_before=index.unknown_before([NUMBER_OF[Status.ACTIVE], NUMBER_OF[Status.INACTIVE]]),
    )
    _write(job.summary, summary)
    return summary


def _by_outcome(totals: Totals) -> dict[str, int]:
    return {outcome.value: totals.outcomes[outcome] for outcome in Outcome if totals.outcomes[outcome]}


def _write(path: Path, summary: Summary) -> None:
    write_small(path, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")


def confirm_sum(results: Path, totals: Totals, rows: int) -> None:
    """Confirms that every row that came in has gone out with an outcome.

    Raises:
        BulkcertError: They do not add up.
    """
    if totals.rows != rows or totals.outcomes.total() != rows:
        raise BulkcertError(
            ExitStatus.INTERNAL,
            f"{results}: {rows} rows came in, {totals.outcomes.total()} outcomes went out",
            "Please report this; the journal holds every outcome.",
        )


def this_session(progress: Progress, started_at: float, key: Key | None) -> Session:
    """Returns what this start of the command did.

    Args:
        progress: What happened.
        started_at: Unix time in seconds.
        key: What signed its calls; None if it made none.
    """
    return Session(
        started=utc(started_at),
        finished=utc(time.time()),
        calls=progress.sends.sends,
        achieved_rate=round(progress.sends.rate(), 1),
        worst_window=progress.sends.worst,
        throttles=progress.throttles,
        retries=progress.retries,
        outages=progress.outage.count,
        stopped=progress.stop.message if progress.stop else "",
        user=this_user(),
        host=socket.gethostname(),
        access_key_id=key.access_key_id if key else "",
        credentials=key.source if key else "",
    )


def add_verification(path: Path, results: Path, totals: Totals, verification: Verification) -> None:
    """Adds to the summary of a run what was read back; without a summary, as after a kill, there is nothing to add to.

    Args:
        path: The summary.
        results: The results, rewritten.
        totals: What they add up to, with what was called again.
        verification: What was read back.

    Raises:
        BulkcertError: It cannot be written.
    """
    if (summary := earlier_summary(path)) is None:
        return
    status = summary.exit_status
    if status in (ExitStatus.OK, ExitStatus.INCOMPLETE):
        status = int(ExitStatus.OK if totals.all_wanted else ExitStatus.INCOMPLETE)
    changed = msgspec.structs.replace(
        summary,
        results_sha256=sha256_of(results),
        outcomes=_by_outcome(totals),
        codes=dict(totals.codes.most_common()),
        kinds=list(totals.kinds.values()),
        latency_ms=Latency(**totals.latency_quantiles()),
        exit_status=status,
        verification=verification,
    )
    _write(path, changed)


def add_taken_back(path: Path, taken_back: TakenBack) -> None:
    """Adds to the summary of a run that it was undone; without a summary there is nothing to add to.

    Args:
        path: The summary.
        taken_back: The undo.

    Raises:
        BulkcertError: It cannot be written.
    """
    if (summary := earlier_summary(path)) is not None:
        _write(path, msgspec.structs.replace(summary, taken_back=taken_back))


def statuses_seen(index: Index) -> dict[str, int]:
    """Returns how many rows were read back in each status, and not called since."""
    statuses = index.seen.statuses if index.seen is not None else bytearray()
    counts = {str(STATUSES[number]): statuses.count(number) for number in range(1, len(STATUSES))}
    return {name: count for name, count in counts.items() if count}


def still_holding(verification: Verification | None, index: Index) -> Verification | None:
    """Returns what was read back, unless rows were called since."""
    holds = verification is not None and verification.statuses == statuses_seen(index)
    return verification if holds else None


def earlier_summary(path: Path) -> Summary | None:
    """Returns an earlier summary; None if it is missing, as after a kill."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Summary)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
