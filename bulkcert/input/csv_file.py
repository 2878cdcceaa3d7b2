"""CSV as blocks of whole records, parsed by polars one block at a time.

Against ``polars.scan_csv`` over the file this bounds the memory of compressed files, knows the line of every record,
needs no unstable interface, and finds what polars passes over in silence: short lines and blank lines, both of which
it turns into nulls. Against the standard library's ``csv`` it takes half the time.
"""

import csv
import re
from collections.abc import Iterator
from functools import cached_property

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.columns import confirm_header, quoted
from bulkcert.input.records import BOM, MalformedError, Part, confirm_utf8, cut

# A well-formed quoted field: opened where a field starts, closed where it ends, quotes in it doubled. Possessive, so
# that a malformed one fails at once.
_QUOTED = rb'(?<![^,\n])"[^"]*+(?:""[^"]*+)*+"(?=,|\r?\n)'
_QUOTED_FIELD = re.compile(_QUOTED)
_BLANK_LINE = re.compile(rb"(" + _QUOTED + rb")|(?<![^\n])\r?\n")
_ADVICE = (
    "Export the list again as CSV: UTF-8, separated by commas, fields that hold commas or quotes in double quotes."
)


def read_csv(chunks: Iterator[bytes], name: str) -> Iterator[Part]:
    """Yields the rows of a CSV file in order, in at least one part: an empty field is null, a quoted empty one not.

    Raises:
        BulkcertError: INPUT_INVALID: it is malformed; INPUT_UNREADABLE: it is not text.
    """
    row, columns = 1, tuple[str, ...]()
    try:
        for text, line in cut(name, chunks, _last_record_end, "the record has {}: a quote may not be closed"):
            block = _Block(text, line)
            if not columns:
                start, header = next(block.records())
                columns = _columns(name, start, header)
                block = _Block(text[text.index(header) + len(header) :], start + header.count(b"\n"))
            frame = block.frame(columns)
            yield Part(frame, name, row, block.line_of)
            row += frame.height
    except MalformedError as error:
        raise error.of(name, _ADVICE) from None
    if not columns:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID, f"{name}: the file is empty", "Its first line must name the columns."
        )


def _columns(file: str, line: int, header: bytes) -> tuple[str, ...]:
    """Returns the names in a header."""
    if b"\0" in header or header.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise MalformedError(line, "not UTF-8 but, it seems, UTF-16")
    if b"\r" in header.removesuffix(b"\r\n") and b'"' not in header:
        raise MalformedError(line, "the lines seem to end with CR alone")
    confirm_utf8(header, line)
    try:
        names = next(csv.reader([header.decode()], strict=True))
    except csv.Error as error:
        raise MalformedError(line, f"the header is not CSV: {error}") from None
    if repeated := [name for place, name in enumerate(names) if name in names[:place]]:
        confirm_header(file, names, ())
        raise MalformedError(line, f"two columns are named {quoted(repeated[0])}")
    return tuple(names)


class _Block:
    """Whole records as they stand in the file: bytes that end with a line feed, and the line on which they start."""

    def __init__(self, text: bytes, line: int) -> None:
        self._text = text
        self._line = line

    def records(self) -> Iterator[tuple[int, bytes]]:
        """Yields each record's first line and its bytes, without blank lines; slow, for headers and messages."""
        start, pieces, inside = self._line, list[bytes](), False
        for line, piece in enumerate(self._text[:-1].split(b"\n"), self._line):
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

    @cached_property
    def _lines(self) -> list[int]:
        return [line for line, _ in self.records()]

    def line_of(self, index: int) -> int:
        """Returns the line of a record, from its place, from 0."""
        return self._lines[index]

    def frame(self, columns: tuple[str, ...]) -> pl.DataFrame:
        """Returns the records as a table of text.

        Raises:
            MalformedError: A record does not fit the columns, or is not CSV.
        """
        text = self._text
        if text.startswith((b"\n", b"\r\n")) or b"\n\n" in text or b"\n\r\n" in text:
            text = _BLANK_LINE.sub(rb"\1", text)
        records = self._examine(text, len(columns))
        schema = dict.fromkeys(columns, pl.String)
        if not text:
            return pl.DataFrame(schema=schema)
        if text.startswith(BOM):
            text = BOM + text  # polars takes the first for the mark of a file, and drops it
        try:
            frame = pl.read_csv(text, has_header=False, schema=schema)
        except pl.exceptions.PolarsError:
            raise self._fault(len(columns)) from None
        if frame.height != records:
            raise MalformedError(self._line, f"from here on there are {records} records, but {frame.height} were read")
        return frame

    def _examine(self, text: bytes, columns: int) -> int:
        """Returns the number of records of a text without blank lines.

        Finds what polars accepts in silence: short lines, stray quotes and returns; and text that is not UTF-8.
        """
        unquoted = _QUOTED_FIELD.sub(b"q", text) if b'"' in text else text
        # Polars refuses a record with too many fields, so where the sum is right, every record is.
        records = unquoted.count(b"\n")
        complete = unquoted.count(b",") == records * (columns - 1)
        if b'"' in unquoted or not complete or _has_stray_return(unquoted):
            raise self._fault(columns)
        confirm_utf8(self._text, self._line)
        return records

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
        return MalformedError(self._line, "the records from here on cannot be read")


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
