"""The emulator as a child process, so that it shares neither the loop nor the processor with its callers."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import httpx
import msgspec

from bulkcert.emulator.limits import Report
from bulkcert.errors import BulkcertError, ExitStatus, temporary
from bulkcert.service.credentials import without_credentials

COMMAND = (sys.executable, "-m", "bulkcert", "emulator", "--port", "0", "--json", "--exit-on-eof")
"""Starts an emulator that prints its URL as JSON, and stops when its standard input ends."""


@dataclass(frozen=True, slots=True)
class Running:
    """An emulator in a process of its own.

    Attributes:
        url: Where it takes calls, without a slash at the end.
    """

    url: str

    def report(self) -> Report:
        """Returns what it counted so far."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            return msgspec.json.decode(client.get(f"{self.url}/-/report").content, type=Report)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Running]:
    """Runs an emulator for as long as the context lasts; then it is killed, as it has nothing to save.

    Its standard input is a pipe that nobody writes to; if this process dies, the pipe ends and so does the emulator.

    Args:
        *arguments: Added to the command.

    Raises:
        BulkcertError: It did not start; the message is its own.
    """
    with temporary(tempfile.TemporaryFile) as said:
        child = subprocess.Popen(  # noqa: S603 - our own program
            [*COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=without_credentials(),
            # Ctrl-C is for this process alone, which still needs the emulator while it drains.
            process_group=0,
        )
        with child:
            try:
                yield Running(_url(child, said))
            finally:
                child.kill()


def _url(child: subprocess.Popen[bytes], said: IO[bytes]) -> str:
    assert child.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        return msgspec.json.decode(child.stdout.readline(), type=dict[str, str])["url"]
    except msgspec.DecodeError as error:
        child.wait()
        said.seek(0)
        reason = said.read().decode(errors="replace").strip() or f"it ended with status {child.returncode}"
        raise BulkcertError(ExitStatus.UNAVAILABLE, f"The emulator did not start: {reason}") from error
