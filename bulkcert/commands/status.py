"""``bulkcert status``: the status of a run, from another terminal."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.text import Text

from bulkcert.errors import ExitStatus, SignalError, status_by
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import NoRunError, RunStatus, status_of
from bulkcert.views import console as terminal
from bulkcert.views.layout import NAME_WIDTH, over_echo, show
from bulkcert.views.shown import shown
from bulkcert.views.status import figures_of, is_running, line_of, rows_of, steps_of

POLL_EVERY_S = 0.5
"""How often the store is read while a run is followed."""

APPEARS_S = 5.0
"""So long a run that is to be followed may take to appear."""

LINE_EVERY_S = 5.0
BAR_WIDTH = 60


def status(results: Path, state_dir: Path | None, *, follow: bool, json: bool) -> int:
    """Shows the status of a run: how far it is, how fast, what came of it, what it waits for; or how it ended.

    Returns:
        0 while the run is running, then the exit status of the run, or if that is 0 of its last verification; 75 if it
        was interrupted.
    """
    files = RunFiles.named_by(results, state_dir)
    if not follow:
        now = status_of(files, brief=True)
    else:
        try:
            now = found(files)
            if terminal.stdout.is_terminal and not json:
                now = _follow_live(files, now)
            else:
                line = _print_json if json else lambda now: print(line_of(now), flush=True)  # noqa: T201 - for a pipe
                now = until_ended(files, now, line, LINE_EVERY_S)
        except KeyboardInterrupt as error:
            return stopped_following(error)
    if json:
        _print_json(now)
    else:
        show(rows_of(now))
        for step in steps_of(now):
            terminal.say_step(step.purpose, step.command, terminal.stdout)
    return int(now.exit_status)


def _follow_live(files: RunFiles, now: RunStatus) -> RunStatus:
    """Shows a run on a terminal, in place."""
    from rich.console import Group  # noqa: PLC0415 - what draws is loaded where something is drawn
    from rich.live import Live  # noqa: PLC0415
    from rich.progress_bar import ProgressBar  # noqa: PLC0415

    def view(now: RunStatus) -> Group:
        rows = (Text.assemble(f"{name:<{NAME_WIDTH}}", value) for name, value in rows_of(now))
        lines = [line for row in rows for line in terminal.wrapped(row, terminal.stdout, NAME_WIDTH)]
        session, stats = now.session, figures_of(now.session)
        if session is None or stats is None or session.kind == "verify" or not is_running(now):
            return Group(*lines)
        bar = ProgressBar(max(stats.rows, 1), stats.done, width=BAR_WIDTH, complete_style="blue")
        # The first, since what is too long for the terminal loses its last lines.
        return Group(bar, Text("\n"), *lines)

    with Live(console=terminal.stdout, auto_refresh=False, transient=True) as live:
        return until_ended(files, now, lambda now: live.update(view(now), refresh=True), POLL_EVERY_S)


def _print_json(now: RunStatus) -> None:
    terminal.print_json(shown(now))


def found(files: RunFiles) -> RunStatus:
    """Returns the status of a run that may have been started just now: it takes a moment to read its list.

    Raises:
        NoRunError: None has appeared.
    """
    until = time.monotonic() + APPEARS_S
    while True:
        try:
            return status_of(files, brief=True)
        except NoRunError:
            if time.monotonic() >= until:
                raise
        time.sleep(POLL_EVERY_S)


def until_ended(files: RunFiles, now: RunStatus, show: Callable[[RunStatus], None], every_s: float) -> RunStatus:
    """Shows a run every so many seconds until no process holds it; returns its status then."""
    shown_at = float("-inf")
    while now.is_held:
        if time.monotonic() - shown_at >= every_s:
            shown_at = time.monotonic()
            show(now)
        time.sleep(POLL_EVERY_S)
        now = status_of(files, brief=True)
    return now


def stopped_following(error: KeyboardInterrupt) -> ExitStatus:
    """Returns the exit status where a signal has ended the following: there is nothing to resume."""
    if not isinstance(error, SignalError):
        over_echo()
    return status_by(error)
