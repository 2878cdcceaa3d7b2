"""The files of an input: patterns expanded, opened, and what kind of file each is.

A regular file is what its suffix says. Anything else (standard input, a FIFO, a process substitution) is read once, as
a stream, and is what its first bytes say.
"""

import glob
import os
import select
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.reading import BOM, Digest, decompress, read_bytes, unreadable

Kind = Literal["csv", "parquet", "ndjson"]
Identity = tuple[int, int, int, int]
"""Device, inode, size in bytes, time of change in nanoseconds: where one differs, the file was changed."""

STDIN = Path("-")
"""The name of standard input."""

_KINDS: dict[str, tuple[Kind, str]] = {
    ".csv": ("csv", ""),
    ".csv.gz": ("csv", "gz"),
    ".csv.zst": ("csv", "zst"),
    ".parquet": ("parquet", ""),
    ".pq": ("parquet", ""),
    ".ndjson": ("ndjson", ""),
    ".jsonl": ("ndjson", ""),
}
_WORKBOOK = "Save the sheet as CSV (UTF-8, with commas), the columns of serials as text, and give that file."
_TEXT = "If it is CSV (commas, and a first line that names the columns), rename it to {stem}.csv."
_OTHER_KINDS = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".ods", ".numbers"), _WORKBOOK),
    **dict.fromkeys((".txt", ".dat", ".list", ""), _TEXT),
    ".tsv": "Export the list with commas in place of tabs, as CSV.",
    ".json": "Write one object a line and no array around them, as {stem}.ndjson; jq -c '.[]' does it.",
    ".gz": "Only CSV may be compressed: .csv.gz or .csv.zst.",
    ".zst": "Only CSV may be compressed: .csv.gz or .csv.zst.",
    ".zip": "Unpack it, and give the file in it.",
}
"""What to do about a file of another kind, by its suffix."""
_COMPRESSIONS = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst"}
_PARQUET = b"PAR1"


@dataclass(frozen=True, slots=True)
class File:
    """An opened file whose kind is known.

    Attributes:
        name: What messages call it.
        path: Where it is.
        kind: How it is read.
        chunks: Its bytes, decompressed, piece by piece; those of Parquet as they are.
        identity: Of a regular file when it was opened; None of a stream.
    """

    name: str
    path: Path
    kind: Kind
    chunks: Iterator[bytes]
    identity: Identity | None

    @property
    def is_empty(self) -> bool:
        """Whether it is a regular file without a byte."""
        return self.identity is not None and self.identity[2] == 0

    def confirm_unchanged(self) -> None:
        """Compares the file with what it was when opened.

        Raises:
            BulkcertError: INPUT_INVALID: it was changed or replaced; INPUT_UNREADABLE: it is gone.
        """
        if self.identity is not None and identity(self.path) != self.identity:
            raise BulkcertError(
                ExitStatus.INPUT_INVALID,
                f"{self.path}: the file was changed while it was read",
                "See that nothing writes to it any more.",
                again=True,
            )


def expand(inputs: Sequence[Path]) -> list[Path]:
    """Returns the files that are meant, in order; those of a pattern that the shell has not expanded are sorted.

    Raises:
        BulkcertError: INPUT_UNREADABLE: nothing matches a pattern; USAGE: standard input is named twice.
    """
    paths: list[Path] = []
    for path in inputs:
        # A file may well have a bracket in its name.
        if not glob.has_magic(str(path)) or os.path.lexists(path):
            paths.append(path)
        elif found := sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207 - Path takes no absolute patterns
            paths.extend(map(Path, found))
        else:
            raise BulkcertError(ExitStatus.INPUT_UNREADABLE, f"{path}: no file matches", "Check the pattern.")
    if paths.count(STDIN) > 1:
        raise BulkcertError(ExitStatus.USAGE, "standard input (-) is named twice", "It can be read once only.")
    return paths


@contextmanager
def open_file(path: Path, digest: Digest) -> Iterator[File]:
    """Opens a file for one reading.

    Args:
        path: The file; ``-`` is standard input.
        digest: Takes in its bytes as they are when they are read.

    Raises:
        BulkcertError: INPUT_UNREADABLE: missing, a directory, or of an unknown kind.
    """
    with _opened(path) as (stream, name):
        with unreadable(name):
            status = os.fstat(stream.fileno())
        regular = stat.S_ISREG(status.st_mode) and path != STDIN
        chunks = _readable(name, read_bytes(stream if regular else _Patient(stream.fileno()), digest))
        if regular:
            kind, compression = _kind(path)
            if compression:
                chunks = _readable(name, decompress(chunks, compression))
            yield File(name, path, kind, chunks, _identity(status))
        else:
            yield _sniffed(name, path, chunks)


def has_known_suffix(path: Path) -> bool:
    """Returns whether the file's name says that it is a table."""
    return path.name.lower().endswith(tuple(_KINDS))


def identity(path: Path) -> Identity:
    """Returns what distinguishes a regular file from another, and from itself after a change.

    Raises:
        BulkcertError: INPUT_UNREADABLE: missing, or not a regular file.
    """
    with unreadable(path):
        found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise BulkcertError(ExitStatus.INPUT_UNREADABLE, f"{path}: not a regular file", "Give a file.")
    return _identity(found)


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    if path == STDIN:
        yield sys.stdin.buffer, "standard input"
        return
    if os.path.isdir(path):  # noqa: PTH112 - Path raises where it may not look
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE, f"{path}: a directory", f"Name the files in it, as {path / '*.csv'}."
        )
    with unreadable(path):
        # A FIFO that nobody writes to yet would keep a blocking open from being interrupted; see _Patient.
        fifo = stat.S_ISFIFO(path.stat().st_mode)
        stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") if fifo else path.open("rb")
    with stream:
        yield stream, str(path)


def _kind(path: Path) -> tuple[Kind, str]:
    name = path.name.lower()
    for suffix, kind in _KINDS.items():
        if name.endswith(suffix):
            return kind
    advice = _OTHER_KINDS.get(path.suffix.lower(), "Export the list as CSV with commas, as Parquet or as NDJSON.")
    raise BulkcertError(
        ExitStatus.INPUT_UNREADABLE,
        f"{path}: a list is one of {', '.join(_KINDS)}, by its suffix",
        advice.format(stem=path.with_suffix("")),
    )


class _Patient:
    """A stream that signals interrupt while it is waited for: polars has SIGINT restart a read, but never a poll."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLIN)

    def read(self, size: int, /) -> bytes:
        """Returns so many bytes; fewer only at the end."""
        pieces: list[bytes] = []
        while size:
            self._ready.poll()
            piece = os.read(self._descriptor, size)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def _readable(name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    with unreadable(name):
        yield from chunks


def _sniffed(name: str, path: Path, chunks: Iterator[bytes]) -> File:
    """Returns a stream as the kind that its first bytes say."""
    start = next(chunks, b"")
    chunks = chain((start,), chunks)
    if start.startswith(_PARQUET):
        return File(name, path, "parquet", chunks, None)
    for signature, compression in _COMPRESSIONS.items():
        if start.startswith(signature):
            chunks = _readable(name, decompress(chunks, compression))
            start = next(chunks, b"")
            chunks = chain((start,), chunks)
            break
    kind: Kind = "ndjson" if start.removeprefix(BOM).lstrip().startswith(b"{") else "csv"
    return File(name, path, kind, chunks, None)
