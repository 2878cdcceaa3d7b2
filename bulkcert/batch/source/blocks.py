"""CSV as blocks of whole records, parsed by polars one block at a time.

Against ``polars.scan_csv`` over the file this bounds the memory of compressed files, knows the line of every record,
needs no unstable interface, and finds what polars passes over in silence: short lines and blank lines, both of which
it turns into nulls.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import polars as pl

from bulkcert.batch.source.reading import Digest, decompress, read_bytes, unreadable

BOM = b"\xef\xbb\xbf"
RECORD_LIMIT = 16 * 1024 * 1024
"""Bytes that one record may have: a quote that nobody closes must not swallow the file into memory."""

# A well-formed quoted field: opened where a field starts, closed where it ends, quotes in it doubled. Possessive, so
# that a malformed one fails at once.
_QUOTED = rb'(?<![^,\n])"[^"]*+(?:""[^"]*+)*+"(?=,|\r?\n)'
_QUOTED_FIELD = re.compile(_QUOTED)
_BLANK_LINE = re.compile(rb"(" + _QUOTED + rb")|(?<![^\n])\r?\n")


class MalformedError(Exception):
    """A record that is not CSV, or does not fit the header.

    Args:
        line: Line on which the record starts; the file's first line is 1.
        reason: What is wrong with it.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records as they stand in the file.

    Attributes:
        text: Their bytes, decompressed; ends with a line feed.
        line: Line of the file on which they start, from 1.
    """

    text: bytes
    line: int

    def records(self) -> Iterator[tuple[int, bytes]]:
        """Returns each record's first line and its bytes, without blank lines; slow, for headers and messages."""
        start, pieces, inside = self.line, list[bytes](), False
        for line, piece in enumerate(self.text[:-1].split(b"\n"), self.line):
            if not inside:
                if piece in {b"", b"\r"}:
                    continue
                start, pieces = line, []
            pieces.append(piece + b"\n")
            inside ^= piece.count(b'"') % 2 == 1
            if not inside:
                yield start, b"".join(pieces)
        if inside:
            yield start, b"".join(pieces)

    def examine(self, columns: int) -> int:
        """Finds what polars accepts in silence: short lines, stray quotes and returns; and text that is not UTF-8.

        Returns:
            The number of records.

        Args:
            columns: Number of fields that every record must have.

        Raises:
            MalformedError: With the first such record.
        """
        text = _without_blank_lines(self.text)
        unquoted = _QUOTED_FIELD.sub(b"q", text) if b'"' in text else text
        # Polars refuses a record with too many fields, so where the sum is right, every record is.
        records = unquoted.count(b"\n")
        complete = unquoted.count(b",") == records * (columns - 1)
        if b'"' in unquoted or not complete or _has_stray_return(unquoted):
            raise self._fault(columns)
        if not text.isascii():
            self._decode()
        return records

    def frame(self, columns: tuple[str, ...]) -> pl.DataFrame:
        """Returns the records as a table of text: an empty field is null, a quoted empty one an empty text.

        Args:
            columns: Names of the columns, in order.

        Raises:
            MalformedError: A record does not fit the columns.
        """
        schema = dict.fromkeys(columns, pl.String)
        text = _without_blank_lines(self.text)
        if not text:
            return pl.DataFrame(schema=schema)
        if text.startswith(BOM):
            text = BOM + text  # polars takes the first for the mark of a file, and drops it
        try:
            return pl.read_csv(text, has_header=False, schema=schema)
        except pl.exceptions.PolarsError:
            raise self._fault(len(columns)) from None

    def without_header(self) -> tuple[int, bytes, "Block"]:
        """Returns the line and the bytes of the first record, and the block behind it; no bytes where none is."""
        line, header = next(self.records(), (self.line, b""))
        behind = self.text.index(header) + len(header)
        return line, header, Block(self.text[behind:], line + header.count(b"\n"))

    def _fault(self, columns: int) -> MalformedError:
        for line, record in self.records():
            unquoted = _QUOTED_FIELD.sub(b"q", record)
            if b'"' in unquoted:
                return MalformedError(
                    line, 'a quote (") is not closed, or stands in a field that does not begin with one'
                )
            if _has_stray_return(unquoted):
                return MalformedError(line, "a carriage return stands outside quotes and does not end the line")
            fields = unquoted.count(b",") + 1
            if fields != columns:
                return MalformedError(line, f"{fields} field{'s' * (fields != 1)}, but the header has {columns}")
        return MalformedError(self.line, "the records from here on cannot be read")

    def _decode(self) -> None:
        try:
            self.text.decode()
        except UnicodeDecodeError as error:
            before = self.text[: error.start]
            byte = error.start - before.rfind(b"\n")
            reason = f"byte {byte} of the line (0x{self.text[error.start]:02x}) is not UTF-8"
            raise MalformedError(self.line + before.count(b"\n"), reason) from None


def read_blocks(path: Path, compression: str, digest: Digest | None = None) -> Iterator[Block]:
    """Returns the file as blocks of whole records; the first one has the header.

    Args:
        path: The file.
        compression: ``gz``, ``zst`` or empty.
        digest: Takes in the bytes of the file as they are.

    Raises:
        BulkcertError: INPUT_UNREADABLE.
        MalformedError: A record is too long.
    """
    with unreadable(path):
        chunks = read_bytes(path, digest)
        yield from _cut(_without_bom(decompress(chunks, compression) if compression else chunks))


def _without_bom(chunks: Iterator[bytes]) -> Iterator[bytes]:
    return chain((next(chunks, b"").removeprefix(BOM),), chunks)


def _cut(chunks: Iterable[bytes]) -> Iterator[Block]:
    line, carry = 1, b""
    for chunk in chunks:
        text = carry + chunk
        end = _last_record_end(text)
        records, carry = text[:end], text[end:]
        if records.strip(b"\r\n"):  # the first block must have the header, however many blank lines precede it
            yield Block(records, line)
        line += records.count(b"\n")
        if len(carry) > RECORD_LIMIT:
            raise MalformedError(
                line, f"the record has no end within {RECORD_LIMIT >> 20} MiB: a quote may not be closed"
            )
    if carry:
        yield Block(carry if carry.endswith(b"\n") else carry + b"\n", line)


def _last_record_end(text: bytes) -> int:
    """Returns the offset behind the last line feed outside quotes: one that an even number of quotes precedes."""
    end = text.rfind(b"\n") + 1
    inside = text.count(b'"', 0, end) % 2
    while inside and end:
        before = text.rfind(b"\n", 0, end - 1) + 1
        inside ^= text.count(b'"', before, end) % 2
        end = before
    return end


def _has_stray_return(unquoted: bytes) -> bool:
    return unquoted.count(b"\r") != unquoted.count(b"\r\n")


def _without_blank_lines(text: bytes) -> bytes:
    if text.startswith((b"\n", b"\r\n")) or b"\n\n" in text or b"\n\r\n" in text:
        return _BLANK_LINE.sub(rb"\1", text)
    return text
