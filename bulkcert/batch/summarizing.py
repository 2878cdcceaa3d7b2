"""Making the summary of a run, and keeping it true when the run is verified or undone."""

import platform
import socket
import time
from importlib.metadata import version
from pathlib import Path

import msgspec

from bulkcert.actions import Action
from bulkcert.api.certificates import Status
from bulkcert.batch.durable import sha256_of, write_small
from bulkcert.batch.index import Index
from bulkcert.batch.job import Job
from bulkcert.batch.lines import STATUSES, Key, this_user
from bulkcert.batch.outcome import Outcome
from bulkcert.batch.progress import Progress, Stop
from bulkcert.batch.source import Check
from bulkcert.batch.summary import (
    Caps,
    Latency,
    Session,
    Summary,
    TakenBack,
    Verification,
    earlier_summary,
    millis,
    utc,
)
from bulkcert.batch.totals import Totals
from bulkcert.errors import BulkcertError, ExitStatus


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
        taken_back=_recounted(taken_back, totals, index),
        calls_at_least=index.sessions.has_killed,
        unknown_before=unknown_before(index, job.action, check),
    )
    _write(job.summary, summary)
    return summary


def _by_outcome(totals: Totals) -> dict[str, int]:
    return {outcome.value: totals.outcomes[outcome] for outcome in Outcome if totals.outcomes[outcome]}


def _recounted(undo: TakenBack | None, totals: Totals, index: Index) -> TakenBack | None:
    """Returns an undo with what still stands of it, as the results tell that were just written."""
    if undo is None:
        return None
    called_since = max(index.called_at, index.sessions.killed_at) > millis(undo.finished)
    return msgspec.structs.replace(undo, standing=min(totals.standing, undo.rows), called_since=called_since)


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


def unknown_before(index: Index, action: Action, check: Check) -> int:
    """Returns how many rows a call may have changed of which nobody knows what they were before.

    Args:
        index: Of the journal.
        action: What was asked.
        check: What the pass over the input, or over the results, found.
    """
    # A row that a list has protected since may have been called before.
    never = (row for row in check.settled["row"] if not index.was_called(row))
    return index.unknown_before(Status(action.before), never)


def add_verification(
    path: Path, results: Path, totals: Totals | None, verification: Verification, index: Index, *, unknown: int
) -> None:
    """Adds to the summary of a run what was read back; without a summary, as after a kill, there is nothing to add to.

    Args:
        path: The summary.
        results: The results.
        totals: What they add up to, with what was called again; None if they were left as they are.
        verification: What was read back.
        index: Of the journal.
        unknown: See ``unknown_before``.

    Raises:
        BulkcertError: It cannot be written.
    """
    if (summary := earlier_summary(path)) is None:
        return
    killed = index.sessions.has_killed
    summary = msgspec.structs.replace(summary, verification=verification, calls_at_least=killed)
    if totals is None:
        _write(path, summary)
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
        # What a session has called that was killed is in the journal, as far as it is known.
        calls=max(summary.calls, totals.attempts) if killed else summary.calls,
        exit_status=status,
        unknown_before=unknown,
        taken_back=_recounted(summary.taken_back, totals, index),
    )
    _write(path, changed)


def add_taken_back(path: Path, taken_back: TakenBack) -> None:
    """Adds to the summary of a run that it was undone; without a summary there is nothing to add to.

    What stands of an undo that the summary tells of already stays as it was counted.

    Args:
        path: The summary.
        taken_back: The undo.

    Raises:
        BulkcertError: It cannot be written.
    """
    if (summary := earlier_summary(path)) is None:
        return
    noted = summary.taken_back
    if noted is None or msgspec.structs.replace(noted, standing=None, called_since=False) != taken_back:
        _write(path, msgspec.structs.replace(summary, taken_back=taken_back))


def still_holding(verification: Verification | None, index: Index) -> Verification | None:
    """Returns what was read back last, unless rows were called since.

    A call that ended later is one; so is one that has taken a row out of what was seen, whatever the clock says.
    """
    if verification is None or index.called_at > millis(verification.finished):
        return None
    seen = index.seen.statuses if index.seen is not None else b""
    counts = {str(status): seen.count(number) for number, status in enumerate(STATUSES)}
    kept = all(counts.get(name, 0) >= count for name, count in verification.statuses.items())
    return verification if kept else None
