"""Counting: from the store of a run, and its list, to the figures of a report."""

import sqlite3
import time
from collections import Counter, defaultdict
from contextlib import suppress

import msgspec
import polars as pl

from bulkcert import __version__
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import ROW, PinnedList, annotated, ca_keys
from bulkcert.output import summary
from bulkcert.output.advice import Advice, quoted
from bulkcert.output.evidence import prove
from bulkcert.output.files import read_regular, sha256_of
from bulkcert.output.steps import why_ended
from bulkcert.output.summary import utc
from bulkcert.report.figures import (
    CaCount,
    Calls,
    Certificates,
    Controlled,
    Figures,
    Headings,
    InstanceCount,
    ResultsFile,
    SessionFigures,
    Verified,
)
from bulkcert.report.findings import RowKind, findings_of, kinds_of
from bulkcert.report.timing import containment_of, exposure_of, over_time
from bulkcert.report.verdict import verdict_on
from bulkcert.runs.opened import pinned_of
from bulkcert.service.actions import ACTIONS, Action, of_ca_key
from bulkcert.store import lock, queries
from bulkcert.store.database import reading
from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Asked, Control, Session, Verification
from bulkcert.store.status import RunStatus, State, status_in, status_of
from bulkcert.views.status import figures_of
from bulkcert.words import tr

MOST_CAS = 20
"""CAs that are named singly: those with the most rows."""
_NONE = Headings()
_OUTCOMES = pl.Enum([outcome.value for outcome in Outcome])
_ROWS = pl.Schema(
    {
        "row": pl.UInt32(),
        "outcome": _OUTCOMES,
        "code": pl.Categorical(),
        "sent_at": pl.Int64(),
        "finished_at": pl.Int64(),
        "latency_ms": pl.Float64(),
        "verified": pl.Categorical(),
        "verified_at": pl.Int64(),
    }
)
"""The columns of ``queries.figures``; times in Unix milliseconds."""


def count(files: RunFiles, headings: Headings = _NONE) -> Figures:
    """Returns the figures of a run, from its store alone; writes nothing, and disturbs nobody.

    Raises:
        NoRunError: There is no run.
        BulkcertError: STOPPED_EARLY: its first session has not begun; INPUT_UNREADABLE: it cannot be read.
    """
    try:
        holder = lock.current_holder(files.lock)
        with reading(files.store) as db:
            return _count(status_in(files, db, holder), queries.asked(db), db, headings)
    except OSError:
        status = status_of(files)  # says what is wrong
        raise BulkcertError(
            ExitStatus.STOPPED_EARLY,
            f"{files.results}: the run is starting ({status.holder}); there is nothing to report yet",
            f"See its status: {files.command('status')}",
        ) from None


