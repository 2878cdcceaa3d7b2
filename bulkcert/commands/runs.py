"""``bulkcert runs``: the runs of a directory."""

from pathlib import Path

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.views import console as terminal
from bulkcert.views.runs import lines_of, runs_in


def runs(directory: Path, state_dir: Path | None, *, json: bool) -> ExitStatus:
    """Lists the runs in a directory: when each began, what it is of, how far it is, and its state."""
    where = directory if state_dir is None else state_dir
    try:
        found = runs_in(where, with_results=state_dir is None)
    except OSError as error:
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE,
            f"cannot read {where}: {error.strerror or error}",
            "Name a directory that has results of runs.",
        ) from error
    if json:
        for run in found:
            terminal.print_json(run)
        return ExitStatus.OK
    for line in lines_of(found, terminal.stdout.width if terminal.stdout.is_terminal else None):
        print(line)  # noqa: T201 - the product
    if not found:
        print(f"no runs in {where.absolute()}")  # noqa: T201 - the product
    return ExitStatus.OK
