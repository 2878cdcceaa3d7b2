"""Counting: from the store of a run to the figures of a report."""

import sqlite3
import time
from collections import Counter
from contextlib import suppress
from importlib.metadata import version

import msgspec
import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output import summary
from bulkcert.output.files import sha256_of
from bulkcert.output.summary import utc
from bulkcert.report.containment import containment_of
from bulkcert.report.figures import CaCount, Certificates, Figures, OutcomeCount, RunFacts, SessionFigures, Verified
from bulkcert.report.findings import findings_of
from bulkcert.report.pace import latency_of, parts_of
from bulkcert.report.rows import rows_of
from bulkcert.report.timing import Calls
from bulkcert.report.verdict import verdict_on
from bulkcert.runs.opened import pinned_of
from bulkcert.service.actions import ACTIONS, Action
from bulkcert.store import lock, queries, schema
from bulkcert.store.database import reading
from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.store.paths import RunFiles
from bulkcert.store.schema import NEVER_READ
from bulkcert.store.status import RunStatus, State, status_in, status_of
from bulkcert.views.advice import Advice, meaning, meaning_of

_DESIRED_WORD = {
    Outcome.SUCCEEDED: "yes",
    Outcome.UNCHANGED: "yes",
    Outcome.UNKNOWN: "unknown",
    Outcome.DUPLICATE: "as that row",
}
"""Whether a row with this outcome is in the desired state; ``no`` for the others."""

MOST_CAS = 20
"""CAs that are named singly: those with the most rows."""
_WANTED = [outcome.value for outcome in DESIRED]


def count(files: RunFiles) -> Figures:
    """Returns the figures of a run, from its store alone; writes nothing, and disturbs nobody.

    Raises:
        NoRunError: There is no run.
        BulkcertError: STOPPED_EARLY: its first session has not begun; INPUT_UNREADABLE: it cannot be read.
    """
    try:
        holder = lock.current_holder(files.lock)
        with reading(files.store) as db:
            return _count(status_in(files, db, holder), queries.asked(db), db)
    except OSError:
        status = status_of(files)  # says what is wrong
        raise BulkcertError(
            ExitStatus.STOPPED_EARLY,
            f"{files.results}: the run is starting ({status.holder}); there is nothing to report yet",
            f"See how it stands: {files.command('status')}",
        ) from None


def _count(status: RunStatus, run: schema.Asked, db: sqlite3.Connection) -> Figures:
    files, action, pinned = status.files, ACTIONS[run.action], pinned_of(status.files, run)
    rows = rows_of(db, pinned)
    called = rows.filter(pl.col("sent_at").is_not_null()).select("sent_at", "latency_ms")
    asked, known = _asked(status, run), _certificates(rows, status, action)
    verified, starts = _verified(rows, status, action), _starts(status)
    advice = Advice(files, action, protected=status.outcomes[Outcome.PROTECTED] > 0)
    findings, left_out = findings_of(db, pinned, rows, advice)
    cas_in_all, cas = _cas(rows)
    return Figures(
        made=utc(time.time()),
        made_by=version("bulkcert"),
        state=status.state.value,
        unfinished=status.is_held or status.state is State.INTERRUPTED or status.outcomes[Outcome.NOT_ATTEMPTED] > 0,
        exit_status=None if status.is_held else int(status.exit_status),
        exit_meaning="" if status.is_held else _exit_meaning(status),
        stopped=status.doing.stopped if status.doing else "",
        verdict=verdict_on(status, asked, known, verified),
        asked=asked,
        starts=starts,
        certificates=known,
        outcomes=_outcomes(status),
        cas_in_all=cas_in_all,
        cas=cas,
        findings=findings,
        findings_left_out=left_out,
        calls=_calls(called, starts, status),
        latency=latency_of(called),
        containment=containment_of(rows, status.sessions[0].started_at),
        verified=verified,
    )


def _asked(status: RunStatus, run: schema.Asked) -> RunFacts:
    action, results = ACTIONS[run.action], status.files.results
    hashed = recorded = None
    with suppress(OSError):
        hashed = sha256_of(results)
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        recorded = msgspec.json.decode(status.files.summary.read_bytes(), type=_Recorded).results_sha256
    caps = summary.caps_of(status.doing or status.sessions[-1])
    return RunFacts(
        run=run.run,
        action=action.name,
        by_device=action.by_device,
        verb=action.verb,
        operation=action.operation.name,
        wanted=action.desired,
        instance=run.instance,
        endpoint=run.endpoint,
        rehearsal=run.rehearsal,
        inputs=list(run.inputs),
        directory=run.directory,
        input_sha256=run.sha256,
        results=str(results),
        results_sha256=hashed,
        recorded_sha256=recorded,
        rows=run.rows,
        version=run.version,
        account_cap=caps.account,
        address_cap=caps.address,
        source_addresses=caps.source_addresses,
    )


class _Recorded(msgspec.Struct):
    results_sha256: str


def _exit_meaning(status: RunStatus) -> str:
    if status.state is State.INTERRUPTED:
        return f"interrupted; to resume: {status.files.command('resume')}"
    if status.asked is not None and not status.asked.rows and status.exit_status == ExitStatus.OK:
        return "nothing to do: the list was empty"
    read = status.verification
    by_reading = read.stopped if read and read.exit_status == status.exit_status else ""
    return (status.doing.stopped if status.doing else "") or by_reading or meaning(status.exit_status)


