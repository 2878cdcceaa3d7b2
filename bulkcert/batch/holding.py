"""Whether a run holds a journal, asked without taking the lock from a run that is about to start.

The lock proper is that of ``flock``, which can be tried but not asked about. Beside it a holder leaves a mark: a lock
of the kind that the system tells of (an open file description lock), and that nobody but holders takes.
"""

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path

_LOCK = struct.Struct("hhqqi")
"""``struct flock`` of Linux: type, whence, start, length, process."""


def mark_held(file: int) -> None:
    """Marks an open journal as held until its descriptor is closed; its lock is held already."""
    # Where a file system does not know such locks, a run is worth more than the news of it.
    with suppress(OSError):
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))


def is_held(path: Path) -> bool:
    """Returns whether a run holds a journal; takes no lock.

    Raises:
        OSError: It cannot be opened for reading.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(file)
    return int(_LOCK.unpack(answer)[0]) != fcntl.F_UNLCK
