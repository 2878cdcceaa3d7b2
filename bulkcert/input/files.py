"""The files of an input: patterns expanded, opened, hashed, decompressed, and what kind of file each is.

A regular file is what its suffix says. Anything else (standard input, a FIFO, a process substitution) is read once, as
a stream, and is what its first bytes say. What fails on the way becomes exit status 66.
"""

import glob
import os
import select
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import zstandard

from bulkcert.errors import BulkcertError, ExitStatus, temporary
from bulkcert.formats import LISTS, ListKind, list_suffix
from bulkcert.input.readers import read_csv, read_ndjson, read_parquet
from bulkcert.input.records import BOM, Part

Kind = ListKind | Literal["text"]

STDIN = Path("-")
"""The name of standard input."""
CHUNK_BYTES = 4 * 1024 * 1024
"""Bytes read at a time: about 70,000 rows of a usual list; larger pieces are hardly faster."""
FEED_BYTES = 4096
"""Compressed bytes decompressed at a time: zstd can pack thousands to one, so the step bounds the memory."""
ZSTD_WINDOW_BYTES = 2**27
"""Largest window accepted, the limit of the ``zstd`` command as well."""

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
_IDENTITY = attrgetter("st_dev", "st_ino", "st_size", "st_mtime_ns")
"""What of a file stays the same as long as nobody changes it."""
# Each reads one member or frame, of which a file may have many.
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "gz": lambda: zlib.decompressobj(wbits=31),  # 31: with the header and the checksum of gzip
    "zst": lambda: zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj(),
}


class File(msgspec.Struct, frozen=True):
    """An opened file whose kind is known.

    Attributes:
        name: What messages call it.
        path: Where it is.
        kind: How it is read.
        chunks: Its bytes, decompressed, piece by piece; those of Parquet as they are.
    """

    name: str
    path: Path
    kind: Kind
    chunks: Iterator[bytes]

    def parts(self) -> Iterator[Part]:
        """Yields the rows of a table in order; at least one part, except of NDJSON.

        Raises:
            BulkcertError: INPUT_UNREADABLE: damaged; INPUT_INVALID: malformed.
        """
        if self.kind == "csv":
            yield from read_csv(self.chunks, self.name)
        elif self.kind == "ndjson":
            yield from read_ndjson(self.chunks, self.name)
        else:
            yield from read_parquet(self.path, self.name)
            for _ in self.chunks:  # for the digest; polars reads the file for itself
                pass


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
            raise _unreadable(path, "no file matches", "Check the pattern.")
    if paths.count(STDIN) > 1:
        raise BulkcertError(ExitStatus.USAGE, "standard input (-) is named twice", "It can be read once only.")
    return paths


@contextmanager
def open_file(path: Path, digest: Callable[[bytes], None], other: Kind | None = None) -> Iterator[File]:
    """Opens a file for one reading.

    Args:
        path: The file; ``-`` is standard input.
        digest: Takes in its bytes as they are, when they are read.
        other: What a file with an unknown suffix is; None refuses it.

    Raises:
        BulkcertError: INPUT_UNREADABLE: missing, a directory, or of an unknown kind; INPUT_INVALID: changed while it
            was read.
    """
    with _opened(path) as (stream, name):
        with unreadable(name):
            status = os.fstat(stream.fileno())
        if path != STDIN and stat.S_ISREG(status.st_mode):
            kind, compression = _kind(path, other)
            try:
                chunks = _bytes(name, stream.read, digest)
                if compression:
                    chunks = _decompressed(name, chunks, compression)
                yield File(name, path, kind, chunks)
            except BulkcertError:  # whatever else seems to be wrong with it
                _confirm_unchanged(path, status)
                raise
            _confirm_unchanged(path, status)
            return
        file = _sniffed(name, path, _bytes(name, _patient(stream.fileno()), digest))
        if file.kind != "parquet":
            yield file
            return
        with temporary(tempfile.NamedTemporaryFile) as copy:  # the format is read from its end
            with unreadable(copy.name):
                copy.writelines(file.chunks)
                copy.flush()
            yield File(name, Path(copy.name), "parquet", iter(()))