def _count(status: RunStatus, asked: Asked, db: sqlite3.Connection, headings: Headings) -> Figures:
    action, pinned = ACTIONS[asked.action], pinned_of(status.files, asked)
    # What a session writes meanwhile is of no one moment.
    digest = None if status.is_held else prove(pinned, lambda question, *about: question(db, *about))
    rows = _rows(db, pinned)
    kinds = kinds_of(rows)
    read_at = rows["verified_at"].drop_nulls().sort()
    first, last = (utc(read_at[0] / 1000), utc(read_at[-1] / 1000)) if read_at.len() else (None, None)
    known = _certificates(kinds, status, action, read=first is not None)
    # What an earlier verification has read is none of what the last one did.
    read = status.verification or (None if first is None else _ever_read(kinds))
    verified = None if read is None else Verified(**msgspec.structs.asdict(read), first=first, last=last)
    results = _results(status.files)
    done = summary.sessions_of(status, db)
    starts = [_start(status, session, each) for session, each in zip(status.sessions, done, strict=True)]
    # What a session is about to reach is no finding.
    wrong = [kind for kind in kinds if not (status.is_held and kind.outcome is Outcome.NOT_ATTEMPTED)]
    findings = findings_of(db, pinned, wrong, Advice(status.files, asked))
    cas_in_all, cas = _cas(by_ca := _by_ca(rows))
    leaked = headings.exposed_since
    return Figures(
        headings=headings,
        made=utc(time.time()),
        made_by=__version__,
        state=status.state.value,
        exit_status=None if status.is_held else int(status.exit_status),
        exit_meaning="" if status.is_held else _exit_meaning(status),
        verdict=verdict_on(status, asked, known, verified, results),
        asked=asked,
        limits=summary.caps_of(status.doing or status.sessions[-1]),
        results=results,
        rows_digest=digest,
        starts=starts,
        controls=[_controlled(each) for each in status.controls],
        certificates=known,
        outcomes={outcome.value: number for outcome, number in status.outcomes.items()},
        cas_in_all=cas_in_all,
        cas=cas,
        instances=_instances(asked, by_ca),
        findings=findings,
        failed=str(status.failed) if status.failed else None,
        calls=_calls(rows, starts),
        containment=containment_of(rows, status.sessions[0].started_at),
        exposure=None if leaked is None else exposure_of(rows, leaked, action.desired_status),
        live=figures_of(status.session) if status.state in (State.RUNNING, State.STALLED) else None,
        verified=verified,
    )


def _rows(db: sqlite3.Connection, pinned: PinnedList) -> pl.DataFrame:
    """Returns all rows in order, about 70 bytes each.

    They have the columns of ``queries.figures``, ``ca``, and ``maybe_undone``: whether an undo may have changed the row
    back without a trace.

    Raises:
        BulkcertError: The pinned list cannot be read.
    """
    batches, last = [], 0
    for serials in annotated(pinned, own=False):
        first, last = last + 1, last + serials.height
        found = pl.DataFrame(queries.figures(db, first, last), schema=_ROWS, orient="row")
        listed = pl.DataFrame({"row": serials[ROW], "ca": ca_keys(serials).cast(pl.Categorical)})
        batches.append(listed.join(found, on="row", how="left", maintain_order="left"))
    undone = pl.Series(queries.rows(db, queries.MAYBE_UNDONE), dtype=pl.UInt32)
    left = pl.col("outcome").fill_null(pl.lit(Outcome.NOT_ATTEMPTED.value, _OUTCOMES))
    return pl.concat(batches).with_columns(left, pl.col("row").is_in(undone.implode()).alias("maybe_undone"))


def _certificates(kinds: list[RowKind], status: RunStatus, action: Action, *, read: bool) -> Certificates:
    opposite = ACTIONS[action.inverse].desired_status if action.inverse else None
    counts: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for kind in kinds:
        if kind.maybe_undone:
            counts["maybe_undone"] += kind.rows
        elif kind.outcome is Outcome.UNDONE and kind.verified in (None, opposite):
            counts["undone"] += kind.rows
        elif kind.verified == action.desired_status:
            counts["desired"] += kind.rows
        elif kind.verified is not None:
            statuses[kind.verified] += kind.rows
        elif kind.outcome in DESIRED:
            counts["unread"] += kind.rows
        else:
            outcomes[kind.outcome] += kind.rows
    return Certificates(
        desired=counts["desired"] + counts["unread"],
        undone=counts["undone"],
        maybe_undone=counts["maybe_undone"],
        statuses=dict(statuses.most_common()),
        outcomes=_in_order(outcomes),
        unread=counts["unread"] if read else 0,
        in_doubt=0 if status.is_held else status.in_doubt,
    )


def _in_order(outcomes: Counter[str]) -> dict[str, int]:
    return {outcome.value: outcomes[outcome] for outcome in Outcome if outcomes[outcome]}


