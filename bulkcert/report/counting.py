"""Counting: from the results, the summary and the journal to the figures of a report."""

import shlex
import time
from importlib.metadata import version
from pathlib import Path

import msgspec
import polars as pl

from bulkcert.actions import ACTIONS, Action
from bulkcert.batch.beside import journal_of, summary_of
from bulkcert.batch.durable import sha256_of
from bulkcert.batch.outcome import WANTED, Outcome
from bulkcert.batch.standing import standing_of
from bulkcert.batch.summary import NEVER_READ, Session, Summary, earlier_summary, utc
from bulkcert.batch.taken_back import undone_up_to
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.report.advice import MEANINGS, WANTED_WORD
from bulkcert.report.containment import containment_of
from bulkcert.report.figures import Asked, CaCount, Calls, Figures, OutcomeCount, Start, Verified
from bulkcert.report.findings import findings_of
from bulkcert.report.history import Begun, History, is_killed, read_history
from bulkcert.report.known import known_of, with_back
from bulkcert.report.pace import latency_of, parts_of
from bulkcert.report.reading import not_results, open_results
from bulkcert.report.verdict import verdict_on
from bulkcert.words import counted, meaning

MOST_CAS = 20
"""CAs that are told of singly: those with the most rows."""
_WANTED = [str(outcome) for outcome in WANTED]


def count(path: Path) -> Figures:
    """Returns the figures of a run, found by its results; writes nothing.

    Raises:
        BulkcertError: INPUT_UNREADABLE: the results are missing or cannot be read; INPUT_INVALID: they are no results.
    """
    history = read_history(journal_of(path))
    summary = earlier_summary(summary_of(path))
    name = summary.action if summary else history.header.action if history.header else ""
    if history.header and not path.exists():
        raise _unwritten(path)
    action = ACTIONS.get(name)
    keys = () if history.header is None else history.header.result_keys or history.header.keys
    results = open_results(path, by_device=action is None or action.by_device, keys=keys)
    if action is None:
        raise not_results(path, "neither its journal nor its summary stands beside it")
    undo = summary.taken_back if summary else None
    undone = undone_up_to(undo, history.foreseen, history.killed_at)
    rows = with_back(results.kept(), action, undo, foreseen=undone)
    known = known_of(rows, action, undo, foreseen=history.foreseen)
    called = rows.filter(pl.col("sent_at").is_not_null()).select("sent_at", "latency_ms")
    outcomes = _outcomes(rows)
    asked = _asked(path, action, history, summary, rows.height)
    verified = _verified(rows, action, summary)
    findings, left_out = findings_of(results, rows, action)
    starts = _starts(history, summary)
    cas_in_all, cas = _cas(rows)
    return Figures(
        made=utc(time.time()),
        made_by=version("bulkcert"),
        going_on=history.held,
        unfinished=_is_unfinished(history, rows),
        summary=summary is not None,
        exit_status=summary.exit_status if summary else None,
        exit_meaning=_exit_meaning(summary) if summary else "",
        stopped=summary.stopped if summary else "",
        verdict=verdict_on(asked, outcomes, verified, known, history=history, summary=summary),
        asked=asked,
        starts=starts,
        outcomes=outcomes,
        cas_in_all=cas_in_all,
        cas=cas,
        findings=findings,
        findings_left_out=left_out,
        calls=_calls(called, rows, summary),
        latency=latency_of(called),
        containment=containment_of(rows, _began(history, summary)),
        verified=verified,
    )


def _is_unfinished(history: History, rows: pl.DataFrame) -> bool:
    left = (rows["outcome"].cast(pl.String) == str(Outcome.NOT_ATTEMPTED)).any()
    return history.held or is_killed(history) or left


