"""Loads lists that are well-formed, nearly so, or damaged: python tests/fuzz_inputs.py [INPUTS] [SEED].

CSV and NDJSON, plain, gzip or zstd, are made of random tables and then mutated where it hurts: quotes, separators, line
ends, braces, bytes that are not UTF-8, lost and repeated pieces. Whatever is loaded has the rows that an independent
reader finds, the standard library's ``csv``, ``json`` and ``gzip``, their lines and the duplicates among them; whatever
is not is refused with 65 or 66. Parquet is compared with the table that it was made of; damaged, it is refused or read,
and nothing aborts. No other error ends a load, and nothing is left of a list that was refused.
"""

import csv
import gzip
import io
import json
import random
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import polars as pl
import zstandard

from bulkcert import input as lists
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import files
from bulkcert.input.check import INVALID_SHOWN

REFUSALS = (ExitStatus.INPUT_INVALID, ExitStatus.INPUT_UNREADABLE)
PARQUET_EACH = 200
"""One input in so many is Parquet: each is proved by a process of its own."""

CELLS = ["", "a", "b", "007", "0a", "é" * 64, "é" * 65, "1", "x y", "NULL", "=1", "成", "\U0001f600", "A:b-c_d"]
CELLS += ["0" * 129]
ODD_CELLS = ["a\nb", "a,b", '"', '""', ',"', "\r", "\r\n", "\0", "\ufeff", "\u2028", " a", "a ", "1.5", "3,5E+17", "{}"]
NAMES = ["note", "site", "", " ", "Sn", "a,b", 'q"', "é", "\ufeffx", "line\nfeed", "__x", "Note"]
TOKENS = [b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"\0", b"\xef\xbb\xbf", b"\xff", b"\xc3", b"{", b"}", b"[", b":"]
TOKENS += [b"\\", b"\\u0000", b"\\ud800", b"\x0c", b" ", b"\t", b";", b"null", b"1e999", b"-", b"\x1f\x8b", b"PAR1"]


def table(chance):
    """Returns names and rows: text, of which two columns are the serials."""
    more = chance.sample(NAMES, chance.choice([0, 0, 1, 2, 4]))
    names = [chance.choice(["DeviceSn", "device_sn"]), chance.choice(["CaSn", "ca-sn"]), *more]
    chance.shuffle(names)
    odd = chance.choice([0.0, 0.0, 0.05, 0.5])

    def cell():
        return chance.choice(ODD_CELLS if chance.random() < odd else CELLS[: chance.choice([4, 99])])

    return names, [[cell() for _ in names] for _ in range(chance.choice([0, 1, 3, 8, 40]))]


def as_csv(chance, names, rows):
    """Returns a table as CSV in one of the ways in which it is written."""
    end, text = chance.choice(["\n", "\r\n"]), io.StringIO(newline="")
    quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    writer = csv.writer(text, lineterminator=end, quoting=quoting)
    for row in [names, *rows]:
        text.write(end * chance.choice([0] * 9 + [1, 2]))
        writer.writerow(row)
    made = chance.choice(["", "\ufeff"]) + text.getvalue()
    return (made.removesuffix(end) if chance.random() < 0.2 else made).encode()


def value(chance, text, depth=0):
    """Returns a value of JSON, most often the text."""
    kind = chance.random()
    if kind < 0.8 or depth > 2:
        return text
    if kind < 0.9:
        return chance.choice([None, True, 7, -0.5, 10**30, 1e-300, 2**53 + 1])
    inner = [value(chance, text, depth + 1) for _ in range(chance.randrange(3))]
    return inner if kind < 0.95 else dict(zip(chance.sample(NAMES, len(inner)), inner, strict=True))


def as_ndjson(chance, names, rows):
    """Returns a table as NDJSON, with values of other types in the further columns."""
    lines = []
    for row in rows:
        pairs = [
            (name, cell if "sn" in name.lower() else value(chance, cell)) for name, cell in zip(names, row, strict=True)
        ]
        if chance.random() < 0.1:
            chance.shuffle(pairs)
        if chance.random() < 0.1:
            pairs = pairs[: chance.randrange(1, len(pairs) + 1)]
        separators = chance.choice([(",", ":"), (", ", ": "), (" ,\t", " : ")])
        lines.append(json.dumps(dict(pairs), ensure_ascii=chance.random() < 0.5, separators=separators))
        lines += [""] * chance.choice([0] * 9 + [1])
    end = chance.choice(["\n", "\r\n"])
    return (chance.choice(["", "\ufeff"]) + "".join(line + end for line in lines)).encode("utf-8", "surrogatepass")


