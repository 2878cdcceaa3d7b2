"""The input's bytes: read piece by piece, hashed, decompressed; what fails on the way becomes exit status 66."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Protocol

import zstandard

from bulkcert.errors import BulkcertError, ExitStatus

CHUNK_BYTES = 4 * 1024 * 1024
"""Bytes read at a time: about 70,000 rows of a usual list; larger pieces are hardly faster."""
FEED_BYTES = 4096
"""Compressed bytes decompressed at a time: zstd can pack thousands to one, so the step bounds the memory."""
ZSTD_WINDOW_BYTES = 2**27
"""Largest window accepted, the limit of the ``zstd`` command as well."""
RECORD_LIMIT = 16 * 1024 * 1024
"""Bytes that one record may have: a quote that nobody closes must not swallow the file into memory."""
BOM = b"\xef\xbb\xbf"


class MalformedError(Exception):
    """A record that is not of the format, or does not fit the columns.

    Args:
        line: Line on which the record starts; the file's first line is 1.
        reason: What is wrong with it.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class Digest(Protocol):
    """What takes in the file's bytes as they are read, as the objects of ``hashlib`` do."""

    def update(self, chunk: bytes, /) -> None:
        """Takes in the next bytes."""


class Readable(Protocol):
    """What gives bytes, as a file does."""

    def read(self, size: int, /) -> bytes:
        """Returns so many bytes; fewer only at the end."""


class _Decompressor(Protocol):
    """What ``zlib`` and ``zstandard`` have in common; each reads one member or frame, of which a file may have many."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, chunk: bytes, /) -> bytes: ...


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gz": lambda: zlib.decompressobj(wbits=31),  # 31: with the header and the checksum of gzip
    "zst": lambda: zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj(),
}


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
        raise BulkcertError(ExitStatus.INPUT_UNREADABLE, f"{path}: no such file", "Check the path.") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE, f"{path}: cannot be read: {reason}", "Check the path and its permissions."
        ) from None
    except EOFError:
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE, f"{path}: the compressed file ends too early", "Copy or export it again."
        ) from None
    except (zlib.error, zstandard.ZstdError) as error:
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE,
            f"{path}: cannot be decompressed: {error}",
            "Copy or export it again, and see that the suffix says how it is compressed.",
        ) from None


def read_bytes(file: Readable, digest: Digest) -> Iterator[bytes]:
    """Returns a file's bytes as they are, piece by piece, and gives each to the digest."""
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        yield chunk


def decompress(chunks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """Returns the decompressed bytes piece by piece.

    Args:
        chunks: The compressed bytes.
        compression: ``gz`` or ``zst``.

    Raises:
        EOFError: The bytes end inside a member or frame.
        zlib.error: They are not gzip, or damaged.
        zstandard.ZstdError: They are not zstd, or damaged.
    """
    start = _DECOMPRESSORS[compression]
    stream: _Decompressor | None = None
    ready = bytearray()
    for chunk in chunks:
        for offset in range(0, len(chunk), FEED_BYTES):
            piece = chunk[offset : offset + FEED_BYTES]
            # Between two members there may be zeros: what wrote to a tape filled its last block with them.
            while piece := piece if stream else piece.lstrip(b"\0"):
                stream = stream or start()
                ready += stream.decompress(piece)
                piece = b""
                if stream.eof:
                    piece, stream = stream.unused_data, None
            if len(ready) >= CHUNK_BYTES:
                yield bytes(ready)
                ready.clear()
    if stream:
        raise EOFError
    yield bytes(ready)


def without_bom(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Returns the pieces without the mark that some programs put before UTF-8."""
    return chain((next(chunks, b"").removeprefix(BOM),), chunks)


def cut(chunks: Iterable[bytes], last_end: Callable[[bytes], int], what: str, why: str) -> Iterator[tuple[bytes, int]]:
    """Returns the text again in pieces of whole records, each with the line on which it starts.

    Args:
        chunks: The text, cut anywhere.
        last_end: Returns the offset behind the last whole record of a text.
        what: What a record is called, for a message.
        why: Why one may have no end, for a message.

    Raises:
        MalformedError: A record is too long.
    """
    line, carry = 1, b""
    for chunk in chunks:
        text = carry + chunk
        end = last_end(text)
        records, carry = text[:end], text[end:]
        if records.strip(b"\r\n"):  # the first piece must have the header, however many blank lines precede it
            yield records, line
        line += records.count(b"\n")
        if len(carry) > RECORD_LIMIT:
            raise MalformedError(line, f"{what} has no end within {RECORD_LIMIT >> 20} MiB: {why}")
    if carry:
        yield carry if carry.endswith(b"\n") else carry + b"\n", line


def confirm_utf8(text: bytes, line: int) -> None:
    """Refuses text that is not UTF-8.

    Args:
        text: The text.
        line: Line on which it starts.

    Raises:
        MalformedError: With the line and the first byte that is not.
    """
    try:
        text.decode()
    except UnicodeDecodeError as error:
        before = text[: error.start]
        byte = error.start - before.rfind(b"\n")
        reason = f"byte {byte} of the line (0x{text[error.start]:02x}) is not UTF-8"
        raise MalformedError(line + before.count(b"\n"), reason) from None