def _unwritten(path: Path) -> BulkcertError:
    """Returns what to tell of a run that has not written results yet."""
    standing = standing_of(path)
    taken, recorded = standing.snapshot, standing.recorded
    if standing.goes_on:
        who = f" (process {taken.session.pid} on {taken.session.host})" if taken else ""
        done = f", {taken.done:,} of {counted(taken.session.rows, 'row')} done" if taken else ""
        return BulkcertError(
            ExitStatus.STOPPED_EARLY,
            f"{path} is not there yet: the run goes on{who}{done}",
            f"Its results are written when it ends. `bulkcert status {shlex.quote(str(path))}` tells how it stands.",
        )
    done = f" ({recorded.outcomes.total():,} of {counted(recorded.header.rows, 'row')} done)" if recorded else ""
    command = f" It was, in {taken.session.directory}: {taken.session.command}" if taken else ""
    return BulkcertError(
        ExitStatus.INPUT_UNREADABLE,
        f"{path} is not there: the run was cut off before it wrote results{done}",
        "Run the same command again: it goes on and writes them at its end; with --limit-rows 0 it calls nothing and "
        f"writes them at once.{command}",
    )


def _began(history: History, summary: Summary | None) -> int | None:
    if history.began is not None:
        return history.began
    if summary is not None:
        return int(pl.Series([summary.started]).str.to_datetime(time_unit="ms", time_zone="UTC").cast(pl.Int64)[0])
    return history.starts[0].line.started_at if history.starts else None


def _asked(path: Path, action: Action, history: History, summary: Summary | None, rows: int) -> Asked:
    header = history.header
    told = summary or header
    assert told is not None  # noqa: S101 - one of them has named the action
    return Asked(
        run=header.run if header else "",
        action=action.name,
        by_device=action.by_device,
        verb=action.verb,
        operation=action.operation.name,
        wanted=action.wanted,
        instance=told.instance,
        endpoint=told.endpoint,
        input=summary.input if summary else None,
        input_sha256=summary.input_sha256 if summary else header.sha256 if header else "",
        results=str(path),
        results_sha256=sha256_of(path),
        recorded_sha256=summary.results_sha256 if summary else None,
        rows=rows,
        version=header.version if header else summary.versions.get("bulkcert", "") if summary else "",
        account_cap=summary.caps.account if summary else None,
        address_cap=summary.caps.address if summary else None,
        source_addresses=summary.caps.source_addresses if summary else [],
    )


def _outcomes(rows: pl.DataFrame) -> list[OutcomeCount]:
    counts = _counts(rows)
    return [
        OutcomeCount(
            outcome=outcome,
            rows=number,
            share=number / rows.height,
            wanted=WANTED_WORD.get(Outcome(outcome), "no"),
            meaning=MEANINGS[Outcome(outcome)],
        )
        for outcome, number in counts.items()
    ]


def _counts(rows: pl.DataFrame) -> dict[str, int]:
    """Returns how many rows have each outcome, in the order of the outcomes."""
    counts = dict(rows["outcome"].cast(pl.String).value_counts().rows())
    return {str(outcome): counts[outcome] for outcome in Outcome if outcome in counts}


def _cas(rows: pl.DataFrame) -> tuple[int, list[CaCount]]:
    """Returns how many CAs there are, and the rows of those with the most, with all others as the last."""
    counted = rows.with_columns(pl.col("ca").cast(pl.String).fill_null("")).group_by("ca", "outcome").len()
    order = counted.group_by("ca").agg(pl.col("len").sum()).sort(["len", "ca"], descending=[True, False])
    # One that is left over takes no more room by its name.
    shown = order["ca"].head(MOST_CAS if order.height > MOST_CAS + 1 else order.height).to_list()
    cas = [_ca(ca, 1, counted.filter(ca=ca)) for ca in shown]
    if rest := order.height - len(shown):
        cas.append(_ca("", rest, counted.filter(~pl.col("ca").is_in(shown))))
    return order.height, cas


def _ca(ca: str, cas: int, counted: pl.DataFrame) -> CaCount:
    summed = dict(counted.group_by("outcome").agg(pl.col("len").sum()).with_columns(pl.col("outcome").cast(str)).rows())
    outcomes = {str(outcome): int(summed[outcome]) for outcome in Outcome if outcome in summed}
    wanted = sum(outcomes.get(outcome, 0) for outcome in _WANTED)
    return CaCount(ca, cas, sum(outcomes.values()), wanted, outcomes)


