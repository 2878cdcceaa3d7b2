"""CSV as blocks of whole records, parsed by polars one block at a time.

Against ``polars.scan_csv`` over the file this bounds the memory of compressed files, knows the line of every record,
needs no unstable interface, and finds what polars passes over in silence: short lines and blank lines, both of which
it turns into nulls.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from bulkcert.input.reading import BOM, MalformedError, confirm_utf8, cut, without_bom

# A well-formed quoted field: opened where a field starts, closed where it ends, quotes in it doubled. Possessive, so
# that a malformed one fails at once.
_QUOTED = rb'(?<![^,\n])"[^"]*+(?:""[^"]*+)*+"(?=,|\r?\n)'
_QUOTED_FIELD = re.compile(_QUOTED)
_BLANK_LINE = re.compile(rb"(" + _QUOTED + rb")|(?<![^\n])\r?\n")


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

    def frame(self, columns: tuple[str, ...]) -> pl.DataFrame:
        """Returns the records as a table of text: an empty field is null, a quoted empty one an empty text.

        Args:
            columns: Names of the columns, in order.

        Raises:
            MalformedError: A record does not fit the columns, or is not CSV.
        """
        records = self._examine(len(columns))
        frame = self._parsed(columns)
        if frame.height != records:
            raise MalformedError(self.line, f"from here on there are {records} records, but {frame.height} were read")
        return frame

    def _examine(self, columns: int) -> int:
        """Returns the number of records.

        Finds what polars accepts in silence: short lines, stray quotes and returns; and text that is not UTF-8.
        """
        text = _without_blank_lines(self.text)
        unquoted = _QUOTED_FIELD.sub(b"q", text) if b'"' in text else text
        # Polars refuses a record with too many fields, so where the sum is right, every record is.
        records = unquoted.count(b"\n")
        complete = unquoted.count(b",") == records * (columns - 1)
        if b'"' in unquoted or not complete or _has_stray_return(unquoted):
            raise self._fault(columns)
        if not text.isascii():
            confirm_utf8(self.text, self.line)
        return records

    def _parsed(self, columns: tuple[str, ...]) -> pl.DataFrame:
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
                return MalformedError(line, 'a quote (") is not closed, or is in a field that does not begin with one')
            if _has_stray_return(unquoted):
                return MalformedError(line, "a carriage return is outside quotes and does not end the line")
            fields = unquoted.count(b",") + 1
            if fields != columns:
                return MalformedError(line, f"{fields} field{'s' * (fields != 1)}, but the header has {columns}")
        return MalformedError(self.line, "the records from here on cannot be read")


def read_blocks(chunks: Iterator[bytes]) -> Iterator[Block]:
    """Returns text as blocks of whole records; the first one has the header.

    Raises:
        MalformedError: A record is too long.
    """
    for text, line in cut(without_bom(chunks), _last_record_end, "the record", "a quote may not be closed"):
        yield Block(text, line)


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
