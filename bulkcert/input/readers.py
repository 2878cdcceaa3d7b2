"""The rows of a table: CSV as text, NDJSON as text, Parquet with its types; what is damaged is refused with its line.

CSV comes as pieces of whole records, parsed by polars one at a time. Against ``polars.scan_csv`` over the file this
bounds the memory of compressed files, knows the line of every record, needs no unstable interface, and finds what
polars passes over in silence: short lines and blank lines, both of which it turns into nulls. Against the standard
library's ``csv`` it takes half the time.

NDJSON is read by msgspec: polars alone would turn a number into text without a word, and name no line.

Parquet is proved by a child process first, since the reader may panic or abort over a damaged file.
"""

import csv
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.columns import confirm_header, quoted
from bulkcert.input.parquet_child import frames
from bulkcert.input.records import BOM, MalformedError, Part, confirm_utf8, cut, read_lines
from bulkcert.service.credentials import without_credentials
from bulkcert.words import printable

KEYS_LIMIT = 1000
"""Keys that the objects of NDJSON may have: where serials stand as keys, each would become a column."""

# A well-formed quoted field: opened where a field starts, closed where it ends, quotes in it doubled. Possessive, so
# that a malformed one fails at once.
_QUOTED = rb'(?<![^,\n])"[^"]*+(?:""[^"]*+)*+"(?=,|\r?\n)'
_QUOTED_FIELD = re.compile(_QUOTED)
_BLANK_LINE = re.compile(rb"(" + _QUOTED + rb")|(?<![^\n])\r?\n")
_AS_CSV = (
    "Export the list again as CSV: UTF-8, separated by commas, fields that hold commas or quotes in double quotes."
)

_AS_NDJSON = "Export the list again as NDJSON: UTF-8, on each line one JSON object."
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_VERBATIM = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = frozenset({str, type(None)})
_WORDS = {int: "a number", float: "a number", bool: "true or false", list: "an array", dict: "an object"}

_CHILD = Path(__file__).with_name("parquet_child.py")


def read_csv(chunks: Iterator[bytes], name: str) -> Iterator[Part]:
    """Yields the rows of a CSV file in order, in at least one part: an empty field is null, a quoted empty one not.

    Raises:
        BulkcertError: INPUT_INVALID: it is malformed; INPUT_UNREADABLE: it is not text.
    """
    row, columns = 1, tuple[str, ...]()
    try:
        for block, first in cut(name, chunks, _last_record_end, "the record has {}: a quote may not be closed"):
            text, line = block, first
            if not columns:
                start, header = next(_records(text, line))
                columns = _columns(name, start, header)
                text, line = text[text.index(header) + len(header) :], start + header.count(b"\n")
            frame = _table(text, line, columns)
            yield Part(frame, name, row, partial(_line_of, text, line))
            row += frame.height
    except MalformedError as error:
        raise error.of(name, _AS_CSV) from None
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


def _records(text: bytes, first: int) -> Iterator[tuple[int, bytes]]:
    """Yields the line and the bytes of each record of a text whose first line is given, without blank lines; slow."""
    start, pieces, inside = first, list[bytes](), False
    for line, piece in enumerate(text[:-1].split(b"\n"), first):
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


def _line_of(text: bytes, first: int, index: int) -> int:
    return next(islice(_records(text, first), index, None))[0]


def _table(text: bytes, first: int, columns: tuple[str, ...]) -> pl.DataFrame:
    """Returns whole records as a table of text.

    Finds what polars accepts in silence: short lines, stray quotes and returns; and text that is not UTF-8.

    Raises:
        MalformedError: A record does not fit the columns, or is not CSV.
    """
    filled = text
    if text.startswith((b"\n", b"\r\n")) or b"\n\n" in text or b"\n\r\n" in text:
        filled = _BLANK_LINE.sub(rb"\1", text)
    unquoted = _QUOTED_FIELD.sub(b"q", filled) if b'"' in filled else filled
    # Polars refuses a record with too many fields, so where the sum is right, every record is.
    records = unquoted.count(b"\n")
    complete = unquoted.count(b",") == records * (len(columns) - 1)
    if b'"' in unquoted or not complete or unquoted.count(b"\r") != unquoted.count(b"\r\n"):
        raise _fault(text, first, len(columns))
    confirm_utf8(text, first)
    schema = dict.fromkeys(columns, pl.String)
    if not filled:
        return pl.DataFrame(schema=schema)
    if filled.startswith(BOM):
        filled = BOM + filled  # polars takes the first for the mark of a file, and drops it
    try:
        frame = pl.read_csv(filled, has_header=False, schema=schema)
    except pl.exceptions.PolarsError:
        raise _fault(text, first, len(columns)) from None
    if frame.height != records:
        raise MalformedError(first, f"from here on there are {records} records, but {frame.height} were read")
    return frame