def mutated(chance, text):
    """Returns it broken in up to three places."""
    made = bytearray(text)
    for _ in range(chance.choice([0, 0, 1, 2, 3])):
        at = chance.randrange(len(made) + 1)
        match chance.randrange(6):
            case 0:
                made[at:at] = chance.choice(TOKENS)
            case 1:
                made[at : at + 1] = chance.choice(TOKENS)
            case 2:
                del made[at : at + chance.choice([1, 1, 2, 9, 99])]
            case 3:
                made[at:at] = made[max(0, at - chance.randrange(60)) : at]
            case 4:
                del made[at:]
            case 5:
                made[at : at + 1] = bytes([chance.randrange(256)])
    return bytes(made)


def compressed(chance, text, kind):
    """Returns it compressed, in several members at times, and damaged at times."""
    cut = chance.choice([0, 0, chance.randrange(len(text) + 1)])
    pieces = [text[:cut], text[cut:]] if cut else [text]
    if kind == "gz":
        made = b"".join(gzip.compress(piece, chance.choice([0, 1, 9])) for piece in pieces)
    else:
        how = zstandard.ZstdCompressor(level=chance.choice([1, 3]), write_checksum=True)
        made = b"".join(how.compress(piece) for piece in pieces)
    return mutated(chance, made) if chance.random() < 0.3 else made


class Unreadable(Exception):  # noqa: N818 - what the other reader says
    """The independent reader refuses it."""


def plain(content, kind):
    """Returns bytes decompressed, as another reader does."""
    try:
        if kind == "gz":
            return gzip.decompress(content)
        if kind == "zst":
            with zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True) as stream:
                return stream.read()
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise Unreadable from error
    return content


def csv_rows(content):
    """Returns the names and rows that the standard library finds in CSV, and the lines where rows begin, if known."""
    found, lines = [], []
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode()
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        begins = 1
        for row in reader:
            if row:
                found.append(row)
                lines.append(begins)
            begins = reader.line_num + 1
        names, *rows = found
    except (csv.Error, UnicodeDecodeError, ValueError) as error:
        raise Unreadable from error
    if any(len(row) != len(names) for row in rows):
        raise Unreadable
    # To this reader a carriage return alone ends a line, too.
    is_known = "\r" not in text.replace("\r\n", "")
    return names, [dict(zip(names, row, strict=True)) for row in rows], lines[1:] if is_known else None


def json_rows(content):
    """Returns the names, rows and lines that the standard library finds in NDJSON; numbers as they stand there."""
    try:
        lines = enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
        lines = {number: line for number, line in lines if line.strip()}
        rows = [json.loads(line.decode(), parse_int=Number, parse_float=Number) for line in lines.values()]
    except (ValueError, RecursionError) as error:
        raise Unreadable from error
    if not all(isinstance(row, dict) for row in rows):
        raise Unreadable
    return list(dict.fromkeys(name for row in rows for name in row)), rows, [*lines]


class Number(str):
    """A number of JSON by its digits."""

    __slots__ = ()


def same_cell(found, expected, kind):
    """Returns whether a cell that was loaded is the one that another reader found."""
    if kind == "csv" or (isinstance(expected, str | None) and not isinstance(expected, Number)):
        return (found or "") == (expected or "")
    return json.loads(found, parse_int=Number, parse_float=Number) == expected


def loaded(path, pinned, how):
    """Loads a list; returns what is pinned, its rows, and what its check found; or the status of its refusal."""
    try:
        there, checked = lists.load([path], pinned, **how)
        frame = pl.concat(lists.annotated(there))
    except BulkcertError as error:
        refusal = error
    else:
        refusal = None
        pinned.unlink()
    assert not list(pinned.parent.glob("pinned*")), "something is left of it"
    if refusal is not None:
        assert refusal.status in REFUSALS, refusal
        assert refusal.message.isprintable(), refusal
        return refusal.status
    assert frame.height == checked.rows == checked.callable + checked.invalid + checked.duplicates
    return there, frame.select(there.columns).rows(named=True), checked