def _exit_meaning(summary: Summary) -> str:
    """Returns the exit status of a run in words; what an undo has taken back is no success."""
    told = summary.stopped or meaning(summary.exit_status)
    if not summary.rows and summary.exit_status == 0:
        told = "nothing to do: the list was empty"
    return f"before the undo, {told}" if summary.standing_undo else told


def _calls(called: pl.DataFrame, rows: pl.DataFrame, summary: Summary | None) -> Calls:
    parts, left_out = parts_of(called)
    verification = summary.verification if summary else None
    run, read = summary.calls if summary else None, verification.calls if verification else None
    return Calls(
        run=run,
        at_least=summary is not None and summary.calls_at_least,
        verification=read,
        attempts=int(rows["attempts"].sum() or 0),
        shown=called.height,
        not_shown=None if run is None else max(0, run + (read or 0) - called.height),
        left_out=left_out,
        retries=summary.retries if summary else None,
        throttles=summary.throttles if summary else None,
        worst_window=summary.worst_window if summary else None,
        parts=parts,
    )


def _verified(rows: pl.DataFrame, action: Action, summary: Summary | None) -> Verified | None:
    """Returns what was read back; what an earlier verification has read is none of what the last one did."""
    own = rows.filter(pl.col("outcome") != Outcome.DUPLICATE)
    seen = own.filter(pl.col("verified_at").is_not_null())
    told = summary.verification if summary else None
    if told is None and seen.is_empty():
        return None
    first, last = seen.select(first=pl.col("verified_at").min(), last=pl.col("verified_at").max()).row(0)
    statuses = dict(seen["verified_status"].cast(pl.String).value_counts(sort=True).rows())
    verified = Verified(
        first=None if first is None else utc(first / 1000),
        last=None if last is None else utc(last / 1000),
        statuses=statuses,
        unread=_counts(own.filter(pl.col("verified_at").is_null())),
        wanted=statuses.get(str(action.wanted_status), 0),
        calls=None,
        called_again=None,
        stopped="",
    )
    if told is None:
        return verified
    return msgspec.structs.replace(
        verified,
        statuses=told.statuses,
        unread=told.unread_because,
        wanted=told.wanted,
        calls=told.calls,
        called_again=told.called_again,
        stopped=told.stopped,
        finished=told.finished,
        exit_status=told.exit_status,
        missed=sum(rows for reason, rows in told.unread_because.items() if reason not in NEVER_READ),
        is_proof=told.is_proof,
    )


def _starts(history: History, summary: Summary | None) -> list[Start]:
    """Returns the starts that the journal tells of, each with the figures that the summary has of it."""
    sessions = list(summary.sessions) if summary else []
    if not history.starts:
        return [_of_session(session) for session in sessions]
    ends = [begun.line.started_at for begun in history.starts[1:]]
    starts = []
    for begun, end in zip(history.starts, [*ends, None], strict=True):
        since, until = utc(begun.line.started_at / 1000), utc(end / 1000) if end else "~"
        own = [session for session in sessions if since <= session.started < until and not begun.line.verifies]
        start = _start(begun, own[0] if own else None)
        read_back = summary.verification if summary else None
        if read_back is not None and begun.line.verifies and since <= read_back.finished < until:
            start = msgspec.structs.replace(start, finished=read_back.finished, stopped=read_back.stopped)
        starts.append(start)
    return starts


def _start(begun: Begun, session: Session | None) -> Start:
    line, key = begun.line, begun.key
    told = {} if session is None else {name: getattr(session, name) for name in _FIGURES}
    return Start(
        started=utc(line.started_at / 1000),
        ended=begun.ended or session is not None,
        verifies=line.verifies,
        user=line.user,
        host=line.host,
        pid=line.pid,
        access_key_id=key.access_key_id if key else "",
        credentials=key.source if key else "",
        rate=session.achieved_rate if session else None,
        **told,
    )


def _of_session(session: Session) -> Start:
    told = {name: getattr(session, name) for name in (*_FIGURES, *_CALLER)}
    return Start(started=session.started, ended=None, verifies=False, pid=None, rate=session.achieved_rate, **told)


_FIGURES = ("finished", "calls", "worst_window", "retries", "throttles", "outages", "stopped")
_CALLER = ("user", "host", "access_key_id", "credentials")
