"""How a run stands, for people and for programs."""

import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec
from rich.text import Text

from bulkcert.actions import ACTIONS
from bulkcert.batch.last_errors import LastError
from bulkcert.batch.outcome import WANTED, Outcome
from bulkcert.batch.snapshot import Snapshot
from bulkcert.batch.standing import ERRORS_KEPT, Recorded, Standing, State
from bulkcert.batch.summary import Summary
from bulkcert.unregistered import on_unregistered
from bulkcert.verified import label_of, told_read
from bulkcert.words import counted, duration, meaning

MOST_MESSAGE = 160
"""Characters of a message that are shown."""

GO_ON = (
    "Run the same command again: it reads the journal, calls what has no outcome yet, and calls nothing twice that is "
    "known done."
)


class Told(msgspec.Struct, frozen=True):
    """What ``--json`` prints.

    Attributes:
        state: How the run stands, see ``standing.State``.
        exit_status: That of ``bulkcert status``.
        results: The results file.
        rows: Rows of the input; null before a session begins to call.
        done: Rows whose outcome is settled; those that the run has not come to are not.
        outcomes: Those rows by outcome, and in the end those not attempted as well.
        next: What to do next; empty where there is nothing to do.
        silent_s: Seconds since the last sign of life; null unless the run goes on.
        session: What the session does, or did before it was cut off.
        errors: The newest errors, one for each code, the latest first.
        ending: The summary of a run that ended in order.
        undo: The results of the undo that takes the run back; null unless one goes on.
    """

    state: State
    exit_status: int
    results: str
    rows: int | None
    done: int
    outcomes: Mapping[str, int]
    next: str
    silent_s: float | None
    session: Snapshot | None
    errors: list[LastError]
    ending: Summary | None
    undo: str | None


def told(standing: Standing) -> Told:
    """Returns how a run stands, for programs."""
    taken, recorded, ending = standing.snapshot, standing.recorded, standing.ending
    rows, outcomes = _counts(standing)
    return Told(
        standing.state,
        int(standing.exit_status),
        str(standing.results),
        rows,
        taken.done if taken and not recorded else _settled(outcomes),
        outcomes,
        _next_step(standing),
        round(taken.age_s, 1) if taken and standing.goes_on else None,
        taken,
        _newest_errors(recorded, taken),
        ending,
        str(standing.undo) if standing.undo else None,
    )


def _newest_errors(recorded: Recorded | None, taken: Snapshot | None) -> list[LastError]:
    """Returns the newest errors, one for each code; the journal of a run has those of rows alone, of all sessions."""
    newest: dict[str, LastError] = {}
    for error in (*(recorded.errors if recorded else ()), *(taken.errors if taken else ())):
        known = newest.get(error.code)
        if known is None or error.at > known.at:
            newest[error.code] = error
    return sorted(newest.values(), key=lambda error: error.at, reverse=True)[:ERRORS_KEPT]


def _settled(outcomes: Mapping[str, int]) -> int:
    return sum(count for outcome, count in outcomes.items() if outcome != Outcome.NOT_ATTEMPTED)


def _counts(standing: Standing) -> tuple[int | None, Mapping[str, int]]:
    """Returns the rows of a run, and those that are settled by outcome."""
    taken, recorded, ending = standing.snapshot, standing.recorded, standing.ending
    if ending is not None:
        return ending.rows, ending.outcomes
    if recorded is not None:
        return recorded.header.rows, {outcome.value: count for outcome, count in recorded.outcomes.items()}
    return (taken.session.rows, taken.outcomes) if taken is not None else (None, {})


def rows_of(standing: Standing) -> Iterator[tuple[str, str | Text]]:
    """Yields names and values that say how a run stands, for people."""
    yield "state", _state(standing)
    if standing.ending is not None:
        yield from _ended(standing.ending)
    elif standing.recorded is not None:
        yield from _cut_off(standing.recorded, standing.snapshot)
    elif standing.snapshot is not None:
        yield from _going_on(standing.snapshot)
    yield "results", str(standing.results)
    if step := _next_step(standing):
        yield "next", step


def line_of(standing: Standing) -> str:
    """Returns how a run stands that goes on, on one line."""
    taken = standing.snapshot
    if taken is None:
        return "; ".join(filter(None, (str(_state(standing)), _next_step(standing))))
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in taken.outcomes.items())
    parts = [
        f"{_clock(taken.now)} {taken.phase}: {_done(taken)}",
        f"{taken.rate:.0f}/s",
        outcomes or "nothing finished yet",
        f"{duration(taken.left_s)} left" if taken.left_s is not None else "",
        taken.waiting_for,
        f"no sign of life for {duration(taken.age_s)}" if standing.state is State.SILENT else "",
    ]
    return "; ".join(part for part in parts if part)


