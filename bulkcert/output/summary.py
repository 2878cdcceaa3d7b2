"""The summary of a run: ``summary.json`` in its folder, a view of the store."""

import platform
import sqlite3
from collections import Counter
from datetime import UTC, datetime

import msgspec
import polars as pl

from bulkcert import __version__
from bulkcert.engine.figures import LaneState
from bulkcert.engine.pacer import lane_cap
from bulkcert.errors import ExitStatus
from bulkcert.input import CA_SN, DEVICE_SN, PinnedList, annotated
from bulkcert.output.failed import FailedRows
from bulkcert.output.files import cannot_write, sha256_of, write_whole
from bulkcert.output.formats import FormulaRows
from bulkcert.output.results import Written
from bulkcert.store import queries
from bulkcert.store import sessions as stored
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import ChangeRecord, SessionKind, Verification
from bulkcert.store.status import RunStatus


class Kind(msgspec.Struct, frozen=True):
    """The rows that have an outcome and a code in common; of what is never called, the reason.

    Attributes:
        code: Code of their last answer; empty where there was none.
        row: Number of the first of them.
        serial: Its serial: of the device, or of the CA in actions on CAs.
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


class SessionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What one start of a command did: of its newest figures (``engine.figures.Stats``), and of its row in the store.

    Attributes:
        started: UTC, like ``finished``, which is null if it was killed, or is running.
        change: Its ticket and reason, and who has approved it.
        lanes: What it has called from, as far as it has said.
    """

    calls: int = 0
    achieved_rate: float = 0.0
    peak_window: int = 0
    throttles: int = 0
    retries: int = 0
    outages: int = 0
    pages: int = 0
    reads: int = 0
    outcomes_now: dict[str, int] = {}
    kind: SessionKind
    started: str
    finished: str | None
    exit_status: int | None
    stopped: str
    user: str
    host: str
    pid: int
    access_key_id: str
    credentials: str
    change: ChangeRecord
    lanes: list[LaneState] = []
    handed_over: int = 0


class Summary(msgspec.Struct, frozen=True):
    """What a run has come to by now, over all its sessions.

    ``achieved_rate`` is that of the newest session that ran or undid, ``peak_window`` the worst of all. ``latency_ms``
    has the quantiles of the last attempt of each called row; it is empty without calls.
    Where a session was killed, ``calls_at_least``, not all of its calls are in ``calls``. ``unknown_before`` is the
    number of rows that a call may have changed and of which nobody knows what they were before. ``undone`` rows were
    changed back by an undo, ``maybe_undone`` ones perhaps. ``rows_digest`` is of all rows in order, as the
    store has them (``output.evidence``); ``formulas`` is what a spreadsheet would run of the results. ``failed`` is
    null where every row is in the desired state. ``instances`` has the endpoint of each where rows name several; then
    ``instance`` is empty, and ``endpoint`` where they are at several.
    """

    action: str
    instance: str
    endpoint: str
    rehearsal: bool
    input: str
    input_sha256: str
    results: str
    results_sha256: str
    rows_digest: str
    rows: int
    outcomes: dict[str, int]
    codes: dict[str, int]
    kinds: list[Kind]
    caps: Caps
    calls: int
    achieved_rate: float
    peak_window: int
    throttles: int
    retries: int
    latency_ms: dict[str, float]
    started: str
    finished: str
    sessions: list[SessionSummary]
    versions: dict[str, str]
    exit_status: int
    stopped: str
    advice: str
    stop_code: str
    verification: Verification | None = None
    undone: int = 0
    maybe_undone: int = 0
    drifted: int = 0
    calls_at_least: bool = False
    unknown_before: int = 0
    failed: FailedRows | None = None
    formulas: FormulaRows = FormulaRows()
    instances: dict[str, str] = {}

    @property
    def latest(self) -> SessionSummary:
        """The newest session that ran or undid."""
        return next(each for each in reversed(self.sessions) if each.kind != "verify")


