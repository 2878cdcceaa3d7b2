"""Text as pieces of whole records, and the rows that come of it with their places."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

import msgspec
import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.words import printable

RECORD_LIMIT = 16 * 1024 * 1024
"""Bytes that one record may have: a quote that nobody closes must not swallow the file into memory."""
BOM = b"\xef\xbb\xbf"

_SIGNATURES = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PAR1": "Parquet",
    b"PK\x03\x04": "a workbook or archive",
}


class MalformedError(Exception):
    """A record that is not of the format, or does not fit the columns.

    Args:
        line: Line on which the record starts; the file's first line is 1.
        reason: What is wrong with it.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)

    def of(self, file: str, advice: str) -> BulkcertError:
        """Returns what to show the user about it."""
        line, reason = self.args
        return BulkcertError(ExitStatus.INPUT_INVALID, f"{file}, line {line}: {reason}", advice)


class Part(msgspec.Struct, frozen=True):
    """Consecutive rows of one file.

    Attributes:
        frame: The file's own columns.
        file: What messages call the file.
        row: Number in the file of the first of them, from 1.
        line_of: Returns the line of a row of the frame, both from its place, from 0; slow. None for Parquet.
        not_text: For each column of NDJSON that holds something else, the line of the first such value, and what it is.
    """

    frame: pl.DataFrame
    file: str
    row: int
    line_of: Callable[[int], int] | None = None
    not_text: Mapping[str, tuple[int, str]] = msgspec.field(default_factory=dict)

    def line(self, index: int) -> int | None:
        """Returns the line on which a row starts, from 1; None for Parquet."""
        return self.line_of and self.line_of(index)

    def place(self, index: int) -> str:
        """Returns where a row is, for messages."""
        line = self.line(index)
        return f"{self.file}, row {self.row + index}" if line is None else f"{self.file}, line {line}"

    def confirm_text(self, column: str) -> None:
        """Refuses a column of serials that is not text.

        Raises:
            BulkcertError: INPUT_INVALID.
        """
        place, kind, reason = self.file, self.frame.schema.get(column, pl.String()), ""
        if column in self.not_text:
            line, reason = self.not_text[column]
            place = f"{self.file}, line {line}"
        elif kind.is_numeric():
            reason = f"holds numbers ({kind}): leading zeros and digits after the fifteenth may be lost"
        elif not isinstance(kind, (pl.String, pl.Categorical, pl.Enum, pl.Null)):
            reason = f"holds {kind}, not text"
        if reason:
            raise BulkcertError(
                ExitStatus.INPUT_INVALID,
                f"{place}, column {printable(column)}: {reason}",
                "Export the list again with this column as text, best straight from the registry.",
            )


def cut(
    name: str, chunks: Iterator[bytes], last_end: Callable[[bytes], int], endless: str
) -> Iterator[tuple[bytes, int]]:
    """Yields text in pieces of whole records, each with the line on which it starts; none has empty lines only.

    Args:
        name: What messages call the file.
        chunks: The text, cut anywhere.
        last_end: Returns the offset behind the last whole record of a text.
        endless: What to say of a record that is too long.

    Raises:
        MalformedError: A record is too long.
        BulkcertError: INPUT_UNREADABLE: the file is not text.
    """
    line, carry = 1, next(chunks, b"").removeprefix(BOM)
    for signature, kind in _SIGNATURES.items():
        if carry.startswith(signature):
            raise BulkcertError(
                ExitStatus.INPUT_UNREADABLE,
                f"{name}: not text but, it seems, {kind}",
                "Give the file the suffix of what it is, or export the list again as CSV.",
            )
    for chunk in chain((b"",), chunks):
        text = carry + chunk
        end = last_end(text)
        records, carry = text[:end], text[end:]
        if records.strip(b"\r\n"):
            yield records, line
        line += records.count(b"\n")
        if len(carry) > RECORD_LIMIT:
            raise MalformedError(line, endless.format(f"no end within {RECORD_LIMIT >> 20} MiB"))
    if carry.strip(b"\r\n"):
        yield carry if carry.endswith(b"\n") else carry + b"\n", line


def read_lines(name: str, chunks: Iterator[bytes]) -> Iterator[tuple[Sequence[int], Sequence[bytes]]]:
    """Yields the numbers and the bytes of lines that are not blank, as ``cut`` does; all are UTF-8."""
    endless = "the line has {}: line feeds may be missing"
    for text, first in cut(name, chunks, lambda text: text.rfind(b"\n") + 1, endless):
        confirm_utf8(text, first)
        if lines := [(line, each) for line, each in enumerate(text.split(b"\n"), first) if each.strip()]:
            numbers, texts = zip(*lines, strict=True)
            yield numbers, texts


def confirm_utf8(text: bytes, line: int) -> None:
    """Refuses text that starts on a line and is not UTF-8: MalformedError, with the first byte that is not."""
    if text.isascii():
        return
    try:
        text.decode()
    except UnicodeDecodeError as error:
        before = text[: error.start]
        byte = error.start - before.rfind(b"\n")
        reason = f"byte {byte} of the line (0x{text[error.start]:02x}) is not UTF-8"
        raise MalformedError(line + before.count(b"\n"), reason) from None
