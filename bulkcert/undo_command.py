"""The command that takes a run back, the same wherever it is named."""

import shlex

from bulkcert.actions import ACTIONS
from bulkcert.batch.outcome import Outcome
from bulkcert.batch.summary import Summary
from bulkcert.words import counted


def undo_command(summary: Summary, results: str) -> tuple[str, str] | None:
    """Returns what it does, in words, and the command, for a shell; None where there is nothing to take back.

    Args:
        summary: Of the run.
        results: Its results, as the command is to name them.
    """
    changed = summary.outcomes.get(Outcome.SUCCEEDED, 0) + summary.outcomes.get(Outcome.UNKNOWN, 0)
    is_undone = summary.standing_undo and not summary.called_since_undo
    if is_undone or not changed or ACTIONS[summary.action].inverse is None:
        return None
    # Without a word about them the undo would ask for one.
    unknown = summary.unknown_before
    blindly = f" ({counted(unknown, 'row')}: what they were before is not known)" if unknown else ""
    options = " --include-unknown" * bool(unknown) + " --overwrite" * summary.called_since_undo
    return f"to take it back{blindly}", f"bulkcert undo {shlex.quote(results)}{options}"