def _fault(text: bytes, first: int, columns: int) -> MalformedError:
    for line, record in _records(text, first):
        unquoted = _QUOTED_FIELD.sub(b"q", record)
        if b'"' in unquoted:
            return MalformedError(line, 'a quote (") is not closed, or is in a field that does not begin with one')
        if unquoted.count(b"\r") != unquoted.count(b"\r\n"):
            return MalformedError(line, "a carriage return is outside quotes and does not end the line")
        fields = unquoted.count(b",") + 1
        if fields != columns:
            return MalformedError(line, f"{fields} field{'s' * (fields != 1)}, but the header has {columns}")
    return MalformedError(first, "the records from here on cannot be read")


def _last_record_end(text: bytes) -> int:
    """Returns the offset behind the last line feed outside quotes: one that an even number of quotes precedes."""
    end = text.rfind(b"\n") + 1
    inside = text.count(b'"', 0, end) % 2
    while inside and end:
        before = text.rfind(b"\n", 0, end - 1) + 1
        inside ^= text.count(b'"', before, end) % 2
        end = before
    return end


def read_ndjson(chunks: Iterator[bytes], name: str) -> Iterator[Part]:
    """Yields the rows of an NDJSON file in order as text, with the columns so far in the order of their appearance.

    Text stays text; any other value but null becomes its compact JSON. A missing key is null.

    Raises:
        BulkcertError: INPUT_INVALID: a line is not one JSON object, or there are too many keys; INPUT_UNREADABLE: it
            is not text.
    """
    row, names = 1, dict[str, None]()
    try:
        for lines, texts in read_lines(name, chunks):
            frame, not_text = _frame(lines, texts, names)
            yield Part(frame, name, row, lines.__getitem__, not_text)
            row += len(lines)
    except MalformedError as error:
        raise error.of(name, _AS_NDJSON) from None


def _frame(
    lines: Sequence[int], texts: Sequence[bytes], names: dict[str, None]
) -> tuple[pl.DataFrame, dict[str, tuple[int, str]]]:
    """Returns lines as a table, and which of its columns is not text; adds to the names of the columns."""
    objects = _objects(lines, texts)
    for each in objects:
        names.update(dict.fromkeys(each))
    if len(names) > KEYS_LIMIT:
        reason = f"more than {KEYS_LIMIT:,} different keys up to here: are serials used as keys?"
        raise MalformedError(lines[-1], reason)
    columns = {key: [each.get(key) for each in objects] for key in names}
    not_text = dict[str, tuple[int, str]]()
    for key, values in columns.items():
        if set(map(type, values)) <= _TEXT:
            continue
        others = [index for index, value in enumerate(values) if type(value) not in _TEXT]
        not_text[key] = lines[others[0]], _held(values[others[0]])
        for index in others:  # as it stands in the file, to the digit
            values[index] = msgspec.json.format(_VERBATIM.decode(texts[index])[key], indent=-1).decode()
    return pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String)), not_text


def _objects(lines: Sequence[int], texts: Sequence[bytes]) -> list[dict[str, Any]]:
    objects = list[dict[str, Any]]()
    try:
        for text in texts:
            objects.append(_OBJECT.decode(text))
    except RecursionError:
        raise MalformedError(lines[len(objects)], "nested too deep") from None
    except msgspec.DecodeError as error:
        reason = f"not one JSON object: {printable(str(error).removeprefix('JSON is malformed: '), 80)}"
        if texts[len(objects)].lstrip().startswith(b"["):
            reason = "an array begins, where each line must be one JSON object"
        raise MalformedError(lines[len(objects)], reason) from None
    return objects


def _held(value: Any) -> str:
    word = _WORDS[type(value)]
    if word == "a number":
        return f"holds {word} ({printable(str(value))}): leading zeros and digits after the fifteenth may be lost"
    return f"holds {word}, not text"


def read_parquet(path: Path, name: str) -> Iterator[Part]:
    """Yields the rows of a Parquet file, which messages call by the name, in order, in at least one part.

    Raises:
        BulkcertError: INPUT_UNREADABLE: it is not Parquet, or damaged.
    """
    # -P: nothing is imported from the directory of the script.
    proved = subprocess.run(  # noqa: S603 - our own script, by this interpreter
        [sys.executable, "-P", str(_CHILD), str(path)],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=without_credentials(),
    )
    if proved.returncode:
        raise _unreadable(name, proved.stdout.decode() or "it is damaged")
    row = 1
    try:
        for frame in frames(path):
            yield Part(frame, name, row)
            row += frame.height
    except pl.exceptions.PolarsError as error:  # it was changed meanwhile
        raise _unreadable(name, str(error).partition("\n")[0]) from None


def _unreadable(name: str, reason: str) -> BulkcertError:
    message = f"{name}: not a readable Parquet file: {reason}"
    return BulkcertError(ExitStatus.INPUT_UNREADABLE, message, "Copy or export it again.")
