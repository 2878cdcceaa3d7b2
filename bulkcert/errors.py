"""What can end a run before or during its work, and the exit status of each."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import IntEnum
from threading import Thread
from types import FrameType
from typing import Any, NoReturn


class ExitStatus(IntEnum):
    """Exit statuses of every command; the numbers follow sysexits.h where it has a fitting one."""

    OK = 0
    """Every row is in the desired state."""
    INCOMPLETE = 1
    """The run finished, and some rows are not in the desired state."""
    USAGE = 2
    """Wrong options, or no confirmation; no calls that change anything were made."""
    TOO_MANY_ERRORS = 3
    """Stopped by ``--max-errors``."""
    INPUT_INVALID = 65
    """The input is invalid or differs from that of the run; no calls were made."""
    INPUT_UNREADABLE = 66
    """The input is missing or cannot be read."""
    UNAVAILABLE = 69
    """The service is unreachable, or this address seems to be blocked."""
    INTERNAL = 70
    """An internal error, or the outcomes do not add up."""
    CANNOT_WRITE = 73
    """Results or store cannot be written, or another run holds them."""
    STOPPED_EARLY = 75
    """Stopped early on purpose; run again to resume."""
    DENIED = 77
    """Credentials, permission or ownership were refused."""
    MISCONFIGURED = 78
    """Unknown instance, region or endpoint, or the clock is wrong."""
    HUNG_UP = 129
    """SIGHUP, as when the terminal closes; drained, store synced, run again to resume."""
    INTERRUPTED = 130
    """SIGINT; drained, store synced, run again to resume."""
    READER_GONE = 141
    """Whoever read standard output has closed it, as ``head`` does; nothing is said."""
    TERMINATED = 143
    """SIGTERM; drained, store synced, run again to resume."""


ON_PURPOSE = frozenset({ExitStatus.STOPPED_EARLY, ExitStatus.HUNG_UP, ExitStatus.INTERRUPTED, ExitStatus.TERMINATED})
"""Statuses of what somebody wanted to stop: nothing is amiss with it."""


class BulkcertError(Exception):
    """An error that the user can act on: what happened, where, and what to do next.

    Args:
        status: The exit status that the command ends with.
        message: What happened and where (file, line, column).
        advice: What to do next; empty where the message says it.
        again: Whether the same command, given again after that, does it; whoever shows the error names the command.
    """

    def __init__(self, status: ExitStatus, message: str, advice: str = "", *, again: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.advice = advice
        self.again = again


def wrong_options(problems: Sequence[str], advice: str) -> BulkcertError:
    """Returns that options are wrong (USAGE), with all that is wrong with them at once."""
    message = problems[0] if len(problems) == 1 else "\n  ".join(["several options are wrong:", *problems])
    return BulkcertError(ExitStatus.USAGE, message, advice)


def temporary(make: Callable[..., Any]) -> Any:
    """Returns a temporary file or directory of ours, as ``tempfile`` makes it.

    Raises:
        BulkcertError: CANNOT_WRITE: no directory for it can be written.
    """
    try:
        return make(prefix="bulkcert-")
    except OSError as error:
        reason = "no directory for them can be written" if isinstance(error, FileNotFoundError) else error.strerror
        advice = "Make room, or let TMPDIR name a directory that has room and can be written."
        raise BulkcertError(ExitStatus.CANNOT_WRITE, f"cannot write temporary files: {reason}", advice) from error


def stop_signals() -> tuple[signal.Signals, ...]:
    """Returns the signals that stop a command: SIGHUP is none where it is ignored, as ``nohup`` has it."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM) if ignored else (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def on_end_of_input(then: Callable[[], object]) -> None:
    """Calls something, in a thread of its own, once standard input ends, as it does when the parent process dies."""

    def wait() -> None:
        # Not through sys.stdin, whose lock would be held when the interpreter ends. A closed input has ended, too.
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        with suppress(RuntimeError):  # an event loop that is asked may have been closed meanwhile
            then()

    Thread(target=wait, daemon=True).start()


def end_on_signals() -> None:
    """Makes SIGHUP and SIGTERM end the command as an error does, with its clean-up, while nothing else handles them."""
    for number in {*stop_signals()} - {signal.SIGINT}:
        signal.signal(number, _terminated)


class SignalError(KeyboardInterrupt):
    """A signal that ends the command: no Exception, since what survives those, as an event loop, would survive it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"{signal.Signals(number).name} received")
        self.error = BulkcertError(ExitStatus(128 + number), str(self))
        """How the command ends by it."""


def own_error(error: BaseException) -> BaseException:
    """Returns how a command ends by an error: by a signal as by any error of ours, else as it is."""
    return error.error if isinstance(error, SignalError) else error


def status_by(error: BaseException) -> ExitStatus:
    """Returns the exit status of a command that an error ends."""
    own = own_error(error)
    if isinstance(own, BulkcertError):
        return own.status
    return ExitStatus.INTERRUPTED if isinstance(own, KeyboardInterrupt) else ExitStatus.INTERNAL


class DroppedSignals:
    """Sees to signals that came while a library called back, and were dropped there: they come again, a moment later.

    To be the ``sys.unraisablehook`` of a command.
    """

    AGAIN_S = 0.01

    def __init__(self) -> None:
        self._first: KeyboardInterrupt | None = None

    def __call__(self, what: "sys.UnraisableHookArgs") -> None:
        """Takes what could not be raised; what is no signal is shown, as always."""
        if not isinstance(error := what.exc_value, KeyboardInterrupt):
            sys.__unraisablehook__(what)
            return
        self._first = self._first or error
        signal.signal(signal.SIGALRM, self._raise)
        signal.setitimer(signal.ITIMER_REAL, self.AGAIN_S, self.AGAIN_S)

    def _raise(self, _number: int, frame: FrameType | None) -> None:
        # Here it would be dropped once more.
        if self._first is not None and (frame is None or frame.f_code is not DroppedSignals.__call__.__code__):
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise self._first

    def cause_of(self, error: BaseException) -> BaseException:
        """Returns what has ended a command, given the error: after a signal that was dropped, the signal."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        return self._first if self._first and not isinstance(error, BulkcertError) else error


def _terminated(number: int, _frame: object) -> NoReturn:
    raise SignalError(number)
