"""What a person reads: the summary on stdout, errors and the next step on stderr; and the two consoles."""

import logging
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn, cast

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from bulkcert import log
from bulkcert.errors import BulkcertError, ExitStatus, own_error
from bulkcert.log import Notices
from bulkcert.views.streams import Unfailing
from bulkcert.words import line_starts, tr

if TYPE_CHECKING:  # loaded by what draws
    from rich.live import Live


stdout = Console(highlight=False, soft_wrap=True)


class _Stderr(Console):
    """Standard error for people; what is printed on it becomes events once it carries JSON lines."""

    live: "Live | None" = None
    """What is redrawn in place."""

    @property
    def is_terminal(self) -> bool:
        return not isinstance(self.file, Notices) and super().is_terminal

    def set_live(self, live: "Live") -> bool:
        self.live = live
        return super().set_live(live)


stderr = _Stderr(file=cast(IO[str], Unfailing()), highlight=False, soft_wrap=True)


def print_json(product: object) -> None:
    """Prints what a command has made as one JSON object on stdout."""
    sys.stdout.buffer.write(msgspec.json.encode(product) + b"\n")
    sys.stdout.buffer.flush()


def ended(exit_status: int, product: object, *, as_json: bool) -> ExitStatus:
    """Returns the exit status of a session; prints what came of it as JSON if that is wanted."""
    if as_json:
        print_json(product)
    return ExitStatus(exit_status)


