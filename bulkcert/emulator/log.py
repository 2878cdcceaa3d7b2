"""The arrivals log: one NDJSON line for each call, for checks from outside."""

import os
from pathlib import Path

import msgspec

from bulkcert.errors import BulkcertError, ExitStatus


class Entry(msgspec.Struct, frozen=True):
    """One call.

    Attributes:
        at: Unix time in seconds when it arrived.
        address: Source address.
        operation: Value of ``x-acs-action``.
        ca_sn: Serial of the CA that the call names, or None.
        device_sn: Serial of the device that the call names, or None.
        status: HTTP status of the answer; 0 where the connection was dropped instead.
        code: ``Code`` of the answer, or None.
        fault: Name of the fault that the call met, or None.
        done: Whether the operation was carried out.
    """

    at: float
    address: str
    operation: str
    ca_sn: str | None
    device_sn: str | None
    status: int
    code: str | None
    fault: str | None
    done: bool


class ArrivalLog:
    """Lines are collected and written in groups; the order is that of the arrivals.

    Args:
        path: File to append to.

    Raises:
        BulkcertError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encoder = msgspec.json.Encoder()
        self._lines: list[bytes] = []
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, entry: Entry) -> None:
        """Adds one line; it is written by the next ``flush``."""
        self._lines.append(self._encoder.encode(entry))

    def flush(self) -> None:
        """Writes what was added since.

        Raises:
            BulkcertError: The file cannot be written.
        """
        if not self._lines:
            return
        content = memoryview(b"\n".join([*self._lines, b""]))
        self._lines.clear()
        try:
            while content:
                content = content[os.write(self._file, content) :]
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Writes the rest and closes the file."""
        try:
            self.flush()
        finally:
            os.close(self._file)

    def _unwritable(self, error: OSError) -> BulkcertError:
        message = f"The emulator cannot write its log {self._path}: {error.strerror}."
        return BulkcertError(ExitStatus.CANNOT_WRITE, message, "Give --log a file in a writable directory.")
