"""The status of a run, for programs."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from bulkcert.engine.figures import LastError, Stats
from bulkcert.output.advice import Step
from bulkcert.output.steps import steps_left
from bulkcert.store.lock import Holder
from bulkcert.store.outcome import Outcome
from bulkcert.store.sessions import ChangeRecord, Control, Request, Session, SessionKind, Verification
from bulkcert.store.status import RunStatus, State
from bulkcert.views.status import acting, figures_of, is_running, seen_at, silent_s, utc_of


class Start(msgspec.Struct, frozen=True):
    """One start of a command, for programs; times are UTC."""

    kind: SessionKind
    pid: int
    host: str
    user: str
    started: datetime
    last_seen: datetime
    ended: datetime | None
    exit_status: int | None
    stopped: str
    change: ChangeRecord


class Asking(msgspec.Struct, frozen=True):
    """What an operator asked of a session, for programs; times are UTC, ``taken`` is null until it was done.

    The rates, in calls per second, are null unless that is what was asked.
    """

    session: int
    request: Request
    rate: int | None
    per_address_rate: int | None
    user: str
    host: str
    pid: int
    asked: datetime
    taken: datetime | None


class Shown(msgspec.Struct, frozen=True):
    """What ``--json`` prints.

    Attributes:
        state: The state of the run, see ``store.status.State``.
        kind: What the session does that is running, or was the last to: ``run``, ``undo`` or ``verify``; null while a
            process has not begun one.
        exit_status: That of ``bulkcert status``.
        results: The results file.
        action: What was asked; null, like all of the list, before the first session begins.
        instance: ``MqttInstanceId``; empty where rows name several.
        endpoint: Where the service is; empty where the instances are at several endpoints.
        instances: The instances that rows name, if they are several, each with its endpoint.
        input: The files of the list.
        rehearsal: Whether it is a run against an emulator.
        rows: Rows of the list.
        done: Rows that have an outcome; those that the run has not reached have none.
        outcomes: All rows by outcome, over all sessions.
        to_call: Rows that the next session would call; of a session that is running, when it began.
        undone: Rows that an undo has changed back.
        maybe_undone: Rows that an undo may have changed back without a trace.
        drifted: Rows that were in the desired state and read back in another.
        in_doubt: Rows without an outcome that a killed session may have called.
        next: What is left to do, a purpose and a command each; empty where there is nothing.
        holder: The process that holds the run, which has begun no session yet while the state is starting; null if none
            does.
        silent_s: Seconds since the last sign of life; null unless a session is running.
        session: What the newest session does, or did as far as it has said; null before it has said anything.
        sessions: All sessions, the newest last.
        controls: What operators have asked of the sessions, by their number, with ``bulkcert control``.
        errors: The newest errors of that session, one for each code, the latest first.
        not_desired: Rows that are not in the desired state, or may not be, without duplicates.
        failed: The file of these rows; null where there is none, or while it may be older than the run.
        verification: What was read back last, unless the run has called rows since.
    """

    state: State
    kind: SessionKind | None
    exit_status: int
    results: str
    action: str | None
    instance: str | None
    endpoint: str | None
    instances: dict[str, str]
    input: tuple[str, ...]
    rehearsal: bool
    rows: int | None
    done: int
    outcomes: Mapping[Outcome, int]
    to_call: int
    undone: int
    maybe_undone: int
    drifted: int
    in_doubt: int
    next: tuple[Step, ...]
    holder: Holder | None
    silent_s: float | None
    session: Stats | None
    sessions: tuple[Start, ...]
    controls: tuple[Asking, ...]
    errors: list[LastError]
    not_desired: int
    failed: str | None
    verification: Verification | None


def shown(status: RunStatus) -> Shown:
    """Returns the status of a run, for programs."""
    asked, newest = status.asked, acting(status)
    stats = figures_of(newest)
    return Shown(
        state=status.state,
        kind=newest.kind if newest and status.state is not State.STARTING else None,
        exit_status=int(status.exit_status),
        results=str(status.files.results),
        action=asked.action if asked else None,
        instance=asked.instance if asked else None,
        endpoint=asked.endpoint if asked else None,
        instances=asked.instances if asked else {},
        input=asked.inputs if asked else (),
        rehearsal=asked is not None and asked.rehearsal,
        rows=asked.rows if asked else None,
        done=status.done,
        outcomes=status.outcomes,
        to_call=status.to_call,
        undone=status.undone,
        maybe_undone=status.maybe_undone,
        drifted=status.drifted,
        in_doubt=status.in_doubt,
        next=tuple(steps_left(status)),
        holder=status.holder,
        silent_s=round(silent_s(newest), 1) if newest and is_running(status) else None,
        session=None if status.state is State.STARTING else stats,
        sessions=tuple(map(_start, status.sessions)),
        controls=tuple(map(_asking, status.controls)),
        errors=stats.errors if stats else [],
        not_desired=status.not_desired,
        failed=str(status.failed) if status.failed else None,
        verification=status.verification,
    )


def _start(session: Session) -> Start:
    own = {name: getattr(session, name) for name in ("kind", "pid", "host", "user", "exit_status", "stopped", "change")}
    ended = None if session.ended_at is None else utc_of(session.ended_at)
    return Start(**own, started=utc_of(session.started_at), last_seen=seen_at(session), ended=ended)


def _asking(control: Control) -> Asking:
    taken = None if control.taken_at is None else utc_of(control.taken_at)
    own = {name: getattr(control, name) for name in Asking.__struct_fields__[:-2]}
    return Asking(**own, asked=utc_of(control.asked_at), taken=taken)