def _confirm_unchanged(path: Path, opened: os.stat_result) -> None:
    with unreadable(path):
        now = path.stat()
    if _IDENTITY(now) != _IDENTITY(opened):
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{path}: the file was changed while it was read",
            "See that nothing writes to it any more.",
            again=True,
        )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    if path == STDIN:
        yield sys.stdin.buffer, "standard input"
        return
    if os.path.isdir(path):  # noqa: PTH112 - Path raises where it may not look
        raise _unreadable(path, "a directory", f"Name the files in it, as {path / '*.csv'}.")
    with unreadable(path):
        # A FIFO that nobody writes to yet would keep a blocking open from being interrupted; see _patient.
        fifo = stat.S_ISFIFO(path.stat().st_mode)
        stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") if fifo else path.open("rb")
    with stream:
        yield stream, str(path)


def _kind(path: Path, other: Kind | None) -> tuple[Kind, str]:
    if suffix := list_suffix(path):
        return LISTS[suffix][:2]
    if other:
        return other, ""
    advice = _OTHER_KINDS.get(path.suffix.lower(), "Export the list as CSV with commas, as Parquet or as NDJSON.")
    raise _unreadable(
        path, f"a list is one of {', '.join(LISTS)}, by its suffix", advice.format(stem=path.with_suffix(""))
    )


def _sniffed(name: str, path: Path, chunks: Iterator[bytes]) -> File:
    """Returns a stream as the kind that its first bytes say."""
    start = next(chunks, b"")
    chunks = chain((start,), chunks)
    if start.startswith(b"PAR1"):
        return File(name, path, "parquet", chunks)
    if compression := _COMPRESSIONS.get(start[:2]) or _COMPRESSIONS.get(start[:4]):
        chunks = _decompressed(name, chunks, compression)
        start = next(chunks, b"")
        chunks = chain((start,), chunks)
    return File(name, path, "ndjson" if start.removeprefix(BOM).lstrip().startswith(b"{") else "csv", chunks)


def _patient(descriptor: int) -> Callable[[int], bytes]:
    """Returns what reads so many bytes of a stream, fewer only at its end.

    Signals interrupt it while it waits: polars has SIGINT restart a read, but never a poll.
    """
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)

    def read(size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            ready.poll()
            if not (piece := os.read(descriptor, size - len(found))):
                break
            found += piece
        return bytes(found)

    return read


def _bytes(name: str, read: Callable[[int], bytes], digest: Callable[[bytes], None]) -> Iterator[bytes]:
    with unreadable(name):
        while chunk := read(CHUNK_BYTES):
            digest(chunk)
            yield chunk


def _decompressed(name: str, chunks: Iterator[bytes], compression: str) -> Iterator[bytes]:
    """Yields bytes decompressed, piece by piece; they must not end inside a member or frame."""
    start, ready = _DECOMPRESSORS[compression], bytearray()
    stream = start()
    with unreadable(name):
        for piece in (chunk[at : at + FEED_BYTES] for chunk in chunks for at in range(0, len(chunk), FEED_BYTES)):
            left = piece
            while left:
                stream = stream or start()
                ready += stream.decompress(left)
                left = b""
                if stream.eof:
                    left, stream = stream.unused_data, None
            if len(ready) >= CHUNK_BYTES:
                yield bytes(ready)
                ready.clear()
        if stream:
            raise EOFError
    yield bytes(ready)


@contextmanager
def unreadable(path: Path | str) -> Iterator[None]:
    """Turns what reading a file can raise into one error for the user.

    Args:
        path: The file, or what messages call it.

    Raises:
        BulkcertError: INPUT_UNREADABLE.
    """
    try:
        yield
    except FileNotFoundError:
        raise _unreadable(path, "no such file", "Check the path.") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _unreadable(path, f"cannot be read: {reason}", "Check the path and its permissions.") from None
    except EOFError:
        raise _unreadable(path, "the compressed file ends too early", "Copy or export it again.") from None
    except (zlib.error, zstandard.ZstdError) as error:
        advice = "Copy or export it again, and see that the suffix says how it is compressed."
        raise _unreadable(path, f"cannot be decompressed: {error}", advice) from None


def _unreadable(path: Path | str, reason: str, advice: str) -> BulkcertError:
    return BulkcertError(ExitStatus.INPUT_UNREADABLE, f"{path}: {reason}", advice)
