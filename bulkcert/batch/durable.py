"""Files that appear under their names whole, and stay there after a power failure."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from bulkcert.errors import BulkcertError, ExitStatus


def make_durable(temporary: Path, path: Path) -> None:
    """Puts a finished file under its name, durably.

    Raises:
        OSError: The disk refuses.
    """
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable.

    Raises:
        OSError: The disk refuses.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes, temporary: Path, *, mode: int = 0o600, durable: bool = True) -> None:
    """Writes a small file in the place of another; whoever reads meanwhile reads the old one or the new one.

    Args:
        path: Its name.
        content: All of it.
        temporary: Its name until it is whole, in the same directory; gone if the disk refuses.
        mode: Its permissions, whatever the umask.
        durable: Whether it must be there after a power failure.

    Raises:
        OSError: The disk refuses; what was there stays.
    """
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
        if durable:
            make_durable(temporary, path)
        else:
            temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_small(path: Path, content: bytes) -> None:
    """Writes a small file, mode 0600, durable before it appears under its name.

    Raises:
        BulkcertError: It cannot be written.
    """
    try:
        replace_file(path, content, path.with_name(f".{path.name}.part"))
    except OSError as error:
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE, f"cannot write {path}: {reason_of(error)}", "Make room, then run it again."
        ) from error


def reason_of(error: BaseException) -> str:
    """Returns why a file could not be written, in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0] if text else type(error).__name__


def sha256_of(path: Path) -> str:
    """Returns the hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
