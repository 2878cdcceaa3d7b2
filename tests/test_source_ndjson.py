"""NDJSON as input: values kept, every line accounted for, and refused where a reader could guess."""

import errno
import hashlib
from pathlib import Path

import loading
import pytest
from loading import refused

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import CA_SN, DEVICE_SN, files, load

ROW_1 = b'{"DeviceSn":"1","CaSn":"a"}\n'


@pytest.fixture
def written(written):
    """Writes a file, unless another name is given in NDJSON, and returns its path."""
    return lambda content, name="list.ndjson": written(content, name)


CHUNKS = (1, 40, 4 * 1024 * 1024)


@pytest.fixture(params=CHUNKS)
def chunk_bytes(request, monkeypatch):
    """Reads so many bytes at a time."""
    monkeypatch.setattr(files, "CHUNK_BYTES", request.param)


def read(path, **options):
    return loading.read(path, trust_serials=True, **options)[:2]


class TestValues:
    @pytest.mark.usefixtures("chunk_bytes")
    @pytest.mark.parametrize(
        ("written_as", "kept"),
        [
            ('"007"', "007"),
            ('""', ""),
            ("null", None),
            ("1", "1"),
            ("-1.50", "-1.50"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("true", "true"),
            ('[1, "x",\t{ "y" : null}]', '[1,"x",{"y":null}]'),
            ("[]", "[]"),
            ("{ }", "{}"),
        ],
    )
    def test_further_column(self, written, written_as, kept):
        """Text stays text; everything else becomes its compact JSON, to the digit; null is null."""
        rows = f'{{"DeviceSn":"1","CaSn":"a","own":{written_as}}}\n{{"DeviceSn":"2","CaSn":"a","own":"x"}}\n'
        _, found = read(written(rows.encode()))

        assert found["own"].to_list() == [kept, "x"]

    @pytest.mark.usefixtures("chunk_bytes")
    def test_missing_and_late_keys(self, written):
        """A key that is missing is null, one that comes late is not lost, and order does not matter."""
        path = written(ROW_1 * 50 + b'{"late":[3 ],"CaSn":"b","DeviceSn":"2"}\n{"DeviceSn":"3"}\n')
        checked, found = read(path)

        assert found.columns[:3] == ["DeviceSn", "CaSn", "late"]
        assert found["late"].to_list() == [None] * 50 + ["[3]", None]
        assert (checked.rows, checked.invalid, checked.duplicates, checked.callable) == (52, 1, 49, 2)
        assert checked.first_invalid == (f"{path}:52: CaSn is blank",)

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            ("7", "holds a number (7): leading zeros and digits after the fifteenth may be lost"),
            ("1.5", "holds a number (1.5)"),
            ("false", "holds true or false, not text"),
            ('["a"]', "holds an array, not text"),
            ('{"a":"b"}', "holds an object, not text"),
        ],
    )
    @pytest.mark.usefixtures("chunk_bytes")
    def test_serial_that_is_no_text(self, written, value, told):
        """One serial of many that is not a string refuses the file, with its line."""
        path = written(ROW_1 * 30 + b"\n" + ROW_1.replace(b'"1"', value.encode()) + ROW_1)

        said = refused(path)
        assert f"line 32, column DeviceSn: {told}" in said
        assert "with this column as text" in said

    def test_numbers_for_others(self, written):
        """For an action on CAs the device column may hold anything."""
        _, found = read(written(b'{"DeviceSn":7,"ca_sn":"a"}\n'), by_device=False)

        assert (found["DeviceSn"].to_list(), found[CA_SN].to_list()) == (["7"], ["a"])

    def test_what_cannot_be_joined(self, written, tmp_path, monkeypatch):
        """Rows before and after a late key are joined; where the disk refuses (73), nothing is left."""

        def failing(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files, "CHUNK_BYTES", 1)
        monkeypatch.setattr(Path, "replace", failing)
        with pytest.raises(BulkcertError, match=r"cannot write .*pinned: No space left") as caught:
            load([written(ROW_1 + b'{"DeviceSn":"2","late":""}')], tmp_path / "pinned", by_device=True)

        assert caught.value.status == ExitStatus.CANNOT_WRITE
        assert not [*tmp_path.glob("pinned*")]


