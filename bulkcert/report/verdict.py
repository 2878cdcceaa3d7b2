"""The verdict: what came of it, in one line that promises nothing that is not known."""

from collections.abc import Iterator

from bulkcert.output.advice import quoted, sentence
from bulkcert.output.steps import steps_after, steps_left
from bulkcert.output.summary import utc
from bulkcert.report.figures import Certificates, Headline, ResultsFile, Verified
from bulkcert.service.actions import ACTIONS, Action
from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.store.sessions import Asked
from bulkcert.store.status import RunStatus, State
from bulkcert.words import REHEARSAL, REHEARSED, clock, counted, later, spaced, tr, trn

_SAID_OTHERWISE = {*DESIRED, Outcome.UNKNOWN, Outcome.DUPLICATE, Outcome.UNDONE}
"""Outcomes that the headline has words of their own for, or that count as another row; the others are named."""


def verdict_on(
    status: RunStatus, asked: Asked, known: Certificates, verified: Verified | None, results: ResultsFile
) -> Headline:
    """Returns what came of a run; what was read back, where it was, counts more than what the service answered."""
    action = ACTIONS[asked.action]
    of = asked.rows - status.outcomes[Outcome.DUPLICATE]
    cut_off = status.is_held or status.state is State.INTERRUPTED
    all_good, state = known.desired == of, tr(action.desired)
    tone = "open" if cut_off else "good" if all_good else "bad"
    label = tr("All {state}", state=state) if all_good else tr("Not all {state}", state=state)
    label = (tr("Running") if status.is_held else tr("Unfinished")) if cut_off else label
    if known.is_undone:
        label = tr("UNDONE")
    elif not of and not cut_off:
        label = tr("Nothing to do")
    elif not cut_off and all_good and verified is not None and verified.in_doubt:
        tone, label = "open", tr("Not verified")
    line = tr("; ").join(_parts(action, known, of, verified)) + tr(".")
    if not of:
        line = tr("The list was empty: there was no {kind} to call.", kind=tr(_kind(action)))
    if asked.rehearsal:
        label = f"{tr(REHEARSAL)}: {label}"
    notes = [f"{tr(REHEARSAL)}: {tr(REHEARSED)}{tr('.')}"] if asked.rehearsal else []
    notes += [*_notes(status), *_notes_on_results(status, results), *_notes_read_back(asked, verified)]
    notes += [*_kept_open(status, known), *_notes_on_duplicates(asked, action, of)]
    return Headline(line, tone, label, notes, list(_steps(status)))


def _kind(action: Action) -> str:
    return later("certificate") if action.by_device else later("CA")


def _parts(action: Action, known: Certificates, of: int, verified: Verified | None) -> Iterator[str]:
    """Yields how many are in the opposite state again, how many are in the desired state, and what the others are."""
    of_all, state = counted(of, _kind(action)), tr(action.desired)
    if known.is_undone:
        opposite = tr(ACTIONS[action.inverse or action.name].desired)
        again = later("{count:,} of {of} is {state} again"), later("{count:,} of {of} are {state} again")
        yield trn(*again, known.undone, of=of_all, state=opposite)
        if known.maybe_undone:
            yield tr("{count:,} may be: no answer to the undo is known", count=known.maybe_undone)
        if known.desired:
            yield trn("{count:,} is {state}", "{count:,} are {state}", known.desired, state=state)
    else:
        desired = later("{count:,} of {of} is {state}"), later("{count:,} of {of} are {state}")
        yield trn(*desired, known.desired, of=of_all, state=state)
    others = {spaced(name): count for name, count in known.statuses.items()}
    if verified is not None and verified.first is not None:
        yield from _others(others, is_undone=known.is_undone)
        if unread := known.outcomes:
            named = _listed({spaced(name): count for name, count in unread.items()})
            yield tr("{count:,} not read back: {named}", count=sum(unread.values()), named=named)
    else:
        others |= {spaced(name): count for name, count in known.outcomes.items() if name not in _SAID_OTHERWISE}
        yield from _others(others, is_undone=known.is_undone)
        if unknown := known.outcomes.get(Outcome.UNKNOWN):
            yield tr("{count:,} may or may not be: no answer came", count=unknown)
    if verified is not None and verified.missed:
        yield tr("the last verification did not read {count:,}", count=verified.missed)