def _state(standing: Standing) -> Text:
    taken = standing.snapshot
    who = f"process {taken.session.pid} on {taken.session.host}, since {_clock(taken.session.started)}" if taken else ""
    match standing.state:
        case State.RUNNING if taken is not None:
            return Text(f"going on, {taken.phase}: {who}", style="green")
        case State.SILENT if taken is not None:
            lasted = duration(taken.age_s)
            return Text(f"going on, but no sign of life for {lasted}: {who} hangs or is stopped", style="yellow")
        case State.UNDOING:
            return Text("going on: an undo takes the run back", style="yellow")
        case State.ENDED if (ending := standing.ending) is not None:
            style = "yellow" if ending.standing_undo else "green" if ending.exit_status == 0 else "red"
            said = f"ended at {_second(ending.finished)} with {ending.exit_status}: {_came_to(ending)}"
            return Text(said, style=style)
        case State.CUT_OFF:
            return Text(_how_cut_off(standing), style="red")
        case _:
            return Text("going on: it calls nothing yet (it checks, or waits for a yes), or has nothing to call")


def _came_to(ending: Summary) -> str:
    """Returns the exit status of a run in words; what an undo has taken back is no success."""
    told = ending.stopped or meaning(ending.exit_status)
    if not ending.rows and ending.exit_status == 0:
        told = "nothing to do: the list was empty"
    return f"before the undo, {told}" if ending.standing_undo else told


def _how_cut_off(standing: Standing) -> str:
    taken, session = standing.snapshot, standing.recorded.session if standing.recorded else None
    if standing.recorded is not None and standing.recorded.ended:
        return "cut off: its calls are over, but nobody has come to write the summary"
    if session is None:
        return "cut off before the first call"
    seen = f", last seen {_clock(taken.now)}" if taken and taken.session.pid == session.pid else ""
    began = _clock(datetime.fromtimestamp(session.started_at / 1000, UTC))
    return f"cut off: process {session.pid} on {session.host} is gone; it began {began}{seen}"


def _next_step(standing: Standing) -> str:
    """Returns what to do next, in words; empty where there is nothing to do."""
    taken, ending = standing.snapshot, standing.ending
    if standing.state is State.CUT_OFF:
        where = (
            f" It was, in {taken.session.directory}: {taken.session.command}" if taken and taken.session.command else ""
        )
        return GO_ON + where
    if standing.state is State.SILENT and taken is not None:
        return f"Look at process {taken.session.pid} on {taken.session.host}; killed, the same command goes on."
    if standing.undo is not None:
        return f"bulkcert status {shlex.quote(str(standing.undo))} tells how far the undo is."
    if ending is None:
        return ""
    return " ".join(_after(ending, standing))


def _after(ending: Summary, standing: Standing) -> Iterator[str]:
    outcomes = ending.outcomes
    if (undo := ending.standing_undo) is not None:
        if undo.exit_status:
            yield f"bulkcert status {shlex.quote(undo.results)} tells how the undo stands."
        return
    if ending.advice:
        yield ending.advice
    elif outcomes.get(Outcome.NOT_ATTEMPTED):
        yield "Run the same command again to go on."
    elif outcomes.get(Outcome.FAILED, 0) + outcomes.get(Outcome.UNKNOWN, 0):
        yield "Run the same command with --retry-failed to try the failed and unknown again."
    if count := outcomes.get(Outcome.NOT_REGISTERED):
        protected = Outcome.PROTECTED in outcomes
        yield f"{count:,} not registered: {on_unregistered(ACTIONS[ending.action], protected=protected)}"
    reading, verify = ending.verification, f"bulkcert verify {shlex.quote(str(standing.results))}"
    if ending.rows and ending.exit_status == 0 and reading is None:
        yield f"{verify} proves it."
    elif reading is not None and (reading.stopped or "refused" in reading.unread_because):
        yield f"{verify} reads again what was not read."
    if reading is not None and reading.not_wanted and ending.exit_status == 0:
        yield "Run the same command with --retry-failed to call again what was read back in another state."