class TestMalformed:
    @pytest.mark.usefixtures("chunk_bytes")
    @pytest.mark.parametrize(
        ("line", "told"),
        [
            (b"nonsense", "not one JSON object: invalid character"),
            (b'{"DeviceSn":"2"', "not one JSON object: Input data was truncated"),
            (b'{"DeviceSn":"2', "not one JSON object: Input data was truncated"),
            (b'[{"DeviceSn":"2"}]', "an array begins, where each line must be one JSON object"),
            (b"5", "not one JSON object: Expected `object`"),
            (b"null", "not one JSON object: Expected `object`"),
            (b'{"DeviceSn":"2"}{"DeviceSn":"3"}', "not one JSON object: trailing characters"),
            (b'{"DeviceSn":"2"}\r{"DeviceSn":"3"}', "not one JSON object: trailing characters"),
            (b'{"DeviceSn":\n"2"}', "not one JSON object: Input data was truncated"),
            (b'{"DeviceSn":"2"},', "not one JSON object"),
            (b'{"DeviceSn":"2",}', "not one JSON object: trailing comma"),
            (b'{"DeviceSn":007}', "not one JSON object: invalid number"),
            (b'{"n":NaN}', "not one JSON object"),
            (b'{"n":1e999}', "not one JSON object: Number out of range"),
            (b'{"DeviceSn":"\\ud800x"}', "not one JSON object"),
            (b'{"DeviceSn":"\xc3\xa9\xe9"}', "byte 16 of the line (0xe9) is not UTF-8"),
            (b'{"n":' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deep"),
        ],
    )
    def test_line_is_named(self, written, line, told):
        """A line that is not one JSON object, or says two things, refuses the file with its number."""
        said = refused(written(ROW_1 * 20 + b" \t\r\n\n" + line + b"\n" + ROW_1 * 20))

        assert f"line 23: {told}" in said
        assert "on each line one JSON object" in said

    def test_long_line(self, written):
        """A line without an end does not fill the memory."""
        assert "line 2: the line has no end within 16 MiB" in refused(written(ROW_1 + b'{"n":"' + b"x" * 17_000_000))

    def test_serials_as_keys(self, written):
        """Where serials stand as keys, each would become a column."""
        keys = b"{" + b",".join(b'"%d":0' % n for n in range(1001)) + b"}"
        assert "line 2: more than 1,000 different keys" in refused(written(ROW_1 + keys))

    @pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
    def test_empty(self, written, content):
        """A file without a row, as an inventory that finds nothing writes it, is a list without rows."""
        checked, found = read(written(content))
        assert (checked.rows, found.columns[:2]) == (0, ["DeviceSn", "CaSn"])

    def test_columns(self, written):
        """Columns are found, or missed, as in CSV."""
        assert "no DeviceSn and no CaSn column; there are no columns" in refused(written(b"{}\n"))
        assert "no CaSn column; the columns are 'DeviceSn', 'x'" in refused(written(b'{"DeviceSn":"1"}\n{"x":2}\n'))
        assert "may each be the DeviceSn column" in refused(
            written(b'{"DeviceSn":"1"}\n{"device_sn":"2","CaSn":"3"}\n')
        )
        assert "Rename the column" in refused(written(ROW_1 + b'{"__bulkcert_row":1}\n'))


class TestReading:
    @pytest.mark.parametrize("name", ["list.ndjson", "list.jsonl", "LIST.NDJSON"])
    def test_written_forms(self, written, name):
        """A BOM, CRLF, blank lines, white space, escapes and a missing last line feed do not matter."""
        content = b'\xef\xbb\xbf\r\n {"DeviceSn" : "\\u0030\\u00e9\\ud83d\\ude00", "CaSn":"a"} \r\n  \n{"CaSn":"b"}'
        path = written(content, name)
        checked, found = read(path)

        assert found[DEVICE_SN].to_list() == ["0é😀", None]
        assert checked.first_invalid == (f"{path}:4: DeviceSn is blank",)
        assert hashlib.sha256(content).hexdigest() == checked.sha256
