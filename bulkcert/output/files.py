"""Files that appear under their names whole, and stay there after a power failure.

A file is made under a random name in the same directory, synced, and renamed. No name that somebody else can guess is
ever opened for writing, so that a planted symlink is not followed, a planted FIFO not waited for, and a planted file
lends neither owner nor mode. While it is made it is locked: what a killed process has left has no lock, and the next
one that makes the same file removes it.
"""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.store.paths import RunFiles

_NO_DIRECTORY = "Create the directory, or name {place}."
_ADVICE = {
    errno.ENOENT: _NO_DIRECTORY,
    errno.ENOTDIR: _NO_DIRECTORY,
    errno.EROFS: "The file system is mounted read-only: name {place}.",
    errno.EACCES: "You may not write there: name {place}.",
    errno.EPERM: "You may not write there: name {place}.",
    errno.ENAMETOOLONG: "Name a file with a shorter name with -o.",
}
"""What to do by the number of the system's error."""

_END = ".part"
_TOKEN_BYTES = 6


def is_stdout(path: Path | None) -> bool:
    """Returns whether a file that is named means standard output, which is written as it comes."""
    return path in (Path("-"), Path("/dev/stdout"))


@contextmanager
def whole(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Makes a file that appears under its name, durable, when the context ends well, and leaves no trace otherwise.

    Whoever reads meanwhile reads what was there before.

    Args:
        path: Its name.
        mode: Its permissions, whatever the umask.

    Yields:
        Where its content goes; polars takes it as a target.

    Raises:
        OSError: The disk refuses; what was there stays.
    """
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f"{_prefix(path)}{secrets.token_hex(_TOKEN_BYTES)}{_END}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(temporary, "wb", opener=lambda name, _: os.open(name, flags, mode)) as file:
        try:
            os.fchmod(file.fileno(), mode)
            with suppress(OSError):  # not every file system locks; there nobody removes what was left
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            clear_left(path)
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Writes a small file; see ``whole``.

    Raises:
        OSError: The disk refuses; what was there stays.
    """
    with whole(path, mode=mode) as file:
        file.write(content)


def clear_left(path: Path) -> None:
    """Removes what killed processes have left of a file; what is being made right now stays, and what is not ours."""
    temporary = re.compile(f"{re.escape(_prefix(path))}[0-9a-f]{{{2 * _TOKEN_BYTES}}}{re.escape(_END)}")
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if temporary.fullmatch(entry.name):
                left = path.parent / entry.name
                with suppress(OSError), _regular(left) as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink()


def _prefix(path: Path) -> str:
    # Short enough for a name that is as long as names may be.
    return f".{os.fsdecode(os.fsencode(path.name)[:200])}."


def read_regular(path: Path, *, links: bool = False) -> bytes:
    """Returns the content of a file; neither waits for a FIFO nor, unless links are wanted, follows a symlink.

    Raises:
        OSError: It cannot be read, or is not a file.
    """
    with _regular(path, links=links) as file:
        return file.read()


@contextmanager
def _regular(path: Path, *, links: bool = False) -> Iterator[BufferedReader]:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags if links else flags | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        yield file


def sync_file(path: Path) -> None:
    """Makes the content of a file durable.

    Raises:
        OSError: The disk refuses.
    """
    with _regular(path) as file:
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable.

    Raises:
        OSError: The disk refuses.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Returns the hex SHA-256 of a file.

    Raises:
        OSError: It cannot be read.
    """
    with _regular(path, links=True) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_taken(output: Path, *, overwrite: bool) -> None:
    """Refuses a file that is there and may not be replaced; the results of a run never may.

    Raises:
        BulkcertError: It may not be written.
    """
    advice = "Name another file with -o. No calls were made."
    folder = RunFiles(output).folder
    message = ""
    if os.path.lexists(folder):
        message = f"{output} is the results of a run: {folder} is its folder"
    elif os.path.isdir(output):  # noqa: PTH112 - Path raises where it may not look
        message = f"{output} is a directory"
    elif os.path.lexists(output) and not os.path.isfile(output):
        message = f"{output} is not a file"
    elif os.path.lexists(output) and not overwrite:
        message = f"{output} exists"
        advice = "Name another file with -o, or replace this one with --overwrite. No calls were made."
    if message:
        raise BulkcertError(ExitStatus.CANNOT_WRITE, message, advice)


def cannot_write(
    output: Path, error: BaseException, advice: str = "", *, folder_of: RunFiles | None = None
) -> BulkcertError:
    """Returns the error of a file that cannot be written; by default its advice is for one that -o names.

    In the folder of a run that is kept apart from its results it names --state-dir instead.
    """
    # Where the place itself is wrong the same command would fail again.
    elsewhere = _ADVICE.get(getattr(error, "errno", None) or 0, "")
    is_apart = folder_of is not None and folder_of.state_dir is not None
    place = "another directory with --state-dir" if is_apart else "a file elsewhere with -o"
    advice = advice or (elsewhere or "Make room, or name {place}.").format(place=place)
    message = f"cannot write {output}: {reason_of(error)}"
    return BulkcertError(ExitStatus.CANNOT_WRITE, message, advice, again=not elsewhere)


def reason_of(error: BaseException) -> str:
    """Returns why a file could not be written, in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0] if text else type(error).__name__
