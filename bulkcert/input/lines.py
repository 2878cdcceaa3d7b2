"""NDJSON as blocks of whole lines: each line one JSON object, every value text or the JSON that is there.

polars alone would turn a number into text without a word, take the first of two equal keys, read half of a surrogate
pair as another character, and name no line. msgspec refuses or shows each of these.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec
import polars as pl

from bulkcert.input.reading import MalformedError, confirm_utf8, cut, without_bom
from bulkcert.words import printable

MALFORMED_NDJSON = "Export the list again as NDJSON: UTF-8, on each line one JSON object, each key once in an object."
"""What to do about a malformed file."""
KEYS_LIMIT = 1000
"""Keys that the objects may have: where serials stand as keys, each would become a column."""
PART_CELLS = 4 * 1024 * 1024
"""Cells that are made at a time: where objects leave out most keys, a few bytes may be a long row."""

_OBJECTS = msgspec.json.Decoder(dict[str, Any])
_VERBATIM = msgspec.json.Decoder(dict[str, msgspec.Raw])
_WHITE_SPACE = b" \t\r"
_TEXT = frozenset({str, type(None)})
_WORDS = {int: "a number", float: "a number", bool: "true or false", list: "an array", dict: "an object"}


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
            MalformedError: A line is not one JSON object, or one has a key twice, at whatever depth.
        """
        if not self.text.isascii():
            confirm_utf8(self.text, self.line)
        try:
            objects = _OBJECTS.decode_lines(self.text)
        except (msgspec.DecodeError, RecursionError):
            raise self._fault() from None
        # The decoder goes by objects, not by lines.
        if not self._is_object_a_line(len(objects)):
            raise self._fault()
        self._confirm_distinct(objects)
        return objects

    def verbatim(self) -> list[dict[str, msgspec.Raw]]:
        """Returns the objects with their values as they stand in the file."""
        return _VERBATIM.decode_lines(self.text)

    def _is_object_a_line(self, objects: int) -> bool:
        """Returns whether each line is one of so many objects: none is cut where a brace ends and one begins a line."""
        ends = self.text.count(b"}\n{") + 1
        if ends == objects == self.text.count(b"\n") and self.text.startswith(b"{") and self.text.endswith(b"}\n"):
            return True
        records = [record.strip(_WHITE_SPACE) for _, record in self.records()]
        return len(records) == objects and all(each[:1] == b"{" and each[-1:] == b"}" for each in records)

    def _confirm_distinct(self, objects: list[dict[str, Any]]) -> None:
        """Refuses an object that has a key twice: nobody can say which value holds."""
        # Where a key ends there is a colon behind a quote or white space. Texts may hold such colons too, so equal
        # numbers are a proof and unequal ones are not.
        colons = sum(map(self.text.count, (b'":', b" :", b"\t:", b"\r:")))
        if colons == sum(map(len, objects)) or colons == sum(map(_keys, objects)):
            return
        for line, record in self.records():
            try:
                json.loads(record, object_pairs_hook=_distinct, parse_int=str, parse_float=str)
            except _RepeatedKeyError as error:
                raise MalformedError(line, f"the key '{printable(str(error))}' occurs twice in one object") from None

    def _fault(self) -> MalformedError:
        found = ((line, _reason(record)) for line, record in self.records())
        return MalformedError(*next((line, reason) for line, reason in found if reason))


class Columns:
    """The columns of the objects so far, in the order of their first appearance.

    Attributes:
        names: Their names.
        not_text: For each column with a value that is neither text nor null, the line and what is there.
    """

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.not_text: dict[str, tuple[int, str]] = {}

    def frames(self, lines: Lines) -> Iterator[pl.DataFrame]:
        """Returns the next objects as tables of text, without the columns that none of them has.

        Text stays text; any other value but null becomes its compact JSON. A missing key is null.

        Raises:
            MalformedError: A line is not one JSON object, says two things, or has too many keys.
        """
        rows = lines.objects()
        names = [*dict.fromkeys(chain.from_iterable(rows))]
        self._confirm_few(lines, rows, names)
        names = names or [*self.names][:1]  # a table without columns has no rows
        verbatim: list[dict[str, msgspec.Raw]] = []
        step = max(PART_CELLS // max(len(self.names), 1), 1)
        for start in range(0, len(rows), step):
            columns: dict[str, list[str | None]] = {}
            for name in names:
                columns[name] = values = [row.get(name) for row in rows[start : start + step]]
                if set(map(type, values)) <= _TEXT:
                    continue
                self._note(lines, name, values, start)
                verbatim = verbatim or lines.verbatim()
                columns[name] = [
                    value if type(value) in _TEXT else _compact(row[name])
                    for value, row in zip(values, verbatim[start : start + step], strict=True)
                ]
            yield pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))

    def _note(self, lines: Lines, name: str, values: list[Any], start: int) -> None:
        if name not in self.not_text:
            index = next(index for index, value in enumerate(values) if type(value) not in _TEXT)
            line = next(line for place, (line, _) in enumerate(lines.records()) if place == start + index)
            self.not_text[name] = line, _text(values[index])

    def _confirm_few(self, lines: Lines, rows: list[dict[str, Any]], names: list[str]) -> None:
        known = set(self.names)
        self.names |= dict.fromkeys(names)
        if len(self.names) <= KEYS_LIMIT:
            return
        for index, (line, _) in enumerate(lines.records()):
            known.update(rows[index])
            if len(known) > KEYS_LIMIT:
                message = f"more than {KEYS_LIMIT:,} different keys up to here: are serials used as keys?"
                raise MalformedError(line, message)


def read_lines(chunks: Iterator[bytes]) -> Iterator[Lines]:
    """Returns text as blocks of whole lines, in which not all are blank.

    Raises:
        MalformedError: A line is too long.
    """
    for text, line in cut(without_bom(chunks), _last_line_end, "the line", "line feeds may be missing"):
        if text.strip(b" \t\r\n"):
            yield Lines(text, line)


class _RepeatedKeyError(Exception):
    """A key that an object has already; its text is the key."""


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    keys = set[str]()
    for key, _ in pairs:
        if key in keys:
            raise _RepeatedKeyError(key)
        keys.add(key)


def _keys(value: Any) -> int:
    """Returns the number of keys in a value, at every depth."""
    if type(value) is dict:
        return len(value) + sum(map(_keys, value.values()))
    return sum(map(_keys, value)) if type(value) is list else 0


def _compact(raw: msgspec.Raw) -> str:
    """Returns the JSON of a value without white space, its numbers as they are."""
    return msgspec.json.format(raw, indent=-1).decode()


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


def _text(value: Any) -> str:
    word = _WORDS[type(value)]
    if word == "a number":
        return f"holds {word} ({printable(str(value))}): leading zeros and digits after the fifteenth may be lost"
    return f"holds {word}, not text"


def _last_line_end(text: bytes) -> int:
    return text.rfind(b"\n") + 1