def _ever_read(kinds: list[RowKind]) -> Verification:
    statuses: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    for kind in kinds:
        (unread if kind.verified is None else statuses)[kind.verified or kind.outcome] += kind.rows
    none = dict.fromkeys(("wanted", "not_desired", "calls", "called_again", "exit_status"), 0)
    read, why = dict(statuses.most_common()), _in_order(unread)
    return Verification("", read, stopped="", unread_because=why, **none)  # type: ignore[arg-type]


def _by_ca(rows: pl.DataFrame) -> dict[str, Counter[str]]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for ca, outcome, number in rows.group_by("ca", "outcome").len().iter_rows():
        counts[ca or ""][outcome] += number
    return counts


def _instances(asked: Asked, by_ca: dict[str, Counter[str]]) -> list[InstanceCount]:
    """Returns the rows of each instance that rows name, if they name several; those with most rows first."""
    counts = {instance: Counter[str]() for instance in asked.instances}
    for ca, by_outcome in by_ca.items():
        if (instance := of_ca_key(ca)[1]) in counts:
            counts[instance].update(by_outcome)
    order = sorted(counts, key=lambda instance: (-counts[instance].total(), instance))
    found = ((instance, counts[instance]) for instance in order)
    return [InstanceCount(instance, asked.instances[instance], by.total(), _in_order(by)) for instance, by in found]


def _cas(counts: dict[str, Counter[str]]) -> tuple[int, list[CaCount]]:
    """Returns how many CAs there are, and the rows of those with the most, with all others as the last."""
    order = sorted(counts, key=lambda ca: (-counts[ca].total(), ca))
    # One that is left over takes no more room by its name.
    shown = MOST_CAS if len(order) > MOST_CAS + 1 else len(order)
    others: Counter[str] = Counter()
    for ca in order[shown:]:
        others.update(counts[ca])
    rest = [("", len(order) - shown, others)] if others else []
    cas = [*((ca, 1, counts[ca]) for ca in order[:shown]), *rest]
    return len(order), [_ca(ca, number, by) for ca, number, by in cas]


def _ca(key: str, cas: int, outcomes: Counter[str]) -> CaCount:
    ca_sn, instance = of_ca_key(key)
    return CaCount(ca_sn, cas, outcomes.total(), _in_order(outcomes), instance)


def _calls(rows: pl.DataFrame, starts: list[SessionFigures]) -> Calls:
    called = rows.filter(pl.col("sent_at").is_not_null())
    acted = [start for start in starts if start.kind != "verify"]
    return Calls(
        run=sum(start.calls for start in acted),
        at_least=any(start.finished is None for start in acted),
        shown=called.height,
        not_shown=max(0, sum(start.calls for start in starts) - called.height),
        retries=sum(start.retries for start in acted),
        throttles=sum(start.throttles for start in acted),
        peak_window=max(start.peak_window for start in starts),
        over_time=over_time(called) if called.height else None,
        latency_ms=summary.quantiles(called["latency_ms"]),
    )


def _start(status: RunStatus, session: Session, done: summary.SessionSummary) -> SessionFigures:
    return SessionFigures(
        **msgspec.structs.asdict(done),
        state="ended" if session.ended_at else "running" if status.is_held and session is status.session else "killed",
        last_sign=utc(session.beat_at / 1000) if session.beat_at else None,
    )


def _controlled(control: Control) -> Controlled:
    done, at = control.taken_at is not None, utc(control.asked_at / 1000)
    return Controlled(at, control.words, control.user, control.host, control.pid, done)


def _exit_meaning(status: RunStatus) -> str:
    if status.state is State.INTERRUPTED and status.doing and not status.doing.stopped:
        return tr("interrupted; to resume: {command}", command=quoted(status.files.command("resume")))
    return why_ended(status)


def _results(files: RunFiles) -> ResultsFile:
    hashed = recorded = None
    with suppress(OSError):
        hashed = sha256_of(files.results)
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, LookupError, TypeError):
        recorded = msgspec.json.decode(read_regular(files.summary))["results_sha256"]
    return ResultsFile(str(files.results), hashed, recorded)
