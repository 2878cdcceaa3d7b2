"""The verdict: what came of it, in one line that promises nothing that is not known."""

from collections.abc import Iterator

from bulkcert.output.advice import quoted, sentence, steps_after, steps_left
from bulkcert.output.summary import utc
from bulkcert.report.figures import Certificates, Headline, ResultsFile, Verified
from bulkcert.service.actions import ACTIONS, Action
from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.store.schema import Asked
from bulkcert.store.status import RunStatus, State
from bulkcert.words import REHEARSAL, REHEARSED, clock, counted, spaced

_SAID_OTHERWISE = {*DESIRED, Outcome.UNKNOWN, Outcome.DUPLICATE, Outcome.UNDONE}
"""Outcomes that the headline has words of their own for, or that count as another row; the others are named."""


def verdict_on(
    status: RunStatus, asked: Asked, known: Certificates, verified: Verified | None, results: ResultsFile
) -> Headline:
    """Returns what came of a run; what was read back, where it was, counts more than what the service answered.

    Args:
        status: Its status.
        asked: What was asked.
        known: What is known of its certificates.
        verified: What was read back.
        results: The results file.
    """
    action = ACTIONS[asked.action]
    of = asked.rows - status.outcomes[Outcome.DUPLICATE]
    cut_off = status.is_held or status.state is State.INTERRUPTED
    all_good = known.desired == of
    tone = "open" if cut_off else "good" if all_good else "bad"
    label = "Unfinished" if cut_off else f"All {action.desired}" if all_good else f"Not all {action.desired}"
    if known.is_undone:
        label = "UNDONE"
    elif not of and not cut_off:
        label = "Nothing to do"
    elif not cut_off and all_good and verified is not None and verified.in_doubt:
        tone, label = "open", "Not verified"
    line = "; ".join([*_parts(action, known, of, verified), *_missed(verified)]) + "."
    if not of:
        line = f"The list was empty: there was no {_kind(action)} to call."
    if asked.rehearsal:
        label = f"{REHEARSAL}: {label}"
    notes = [f"{REHEARSAL}: {REHEARSED}."] if asked.rehearsal else []
    notes += [*_notes(status), *_notes_on_results(status, results), *_notes_read_back(asked, verified)]
    notes += _kept_open(status, known)
    return Headline(line, tone, label, notes, list(_steps(status)))


def _kind(action: Action) -> str:
    return "certificate" if action.by_device else "CA"


def _parts(action: Action, known: Certificates, of: int, verified: Verified | None) -> Iterator[str]:
    """Yields how many are in the opposite state again, how many are in the desired state, and what the others are."""
    of_all = f"of {of:,} {_kind(action)}{'' if of == 1 else 's'}"
    if known.is_undone:
        yield f"{known.undone:,} {of_all} {_are(known.undone)} {ACTIONS[action.inverse or action.name].desired} again"
        if known.maybe_undone:
            yield f"{known.maybe_undone:,} may be: no answer to the undo is known"
        if known.desired:
            yield f"{known.desired:,} {_are(known.desired)} {action.desired}"
    else:
        yield f"{known.desired:,} {of_all} {_are(known.desired)} {action.desired}"
    others = {spaced(name): count for name, count in known.statuses.items()}
    if verified is not None and verified.first is not None:
        yield from _others(others, neither=known.is_undone)
        if unread := known.outcomes:
            named = ", ".join(f"{count:,} {spaced(name)}" for name, count in unread.items())
            yield f"{sum(unread.values()):,} not read back: {named}"
        return
    others |= {spaced(name): count for name, count in known.outcomes.items() if name not in _SAID_OTHERWISE}
    yield from _others(others, neither=known.is_undone)
    if unknown := known.outcomes.get(Outcome.UNKNOWN):
        yield f"{unknown:,} may or may not be: no answer came"


def _others(others: dict[str, int], *, neither: bool) -> Iterator[str]:
    """Yields how many are not in the desired state, nor in the opposite state again where any is, and what they are."""
    if bad := sum(others.values()):
        named = ", ".join(f"{count:,} {word}" for word, count in others.items())
        yield f"{bad:,} {_are(bad)} {'neither' if neither else 'not'}: {named}"


def _missed(verified: Verified | None) -> Iterator[str]:
    if verified is not None and verified.missed:
        yield f"the last verification did not read {verified.missed:,}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


_DOES = {"run": "run", "undo": "undo", "verify": "verification"}


def _notes(status: RunStatus) -> Iterator[str]:
    session, doing = status.session, status.doing
    if session is None or doing is None:
        return
    if status.state is State.STARTING:
        yield "Another process holds the run and is about to start: what it does is not in here yet."
    elif status.is_held:
        yield f"The {_DOES[session.kind]} is running: what it does after this report was made is not in here."
    elif status.state is State.INTERRUPTED:
        yield f"The {_DOES[doing.kind]} was interrupted: killed, or its machine went down."
    elif session.ended_at is None:
        yield "The last verification was interrupted: it has not read everything."
    if repeated := status.outcomes[Outcome.DUPLICATE]:
        certificates = "repeats the certificate" if repeated == 1 else "repeat the certificates"
        yield f"{counted(repeated, 'further row')} {certificates} of earlier ones."
    if doing.stopped and not status.is_held:
        yield f"The {_DOES[doing.kind]} stopped early: {doing.stopped}"


def _notes_on_results(status: RunStatus, results: ResultsFile) -> Iterator[str]:
    if status.is_held:
        return
    if results.sha256 is None:
        yield "The results file is not there: this report is made from the store of the run, which holds every outcome."
    elif results.is_changed:
        yield "The results file was changed or rewritten since (SHA-256): this report goes by the store of the run."


def _notes_read_back(asked: Asked, verified: Verified | None) -> Iterator[str]:
    if verified is not None and verified.first and verified.last:
        between = f"from {clock(verified.first)} to {clock(verified.last)}"
        yield f"Read back {between}; what has changed since is not in here."
    elif asked.rows:
        yield "Not read back: this is what the service answered, not what the certificates are now."
    if verified is not None and verified.finished and verified.in_doubt:
        why = f" ended with {verified.exit_status}: {verified.stopped.removesuffix('.')}." if verified.stopped else ""
        read = f"read {counted(sum(verified.statuses.values()), 'certificate')} and did not read {verified.missed:,}"
        yield f"The last verification, on {clock(verified.finished)},{why and f'{why} It'} {read}."


def _kept_open(status: RunStatus, known: Certificates) -> Iterator[str]:
    """Yields of how many rows less is known than their outcome says."""
    if known.unread:
        yield f"{known.unread:,} {'was' if known.unread == 1 else 'were'} not read back since: as the service answered."
    if known.in_doubt:
        rows = counted(known.in_doubt, "row")
        yield f"{rows} may have been called by a session that was killed, without a trace."
    if known.is_undone and (undo := next((each for each in reversed(status.sessions) if each.kind == "undo"), None)):
        yield f"The last undo began on {clock(utc(undo.started_at / 1000))}."


def _steps(status: RunStatus) -> Iterator[str]:
    if status.is_held:
        yield f"See how far it is: {quoted(status.files.command('status'))}"
        return
    for step in (*steps_left(status), *steps_after(status)):
        if step.command != status.files.command("report"):
            yield sentence(step)
