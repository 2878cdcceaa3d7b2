"""What every command that calls the service does: credentials first, signals, what is shown, and the product."""

import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import anyio

from bulkcert.engine.failures import Stop
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.progress import Progress
from bulkcert.engine.session import Observer, Supervision, fetch_credentials, unwrapped, uvloop_or_none
from bulkcert.errors import ExitStatus, end_on_signals, stop_signals
from bulkcert.log import written
from bulkcert.runs.opened import OpenRun
from bulkcert.service.credentials import CredentialProvider
from bulkcert.telemetry.events import watch_events
from bulkcert.views import errors
from bulkcert.words import counted

Leave = Callable[[int], NoReturn]
"""Ends the process at once, for the signal of this number."""

Work = Callable[[Supervision], Coroutine[Any, Any, object]]
"""Makes calls."""


def prepare(provider: CredentialProvider, leave: Leave) -> None:
    """Fetches credentials before anything is called; from then on a signal ends the command with its clean-up.

    Args:
        provider: Where they go.
        leave: Called on a signal that comes meanwhile.

    Raises:
        BulkcertError: There are none.
    """
    # On a loop of its own, which has no sockets.
    with unwrapped():
        anyio.run(_fetch_or_leave, provider, leave)
    end_on_signals()


async def _fetch_or_leave(provider: CredentialProvider, leave: Leave) -> None:
    """Fetches credentials; a signal need not wait for a slow credentials server."""
    async with anyio.create_task_group() as group:
        group.start_soon(_obey_signals, leave, None)
        await fetch_credentials(provider)
        group.cancel_scope.cancel()


async def _obey_signals(leave: Leave, lanes: Lanes | None) -> None:
    """Stops in order on the first signal, and at once on the second, or without lanes: the store is always safe."""
    with anyio.open_signal_receiver(*stop_signals()) as signals:
        async for number in signals:
            if lanes is None:
                leave(number)
            lanes.stop(Stop(ExitStatus(128 + number), f"{signal.Signals(number).name} received", ""))
            lanes = None


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
    events = [watch_events] if written() else []
    try:
        options = {"loop_factory": uvloop_or_none()}
        with unwrapped():
            supervision = Supervision(provider, (*watches, *events), partial(_obey_signals, leave))
            anyio.run(work, supervision, backend_options=options)
    finally:
        end_on_signals()


def leave_reading(number: int) -> NoReturn:
    """Ends a process that reads at once, on the signal of this number; what it was to write is not written."""
    errors.leave(number, "left at once", again=True)


@contextmanager
def held(opened: OpenRun) -> Iterator[None]:
    """Closes a run in the end; on the error that ended it is noted whether calls were made, and what resumes it."""
    try:
        yield
    except BaseException as error:
        if not opened.store.session:
            error.add_note(errors.WayOn())
        elif resume := _resuming(opened):
            error.add_note(errors.WayOn(resume))
        raise
    finally:
        opened.close()


def leave_writing(opened: OpenRun, progress: Progress, number: int) -> NoReturn:
    """Ends a session at once, on the signal of this number: the store is safe, nothing else is tidied up."""
    if not opened.store.session:
        opened.close()
        errors.leave(number, "left; no calls were made")
    waiting = f", without waiting for {counted(progress.in_flight, 'call')} in flight" if progress.in_flight else ""
    errors.leave(
        number,
        f"left at once{waiting}",
        "Results and summary are not up to date; calls without an answer are made again.",
        resume=_resuming(opened),
    )


def _resuming(opened: OpenRun) -> str | None:
    """Returns the command that resumes a run; None for a rehearsal, whose emulator ends with it."""
    return None if opened.asked.rehearsal else opened.files.command("resume")