def say(text: str | Text, console: Console = stderr, *, style: str = "", indent: int = 0) -> None:
    """Prints a paragraph; on a terminal its words are kept whole and what follows the first line is indented."""
    for line in wrapped(text if isinstance(text, Text) else Text(text, style), console, indent):
        console.print(line)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal would obey, in a path above all; a line break is none."""


def wrapped(text: Text, console: Console, indent: int = 0) -> list[Text]:
    """Returns a text as the lines that fit a terminal; as it is where it goes into a file.

    Lines of its own stay lines; of one that begins with spaces what follows is indented further.
    """
    if _CONTROL.search(text.plain):
        text = text.copy()
        text.plain = _CONTROL.sub("\ufffd", text.plain)
    if not console.is_terminal:
        return [text]
    if "\n" in text.plain:
        own = [(line, len(line.plain) - len(line.plain.lstrip())) for line in text.split()]
        return [part for line, spaces in own for part in wrapped(line, console, spaces + 2 if spaces else indent)]
    if text.cell_len <= console.width:
        return [text]
    # A word that is longer than a line stays whole, so that a path can be copied.
    head, *others = text.divide(line_starts(text.plain, console.width, indent)[1:])
    lines = [head, *(Text.assemble(" " * indent, line) for line in others)]
    for line in lines:
        line.rstrip()
    return lines


def say_step(purpose: str, command: str = "", console: Console = stderr) -> None:
    """Prints what to do next; where a line is too short the command is below its purpose, ready to be copied."""
    line = f"{purpose}{tr(': ')}{command}" if command else purpose
    if not command or not console.is_terminal or cell_len(line) <= console.width:
        say(line, console)
        return
    say(f"{purpose}{tr(':')}", console)
    for part in command_lines(command, console.width):
        console.print(Text(part))


def command_lines(command: str, width: int) -> Iterator[str]:
    """Yields a command as lines for a shell, broken between its words."""
    line = "   "
    for word in map(shlex.quote, shlex.split(command)):
        if len(line) + len(word) + 3 > width and line.strip():
            yield f"{line} \\"
            line = "     "
        line += f" {word}"
    yield line


def begin_json() -> None:
    """Makes standard error carry JSON lines and nothing else, from now on."""
    log.begin_json(stderr.file)
    stderr.file = cast(IO[str], Notices())


def show_log(*, verbose: bool, quiet: bool, file: Path | None) -> None:
    """Shows the log on stderr, each call that did not succeed at once, and keeps it in a file.

    Args:
        verbose: Whether it is to be shown.
        quiet: Whether only errors and warnings are, of JSON lines; of text for people they are no part of the log.
        file: The file; None keeps none.

    Raises:
        BulkcertError: CANNOT_WRITE: the file cannot be written.
    """

    def lost(reason: BaseException | None) -> None:
        warn(f"the log {file} is not written any more: {getattr(reason, 'strerror', None) or reason}")

    try:
        if file is not None:
            log.begin_file(file, lost)
    except OSError as error:
        message = f"cannot write the log {file}: {error.strerror}"
        advice = "No calls were made. Name a file with --log-file that can be written."
        raise BulkcertError(ExitStatus.CANNOT_WRITE, message, advice) from error
    if verbose and not log.is_json():
        handler = logging.StreamHandler(stderr.file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handler.addFilter(lambda record: getattr(record, "event", "") not in log.SHOWN)
        logging.getLogger("bulkcert").addHandler(handler)
    if verbose or log.is_kept():
        log.set_level(verbose=verbose, quiet=quiet)


def warn(message: str) -> None:
    """Says what is amiss and ends nothing."""
    log.event("warning", message, logging.WARNING)
    if not log.is_json():
        say(f"{tr('warning: ')}{message}")


class WayOn(str):
    """A note of an error that has ended a run: the command that resumes it; empty where no calls were made."""

    __slots__ = ()


def show_error(error: BulkcertError, resume: str | None = None) -> None:
    """Prints what happened and what to do next: advice, and the command where one does it.

    Args:
        error: What happened.
        resume: What resumes the run; None where there is nothing to resume.
    """
    advice = error.advice or ("No calls were made." if resume == "" else "")
    purpose, command = "to resume", resume
    if not resume and error.again:
        purpose, command = "to try again", shlex.join(["bulkcert", *typed()])
    about = {"exit_status": int(error.status), "advice": advice} | ({"next": command} if command else {})
    log.event("error", error.message, logging.ERROR, **about)
    if log.is_json():
        return
    say(Text.assemble((tr("error: "), "bold red"), error.message))
    if advice:
        say(f"  → {advice}", indent=4)
    if command:
        say_step(f"  → {purpose}", command)


def typed(*without: str) -> Iterator[str]:
    """Yields what was typed, without the URLs of messages, which are secrets, and without some other options."""
    words = iter(sys.argv[1:])
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in ("--notify", *without):
            yield word
        elif not equals:
            next(words, None)


def show_failure(error: BaseException) -> ExitStatus:
    """Prints what has ended the command, whatever it is; returns the exit status."""
    frames, notes = traceback.extract_tb(error.__traceback__), getattr(error, "__notes__", ())
    resume = next((note for note in notes if isinstance(note, WayOn)), None)
    error = own_error(error)
    if isinstance(error, KeyboardInterrupt):
        error = BulkcertError(ExitStatus.INTERRUPTED, "interrupted")
    if isinstance(error, BulkcertError):
        show_error(error, resume)
        return error.status
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"
    inner = error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    message = f"internal error: {type(inner).__name__}: {inner} (at {place})"
    show_error(BulkcertError(ExitStatus.INTERNAL, message, "Please report this; -v shows the traceback."), resume)
    if logging.getLogger("bulkcert").isEnabledFor(logging.DEBUG) or {"-v", "--verbose"} & set(sys.argv):
        stderr.print("".join(traceback.format_exception(inner)))
    return ExitStatus.INTERNAL


def leave(number: int, message: str, advice: str = "", *, resume: str | None = None, again: bool = False) -> NoReturn:
    """Ends the process at once, on a signal; not even clean-up may run any more: what hangs is what it is to end.

    Args:
        number: Of the signal.
        message: What becomes of what was running, to be read behind the signal's name.
        advice: What to do next.
        resume: See ``show_error``.
        again: Whether the same command, given again, does it.
    """
    status, name = ExitStatus(128 + number), signal.Signals(number).name
    if stderr.live is not None:
        stderr.live.stop()  # or it would be drawn once more, below the error
    show_error(BulkcertError(status, f"{name}: {message}", advice, again=again), resume)
    sys.stderr.flush()
    os._exit(128 + number)
