"""The two consoles: what people read goes to stderr, products go to stdout; and how both streams fail."""

import errno
import logging
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from bulkcert import log
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import Notices
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


class Unfailing:
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


stderr = _Stderr(file=cast(IO[str], Unfailing()), highlight=False, soft_wrap=True)


def print_json(product: object) -> None:
    """Prints what a command has made as one JSON object on stdout."""
    sys.stdout.buffer.write(msgspec.json.encode(product) + b"\n")
    sys.stdout.buffer.flush()


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
    if verbose or log.written():
        log.set_level(verbose=verbose, quiet=quiet)


def warn(message: str) -> None:
    """Says what is amiss and ends nothing."""
    log.event("warning", message, logging.WARNING)
    if not log.is_json():
        say(f"{tr('warning: ')}{message}")


class ReaderGoneError(Exception):
    """Nobody reads standard output any more.

    Args:
        status: What the command ends with: it was closed, or it is a terminal that hung up.
    """

    def __init__(self, status: ExitStatus) -> None:
        super().__init__()
        self.status = status


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
        raise ReaderGoneError(ExitStatus.READER_GONE) from error
    except OSError as error:
        if error.errno == errno.EIO and stat.S_ISCHR(os.fstat(1).st_mode):
            raise ReaderGoneError(ExitStatus.HUNG_UP) from error
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"cannot write to standard output: {error.strerror}",
            "Make room, or send it elsewhere; files that it has written are whole.",
        ) from error
