"""The emulator as a child process, so that it shares neither the loop nor the processor with its callers."""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import httpx
import msgspec

from bulkcert.emulator.report import Report
from bulkcert.errors import BulkcertError, ExitStatus

COMMAND = (sys.executable, "-m", "bulkcert", "emulator", "--port", "0", "--json", "--exit-on-eof")
"""Starts an emulator that prints its URL as JSON, and stops when its standard input ends."""

_STOP_S = 5


class _Ready(msgspec.Struct, frozen=True):
    url: str


@dataclass(frozen=True, slots=True)
class Running:
    """An emulator in a process of its own.

    Attributes:
        url: Where it takes calls, without a slash at the end.
        pid: Its process id.
    """

    url: str
    pid: int

    def report(self) -> Report:
        """Returns what it counted so far."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            return msgspec.json.decode(client.get(f"{self.url}/-/report").content, type=Report)


@contextlib.contextmanager
def running(*arguments: str, command: tuple[str, ...] = COMMAND, start_timeout_s: float = 60) -> Iterator[Running]:
    """Runs an emulator for as long as the context lasts: then SIGTERM, and SIGKILL if that does not end it.

    Its standard input is a pipe that nobody writes to; if this process dies, the pipe ends and so does the emulator.

    Args:
        *arguments: Added to the command.
        command: Starts it.
        start_timeout_s: Most seconds until it listens; a large seed takes a while.

    Raises:
        BulkcertError: It did not start; the message is its own.
    """
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(  # noqa: S603 - our own program
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            # BULKCERT_… are the options of whoever starts it, not the emulator's.
            env={name: value for name, value in os.environ.items() if not name.startswith("BULKCERT_")},
            # Ctrl-C is for this process alone, which still needs the emulator while it drains.
            process_group=0,
        )
        with child:
            try:
                yield Running(_url(child, said, start_timeout_s), child.pid)
            finally:
                _stop(child)


def _url(child: subprocess.Popen[bytes], said: IO[bytes], timeout_s: float) -> str:
    assert child.stdout is not None  # noqa: S101 - a pipe was asked for
    # A child that never says a word is killed, which ends the read.
    overdue = threading.Timer(timeout_s, child.kill)
    overdue.start()
    try:
        line = child.stdout.readline()
    finally:
        overdue.cancel()
    try:
        return msgspec.json.decode(line, type=_Ready).url
    except msgspec.DecodeError as error:
        child.kill()
        child.wait()
        said.seek(0)
        reason = said.read().decode(errors="replace").strip() or f"it ended with status {child.returncode}"
        raise BulkcertError(ExitStatus.UNAVAILABLE, f"The emulator did not start: {reason}") from error


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
