"""The verdict: what came of it, in one line that promises nothing that is not known."""

import shlex
from collections.abc import Iterator

from bulkcert.actions import ACTIONS, Action
from bulkcert.batch.outcome import WANTED, Outcome
from bulkcert.batch.summary import Summary
from bulkcert.report.figures import Asked, OutcomeCount, Verdict, Verified
from bulkcert.report.history import History

_NOT_WANTED = (
    Outcome.NOT_REGISTERED,
    Outcome.FAILED,
    Outcome.INVALID,
    Outcome.NOT_ATTEMPTED,
    Outcome.PROTECTED,
)
_RETRIED = (Outcome.FAILED, Outcome.UNKNOWN, Outcome.NOT_REGISTERED)


def verdict_on(
    asked: Asked,
    outcomes: list[OutcomeCount],
    verified: Verified | None,
    history: History,
    summary: Summary | None,
) -> Verdict:
    """Returns what came of a run; what was read back, where it was, counts more than what the service answered."""
    action = ACTIONS[asked.action]
    rows = {Outcome(each.outcome): each.rows for each in outcomes}
    of = asked.rows - rows.get(Outcome.DUPLICATE, 0)
    kind = "certificate" if action.by_device else "CA"
    if verified is None:
        good = sum(rows.get(outcome, 0) for outcome in WANTED)
        others = {_words(outcome): rows[outcome] for outcome in _NOT_WANTED if outcome in rows}
        open_ = [f"{rows[Outcome.UNKNOWN]:,} may or may not be: no answer came"] if Outcome.UNKNOWN in rows else []
    else:
        good, unread = verified.wanted, verified.unread
        others = {_words(name): count for name, count in verified.statuses.items() if name != action.wanted_status}
        told = ", ".join(f"{count:,} {_words(name)}" for name, count in unread.items())
        open_ = [f"{sum(unread.values()):,} not read back: {told}"] if unread else []
    all_good = good == of
    cut_off = history.held or _killed(history)
    tone = "open" if cut_off else "good" if all_good else "bad"
    label = "Unfinished" if cut_off else f"All {action.wanted}" if all_good else f"Not all {action.wanted}"
    counted = f"{good:,} of {of:,} {kind}{'' if of == 1 else 's'} {'is' if good == 1 else 'are'} {action.wanted}"
    line = "; ".join([counted, *_others(others), *open_]) + "."
    if not of:
        line = f"The list was empty: there was no {kind} to call."
    notes = list(_notes(asked, verified, history, summary))
    return Verdict(line, tone, label, notes, list(_steps(asked, rows, verified, action, history)))


def _others(others: dict[str, int]) -> Iterator[str]:
    """Yields how many are not as wanted, and what they are."""
    if bad := sum(others.values()):
        told = ", ".join(f"{count:,} {word}" for word, count in others.items())
        yield f"{bad:,} {'is' if bad == 1 else 'are'} not: {told}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _killed(history: History) -> bool:
    """Returns whether the last start did not end in order; its calls may not be in the results."""
    return bool(history.starts) and not history.starts[-1].ended


def _notes(asked: Asked, verified: Verified | None, history: History, summary: Summary | None) -> Iterator[str]:
    if history.held:
        yield "A run or a verification of these results is going on: what it does is not in here yet."
    elif _killed(history):
        yield "The last start of the command was killed, or could not write: calls that it made may not be in here."
    if summary is None:
        yield "There is no summary beside the results, as after a kill: figures that only it has are missing."
    elif asked.recorded_sha256 != asked.results_sha256 and not history.held:
        yield "The results are not the file that the summary tells of (SHA-256): it was changed or rewritten since."
    if history.header is None:
        yield "There is no journal beside the results: by whom it was started is not known."
    elif history.header.rows != asked.rows:
        yield f"The results have {asked.rows:,} rows, the journal tells of {history.header.rows:,}: not all is here."
    if verified is None and asked.rows:
        yield "Not read back: this is what the service answered, not what the certificates are now."
    elif verified is not None:
        between = f"from {_short(verified.first)} to {_short(verified.last)}"
        yield f"Read back {between}; what has changed since is not in here."
    if summary is not None:
        yield from _later(summary)


def _later(summary: Summary) -> Iterator[str]:
    if undo := summary.taken_back:
        yield f"Taken back since: an undo of {undo.rows:,} rows ended at {_short(undo.finished)}; see {undo.results}"
    if summary.stopped:
        yield f"The run stopped early: {summary.stopped}"


def _short(at: str) -> str:
    return f"{at[:10]} {at[11:19]} UTC"


def _steps(
    asked: Asked, rows: dict[Outcome, int], verified: Verified | None, action: Action, history: History
) -> Iterator[str]:
    results = shlex.quote(asked.results)
    if history.held:
        yield "Wait until it has ended, then make this report again."
        return
    if rows.get(Outcome.NOT_ATTEMPTED) or _killed(history):
        yield "Run the same command again: it goes on where it stopped."
    elif any(rows.get(outcome) for outcome in _RETRIED):
        yield "Run the same command again with --retry-failed: it calls the rows that did not succeed."
    if verified is None and asked.rows:
        yield f"Read back what is true now: bulkcert verify {results}"
    if action.inverse is not None and rows.get(Outcome.SUCCEEDED):
        yield f"To take it back: bulkcert undo {results}"
