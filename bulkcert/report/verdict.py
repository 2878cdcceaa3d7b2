"""The verdict: what came of it, in one line that promises nothing that is not known."""

import shlex
from collections.abc import Iterator, Mapping

from bulkcert.actions import ACTIONS, Action
from bulkcert.batch.outcome import RETRIED, Outcome
from bulkcert.batch.summary import Summary, TakenBack
from bulkcert.report.figures import Asked, OutcomeCount, Verdict, Verified
from bulkcert.report.history import History, is_killed, is_reading_killed
from bulkcert.report.known import Known
from bulkcert.undo_command import undo_command
from bulkcert.words import counted

_NOT_WANTED = (
    Outcome.NOT_REGISTERED,
    Outcome.FAILED,
    Outcome.INVALID,
    Outcome.NOT_ATTEMPTED,
    Outcome.PROTECTED,
)
_CHANGED = (Outcome.SUCCEEDED, Outcome.UNKNOWN)


def verdict_on(
    asked: Asked,
    outcomes: list[OutcomeCount],
    verified: Verified | None,
    known: Known,
    *,
    history: History,
    summary: Summary | None,
) -> Verdict:
    """Returns what came of a run; what was read back, where it was, counts more than what the service answered."""
    action = ACTIONS[asked.action]
    rows = {Outcome(each.outcome): each.rows for each in outcomes}
    of = asked.rows - rows.get(Outcome.DUPLICATE, 0)
    cut_off = history.held or is_killed(history)
    all_good = known.good == of
    undo = summary.standing_undo if summary and known.back and not known.again else None
    tone = "open" if cut_off else "good" if all_good else "bad"
    label = "Unfinished" if cut_off else f"All {action.wanted}" if all_good else f"Not all {action.wanted}"
    read = verified is not None and verified.first is not None
    in_doubt = verified is not None and verified.in_doubt
    line = "; ".join([*_parts(action, known, of, read=read), *_missed(verified)]) + "."
    if not cut_off and all_good and in_doubt:
        tone, label = "open", "Not verified"
    if undo is not None:
        line = "; ".join(_parts_back(action, undo, known, of, read=read)) + "."
        tone = "bad" if undo.exit_status else "open"
        label = "Taken back in part" if undo.exit_status else "Taken back"
    if not of:
        line = f"The list was empty: there was no {_kind(action)} to call."
        label = label if cut_off else "Nothing to do"
    notes = [*_notes(asked, verified, history, summary), *_kept_open(known)]
    if summary is not None:
        notes += _later(summary, known)
    steps = _steps(asked, rows, verified, known=known, history=history, summary=summary, undo=undo)
    return Verdict(line, tone, label, notes, list(steps))


def _missed(verified: Verified | None) -> Iterator[str]:
    if verified is not None and verified.missed:
        yield f"the last verification did not read {verified.missed:,}"


def _kind(action: Action) -> str:
    return "certificate" if action.by_device else "CA"


def _parts(action: Action, known: Known, of: int, *, read: bool) -> Iterator[str]:
    """Yields how many are as wanted, and how many are not or may not be."""
    kind = f"{_kind(action)}{'' if of == 1 else 's'}"
    yield f"{known.good:,} of {of:,} {kind} {_are(known.good)} {action.wanted}"
    yield from _open_parts(known, {"taken back": known.back} if known.back else {}, read=read)


def _parts_back(action: Action, undo: TakenBack, known: Known, of: int, *, read: bool) -> Iterator[str]:
    """Yields how many were taken back, and what the others are."""
    kind = f"{_kind(action)}{'' if of == 1 else 's'}"
    failed = f" by an undo that ended with {undo.exit_status}" if undo.exit_status else ""
    were = "were to be" if undo.exit_status else "was" if undo.rows == 1 else "were"
    yield f"{undo.rows:,} of {of:,} {kind} {were} taken back on {_short(undo.finished)}{failed}"
    if known.seen_back:
        restored = ACTIONS[action.inverse or ""].wanted
        yield f"{known.seen_back:,} {_are(known.seen_back)} {restored} by the read-back since"
    if (left := known.back - undo.rows) > 0:
        yield f"{left:,} that may have been changed {_are(left)} not among them"
    if known.good:
        yield f"{known.good:,} {_are(known.good)} {action.wanted}"
    yield from _open_parts(known, {}, read=read)


