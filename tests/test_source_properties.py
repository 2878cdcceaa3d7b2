"""The input read back: whatever a CSV file holds, every field, line and duplicate is what a plain reading finds."""

import csv
import io
from unittest.mock import patch

import loading
import polars as pl
from fuzz_inputs import fuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loading import FIRST_ROW, OUTCOME

from bulkcert.input import ROW
from bulkcert.input import files as opening
from bulkcert.input.check import INVALID_SHOWN

COLUMNS = ("note", "DeviceSn", "CaSn", "site")

# Without what numbers are written with: they are refused for the whole file, and have tests of their own.
letters = st.characters(codec="utf-8", exclude_characters=".,+-")
serials = st.one_of(
    st.sampled_from(["a", "b", "0a", "", " a", "a\nb", "é" * 64, "é" * 65]), st.text(letters, max_size=4)
)
notes = st.one_of(
    st.text(st.sampled_from('ab",\n\r \té\ufeff\x00'), max_size=8), st.text(max_size=5), st.just("\ufeffx")
)
tables = st.lists(st.tuples(notes, serials, serials, notes), max_size=30)


@st.composite
def files(draw):
    """Returns a table, its CSV file as bytes, and the line on which each row starts."""
    rows = draw(tables)
    end = draw(st.sampled_from(["\n", "\r\n"]))
    # Python's writer leaves a bare carriage return unquoted where lines end with LF, and no reader can tell it then.
    bare = any("\r" in field for row in rows for field in row)
    quoting = csv.QUOTE_ALL if bare else draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    text, lines = draw(st.sampled_from(["", "\ufeff"])), []
    for row in [COLUMNS, *rows]:
        text += end * draw(st.sampled_from([0, 0, 0, 1, 2]))
        lines.append(text.count("\n") + 1)
        record = io.StringIO(newline="")
        csv.writer(record, quoting=quoting, lineterminator=end).writerow(row)
        text += record.getvalue()
    text += end * draw(st.integers(0, 2))
    if draw(st.booleans()) and not text.endswith('"'):
        text = text.removesuffix(end)
    return rows, text.encode(), lines[1:]


# So many bytes are read at a time, so that every way to cut a file is met.
chunks = st.sampled_from([3, 7, 64, 4 * 1024 * 1024])


def read(path, chunk=opening.CHUNK_BYTES):
    """Returns the check of a file and all its annotated rows, read in such chunks."""
    with patch.object(opening, "CHUNK_BYTES", chunk):
        return loading.read(path, trust_serials=True)[:2]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=files(), chunk=chunks)
def test_fields_lines_and_duplicates(tmp_path, made, chunk):
    """Fields come back in order as written, rows add up, lines and duplicates are those of a plain reading."""
    rows, content, lines = made
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    checked, found = read(path, chunk)

    fields = [tuple(field or "" for field in row) for row in found.select(COLUMNS).rows()]
    assert fields == rows
    assert found[ROW].to_list() == list(range(1, len(rows) + 1))
    assert checked.rows == len(rows) == checked.invalid + checked.duplicates + checked.callable
    assert checked.invalid == found[OUTCOME].to_list().count("invalid")
    assert checked.duplicates == found[OUTCOME].to_list().count("duplicate")
    invalid = set(found.filter(pl.col(OUTCOME) == "invalid")[ROW])
    places = [f"{path}:{lines[row - 1]}" for row in sorted(invalid)]
    assert [row.partition(": ")[0] for row in checked.first_invalid] == places[:INVALID_SHOWN]
    seen, expected = {}, []
    for row, (_, device, ca, _) in enumerate(rows, 1):
        first = None if row in invalid else seen.setdefault((device, ca), row)
        expected.append(None if first == row else first)
    assert found[FIRST_ROW].to_list() == expected


def test_as_other_readers_find_it():
    """Lists that are broken where it hurts, in all formats: the rows of an independent reader, or a refusal."""
    ends = fuzz(150, seed=1, parquet_each=50)

    assert {end.partition(":")[0] for end in ends} == {"csv", "csv gz", "csv zst", "ndjson", "parquet"}
    assert sum(times for end, times in ends.items() if end.endswith("the same rows")) > 45
