"""What a person reads: the summary on stdout, errors and the next step on stderr; and the two consoles."""

import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, NoReturn, cast

from rich.console import Console
from rich.text import Text

from bulkcert import log
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import Notices


class _Unfailing:
    """Standard error: nothing that is said there is worth ending a run for, as when the disk of its log is full."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


class ReaderGoneError(Exception):
    """Whoever read standard output has closed it."""


class Product:
    """Standard output: what it does not take ends the command with an error that says so, whoever has written it.

    Args:
        stream: The stream, or what is beneath it.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def buffer(self) -> "Product":
        """The stream of bytes beneath."""
        return Product(self._stream.buffer)

    def write(self, text: str | bytes) -> int:
        """Writes as the stream does.

        Raises:
            BulkcertError: CANNOT_WRITE.
            ReaderGoneError: Nobody reads it any more.
        """
        with _confirmed_written():
            return cast(int, self._stream.write(text))

    def flush(self) -> None:
        """Flushes the stream.

        Raises:
            BulkcertError: CANNOT_WRITE.
            ReaderGoneError: Nobody reads it any more.
        """
        with _confirmed_written():
            self._stream.flush()


@contextmanager
def _confirmed_written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError from error
    except OSError as error:
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"cannot write to standard output: {error.strerror}",
            "What a run did is in its results.",
        ) from error


stdout = Console(highlight=False, soft_wrap=True)


class _Stderr(Console):
    """Standard error for people; what is printed on it becomes events once it carries JSON lines."""

    @property
    def is_terminal(self) -> bool:
        return not isinstance(self.file, Notices) and super().is_terminal


stderr = _Stderr(file=cast(IO[str], _Unfailing()), highlight=False, soft_wrap=True)


def say(text: str | Text, console: Console = stderr, *, style: str = "", indent: int = 0) -> None:
    """Prints a paragraph; on a terminal its words are kept whole and what follows the first line is indented."""
    for line in wrapped(text if isinstance(text, Text) else Text(text, style), console, indent):
        console.print(line)


def wrapped(text: Text, console: Console, indent: int = 0) -> list[Text]:
    """Returns a text as the lines that fit a terminal; as it is where it goes into a file."""
    if not console.is_terminal or text.cell_len <= console.width:
        return [text]
    starts, width = [indent], console.width - indent
    # A word that is longer than a line stays whole, so that a path can be copied.
    for word in re.finditer(r"\S+", text.plain[indent:]):
        if word.end() + indent - starts[-1] > width and word.start() + indent > starts[-1]:
            starts.append(word.start() + indent)
    head, *others = text.divide(starts[1:])
    lines = [head, *(Text.assemble(" " * indent, line) for line in others)]
    for line in lines:
        line.rstrip()
    return lines


def begin_json() -> None:
    """Makes standard error carry JSON lines and nothing else, from now on."""
    log.begin_json(stderr.file)
    stderr.file = cast(IO[str], Notices())


def show_log(*, verbose: bool, quiet: bool) -> None:
    """Shows the log on stderr: each call that did not succeed at once.

    Args:
        verbose: Whether it is to be shown.
        quiet: Whether only errors and warnings are, of JSON lines; of text for people they are no part of the log.
    """
    logger = logging.getLogger("bulkcert")
    if log.is_json():
        logger.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    elif verbose:
        _show_text(logger)


def _show_text(logger: logging.Logger) -> None:
    from rich.logging import RichHandler  # noqa: PLC0415 - loads what shows tracebacks, for -v alone

    logger.addHandler(
        RichHandler(console=stderr, show_path=False, show_level=False) if stderr.is_terminal else _plain_log()
    )
    logger.setLevel(logging.DEBUG)


def _plain_log() -> logging.Handler:
    """Returns a handler that writes one line for each record, for files and pipes."""
    handler = logging.StreamHandler(stderr.file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    return handler


def warn(message: str) -> None:
    """Says what is amiss and ends nothing."""
    if log.is_json():
        log.event("warning", message, logging.WARNING)
    else:
        say(f"warning: {message}")


def show_error(error: BulkcertError) -> None:
    """Prints what happened and what to do next."""
    if log.is_json():
        log.event("error", error.message, logging.ERROR, exit_status=int(error.status), advice=error.advice)
        return
    say(Text.assemble(("error: ", "bold red"), error.message))
    if error.advice:
        say(f"  → {error.advice}", indent=4)


def leave(number: int, message: str, advice: str = "") -> NoReturn:
    """Ends the process at once, on a signal; not even clean-up may run any more: what hangs is what it is to end.

    Args:
        number: Of the signal.
        message: What becomes of what was running, to be read behind the signal's name.
        advice: What to do next.
    """
    show_error(BulkcertError(ExitStatus(128 + number), f"{signal.Signals(number).name}: {message}", advice))
    sys.stderr.flush()
    os._exit(128 + number)


RESUMABLE = "The store holds every outcome; to resume:"
"""What the note of an error begins with that came while a session was running."""

NOTHING_CALLED = "No calls were made."
"""The note of an error that came before."""


def way_on(error: BaseException) -> str:
    """Returns what the notes of an error say of the run that it ended; empty if they say nothing."""
    notes = getattr(error, "__notes__", ())
    return " ".join(note for note in notes if note.startswith(RESUMABLE) or note == NOTHING_CALLED)


def show_internal(error: BaseException) -> None:
    """Prints that something went wrong which should not, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    show_error(
        BulkcertError(
            ExitStatus.INTERNAL,
            f"internal error: {type(error).__name__}: {error} (at {place})",
            f"Please report this; -v shows the traceback. {way_on(error)}".strip(),
        )
    )
    if logging.getLogger("bulkcert").isEnabledFor(logging.DEBUG) or {"-v", "--verbose"} & set(sys.argv):
        stderr.print("".join(traceback.format_exception(error)))