def _open_parts(known: Known, others: dict[str, int], *, read: bool) -> Iterator[str]:
    """Yields what is not as wanted, and what is not known."""
    others |= {_words(status): count for status, count in known.statuses.items()}
    if read:
        yield from _others(others)
        if unread := known.outcomes:
            told = ", ".join(f"{count:,} {_words(name)}" for name, count in unread.items())
            yield f"{sum(unread.values()):,} not read back: {told}"
        return
    others |= {_words(outcome): known.outcomes[outcome] for outcome in _NOT_WANTED if outcome in known.outcomes}
    yield from _others(others)
    if unknown := known.outcomes.get(Outcome.UNKNOWN):
        yield f"{unknown:,} may or may not be: no answer came"


def _others(others: dict[str, int]) -> Iterator[str]:
    """Yields how many are not as wanted, and what they are."""
    if bad := sum(others.values()):
        told = ", ".join(f"{count:,} {word}" for word, count in others.items())
        yield f"{bad:,} {_are(bad)} not: {told}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _notes(asked: Asked, verified: Verified | None, history: History, summary: Summary | None) -> Iterator[str]:
    if history.held:
        yield "A run, an undo or a verification of these results is going on: what it does is not in here yet."
    elif is_killed(history):
        yield "The last start of the command was killed, or could not write: calls that it made may not be in here."
    elif is_reading_killed(history):
        yield "The last verification was killed: what it read, and what it called again, is not in here."
    if summary is None:
        yield "There is no summary beside the results, as after a kill: figures that only it has are missing."
    elif asked.recorded_sha256 != asked.results_sha256 and not history.held:
        yield "The results are not the file that the summary tells of (SHA-256): it was changed or rewritten since."
    if history.header is None:
        yield "There is no journal beside the results: by whom it was started is not known."
    elif history.header.rows != asked.rows:
        yield f"The results have {asked.rows:,} rows, the journal tells of {history.header.rows:,}: not all is here."
    yield from _notes_read_back(asked, verified)


def _notes_read_back(asked: Asked, verified: Verified | None) -> Iterator[str]:
    if verified is not None and verified.first and verified.last:
        between = f"from {_short(verified.first)} to {_short(verified.last)}"
        yield f"Read back {between}; what has changed since is not in here."
    elif asked.rows:
        yield "Not read back: this is what the service answered, not what the certificates are now."
    if verified is not None and verified.finished and verified.in_doubt:
        why = f" ended with {verified.exit_status}: {verified.stopped.removesuffix('.')}." if verified.stopped else ""
        read = f"read {counted(sum(verified.statuses.values()), 'certificate')} and did not read {verified.missed:,}"
        yield f"The last verification, on {_short(verified.finished)},{why and f'{why} It'} {read}."


def _kept_open(known: Known) -> Iterator[str]:
    """Yields of how many rows less is known than their outcome says."""
    if known.unread:
        yield f"{known.unread:,} {'was' if known.unread == 1 else 'were'} not read back since: as the service answered."
    if known.doubtful:
        rows = counted(known.doubtful, "row")
        yield f"Up to {rows} may have been called by a session that was killed, without a trace."


def _later(summary: Summary, known: Known) -> Iterator[str]:
    if undo := summary.taken_back:
        on = f"Taken back on {_short(undo.finished)} ({counted(undo.rows, 'row')}, see {undo.results})"
        if known.again_at:
            kind = _kind(ACTIONS[summary.action])
            yield f"{on}, done again on {_short(known.again_at)} ({counted(known.again, kind)})."
        else:
            yield f"{on}: outcomes and times are those before that."
    if summary.stopped:
        yield f"The run stopped early: {summary.stopped}"


def _short(at: str) -> str:
    return f"{at[:10]} {at[11:19]} UTC"


def _steps(
    asked: Asked,
    rows: Mapping[Outcome, int],
    verified: Verified | None,
    *,
    known: Known,
    history: History,
    summary: Summary | None,
    undo: TakenBack | None,
) -> Iterator[str]:
    results = shlex.quote(asked.results)
    if history.held:
        yield "Wait until it has ended, then make this report again."
        return
    if undo is not None:
        yield f"Read back what the undo came to: bulkcert verify {shlex.quote(undo.results)}"
        return
    if rows.get(Outcome.NOT_ATTEMPTED) or is_killed(history):
        yield "Run the same command again: it goes on where it stopped."
    elif any(rows.get(outcome) for outcome in RETRIED):
        yield "Run the same command again with --retry-failed: it calls the rows that did not succeed."
    if (verified is None and asked.rows) or known.unread or (verified is not None and verified.in_doubt):
        yield f"Read back what is true now: bulkcert verify {results}"
    if summary is None:
        if ACTIONS[asked.action].inverse is not None and any(rows.get(outcome) for outcome in _CHANGED):
            yield f"To take it back: bulkcert undo {results}"
    elif named := undo_command(summary, asked.results):
        purpose, command = named
        yield f"{purpose.capitalize()}: {command}"
