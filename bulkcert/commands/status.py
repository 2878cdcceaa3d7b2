"""``bulkcert status``: how a run stands, from another terminal."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from bulkcert import terminal
from bulkcert.actions import ActionName
from bulkcert.batch.standing import NoRunError, Standing, results_of, standing_of
from bulkcert.commands.which_run import results_meant
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.status_view import line_of, rows_of, told

LINE_EVERY_S = 5.0
LOOK_EVERY_S = 0.5
"""How often the files are looked at while a run is followed."""

APPEARS_S = 5.0
"""So long a run that is to be followed may take to appear."""

BAR_WIDTH = 60


def status(
    results: Annotated[Path | None, Parameter(name=["--results", "-o"])] = None,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"])] = False,
    json: bool = False,
    action: Annotated[ActionName | None, Parameter(show=False)] = None,
    input_: Annotated[Path | None, Parameter(name="input", show=False)] = None,
) -> int:
    """Says how a run stands: how far it is, how fast, what came of it, what it waits for; or how it ended.

    It reads the run's files, and writes nothing.

    Args:
        results: The results file of the run, which need not be there yet, or its journal; with --job that of the job.
            Exit status: 0 while the run goes on, then that of the run, or if that is 0 of
            its last verification; 75 if it was cut off; 66 if there is none.
        follow: Go on until the run ends, and exit as it did: a live view on a terminal, else a line every 5 s.
        json: Print one JSON object; with --follow one a line. Its "state" is starting, running, silent (it may hang),
            undoing (an undo takes it back), ended or cut_off.
        action: Of the job file.
        input_: Of the job file.
    """
    path = results_of(results_meant(results, action, input_))
    if not follow:
        standing = standing_of(path)
    else:
        try:
            standing = _follow(path, _found(path), as_json=json)
        except KeyboardInterrupt:
            return ExitStatus.INTERRUPTED
        except BulkcertError as error:
            if error.status is not ExitStatus.TERMINATED:
                raise
            # It is the looking that was ended, and there is nothing to go on with.
            return ExitStatus.TERMINATED
    _show(standing, as_json=json)
    return int(standing.exit_status)


def _found(path: Path) -> Standing:
    """Returns how a run stands that may have been started just now: it takes a moment to check its list."""
    until = time.monotonic() + APPEARS_S
    while True:
        try:
            return standing_of(path)
        except NoRunError:
            if time.monotonic() >= until:
                raise
        time.sleep(LOOK_EVERY_S)


def _follow(path: Path, standing: Standing, *, as_json: bool) -> Standing:
    """Shows a run until it ends; returns how it stands then."""
    if terminal.stdout.is_terminal and not as_json:
        with Live(console=terminal.stdout, auto_refresh=False, transient=True) as live:
            return _until_ended(path, standing, lambda now: live.update(_view(now), refresh=True), LOOK_EVERY_S)
    shown = _print_json if as_json else lambda now: print(line_of(now), flush=True)  # noqa: T201 - a line for a pipe
    return _until_ended(path, standing, shown, LINE_EVERY_S)


def _until_ended(path: Path, standing: Standing, show: Callable[[Standing], None], every_s: float) -> Standing:
    shown_at = float("-inf")
    while standing.goes_on:
        if time.monotonic() - shown_at >= every_s:
            shown_at = time.monotonic()
            show(standing)
        time.sleep(LOOK_EVERY_S)
        standing = standing_of(path)
    return standing


def _view(standing: Standing) -> Group:
    lines = [Text.assemble(f"{name:<14}", value) for name, value in rows_of(standing)]
    if (taken := standing.snapshot) is None:
        return Group(*lines)
    return Group(ProgressBar(max(taken.session.rows, 1), taken.done, width=BAR_WIDTH), *lines)


def _show(standing: Standing, *, as_json: bool) -> None:
    if as_json:
        _print_json(standing)
    else:
        terminal.show(rows_of(standing))


def _print_json(standing: Standing) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(told(standing)) + b"\n")
    sys.stdout.buffer.flush()
