"""The standard streams as commands write to them: what they do not take is an error, or is not missed."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from bulkcert.errors import BulkcertError, ExitStatus


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
