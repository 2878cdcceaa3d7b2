"""The log for machines: one JSON object a line, with field names that stay.

Everything is logged through the standard library's ``bulkcert`` logger, with the name of the event and its fields in
``extra``; what libraries warn of comes along. Text for people is not made from it: see ``terminal``.
"""

import errno
import io
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, Literal

from rich.text import Text

LogFormat = Literal["text", "json"]
"""What standard error carries: text for people, or a JSON object a line."""

Fields = dict[str, str | bool | None]

FIELDS = ("run", "job", "action", "instance", "access_key_id", "rehearsal", "ticket")
"""Fields of every line: ID of the run, name of the job file, action, instance, access key, rehearsal, ticket;
null while not known."""

_bound: ContextVar[Fields] = ContextVar("bound", default=dict.fromkeys(FIELDS))  # noqa: B039 - the process's own

MOST_BYTES, MOST_FILES = 10_000_000, 5
"""Bytes of a log file from which a new one is begun, and files of before that are kept."""

SHOWN = frozenset({"error", "warning", "notice"})
"""Events that people are shown in words of their own."""

_JSON, _FILE = "json lines", "file"
_log = logging.getLogger("bulkcert")
# What nobody shows would go to standard error all the same, from warnings on.
_log.addHandler(logging.NullHandler())


def bind(**fields: str | bool | None) -> None:
    """Sets fields of all lines to come, in this context; those of ``FIELDS`` only."""
    _bound.get().update(fields)


def bound() -> Fields:
    """Returns the fields of every line as they are now."""
    return _bound.get()


@contextmanager
def unbound() -> Iterator[None]:
    """Begins a context whose fields are its own: of several runs in one process each has those of its lines."""
    token = _bound.set(dict.fromkeys(FIELDS))
    try:
        yield
    finally:
        _bound.reset(token)


def event(name: str, message: str, level: int = logging.INFO, **fields: Any) -> None:
    """Logs an event; without a log for machines, and without -v, nobody sees it.

    Args:
        name: Name of the event, which stays.
        message: The same for people, who may be reading.
        level: As in ``logging``.
        fields: What JSON can hold.
    """
    _log.log(level, message, extra={**_bound.get(), "event": name, **fields})


def is_json() -> bool:
    """Returns whether the log goes to standard error as JSON lines, so that nothing else may go there."""
    return _JSON in written()


def written() -> dict[str | None, logging.Handler]:
    """Returns what writes the log for machines, by name: to standard error, to a file; nothing where it is not kept."""
    return {handler.name: handler for handler in logging.getLogger().handlers if handler.name in (_JSON, _FILE)}


def begin_json(stream: IO[str]) -> None:
    """Writes the log to a stream from now on, as JSON lines; what libraries warn of included. Once only."""
    if not is_json():
        _begin(logging.StreamHandler(stream), _JSON)


def begin_file(path: Path, on_failure: Callable[[BaseException | None], None]) -> None:
    """Adds the log to a file from now on, as JSON lines; one that is full becomes ``path.1``, and so on. Once only.

    Args:
        path: The file.
        on_failure: Called once, with the reason, when it takes no more; the log does without it then.

    Raises:
        OSError: It cannot be opened.
    """
    from logging.handlers import RotatingFileHandler  # noqa: PLC0415 - for those who want a file

    class LogFile(RotatingFileHandler):
        def _open(self) -> Any:
            return open(self.baseFilename, self.mode, encoding=self.encoding, opener=_open_own)

        def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - the library's
            self.setLevel(logging.CRITICAL + 1)
            on_failure(sys.exception())

    if _FILE not in written():
        _begin(LogFile(path, maxBytes=MOST_BYTES, backupCount=MOST_FILES, encoding="utf-8"), _FILE)


def _open_own(name: str, flags: int) -> int:
    """Opens a file that is no link to another one, and not a pipe that nobody reads."""
    descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.EMLINK, "it is a link")
    os.set_blocking(descriptor, True)
    return descriptor


def set_level(*, verbose: bool, quiet: bool) -> None:
    """Sets what the log for machines is made of; ``quiet`` is about standard error alone."""
    _log.setLevel(logging.DEBUG if verbose else logging.INFO)
    if quiet and not verbose and (stream := written().get(_JSON)):
        stream.setLevel(logging.WARNING)


def _begin(handler: logging.Handler, name: str) -> None:
    from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415 - for machines alone

    class Line(JsonFormatter):
        def add_fields(self, log_data: Fields, record: logging.LogRecord, message_dict: Fields) -> None:
            super().add_fields(log_data, record, bound() | message_dict)

    line = Line(
        "%(asctime)s %(levelname)s %(message)s",
        rename_fields={"asctime": "timestamp", "levelname": "level"},
        defaults={"event": "log"},
    )
    line.converter, line.default_time_format, line.default_msec_format = time.gmtime, "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
    handler.name = name
    handler.setFormatter(line)
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    _log.setLevel(logging.INFO)


class Notices(io.TextIOBase):
    """A stream whose lines become events: whatever is printed for people reaches machines as well."""

    def __init__(self) -> None:
        self._rest = ""

    def write(self, text: str) -> int:
        """Logs each whole line of what was written so far; blank ones are ignored."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            plain = Text.from_ansi(line).plain.rstrip()
            if plain:
                event("notice", plain)
        return len(text)


def format_asked(tokens: Sequence[str], environment: Mapping[str, str]) -> str:
    """Returns what the command line or the environment say of the format, before anything is parsed.

    Wrong options are reported in that format as well; the job file has its say after this.
    """
    asked = environment.get("BULKCERT_LOG_FORMAT", "")
    for position, token in enumerate(tokens):
        name, _, value = token.partition("=")
        if name == "--log-format":
            asked = value or next(iter(tokens[position + 1 :]), "")
    return asked
