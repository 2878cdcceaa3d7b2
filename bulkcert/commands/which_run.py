"""Which run a command is about that reads what another command has made."""

from pathlib import Path

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.actions import ACTIONS, ActionName
from bulkcert.store.paths import results_of


def results_meant(results: Path | None, action: ActionName | None, paths: list[Path] | None) -> Path:
    """Returns the results that are meant: those that are named, or those that a job writes by default.

    Args:
        results: As typed, or those of the job file.
        action: Of the job file.
        paths: The list of the job file.

    Raises:
        BulkcertError: Neither is named.
    """
    if results is not None:
        return results_of(results)
    if action is None or not paths:
        raise BulkcertError(
            ExitStatus.USAGE,
            "which run is missing",
            "Type its results file after the command, or name its job file (--job).",
        )
    from bulkcert.runs.job import default_results  # noqa: PLC0415 - loads far more code than status needs

    return default_results(paths[0], ACTIONS[action])
