"""What stands in the objects of an NDJSON file: its columns, and for each the type that holds all its values.

polars would take a type from a sample, fail on arrays beside numbers, and lose digits of integers beside fractions.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from bulkcert.batch.source.columns import refuse_other_kind
from bulkcert.batch.source.lines import Lines, read_lines
from bulkcert.batch.source.reading import MalformedError
from bulkcert.batch.source.serials import printable

KEYS_LIMIT = 1000
"""Keys that objects in one place may have: where serials stand as keys, each would become a column."""
DEPTH_LIMIT = 64
"""Objects and arrays that may stand inside each other; the time that polars takes grows far faster than this."""

_EXACT_INTEGER = 2**53
_TEXT = frozenset({str, type(None)})
_NUMBERS = frozenset({int, float})
_WORDS = {int: "a number", float: "a number", bool: "true or false", list: "an array", dict: "an object"}
# For these the kind alone does not say the type.
_LOOKED_INTO = frozenset({int, list, dict})


class _UnfitError(Exception):
    """A value that no column can hold."""


class _Place:
    """Every value that stands in one place: under one key of all objects, or in all arrays under it."""

    __slots__ = ("_elements", "_fields", "_high", "_low", "kinds")

    def __init__(self) -> None:
        self.kinds: set[type] = set()
        self._low = self._high = 0
        self._fields: dict[str, _Place] = {}
        self._elements: _Place | None = None

    def add(self, value: Any, depth: int = 1) -> int:
        """Takes in a value; returns the number of keys in it, at every depth.

        Raises:
            _UnfitError: It is nested too deep, or has too many keys.
        """
        kind = type(value)
        self.kinds.add(kind)
        if depth > DEPTH_LIMIT:
            raise _UnfitError(f"nested more than {DEPTH_LIMIT} deep")
        if kind is int:
            self._low, self._high = min(self._low, value), max(self._high, value)
        elif kind is list:
            self._elements = self._elements or _Place()
            return sum(self._elements.add(element, depth + 1) for element in value)
        elif kind is dict:
            return len(value) + sum(self._field(key).add(field, depth + 1) for key, field in value.items())
        return 0

    def dtype(self) -> pl.DataType:
        """Returns the type that holds all values; text, with JSON in it, where they have nothing else in common."""
        kinds = self.kinds - {type(None)}
        if kinds and kinds <= _NUMBERS:
            return self._number(whole=kinds == {int})
        if kinds == {list} and self._elements:
            return pl.List(self._elements.dtype())
        if kinds == {dict} and self._fields:  # a struct without fields cannot be written to Parquet
            return pl.Struct({key: place.dtype() for key, place in self._fields.items()})
        if kinds == {bool}:
            return pl.Boolean()
        return pl.String() if kinds else pl.Null()

    def _number(self, *, whole: bool) -> pl.DataType:
        if whole:
            return pl.Int64() if self._low >= -(2**63) and self._high < 2**63 else pl.Int128()
        exact = self._low >= -_EXACT_INTEGER and self._high <= _EXACT_INTEGER
        return pl.Float64() if exact else pl.String()

    def _field(self, key: str) -> "_Place":
        place = self._fields.get(key)
        if place is None:
            if len(self._fields) == KEYS_LIMIT:
                raise _too_many_keys()
            place = self._fields[key] = _Place()
        return place


class Columns:
    """The columns of the objects so far, in the order of their first appearance.

    Attributes:
        rows: Number of objects.
        not_text: For each column with a value that is neither text nor null, the line and what stands there.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.not_text: dict[str, tuple[int, str]] = {}
        self._places: dict[str, _Place] = {}

    def add(self, lines: Lines) -> None:
        """Takes in the next lines.

        Raises:
            MalformedError: A line is not one JSON object, or has what no column can hold.
        """
        rows = lines.objects()
        kinds = _kinds(rows)
        self._confirm_few(lines, rows, kinds)
        keys = sum(map(len, rows))
        for column, found in kinds.items():
            self._places.setdefault(column, _Place()).kinds |= found
            if found & _LOOKED_INTO:
                keys += self._look_into(lines, rows, column, found)
            if found - _TEXT and column not in self.not_text:
                index = next(index for index, row in enumerate(rows) if type(row.get(column)) not in _TEXT)
                self.not_text[column] = _line(lines, index), _told(rows[index][column])
        lines.confirm_distinct(keys)
        self.rows += len(rows)

    def types(self) -> dict[str, pl.DataType]:
        """Returns the type of each column."""
        return {column: place.dtype() for column, place in self._places.items()}

    def _look_into(self, lines: Lines, rows: list[dict[str, Any]], column: str, found: set[type]) -> int:
        place, keys, index = self._places[column], 0, 0
        if found.isdisjoint({list, dict}):
            integers = [value for row in rows if type(value := row.get(column)) is int]
            return place.add(min(integers)) + place.add(max(integers))
        try:
            for index, row in enumerate(rows):  # noqa: B007 - told when a value is refused
                keys += place.add(row.get(column))
        except _UnfitError as error:
            raise MalformedError(_line(lines, index), str(error)) from None
        return keys

    def _confirm_few(self, lines: Lines, rows: list[dict[str, Any]], found: Iterable[str]) -> None:
        if len(self._places.keys() | found) <= KEYS_LIMIT:
            return
        known = set(self._places)
        for index, row in enumerate(rows):
            known.update(row)
            if len(known) > KEYS_LIMIT:
                raise MalformedError(_line(lines, index), str(_too_many_keys()))


def read_columns(path: Path) -> Columns:
    """Reads a whole NDJSON file once, examines it, and returns its columns.

    Raises:
        BulkcertError: INPUT_UNREADABLE.
        MalformedError: A line is not one JSON object, or has what no column can hold.
    """
    columns = Columns()
    for lines in read_lines(path):
        if not columns.rows:
            refuse_other_kind(path, lines.text)
        columns.add(lines)
    return columns


def _kinds(rows: list[dict[str, Any]]) -> dict[str, set[type]]:
    """Returns the kinds of values under each key; objects are many and their forms are few."""
    forms = dict.fromkeys((tuple(row), tuple(map(type, row.values()))) for row in rows)
    kinds: dict[str, set[type]] = {}
    for keys, found in forms:
        for key, kind in zip(keys, found, strict=True):
            kinds.setdefault(key, set()).add(kind)
    return kinds


def _line(lines: Lines, index: int) -> int:
    return next(line for place, (line, _) in enumerate(lines.records()) if place == index)


def _told(value: Any) -> str:
    word = _WORDS[type(value)]
    if type(value) in _NUMBERS:
        return f"holds {word} ({printable(str(value))}): leading zeros and digits after the fifteenth may be lost"
    return f"holds {word}, not text"


def _too_many_keys() -> _UnfitError:
    return _UnfitError(f"more than {KEYS_LIMIT:,} different keys up to here: are serials used as keys?")
