"""A start of ``run`` that ended before its metrics began: how it ended, in the file that the run before has left.

Its options were wrong, so that nobody knows its labels: those that stand in the file stay.
"""

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bulkcert.errors import BulkcertError
from bulkcert.job_file import STARTED, options_of_job
from bulkcert.output.files import read_regular, write_whole

READABLE = 0o644
"""The node exporter runs as another user."""

_SAMPLE = re.compile(r"(?m)^(bulkcert_(\w+)\{.*\}) (\S+)\n")


def record_refused(typed: Sequence[str], exit_status: int) -> None:
    """Writes the end of this start where a run has left metrics, and takes its rows out: they are of that run.

    Nothing is made where there is no file, and nothing changed while a session writes it, or where it has the end of
    this start. A file that cannot be written is left: the error that ended the start is what people have to see.

    Args:
        typed: The command line, without the program.
        exit_status: What the command ends with.
    """
    path = _metrics_file(typed)
    if path is None or path.suffix != ".prom":
        return
    began, now = STARTED.timestamp(), time.time()
    new = {"last_exit_status": exit_status, "last_end_timestamp_seconds": now, "last_duration_seconds": now - began}

    def ended(found: re.Match[str]) -> str:
        labelled, name, value = found.groups()
        return "" if name == "last_rows" else f"{labelled} {new.get(name, value)}\n"

    with suppress(OSError, ValueError):
        text = read_regular(path).decode()
        values = {name: float(value) for _, name, value in _SAMPLE.findall(text)}
        if not values.get("run_active") and 0 < values.get("last_end_timestamp_seconds", 0) < began:
            write_whole(path, _SAMPLE.sub(ended, text).encode(), mode=READABLE)


def _metrics_file(typed: Sequence[str]) -> Path | None:
    """Returns the metrics file that was asked for, though the options as a whole are not understood."""
    if given := _given(typed, "metrics-file"):
        return Path(given)
    named: object = None
    if job := _given(typed, "job"):
        with suppress(BulkcertError):
            named = options_of_job(Path(job), "run", frozenset(), frozenset()).get("metrics-file")
    return Path(named) if isinstance(named, str) and named else None


def _given(typed: Sequence[str], name: str) -> str:
    """Returns the value of an option as it is typed or set, the last one counts."""
    found = os.environ.get(f"BULKCERT_{name.upper().replace('-', '_')}", "")
    for word, following in zip(typed, [*typed[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option == f"--{name}":
            found = value if equals else following
    return found
