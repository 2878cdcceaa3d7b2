"""The lock of a run: one process writes, and whoever asks learns which.

An open file description lock: the system gives it up with the process, however that ends, and reports it without
taking it. So ``status`` cannot get in the way of a run that is about to start.
"""

import errno
import fcntl
import os
import pwd
import shlex
import stat
import struct
import time
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path

import msgspec

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.words import in_utc

_LOCK = struct.Struct("hhqqi")
"""``struct flock`` of Linux: type, whence, start, length, process."""
_WHOLE_FILE = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class Holder(msgspec.Struct, frozen=True):
    """Who holds a run, since when (Unix time in seconds)."""

    pid: int
    host: str
    since: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {in_utc(self.since)}"


def take(path: Path) -> FileIO:
    """Takes the lock of a run, which is held until the file is closed; its folder must exist.

    Raises:
        BulkcertError: CANNOT_WRITE: another process holds it, or has just removed it.
        OSError: The file cannot be opened, or is none.
    """
    with ExitStack() as failing:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = failing.enter_context(FileIO(os.open(path, flags, 0o600), "r+"))
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:  # what has another name is somebody else's, too
            raise OSError(errno.EINVAL, "the lock is not a regular file of its own", str(path))
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, _WHOLE_FILE)
        except (BlockingIOError, PermissionError):
            raise held(path) from None
        # What its holder has removed is gone, with all that is written there.
        with suppress(FileNotFoundError):
            if os.path.samestat(found, path.stat()):
                file.truncate(0)
                file.write(msgspec.json.encode(Holder(os.getpid(), os.uname().nodename, time.time())))
                failing.pop_all()
                return file
        raise BulkcertError(ExitStatus.CANNOT_WRITE, f"another process has just removed {path.parent}", again=True)


def is_held(path: Path) -> bool:
    """Returns whether a process holds a run; takes no lock.

    Raises:
        OSError: The file cannot be opened for reading, for another reason than that it is missing.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return False
        raise
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _WHOLE_FILE)
    finally:
        os.close(descriptor)
    return int(_LOCK.unpack(answer)[0]) != fcntl.F_UNLCK


def holder_of(path: Path) -> Holder | None:
    """Returns who holds a run, or held it last; None if that cannot be read."""
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        # A pipe that was put there must not be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return msgspec.json.decode(file.read(4096), type=Holder)
    return None


def current_holder(path: Path) -> Holder | None:
    """Returns who holds a run now; None if nobody does. Raises as ``is_held``."""
    return (holder_of(path) or Holder(0, "", time.time())) if is_held(path) else None


def held(path: Path) -> BulkcertError:
    """Returns what to show the user about a run that another process holds."""
    message = f"another process holds {path.parent}: {holder_of(path) or 'it has just begun'}"
    stop = shlex.join(["bulkcert", "control", str(path.parent), "--stop"])
    advice = f"Wait until it ends, or stop it ({stop}): both would write the same results."
    return BulkcertError(ExitStatus.CANNOT_WRITE, message, advice)


def this_user() -> str:
    """Returns the account that this process runs as; its number where it has no name, as in a container."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
