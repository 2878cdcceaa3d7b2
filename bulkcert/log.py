"""The log for machines: one JSON object a line, with field names that stay.

Everything is logged through the standard library's ``bulkcert`` logger, with the name of the event and its fields in
``extra``; what libraries warn of comes along. Text for people is not made from it: see ``terminal``.
"""

import io
import logging
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, Literal

from rich.text import Text

LogFormat = Literal["text", "json"]
"""What standard error carries: text for people, or a JSON object a line."""

bound: dict[str, str | bool | None] = dict.fromkeys(
    ("run", "job", "action", "instance", "access_key_id", "rehearsal", "ticket")
)
"""Fields of every line: ID of the run, name of the job file, action, instance, access key, rehearsal, ticket;
null while not known."""

_JSON = "json lines"
_log = logging.getLogger("bulkcert")
# What nobody shows would go to standard error all the same, from warnings on.
_log.addHandler(logging.NullHandler())


def bind(**fields: str | bool | None) -> None:
    """Sets fields of all lines to come; those of ``bound`` only."""
    bound.update(fields)


def event(name: str, message: str, level: int = logging.INFO, **fields: Any) -> None:
    """Logs an event; without a log for machines, and without -v, nobody sees it.

    Args:
        name: Name of the event, which stays.
        message: The same for people, who may be reading.
        level: As in ``logging``.
        fields: What JSON can hold.
    """
    _log.log(level, message, extra={"event": name, **fields})


def is_json() -> bool:
    """Returns whether the log is written as JSON lines, so that nothing else may go to standard error."""
    return any(handler.name == _JSON for handler in logging.getLogger().handlers)


def begin_json(stream: IO[str]) -> None:
    """Writes the log to a stream from now on, as JSON lines; what libraries warn of included. Once only."""
    if is_json():
        return
    from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415 - for machines alone

    line = JsonFormatter(
        "%(asctime)s %(levelname)s %(message)s",
        rename_fields={"asctime": "timestamp", "levelname": "level"},
        defaults={"event": "log"},
    )
    line.static_fields = bound  # the formatter would copy what it is given
    line.converter, line.default_time_format, line.default_msec_format = time.gmtime, "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
    handler = logging.StreamHandler(stream)
    handler.name = _JSON
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
