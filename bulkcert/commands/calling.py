"""What every command that calls the service does: credentials first, signals, what is shown, and the product."""

from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import anyio

from bulkcert.engine.progress import Progress
from bulkcert.engine.session import Leave, Observer, fetch_credentials, together
from bulkcert.errors import BulkcertError, end_on_signals
from bulkcert.log import is_kept
from bulkcert.runs.opened import OpenRun
from bulkcert.service.credentials import CredentialProvider
from bulkcert.telemetry.events import watch_events
from bulkcert.views import console as terminal
from bulkcert.words import counted

Work = Callable[[CredentialProvider, Observer, Leave], Coroutine[Any, Any, object]]
"""Makes calls signed by a provider, is watched meanwhile, and knows how to leave at once."""


def uvloop_or_none() -> Callable[[], AbstractEventLoop] | None:
    """Returns what makes an event loop at half the price, where it can be imported; asyncio's does otherwise."""
    try:
        import uvloop  # noqa: PLC0415 - not everywhere
    except ImportError:
        return None
    return uvloop.new_event_loop


def prepare(provider: CredentialProvider, leave: Leave) -> None:
    """Fetches credentials before anything is called; from then on a signal ends the command with its clean-up.

    Args:
        provider: Where they go.
        leave: Called on a signal that comes meanwhile.

    Raises:
        BulkcertError: There are none.
    """
    # On a loop of its own, which has no sockets.
    anyio.run(fetch_credentials, provider, leave)
    end_on_signals()


def call(work: Work, provider: CredentialProvider, leave: Leave, *watches: Observer) -> None:
    """Makes the calls of a command.

    Args:
        work: Makes them.
        provider: Has credentials.
        leave: Called on the second signal.
        watches: Run next to the calls; so do the events of the log for machines, if there is one.

    Raises:
        BulkcertError: The work has failed.
    """
    events = [watch_events] if is_kept() else []
    try:
        options = {"loop_factory": uvloop_or_none()}
        anyio.run(work, provider, together(*watches, *events), leave, backend_options=options)
    except ExceptionGroup as group:
        # What fails next to other work comes wrapped.
        if (failure := _only_failure(group)) is None:
            raise
        raise failure from group
    finally:
        end_on_signals()


def _only_failure(group: ExceptionGroup[Exception]) -> BulkcertError | None:
    """Returns the error that a group consists of, if all in it are of our own."""
    found: Exception = group
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    alone = group.split(BulkcertError)[1] is None
    return found if alone and isinstance(found, BulkcertError) else None


def leave_reading(number: int) -> NoReturn:
    """Ends a process that reads at once, on the signal of this number; what it was to write is not written."""
    terminal.leave(number, "left at once", again=True)


@contextmanager
def held(opened: OpenRun) -> Iterator[None]:
    """Closes a run in the end; on the error that ended it is noted whether calls were made, and what resumes it."""
    try:
        yield
    except BaseException as error:
        if not opened.store.session:
            error.add_note(terminal.WayOn())
        elif resume := _resuming(opened):
            error.add_note(terminal.WayOn(resume))
        raise
    finally:
        opened.close()


def leave_writing(opened: OpenRun, progress: Progress, number: int) -> NoReturn:
    """Ends a session at once, on the signal of this number: the store is safe, nothing else is tidied up."""
    if not opened.store.session:
        opened.close()
        terminal.leave(number, "left; no calls were made")
    waiting = f", without waiting for {counted(progress.in_flight, 'call')} in flight" if progress.in_flight else ""
    terminal.leave(
        number,
        f"left at once{waiting}",
        "Results and summary are not up to date; calls without an answer are made again.",
        resume=_resuming(opened),
    )


def _resuming(opened: OpenRun) -> str | None:
    """Returns the command that resumes a run; None for a rehearsal, whose emulator ends with it."""
    return None if opened.asked.rehearsal else opened.files.command("resume")