def summary_of(
    status: RunStatus, pinned: PinnedList, db: sqlite3.Connection, written: Written, failed: FailedRows | None
) -> Summary:
    """Returns the summary of a run whose results are written.

    Raises:
        OSError: The results cannot be read.
    """
    asked, sessions = status.asked, sessions_of(status, db)
    if asked is None or (doing := status.doing) is None:
        raise ValueError("a run without a session has no summary")
    acted = [each for each in sessions if each.kind != "verify"]
    kinds = _kinds(db, pinned)
    codes: Counter[str] = Counter()
    for kind in kinds:
        codes[kind.code] += kind.rows
    del codes[""]
    early = status.came_to not in (ExitStatus.OK, ExitStatus.INCOMPLETE)
    return Summary(
        action=asked.action,
        instance=asked.instance,
        endpoint=asked.endpoint,
        rehearsal=asked.rehearsal,
        input=", ".join(asked.inputs),
        input_sha256=asked.sha256,
        results=str(status.files.results),
        results_sha256=sha256_of(status.files.results),
        rows_digest=written.digest,
        rows=asked.rows,
        outcomes={outcome.value: count for outcome, count in status.outcomes.items()},
        codes=dict(codes.most_common()),
        kinds=kinds,
        caps=caps_of(doing),
        calls=sum(each.calls for each in acted),
        achieved_rate=acted[-1].achieved_rate,
        peak_window=max(each.peak_window for each in sessions),
        throttles=sum(each.throttles for each in acted),
        retries=sum(each.retries for each in acted),
        latency_ms=quantiles(pl.Series(queries.latencies(db), dtype=pl.Float32)),
        started=acted[0].started,
        finished=acted[-1].finished or utc((doing.beat_at or doing.started_at) / 1000),
        sessions=sessions,
        versions={"bulkcert": __version__, "python": platform.python_version()},
        exit_status=int(status.came_to),
        # A stop that came when nothing was left to do has stopped nothing.
        stopped=doing.stopped if early else "",
        advice=doing.advice if early else "",
        stop_code=doing.stop_code if early else "",
        verification=status.verification,
        undone=status.undone,
        maybe_undone=status.maybe_undone,
        drifted=status.drifted,
        calls_at_least=any(each.finished is None for each in acted),
        unknown_before=status.unknown_before,
        failed=failed,
        formulas=written.formulas,
        instances=asked.instances,
    )


def write_summary(files: RunFiles, summary: Summary) -> None:
    """Writes the summary into the folder of its run.

    Raises:
        BulkcertError: It cannot be written.
    """
    try:
        content = msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"
        write_whole(files.summary, content)
    except OSError as error:
        raise cannot_write(files.summary, error, "Make room.") from error


def sessions_of(status: RunStatus, db: sqlite3.Connection) -> list[SessionSummary]:
    """Returns what each session did: as far as it has said, and at least what the outcomes of its rows show."""
    seen, summaries = queries.calls(db), []
    for session in status.sessions:
        figures = session.figures or {}
        more = {
            "calls": max(figures.get("calls", 0), seen.get(session.id, 0)),
            "started": utc(session.started_at / 1000),
            "finished": None if session.ended_at is None else utc(session.ended_at / 1000),
            "change": msgspec.to_builtins(session.change),
        }
        summaries.append(msgspec.convert(figures | msgspec.structs.asdict(session) | more, SessionSummary))
    return summaries


def caps_of(session: stored.Session) -> Caps:
    """Returns the limits that a session kept."""
    limits = session.limits
    lanes = msgspec.convert((session.figures or {}).get("lanes", []), list[LaneState])
    # What the service has seen calls come from, where lanes of other machines had part in them.
    addresses = [*dict.fromkeys(lane.egress for lane in lanes if lane.name)] or list(limits.source_address or ["any"])
    lane = lane_cap(limits.rate, limits.per_address_rate, len(addresses))
    return Caps(limits.rate, limits.per_address_rate, lane, addresses)


def _kinds(db: sqlite3.Connection, pinned: PinnedList) -> list[Kind]:
    kinds = []
    for outcome, code, rows, row, *said in queries.kinds(db):
        frame = next(annotated(pinned, own=False, first_row=row, last_row=row))
        serial = frame[DEVICE_SN if DEVICE_SN in frame.columns else CA_SN][0] or ""
        kinds.append(Kind(outcome, code, rows, row, serial, *said))
    return kinds


def quantiles(latencies: pl.Series) -> dict[str, float]:
    """Returns ``p50``, ``p90``, ``p99`` and ``longest`` of latencies, in ms, each to a tenth; nothing of none."""
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "longest": 1}
    found = {name: latencies.quantile(share) for name, share in shares.items()}
    return {name: round(value, 1) for name, value in found.items() if value is not None}


def utc(seconds: float) -> str:
    """Returns a Unix time as ISO 8601 with milliseconds, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