def _others(others: dict[str, int], *, is_undone: bool) -> Iterator[str]:
    """Yields how many are not in the desired state, nor in the opposite state again where any is, and what they are."""
    if bad := sum(others.values()):
        others_are = later("{count:,} other: {named}"), later("{count:,} others: {named}")
        is_not = later("{count:,} is not: {named}"), later("{count:,} are not: {named}")
        yield trn(*(others_are if is_undone else is_not), bad, named=_listed(others))


def _listed(counts: dict[str, int]) -> str:
    return tr(", ").join(f"{count:,} {word}" for word, count in counts.items())


_DOES = {"run": later("run"), "undo": later("undo"), "verify": later("verification")}


def _notes(status: RunStatus) -> Iterator[str]:
    session, doing = status.session, status.doing
    if session is None or doing is None:
        return
    does = tr(_DOES[doing.kind])
    if status.state is State.STARTING:
        yield tr("Another process holds the run and is about to start: what it does is not in here yet.")
    elif status.is_held:
        running = tr(_DOES[session.kind])
        yield tr("The {does} is running: what it does after this report was made is not in here.", does=running)
    elif status.state is State.INTERRUPTED and not doing.stopped:
        yield tr("The {does} was interrupted: killed, its machine went down, or its disk took nothing more.", does=does)
    elif session.ended_at is None:
        yield tr("The last verification was interrupted: it has not read everything.")
    if doing.stopped and not status.is_held:
        yield tr("The {does} stopped early: {why}", does=does, why=doing.stopped)


def _notes_on_results(status: RunStatus, results: ResultsFile) -> Iterator[str]:
    if status.is_held:
        return
    if results.sha256 is None:
        yield tr(
            "The results file is not there: this report is made from the store of the run, which holds every outcome."
        )
    elif results.is_changed:
        yield tr("The results file was changed or rewritten since (SHA-256): this report goes by the store of the run.")


def _notes_read_back(asked: Asked, verified: Verified | None) -> Iterator[str]:
    if verified is not None and verified.first and verified.last:
        first, last = clock(verified.first), clock(verified.last)
        yield tr("Read back from {first} to {last}; what has changed since is not in here.", first=first, last=last)
    elif asked.rows:
        yield tr("Not read back: this is what the service answered, not what the certificates are now.")
    if verified is not None and verified.finished and verified.in_doubt:
        when, read = clock(verified.finished), counted(sum(verified.statuses.values()), "certificate")
        said = {"when": when, "read": read, "missed": verified.missed}
        if verified.stopped:
            why = verified.stopped.removesuffix(".")
            yield tr(
                "The last verification, on {when}, ended with {status}: {why}. "
                "It read {read} and did not read {missed:,}.",
                **said,
                status=verified.exit_status,
                why=why,
            )
        else:
            yield tr("The last verification, on {when}, read {read} and did not read {missed:,}.", **said)


def _notes_on_duplicates(asked: Asked, action: Action, of: int) -> Iterator[str]:
    if again := asked.rows - of:
        own = counted(of, _kind(action))
        says = (
            later("The list has {rows}: {own} and {count:,} duplicate, which has the outcome of the row it repeats."),
            later(
                "The list has {rows}: {own} and {count:,} duplicates, which have the outcome of the row they repeat."
            ),
        )
        yield trn(*says, again, rows=counted(asked.rows, "row"), own=own)


def _kept_open(status: RunStatus, known: Certificates) -> Iterator[str]:
    """Yields of how many rows less is known than their outcome says."""
    if known.unread:
        one = later("{count:,} was not read back since: as the service answered.")
        many = later("{count:,} were not read back since: as the service answered.")
        yield trn(one, many, known.unread)
    if known.in_doubt:
        rows = counted(known.in_doubt, "row")
        yield tr("{rows} may have been called by a session that was interrupted, without a trace.", rows=rows)
    if known.is_undone and (undo := next((each for each in reversed(status.sessions) if each.kind == "undo"), None)):
        yield tr("The last undo began on {when}.", when=clock(utc(undo.started_at / 1000)))


def _steps(status: RunStatus) -> Iterator[str]:
    if status.is_held:
        yield tr("See how far it is: {command}", command=quoted(status.files.command("status")))
        return
    for step in (*steps_left(status), *steps_after(status)):
        if step.command != status.files.command("report"):
            yield sentence(step)
