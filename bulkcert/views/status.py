"""The status of a run, for people."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec
from rich.text import Text

from bulkcert.engine.figures import LaneState, LastError, Stats
from bulkcert.errors import ON_PURPOSE, ExitStatus
from bulkcert.output.advice import Step
from bulkcert.output.steps import (
    is_undoing,
    label_of,
    left_words,
    read_words,
    steps_left,
    to_verify,
    undone_words,
    why_ended,
)
from bulkcert.service.actions import ACTIONS
from bulkcert.store.outcome import Outcome
from bulkcert.store.sessions import Session, SessionKind
from bulkcert.store.status import RunStatus, State
from bulkcert.views.layout import MESSAGE_WIDTH, change_rows, outcome_line, rehearsal_line
from bulkcert.words import REHEARSAL, counted, duration, faults, in_utc, printable

CONTROLS_SHOWN = 3
"""What was asked of a session from another terminal: so much of it is shown, the newest last."""


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
        return msgspec.convert(session.figures, Stats)
    except msgspec.ValidationError:
        return None


def rows_of(status: RunStatus) -> Iterator[tuple[str, str | Text]]:
    """Yields names and values that show the status of a run, for people."""
    asked = status.asked
    yield from rehearsal_line() if asked is not None and asked.rehearsal else ()
    yield "state", _state(status)
    if asked is not None:
        yield "action", f"{asked.action} on {asked.on} at {asked.at}"
        yield "input", ", ".join(asked.inputs)
        yield from _counts(status, asked.rows)
        yield from _calls(status)
        if (read := status.verification) is not None and not is_running(status):
            at = _clock(datetime.fromisoformat(read.finished))
            yield label_of(read), Text(f"{at}: {read_words(read)}", style="red" if read.exit_status else "")
        if status.state in (State.INTERRUPTED, State.STALLED, State.RUNNING):
            stats = figures_of(acting(status))
            yield from _errors(stats.errors if stats else [])
        yield from _controls(status)
        if status.doing is not None:
            yield from change_rows(status.doing.change)
    yield "results", str(status.files.results)
    if status.failed is not None:
        yield "rows left", left_words(status.failed, status.not_desired)


def steps_of(status: RunStatus) -> tuple[Step, ...]:
    """Returns what to do next about a run that somebody looks at: what is left, or else what verifies it."""
    return tuple(steps_left(status)) or tuple(to_verify(status))


def line_of(status: RunStatus) -> str:
    """Returns the status of a run whose session is running, on one line."""
    newest, stats = status.session, figures_of(status.session)
    rehearsal = f"{REHEARSAL} " if status.asked and status.asked.rehearsal else ""
    if newest is None or stats is None or not is_running(status):
        return f"{rehearsal}{_state(status)}"
    silent = f"; no sign of life for {duration(silent_s(newest))}" if status.state is State.STALLED else ""
    done = done_of(stats, newest.kind)
    return f"{_clock(seen_at(newest))} {rehearsal}{stats.phase}: {done}; {figures(stats)}{silent}"


def figures(stats: Stats) -> str:
    """Returns what a session does, on one line."""
    done = ", ".join(f"{count:,} {outcome}" for outcome, count in stats.outcomes.items())
    if (is_reading := stats.phase == "reading states") or (not done and stats.pages + stats.reads):
        done = f"{'reading states: ' * is_reading}{pages_and_reads(stats)} read"
    parts = [f"{duration(stats.elapsed_s)} elapsed; {stats.rate:.0f}/s", done or "nothing finished yet"]
    if stats.retries or stats.throttles:
        parts.append(faults(stats.retries, stats.throttles))
    if stats.left_s is not None:
        parts.append(f"{duration(stats.left_s)} left")
    return "; ".join([*parts, stats.waiting_for])


def pages_and_reads(stats: Stats) -> str:
    """Returns what was read so far, and of how many where that is known."""
    of_pages, of_reads = f"{stats.pages:,} of " * (stats.to_page > 0), f"{stats.reads:,} of " * (stats.to_read > 0)
    pages = counted(stats.to_page or stats.pages, "page")
    return f"{of_pages}{pages} and {of_reads}{counted(stats.to_read or stats.reads, 'single certificate')}"


def _state(status: RunStatus) -> Text:
    newest, stats = acting(status), figures_of(acting(status))
    if status.state is State.STARTING or newest is None:
        who = f": {status.holder}" if status.holder and status.holder.pid else ""
        waits = "this session has changed nothing yet: it reads list and states, or waits for an answer"
        return Text(f"starting{who}; {waits}")
    who = f"process {newest.pid} on {newest.host}"
    if status.state is State.RUNNING:
        if (pause := status.pause) is not None:
            paused = f"running, PAUSED by {pause.by} since {_at(pause.asked_at)}"
            return Text(f"{paused}: {who}", style="yellow")
        phase = stats.phase if stats else newest.kind
        style = "yellow" if phase == "stopping" else "green"
        return Text(f"running, {phase}: {who}, since {_at(newest.started_at)}", style=style)
    if status.state is State.STALLED:
        silent = duration(silent_s(newest))
        return Text(f"stalled: no sign of life for {silent}: {who} hangs or is stopped", style="yellow")
    if status.state is State.INTERRUPTED:
        what = "" if newest.kind == "run" else f" while it {'undid' if newest.kind == 'undo' else 'verified'}"
        seen = f"it began {_at(newest.started_at)}, last sign of life {_clock(seen_at(newest))}"
        return Text(f"interrupted{what}: {newest.stopped or f'{who} is gone'}; {seen}", style="red")
    return _ended(status)


def _ended(status: RunStatus) -> Text:
    doing = status.doing or status.sessions[-1]
    at = _at(doing.ended_at or doing.started_at)
    if status.is_undone:
        unfinished = "; the undo is not finished" * is_undoing(status)
        words = f"UNDONE: {undone_words(status)}{unfinished}; ended at {at} with {status.exit_status}"
        return Text(words, style="yellow")
    style = "green" if status.exit_status == ExitStatus.OK else "yellow" if status.exit_status in ON_PURPOSE else "red"
    return Text(f"ended at {at} with {status.exit_status}: {why_ended(status)}", style=style)


def _counts(status: RunStatus, rows: int) -> Iterator[tuple[str, str | Text]]:
    stats = figures_of(status.session)
    kind = status.session.kind if status.session is not None else "run"
    if stats is not None and is_running(status):
        # The store may be ahead of the live figures, and the outcomes below are its own.
        yield "rows", _share(status.done, rows) if kind == "run" else done_of(stats, kind)
    elif status.done == rows:
        yield "rows", f"{rows:,}"
    else:
        yield "rows", f"{status.done:,} of {rows:,} have an outcome"
    for outcome, count in status.outcomes.items():
        if is_running(status) and outcome == Outcome.NOT_ATTEMPTED:
            continue
        yield outcome_line(outcome, count)
    if status.is_undone and status.state is not State.ENDED:
        yield "undone", Text(undone_words(status), style="yellow")
    if status.in_doubt and not is_running(status):
        words = f"{status.in_doubt:,} of the {Outcome.NOT_ATTEMPTED}: an interrupted session may have called them"
        yield "in doubt", Text(words, style="yellow")
    if status.drifted and status.asked is not None:
        desired = ACTIONS[status.asked.action].desired
        yield "drifted", Text(f"{counted(status.drifted, 'row')} read back since, and not {desired}", style="red")


def _calls(status: RunStatus) -> Iterator[tuple[str, str]]:
    newest, stats = status.session, figures_of(status.session)
    if stats is not None and is_running(status):
        trouble = f"{faults(stats.retries, stats.throttles)}, {counted(stats.outages, 'outage')}"
        own = " in this session" * (len(status.sessions) > 1)
        yield "calls", f"{stats.calls:,}{own}, {stats.rate:.0f}/s now, at most {stats.limit:.0f}/s; {trouble}"
        if stats.pages or stats.reads:
            yield "read", pages_and_reads(stats)
        for number, lane in enumerate(stats.lanes):
            yield "" if number else "lanes", _lane(lane)
        if stats.handed_over:
            calls = counted(stats.handed_over, "call")
            yield "", f"{calls} of lanes that fell silent given to others: may be made twice"
        yield "waiting", stats.waiting_for
        left = "" if stats.left_s is None else f", about {duration(stats.left_s)} left"
        yield "time", f"{duration(stats.elapsed_s)} so far{left}"
    elif newest is not None:
        yield "calls", _calls_in_all([each for each in status.sessions if each.kind != "verify"])


def lane_words(lane: LaneState) -> str:
    """Returns what a lane does, in a few words."""
    rate = f"{lane.rate:.0f}/s, {lane.in_flight:,} in flight"
    if not lane.name:
        return rate
    return f"{rate}, share {lane.share:,}/s" if lane.doing == "calling" else printable(lane.doing, MESSAGE_WIDTH)


def _lane(lane: LaneState) -> str:
    if lane.name:
        return f"{lane.name}: {lane_words(lane)}; egress {lane.egress}; key {lane.key} from {lane.source}"
    return f"{'any address' if lane.address == 'any' else lane.address}: {lane_words(lane)}"


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


def _errors(errors: list[LastError]) -> Iterator[tuple[str, Text]]:
    for number, error in enumerate(errors):
        row = f", row {error.row:,}" if error.row else ""
        request = f", request {error.request_id}" if error.request_id else ""
        where = f"{counted(error.count, 'time')}, last {_clock(error.at)}{row}{request}"
        line = f"{error.code} ({where}): {printable(error.message, MESSAGE_WIDTH)}"
        # What a repeat has put right is nothing to be alarmed by.
        yield "" if number else "errors", Text(line, style="red" if error.row else "yellow")


def _controls(status: RunStatus) -> Iterator[tuple[str, str | Text]]:
    session = acting(status)
    asked = [each for each in status.controls if session is not None and each.session == session.id]
    if earlier := asked[:-CONTROLS_SHOWN]:
        yield "control", f"{len(earlier):,} asked earlier; --json and the report have all"
    for number, each in enumerate(asked[-CONTROLS_SHOWN:], len(earlier)):
        taken = "" if each.taken_at else ", not done yet" if is_running(status) else ", never done"
        line = f"{_at(each.asked_at)}: {each.words}, by {each.by}{taken}"
        yield "" if number else "control", Text(line, style="" if each.taken_at else "yellow")


def done_of(stats: Stats, kind: SessionKind = "run") -> str:
    """Returns how far a session of a kind is: ``1,204 of 5,000 (24%)``."""
    if kind == "verify":
        return f"{stats.rows:,}; {stats.done:,} called again"
    return _share(stats.done, stats.rows)


def _share(done: int, rows: int) -> str:
    return f"{done:,} of {rows:,} ({done / rows if rows else 1.0:.0%})"


def seen_at(session: Session) -> datetime:
    """Returns the last sign of life of a session."""
    return utc_of(max(session.ended_at or 0, session.beat_at or 0, session.started_at))


def silent_s(session: Session) -> float:
    """Returns the seconds since the last sign of life of a session."""
    return max(0.0, (datetime.now(UTC) - seen_at(session)).total_seconds())


def utc_of(at_ms: int) -> datetime:
    """Returns a time of the store, Unix milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _at(at_ms: int) -> str:
    return in_utc(at_ms / 1000)


def _clock(at: datetime) -> str:
    return in_utc(at.timestamp())