def try_text(chance, folder):
    """Loads CSV or NDJSON; returns what was met."""
    kind = chance.choice(["csv", "csv", "ndjson"])
    names, rows = table(chance)
    content = mutated(chance, (as_csv if kind == "csv" else as_ndjson)(chance, names, rows))
    packed = chance.choice(["", "", "gz", "zst"]) if kind == "csv" else ""
    content = compressed(chance, content, packed) if packed else content
    path = folder / f"list.{kind}{packed and '.'}{packed}"
    path.write_bytes(content)
    how = {"by_device": chance.random() < 0.8, "trust_serials": chance.random() < 0.5}
    with patch.object(files, "CHUNK_BYTES", chance.choice([7, 64, 4 * 1024 * 1024])):
        found = loaded(path, folder / "pinned", how)
    about = " ".join(filter(None, (kind, packed)))
    try:
        expected_names, expected, lines = (csv_rows if kind == "csv" else json_rows)(plain(content, packed))
    except Unreadable:
        assert isinstance(found, ExitStatus), "loaded, though another reader refuses it"
        return f"{about}: refused by both"
    if isinstance(found, ExitStatus):
        return f"{about}: refused with {found:d}, read by the other"
    (there, got, checked), columns = found, found[0].columns
    if expected or kind == "csv":
        assert list(columns)[: len(expected_names)] == expected_names, (columns, expected_names)
    assert len(got) == len(expected), f"{len(got)} rows, not {len(expected)}"
    for row, (mine, other) in enumerate(zip(got, expected, strict=True), 1):
        for name in columns:
            assert same_cell(mine[name], other.get(name), kind), (
                f"row {row}, {name!r}: {mine[name]!r}, {other.get(name)!r}"
            )
    confirm_check(path, checked, [(row.get(there.device_column), row.get(there.ca_column)) for row in expected], lines)
    return f"{about}: the same rows"


def confirm_check(path, checked, serials, lines):
    """Confirms that invalid rows have the lines of a plain reading, and duplicates the first row of their pair."""
    why = checked.reasons()
    invalid = {*why.filter(pl.col("outcome") == "invalid")["row"]}
    assert (checked.invalid, checked.invalid + checked.duplicates) == (len(invalid), why.height)
    places = [each.partition(": ")[0] for each in checked.first_invalid]
    assert lines is None or places == [f"{path}:{lines[row - 1]}" for row in sorted(invalid)][:INVALID_SHOWN]
    given, first_rows = dict(why.select("row", "first_row").rows()), {}
    for row, pair in enumerate(serials, 1):
        first = row if row in invalid else first_rows.setdefault(pair, row)
        assert given.get(row) == (first if first != row else None), f"row {row} repeats row {first}"


def try_parquet(chance, folder):
    """Loads Parquet; returns what was met."""
    names, rows = table(chance)
    path, content = folder / "list.parquet", io.BytesIO()
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    compression = chance.choice(["zstd", "snappy", "uncompressed", "gzip"])
    frame.write_parquet(content, compression=compression, row_group_size=chance.choice([2, 1000]))
    made = content.getvalue()
    damaged = mutated(chance, made)
    path.write_bytes(damaged)
    found = loaded(path, folder / "pinned", {"by_device": True, "trust_serials": True})
    if isinstance(found, ExitStatus):
        return f"parquet: {'damaged, ' * (damaged != made)}refused with {found:d}"
    if damaged != made:
        return "parquet: damaged, read"
    assert (found[0].columns, found[1]) == (tuple(names), frame.rows(named=True))
    return "parquet: the same rows"


def fuzz(count, seed=0, parquet_each=PARQUET_EACH):
    """Loads so many lists; returns how often each end was met."""
    ends, began = Counter(), time.perf_counter()
    csv.field_size_limit(10**9)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            chance = random.Random(seed * 1_000_003 + number)
            try:
                ends[(try_text if number % parquet_each else try_parquet)(chance, Path(folder))] += 1
            except BaseException:
                kept = {path.name: path.read_bytes()[:2000] for path in Path(folder).iterdir()}
                print(f"input {number} of seed {seed}: {kept}", file=sys.stderr)
                raise
            for path in Path(folder).iterdir():
                path.unlink()
            if (number + 1) % 10_000 == 0:
                print(f"{number + 1:,} inputs, {time.perf_counter() - began:.0f} s", flush=True)
    return ends


if __name__ == "__main__":
    count, seed = (*map(int, sys.argv[1:]), *(100_000, random.randrange(2**20))[len(sys.argv) - 1 :])
    print(f"{count:,} inputs, seed {seed}", flush=True)
    for end, times in sorted(fuzz(count, seed).items()):
        print(f"{times:9,} {end}")