def _certificates(rows: pl.DataFrame, status: RunStatus, action: Action) -> Certificates:
    """Returns what is known of the certificates of a list now."""
    since = (pl.col("verified_at") > pl.col("undo_at")).fill_null(value=False)
    kinds = rows.group_by("outcome", "verified", undo=pl.col("undo_at").is_not_null(), since=since).len()
    opposite = ACTIONS[action.inverse].desired_status if action.inverse else None
    counts: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for outcome, read, undo, since_undo, number in kinds.iter_rows():
        if outcome == Outcome.DUPLICATE:
            continue
        if undo and not since_undo:
            counts["maybe_undone"] += number
        elif (undo or outcome == Outcome.UNDONE) and read in (None, opposite):
            counts["undone"] += number
        elif read == action.desired_status:
            counts["desired"] += number
        elif read is not None:
            statuses[read] += number
        elif outcome in _WANTED:
            counts["unread"] += number
        else:
            outcomes[outcome] += number
    return Certificates(
        desired=counts["desired"] + counts["unread"],
        undone=counts["undone"],
        maybe_undone=counts["maybe_undone"],
        statuses=dict(statuses.most_common()),
        outcomes={outcome.value: outcomes[outcome] for outcome in Outcome if outcomes[outcome]},
        unread=counts["unread"] if rows["verified_at"].count() else 0,
        in_doubt=0 if status.is_held else status.in_doubt,
    )


def _outcomes(status: RunStatus) -> list[OutcomeCount]:
    return [
        OutcomeCount(
            outcome=outcome.value,
            rows=number,
            share=number / status.outcomes.total(),
            wanted=_DESIRED_WORD.get(outcome, "no"),
            meaning=meaning_of(outcome),
        )
        for outcome, number in status.outcomes.items()
    ]


def _cas(rows: pl.DataFrame) -> tuple[int, list[CaCount]]:
    """Returns how many CAs there are, and the rows of those with the most, with all others as the last."""
    counted = rows.group_by("ca", "outcome").len().with_columns(pl.col("ca").cast(pl.String).fill_null(""))
    order = counted.group_by("ca").agg(pl.col("len").sum()).sort(["len", "ca"], descending=[True, False])
    # One that is left over takes no more room by its name.
    shown = order["ca"].head(MOST_CAS if order.height > MOST_CAS + 1 else order.height).to_list()
    cas = [_ca(ca, 1, counted.filter(ca=ca)) for ca in shown]
    if rest := order.height - len(shown):
        cas.append(_ca("", rest, counted.filter(~pl.col("ca").is_in(shown))))
    return order.height, cas


def _ca(ca: str, cas: int, counted: pl.DataFrame) -> CaCount:
    summed = dict(counted.group_by("outcome").agg(pl.col("len").sum()).with_columns(pl.col("outcome").cast(str)).rows())
    outcomes = {outcome.value: int(summed[outcome]) for outcome in Outcome if outcome in summed}
    wanted = sum(outcomes.get(outcome, 0) for outcome in _WANTED)
    return CaCount(ca, cas, sum(outcomes.values()), wanted, outcomes)


def _calls(called: pl.DataFrame, starts: list[SessionFigures], status: RunStatus) -> Calls:
    parts, left_out = parts_of(called)
    acted = [start for start in starts if start.kind != "verify"]
    run, read_back = sum(start.calls for start in acted), status.verification
    verification = read_back.calls if read_back else None
    return Calls(
        run=run,
        at_least=any(start.finished is None for start in acted),
        verification=verification,
        shown=called.height,
        not_shown=max(0, sum(start.calls for start in starts) - called.height),
        left_out=left_out,
        retries=sum(start.retries for start in acted),
        throttles=sum(start.throttles for start in acted),
        worst_window=max(start.worst_window for start in starts),
        parts=parts,
    )


def _verified(rows: pl.DataFrame, status: RunStatus, action: Action) -> Verified | None:
    """Returns what was read back; what an earlier verification has read is none of what the last one did."""
    last, seen = status.verification, rows["verified_at"].count() > 0
    if last is None and not seen:
        return None
    times = rows.select(first=pl.col("verified_at").min(), last=pl.col("verified_at").max()).row(0)
    since, until = (utc(at / 1000) if seen else None for at in times)
    if last is not None:
        return Verified(
            since,
            until,
            statuses=last.statuses,
            unread=last.unread_because,
            wanted=last.wanted,
            calls=last.calls,
            called_again=last.called_again,
            stopped=last.stopped,
            finished=last.finished,
            exit_status=last.exit_status,
            missed=sum(rows for reason, rows in last.unread_because.items() if reason not in NEVER_READ),
            is_proof=last.is_proof,
        )
    kinds = rows.group_by("outcome", "verified").len().rows()
    statuses: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    for outcome, read, number in kinds:
        if outcome != Outcome.DUPLICATE:
            (unread if read is None else statuses)[outcome if read is None else read] += number
    in_order = {outcome.value: unread[outcome] for outcome in Outcome if unread[outcome]}
    return Verified(since, until, dict(statuses.most_common()), in_order, statuses[action.desired_status])


def _starts(status: RunStatus) -> list[SessionFigures]:
    """Returns the sessions, each with its newest figures."""
    return [
        SessionFigures(
            **msgspec.structs.asdict(summary.session_of(each)),
            state="ended" if each.ended_at else "running" if status.is_held and each is status.session else "killed",
            last_sign=utc(each.beat_at / 1000) if each.beat_at else None,
        )
        for each in status.sessions
    ]