def _going_on(taken: Snapshot) -> Iterator[tuple[str, str | Text]]:
    session = taken.session
    yield from _what(session.action, session.instance, session.endpoint, session.input)
    yield "rows", _done(taken)
    yield from _by_outcome(taken.outcomes)
    faults = f"{_faults(taken.retries, taken.throttles)}, {counted(taken.outages, 'outage')}"
    yield "calls", f"{taken.calls:,}, {taken.rate:.0f}/s now, at most {session.cap:.0f}/s; {faults}"
    if taken.pages or taken.reads:
        yield "read", f"{counted(taken.pages, 'page')} and {counted(taken.reads, 'single certificate')}"
    for number, lane in enumerate(taken.lanes):
        name = "any address" if lane.address == "any" else lane.address
        yield "" if number else "lanes", f"{name}: {lane.rate:.0f}/s, {lane.in_flight:,} in flight"
    yield "waiting", taken.waiting_for
    if taken.left_s is not None:
        yield "left", f"about {duration(taken.left_s)}"
    yield from _errors(taken.errors)


def _cut_off(recorded: Recorded, taken: Snapshot | None) -> Iterator[tuple[str, str | Text]]:
    header = recorded.header
    yield from _what(header.action, header.instance, header.endpoint, taken.session.input if taken else "")
    yield "rows", f"{recorded.outcomes.total():,} of {header.rows:,} have an outcome in the journal"
    yield from _by_outcome({outcome.value: count for outcome, count in recorded.outcomes.items()})
    yield from _errors(_newest_errors(recorded, taken))


def _faults(retries: int, throttles: int) -> str:
    return f"{retries:,} {'retry' if retries == 1 else 'retries'}, {counted(throttles, 'throttle')}"


def _ended(ending: Summary) -> Iterator[tuple[str, str | Text]]:
    yield from _what(ending.action, ending.instance, ending.endpoint, ending.input)
    yield "rows", f"{ending.rows:,}"
    yield from _by_outcome(ending.outcomes)
    # A killed session has left no figures.
    least = "at least " if ending.calls_at_least else ""
    faults = _faults(ending.retries, ending.throttles)
    pace = f" at {ending.achieved_rate:,.1f}/s"
    if ending.calls_at_least or len(ending.sessions) > 1:
        pace = f" in all, {ending.achieved_rate:,.1f}/s in the last session"
    yield "calls", f"{least}{ending.calls:,}{pace}; {faults}"
    if (reading := ending.verification) is not None:
        style = "" if reading.exit_status == 0 else "red"
        yield label_of(reading), Text(f"{_second(reading.finished)}: {told_read(reading)}", style=style)
    if (undo := ending.taken_back) is not None:
        since = ending.done_since_undo
        again = "" if since is None else f"; called or read back again on {_second(since)}"
        failed = f", which ended with {undo.exit_status}" if undo.exit_status else ""
        told = f"{counted(undo.rows, 'row')}, by {undo.results}{failed}, on {_second(undo.finished)}{again}"
        yield "taken back", Text(told, style="yellow")


def _what(action: str, instance: str, endpoint: str, path: str) -> Iterator[tuple[str, str]]:
    yield "action", f"{action} on {instance} at {endpoint}"
    if path:
        yield "input", path


def _by_outcome(outcomes: Mapping[str, int]) -> Iterator[tuple[str, Text]]:
    for outcome, count in outcomes.items():
        style = "green" if outcome in WANTED else "yellow" if outcome == Outcome.DUPLICATE else "red"
        yield "", Text(f"{count:>9,} {outcome}", style=style)


def _errors(errors: list[LastError]) -> Iterator[tuple[str, Text]]:
    for number, error in enumerate(errors):
        row = f", row {error.row:,}" if error.row else ""
        request = f", request {error.request_id}" if error.request_id else ""
        where = f"{counted(error.count, 'time')}, last {_clock(error.at)}{row}{request}"
        yield "" if number else "errors", Text(f"{error.code} ({where}): {_printable(error.message)}", style="red")


def _done(taken: Snapshot) -> str:
    rows = taken.session.rows
    if taken.phase == "verifying":
        return f"{rows:,}; {taken.done:,} called again"
    share = taken.done / rows if rows else 1.0
    return f"{taken.done:,} of {rows:,} ({share:.0%})"


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _second(at: str) -> str:
    """Returns a time of a summary, as ``_clock`` returns others."""
    return f"{at[:19]}Z"


def _printable(text: str) -> str:
    """Returns a message of the service on one line, without what would act on the terminal."""
    shown = "".join(char if char.isprintable() else " " for char in text[: MOST_MESSAGE + 1])
    return shown if len(shown) <= MOST_MESSAGE else shown[: MOST_MESSAGE - 1] + "…"
