"""The status of a run, for people and for programs."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from rich.text import Text

from bulkcert.engine.figures import LastError, Stats
from bulkcert.errors import ExitStatus
from bulkcert.service.actions import ACTIONS
from bulkcert.store.outcome import Outcome
from bulkcert.store.schema import Session, SessionKind, Verification
from bulkcert.store.status import RunStatus, State
from bulkcert.views.advice import Step, meaning, steps_left, to_verify, undone_words
from bulkcert.views.layout import outcome_lines
from bulkcert.views.verified import label_of, read_words
from bulkcert.words import counted, duration, faults, printable

MOST_MESSAGE = 160
"""Characters of a message that are shown."""

ERRORS_SHOWN = 5
"""Codes whose newest error is shown."""


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


class Shown(msgspec.Struct, frozen=True):
    """What ``--json`` prints.

    Attributes:
        state: The state of the run, see ``store.status.State``.
        kind: What the session does that is running, or was the last to: ``run``, ``undo`` or ``verify``; null while a
            process has not begun one.
        exit_status: That of ``bulkcert status``.
        results: The results file.
        action: What was asked; null, like all of the list, before the first session begins.
        instance: ``MqttInstanceId``.
        endpoint: Where the service is.
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
        silent_s: Seconds since the last sign of life; null unless a session is running.
        session: What the newest session does, or did as far as it has said; null before it has said anything.
        sessions: All sessions, the newest last.
        errors: The newest errors, one for each code, the latest first.
        verification: What was read back last, unless the run has called rows since.
    """

    state: State
    kind: SessionKind | None
    exit_status: int
    results: str
    action: str | None
    instance: str | None
    endpoint: str | None
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
    silent_s: float | None
    session: Stats | None
    sessions: tuple[Start, ...]
    errors: list[LastError]
    verification: Verification | None


def shown(status: RunStatus) -> Shown:
    """Returns the status of a run, for programs."""
    asked, newest = status.asked, acting(status)
    return Shown(
        state=status.state,
        kind=newest.kind if newest and status.state is not State.STARTING else None,
        exit_status=int(status.exit_status),
        results=str(status.files.results),
        action=asked.action if asked else None,
        instance=asked.instance if asked else None,
        endpoint=asked.endpoint if asked else None,
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
        silent_s=round(_silent_s(newest), 1) if newest and is_running(status) else None,
        session=figures_of(newest),
        sessions=tuple(map(_start, status.sessions)),
        errors=_newest_errors(status.sessions),
        verification=status.verification,
    )


def acting(status: RunStatus) -> Session | None:
    """Returns the session that a status is about: the newest, or the one that was interrupted."""
    return status.doing if status.state is State.INTERRUPTED else status.session


def is_running(status: RunStatus) -> bool:
    """Returns whether a session is running, though it may hang."""
    return status.state in (State.RUNNING, State.STALLED)


def figures_of(session: Session | None) -> Stats | None:
    """Returns the newest figures of a session; None where it has left none, or another version has."""
    if session is None or session.figures is None:
        return None
    try:
        return msgspec.json.decode(session.figures, type=Stats)
    except msgspec.DecodeError:
        return None


def rows_of(status: RunStatus) -> Iterator[tuple[str, str | Text]]:
    """Yields names and values that show the status of a run, for people."""
    yield "state", _state(status)
    if (asked := status.asked) is not None:
        yield "action", f"{asked.action} on {asked.instance} at {asked.endpoint}"
        yield "input", ", ".join(asked.inputs)
        yield from _counts(status, asked.rows)
        yield from _calls(status)
        if (read := status.verification) is not None and not is_running(status):
            at = _clock(datetime.fromisoformat(read.finished))
            yield label_of(read), Text(f"{at}: {read_words(read)}", style="red" if read.exit_status else "")
        if status.state in (State.INTERRUPTED, State.STALLED, State.RUNNING):
            yield from _errors(_newest_errors(status.sessions))
    yield "results", str(status.files.results)


def steps_of(status: RunStatus) -> tuple[Step, ...]:
    """Returns what to do next about a run that somebody looks at: what is left, or else what verifies it."""
    return tuple(steps_left(status)) or tuple(to_verify(status))


def line_of(status: RunStatus) -> str:
    """Returns the status of a run whose session is running, on one line."""
    newest, stats = status.session, figures_of(status.session)
    if newest is None or stats is None or not is_running(status):
        return str(_state(status))
    silent = f"; no sign of life for {duration(_silent_s(newest))}" if status.state is State.STALLED else ""
    return f"{_clock(_seen(newest))} {stats.phase}: {done_of(stats)}; {figures(stats)}{silent}"


def figures(stats: Stats) -> str:
    """Returns what a session does, on one line."""
    if stats.phase == "reading states":
        read = f"{counted(stats.pages, 'page')} and {counted(stats.reads, 'single certificate')} read"
        return f"{stats.rate:.0f}/s; reading states: {read}; {stats.waiting_for}"
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in stats.outcomes.items())
    parts = [f"{duration(stats.elapsed_s)}; {stats.rate:.0f}/s", outcomes or "nothing finished yet"]
    if stats.retries or stats.throttles:
        parts.append(faults(stats.retries, stats.throttles))
    if stats.left_s is not None:
        parts.append(f"{duration(stats.left_s)} left")
    return "; ".join([*parts, stats.waiting_for])


def _state(status: RunStatus) -> Text:
    newest, stats = acting(status), figures_of(acting(status))
    if status.state is State.STARTING or newest is None:
        who = f": {status.holder}" if status.holder and status.holder.pid else ""
        return Text(f"starting{who}; no calls yet: it reads its list, or waits for a confirmation")
    who = f"process {newest.pid} on {newest.host}"
    if status.state is State.RUNNING:
        phase = stats.phase if stats else newest.kind
        return Text(f"running, {phase}: {who}, since {_at(newest.started_at)}", style="green")
    if status.state is State.STALLED:
        silent = duration(_silent_s(newest))
        return Text(f"stalled: no sign of life for {silent}: {who} hangs or is stopped", style="yellow")
    if status.state is State.INTERRUPTED:
        what = "" if newest.kind == "run" else f" while it {'undid' if newest.kind == 'undo' else 'verified'}"
        seen = f"it began {_at(newest.started_at)}, last sign of life {_clock(_seen(newest))}"
        return Text(f"interrupted{what}: {who} is gone; {seen}", style="red")
    return _ended(status)


def _ended(status: RunStatus) -> Text:
    doing = status.doing or status.sessions[-1]
    at = _at(doing.ended_at or doing.started_at)
    if status.is_undone:
        return Text(f"UNDONE: {undone_words(status)}; ended at {at} with {status.exit_status}", style="yellow")
    words = doing.stopped or meaning(status.exit_status)
    if status.asked is not None and not status.asked.rows:
        words = "nothing to do: the list was empty"
    style = "green" if status.exit_status == ExitStatus.OK else "red"
    return Text(f"ended at {at} with {status.exit_status}: {words}", style=style)


def _counts(status: RunStatus, rows: int) -> Iterator[tuple[str, str | Text]]:
    stats = figures_of(status.session)
    is_calling = status.session is not None and status.session.kind == "run"
    if stats is not None and is_running(status):
        # The store may be ahead of the live figures, and the outcomes below are its own.
        yield "rows", _share(status.done, rows) if is_calling else done_of(stats)
    elif status.done == rows:
        yield "rows", f"{rows:,}"
    else:
        yield "rows", f"{status.done:,} of {rows:,} have an outcome"
    for outcome, count in status.outcomes.items():
        if is_running(status) and outcome == Outcome.NOT_ATTEMPTED:
            continue
        yield from outcome_lines({outcome: count})
    if status.is_undone and status.state is not State.ENDED:
        yield "undone", Text(undone_words(status), style="yellow")
    if status.in_doubt and not is_running(status):
        rows_left = f"{counted(status.in_doubt, 'row')} that a killed session may have called, without an outcome"
        yield "in doubt", Text(rows_left, style="yellow")
    if status.drifted and status.asked is not None:
        desired = ACTIONS[status.asked.action].desired
        yield "drifted", Text(f"{counted(status.drifted, 'row')} read back since, and not {desired}", style="red")


def _calls(status: RunStatus) -> Iterator[tuple[str, str]]:
    newest, stats = status.session, figures_of(status.session)
    if stats is not None and is_running(status):
        trouble = f"{faults(stats.retries, stats.throttles)}, {counted(stats.outages, 'outage')}"
        yield "calls", f"{stats.calls:,}, {stats.rate:.0f}/s now, at most {stats.limit:.0f}/s; {trouble}"
        if stats.pages or stats.reads:
            yield "read", f"{counted(stats.pages, 'page')} and {counted(stats.reads, 'single certificate')}"
        for number, lane in enumerate(stats.lanes):
            name = "any address" if lane.address == "any" else lane.address
            yield "" if number else "lanes", f"{name}: {lane.rate:.0f}/s, {lane.in_flight:,} in flight"
        yield "waiting", stats.waiting_for
        left = "" if stats.left_s is None else f", about {duration(stats.left_s)} left"
        yield "time", f"{duration(stats.elapsed_s)} so far{left}"
    elif newest is not None:
        yield "calls", _calls_in_all([each for each in status.sessions if each.kind != "verify"])


def _calls_in_all(sessions: Sequence[Session]) -> str:
    """Returns the calls of sessions that ran or undid; one that was killed has counted its own only until then."""
    figures = [stats for each in sessions if (stats := figures_of(each)) is not None]
    least = "at least " if any(each.ended_at is None for each in sessions) else ""
    pace = f"{figures[-1].achieved_rate:,.1f}/s" if figures else ""
    if len(sessions) > 1:
        pace = f" in {len(sessions)} sessions, {pace} in the last" if pace else f" in {len(sessions)} sessions"
    elif pace:
        pace = f" at {pace}"
    trouble = faults(sum(stats.retries for stats in figures), sum(stats.throttles for stats in figures))
    return f"{least}{sum(stats.calls for stats in figures):,}{pace}; {trouble}"


def _newest_errors(sessions: Sequence[Session]) -> list[LastError]:
    newest: dict[str, LastError] = {}
    for each in sessions:
        for error in ((stats := figures_of(each)) and stats.errors) or ():
            known = newest.get(error.code)
            if known is None or error.at > known.at:
                newest[error.code] = error
    return sorted(newest.values(), key=lambda error: error.at, reverse=True)[:ERRORS_SHOWN]


def _errors(errors: list[LastError]) -> Iterator[tuple[str, Text]]:
    for number, error in enumerate(errors):
        row = f", row {error.row:,}" if error.row else ""
        request = f", request {error.request_id}" if error.request_id else ""
        where = f"{counted(error.count, 'time')}, last {_clock(error.at)}{row}{request}"
        line = f"{error.code} ({where}): {printable(error.message, MOST_MESSAGE)}"
        yield "" if number else "errors", Text(line, style="red")


def done_of(stats: Stats) -> str:
    """Returns how far a session is: ``1,204 of 5,000 (24%)``."""
    if stats.phase == "verifying":
        return f"{stats.rows:,}; {stats.done:,} called again"
    return _share(stats.done, stats.rows)


def _share(done: int, rows: int) -> str:
    return f"{done:,} of {rows:,} ({done / rows if rows else 1.0:.0%})"


def _start(session: Session) -> Start:
    return Start(
        session.kind,
        session.pid,
        session.host,
        session.user,
        _utc(session.started_at),
        _seen(session),
        None if session.ended_at is None else _utc(session.ended_at),
        session.exit_status,
        session.stopped,
    )


def _seen(session: Session) -> datetime:
    """Returns the last sign of life of a session."""
    return _utc(max(session.ended_at or 0, session.beat_at or 0, session.started_at))


def _silent_s(session: Session) -> float:
    return max(0.0, (datetime.now(UTC) - _seen(session)).total_seconds())


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _at(at_ms: int) -> str:
    return _clock(_utc(at_ms))


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
