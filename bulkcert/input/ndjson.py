"""NDJSON: each line one JSON object, every value text or the JSON that is there.

polars alone would turn a number into text without a word and name no line; msgspec shows each of these.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import polars as pl

from bulkcert.input.records import MalformedError, Part, read_lines
from bulkcert.words import printable

KEYS_LIMIT = 1000
"""Keys that the objects may have: where serials stand as keys, each would become a column."""

_OBJECT = msgspec.json.Decoder(dict[str, Any])
_VERBATIM = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = frozenset({str, type(None)})
_WORDS = {int: "a number", float: "a number", bool: "true or false", list: "an array", dict: "an object"}
_ADVICE = "Export the list again as NDJSON: UTF-8, on each line one JSON object."


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
        raise error.of(name, _ADVICE) from None


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
