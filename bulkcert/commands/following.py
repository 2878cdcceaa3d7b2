"""Following a run from another process until it ends."""

import time
from collections.abc import Callable

from bulkcert.errors import ExitStatus, SignalError
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import NoRunError, RunStatus, status_of
from bulkcert.views.layout import over_echo

POLL_EVERY_S = 0.5
"""How often the store is read while a run is followed."""

APPEARS_S = 5.0
"""So long a run that is to be followed may take to appear."""


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
    if isinstance(error, SignalError):
        return error.error.status
    over_echo()
    return ExitStatus.INTERRUPTED
