"""NDJSON as blocks of whole lines: decoded once to be examined, then parsed by polars one block at a time.

polars alone would turn a number into text without a word, take the first of two equal keys, read half of a surrogate
pair as another character, and name no line. msgspec refuses or shows each of these, but makes no tables.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from bulkcert.batch.source.reading import Digest, MalformedError, confirm_utf8, cut, read_bytes, unreadable, without_bom
from bulkcert.batch.source.serials import printable

MALFORMED_NDJSON = "Export the list again as NDJSON: UTF-8, on each line one JSON object, each key once in an object."
"""What to do about a malformed file."""

_OBJECTS = msgspec.json.Decoder(dict[str, Any])
_WHITE_SPACE = b" \t\r"


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines as they stand in the file.

    Attributes:
        text: Their bytes; ends with a line feed.
        line: Line of the file on which they start, from 1.
    """

    text: bytes
    line: int

    def records(self) -> Iterator[tuple[int, bytes]]:
        """Returns each line's number and its bytes, without blank lines."""
        for line, record in enumerate(self.text[:-1].split(b"\n"), self.line):
            if record.strip(_WHITE_SPACE):
                yield line, record

    def objects(self) -> list[dict[str, Any]]:
        """Returns the object of each line that is not blank.

        Raises:
            MalformedError: A line is not one JSON object. One that goes over lines may only be found by ``frame``.
        """
        if not self.text.isascii():
            confirm_utf8(self.text, self.line)
        try:
            objects = _OBJECTS.decode_lines(self.text)
        except (msgspec.DecodeError, RecursionError):
            raise self._fault() from None
        # The decoder goes by objects, not by lines.
        if len(objects) != self.text.count(b"\n") and len(objects) != sum(1 for _ in self.records()):
            raise self._fault()
        return objects

    def confirm_distinct(self, keys: int) -> None:
        """Refuses an object that has a key twice, at whatever depth: nobody can say which value holds.

        Args:
            keys: Number of the keys in all objects, as they were decoded: of two equal ones only one was kept.

        Raises:
            MalformedError: With the first such line.
        """
        # Where a key ends there is a colon behind a quote or white space. Texts may hold such colons too, so equal
        # numbers are a proof and unequal ones are not.
        if sum(map(self.text.count, (b'":', b" :", b"\t:", b"\r:"))) == keys:
            return
        for line, record in self.records():
            try:
                json.loads(record, object_pairs_hook=_distinct, parse_int=str, parse_float=str)
            except _RepeatedKeyError as error:
                raise MalformedError(line, f"the key '{printable(str(error))}' stands twice in one object") from None

    def frame(self, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """Returns the objects as a table; a missing key is null.

        Args:
            schema: Names and types of the columns: those of all objects.

        Raises:
            MalformedError: A line cannot be read.
        """
        try:
            return pl.read_ndjson(self.text, schema=schema)
        except pl.exceptions.PolarsError:
            raise self._fault(schema) from None

    def slices(self, rows: int) -> "Iterator[Lines]":
        """Returns the lines in pieces of so many at most."""
        if self.text.count(b"\n") <= rows:
            yield self
            return
        pieces = self.text[:-1].split(b"\n")
        for start in range(0, len(pieces), rows):
            yield Lines(b"\n".join(pieces[start : start + rows]) + b"\n", self.line + start)

    def _fault(self, schema: Mapping[str, pl.DataType] | None = None) -> MalformedError:
        records = list(self.records())
        for line, record in records:
            if reason := _reason(record):
                return MalformedError(line, reason)
        # What is JSON and too much for polars, as a number of 100 digits; halved, because a call for each line is slow.
        reason = ""
        while len(records) > 1:
            half = records[: len(records) // 2]
            records = half if _refusal(half, schema) else records[len(half) :]
        reason = _refusal(records, schema) or "the lines from here on cannot be read"
        return MalformedError(records[0][0], reason)


def read_lines(path: Path, digest: Digest | None = None) -> Iterator[Lines]:
    """Returns a text file as blocks of whole lines, in which not all are blank.

    Args:
        path: The file.
        digest: Takes in the bytes of the file as they are.

    Raises:
        BulkcertError: INPUT_UNREADABLE.
        MalformedError: A line is too long.
    """
    with unreadable(path):
        texts = without_bom(read_bytes(path, digest))
        for text, line in cut(texts, _last_line_end, "the line", "line feeds may be missing"):
            yield Lines(text, line)


class _RepeatedKeyError(Exception):
    """A key that an object has already; its text is the key."""


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    keys = set[str]()
    for key, _ in pairs:
        if key in keys:
            raise _RepeatedKeyError(key)
        keys.add(key)


def _reason(record: bytes) -> str:
    """Returns why a line is not one JSON object; empty where it is one."""
    try:
        _OBJECTS.decode(record)
    except RecursionError:
        return "nested too deep"
    except msgspec.DecodeError as error:
        if record.lstrip(_WHITE_SPACE).startswith(b"["):
            return "an array begins, where each line must be one JSON object"
        return f"not one JSON object: {printable(str(error).removeprefix('JSON is malformed: '), 80)}"
    return ""


def _refusal(records: list[tuple[int, bytes]], schema: Mapping[str, pl.DataType] | None) -> str:
    """Returns why polars does not read lines; empty where it does."""
    try:
        pl.read_ndjson(b"\n".join(record for _, record in records), schema=schema)
    except pl.exceptions.PolarsError as error:
        return f"cannot be read: {printable(str(error).partition(chr(10))[0], 80)}"
    return ""


def _last_line_end(text: bytes) -> int:
    return text.rfind(b"\n") + 1
