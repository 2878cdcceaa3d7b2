"""An input that is loaded: pipes, several files, a header that is missing, damaged Parquet, what is pinned."""

import gzip
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl
import pytest
import zstandard
from loading import annotated, read, refused

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import CA_SN, DEVICE_SN, ROW, load, readers

HEADER = b"DeviceSn,CaSn,site\n"
FRAME = pl.DataFrame({"DeviceSn": ["1", "2"], "CaSn": ["a", "a"], "site": ["x", None]})
AS_CSV = HEADER + b"1,a,x\n2,a,\n"
AS_NDJSON = b'{"DeviceSn":"1","CaSn":"a","site":"x"}\n{"DeviceSn":"2","CaSn":"a"}\n'


def as_parquet(frame, path):
    frame.write_parquet(path)
    return path.read_bytes()


@pytest.fixture
def written(tmp_path):
    """Writes files and returns their paths."""

    def write(**files):
        paths = [tmp_path / name.replace("_", ".") for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            content.write_parquet(path) if isinstance(content, pl.DataFrame) else path.write_bytes(content)
        return paths

    return write


def made(tmp_path):
    return {
        "csv": AS_CSV,
        "bom": b"\xef\xbb\xbf\n" + AS_CSV,
        "gz": gzip.compress(AS_CSV),
        "zst": zstandard.compress(AS_CSV),
        "parquet": as_parquet(FRAME, tmp_path / "made.parquet"),
        "ndjson": b"\n " + AS_NDJSON,
        "ndjson.gz": gzip.compress(AS_NDJSON),
    }


class TestStreams:
    @pytest.mark.parametrize("kind", ["csv", "bom", "gz", "zst", "parquet", "ndjson", "ndjson.gz"])
    def test_a_pipe(self, tmp_path, kind):
        """A FIFO is read once, and is what its first bytes say, whatever its name."""
        content, pipe = made(tmp_path)[kind], tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=(content,))
        writer.start()
        checked, found, pinned = read(pipe)
        writer.join()

        assert found.select(FRAME.columns).equals(FRAME, null_equal=True)
        assert checked.sha256 == hashlib.sha256(content).hexdigest()
        assert not [*pinned.path.parent.glob(f"{pinned.path.name}.*")]

    def test_nothing(self):
        """An empty stream is an empty file; standard input is not there twice."""
        assert "the file is empty" in refused(Path("/dev/null"))
        assert "named twice" in refused(Path("-"), Path("-"), status=ExitStatus.USAGE)


class TestSeveralFiles:
    def test_rows_are_counted_on(self, written):
        """Rows go on over all files, of whatever format; the hash is that of their bytes, one after the other."""
        paths = written(a_csv=AS_CSV, b_parquet=FRAME, c_ndjson=AS_NDJSON)
        checked, found, _ = read(*paths)

        assert found[ROW].to_list() == [1, 2, 3, 4, 5, 6]
        assert found["site"].to_list() == ["x", None] * 3
        assert (checked.rows, checked.duplicates) == (6, 4)
        assert checked.sha256 == hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()

    def test_messages_name_the_file(self, written):
        """What is wrong is told with its own file and line."""
        paths = written(a_csv=AS_CSV, b_csv=HEADER + b"3,,\n4,3.5E+17,\n", c_csv=HEADER + b"5\n")
        told = refused(*paths)
        assert f"{paths[1]}, line 3, column CaSn: 3.5E+17" in told
        assert f"{paths[2]}, line 2: 1 field" in refused(paths[0], paths[2])
        table = pl.DataFrame({"DeviceSn": ["1", "2"], "CaSn": ["a", None], "site": ["x", "y"]})
        bad = written(d_csv=HEADER + b"3,,\n", e_parquet=table, f_ndjson=AS_NDJSON + b'\n{"DeviceSn":"9"}')
        invalid = read(paths[0], *bad)[0].first_invalid
        assert list(invalid) == [
            f"{bad[0]}:2: CaSn is blank",
            f"{bad[1]}:2: CaSn is blank",
            f"{bad[2]}:4: CaSn is blank",
        ]

    @pytest.mark.parametrize(
        ("other", "told"),
        [
            (b"DeviceSn,CaSn\n", "b.csv has no column 'site', which "),
            (b"DeviceSn,CaSn,site,more\n", "b.csv has a column 'more', which "),
        ],
    )
    def test_columns_differ(self, written, other, told):
        """Files whose columns differ are refused, with both names."""
        paths = written(a_csv=AS_CSV, b_csv=other)

        assert told in refused(*paths)
        assert str(paths[0]) in refused(*paths)

    def test_ndjson_and_others(self, written):
        """NDJSON may leave out columns, but brings none that a table before it has not; no order matters."""
        more, late = b'{"DeviceSn":"3","CaSn":"a","site":null,"own":1}\n', b'{"CaSn":"a","DeviceSn":"4"}\n'
        a_csv, more, late = written(a_csv=AS_CSV, b_ndjson=more, c_ndjson=late)

        assert "b.ndjson has a column 'own', which" in refused(a_csv, more)
        assert "a.csv has no column 'own', which" in refused(more, a_csv)
        assert read(late, more)[1]["own"].to_list() == [None, "1"]
        assert read(*written(d_ndjson=AS_NDJSON), a_csv)[0].duplicates == 2
        assert read(a_csv, *written(d_csv=b"site,CaSn,DeviceSn\nz,a,9\n"))[1]["site"].to_list() == ["x", None, "z"]
        assert "line 1, column CaSn: holds a number (7)" in refused(
            a_csv, *written(e_ndjson=b'{"DeviceSn":"4","CaSn":7}\n')
        )

    def test_types_differ(self, written):
        """Columns of several files are text, whatever they are in each; where they cannot be, the files are refused."""
        numbers = FRAME.with_columns(site=pl.Series([1, 2]))
        a, b, c, d = written(
            a_parquet=FRAME.with_columns(site=pl.lit(None)),
            b_parquet=numbers,
            c_csv=AS_CSV,
            d_parquet=FRAME.with_columns(site=pl.lit([1])),
        )

        assert read(a, b)[1]["site"].to_list() == [None, None, "1", "2"]
        assert read(b, c)[1]["site"].to_list() == ["1", "2", "x", None]
        assert f"{d} holds List(Int64) in column 'site', but {b} String" in refused(b, d)

    def test_patterns(self, written, tmp_path):
        """A pattern that the shell left alone is expanded, in order; a file with such a name is meant itself."""
        written(b_csv=HEADER + b"3,a,\n", a_csv=AS_CSV)

        assert read(tmp_path / "*.csv")[1][DEVICE_SN].to_list() == ["1", "2", "3"]
        assert "no file matches" in refused(tmp_path / "*.pq", status=ExitStatus.INPUT_UNREADABLE)
        odd = tmp_path / "[a].csv"
        odd.write_bytes(HEADER + b"7,b,\n")
        assert read(odd)[1][CA_SN].to_list() == ["b"]


class TestHeader:
    @pytest.mark.parametrize(
        ("content", "line"),
        [
            (b"356217374433000000,00ca000000000001\n2,a\n", "DeviceSn,CaSn"),
            (b"d1,00ca000000000001,plant 7\n", "DeviceSn,CaSn,..."),
            (b"00000001,00000001\n", "DeviceSn,CaSn"),
            (b"00ca000000000001\n", "CaSn"),
        ],
    )
    def test_missing(self, written, content, line):
        """A first line that is a row is not taken for the header, and no advice would lose it."""
        told = refused(*written(a_csv=content))

        assert "the header line is missing" in told
        assert f"Add the line {line} above it" in told

    @pytest.mark.parametrize("named", [("356217374433000000", "00ca000000000001"), ("356217374433000000", None)])
    def test_a_serial_is_no_name(self, written, named):
        """Whoever names serials as the columns has no header line either: the first row would be lost."""
        (path,) = written(a_csv=b"356217374433000000,00ca000000000001\n2,a\n")

        assert "the header line is missing" in refused(path, device_column=named[0], ca_column=named[1] or "")

    def test_odd_but_there(self, written):
        """A header with a known name, or one that was named, is a header, whatever else is in it."""
        (path,) = written(a_csv=b"20260101,DeviceSn,CaSn\n1,2,3\n")
        assert read(path)[0].rows == 1
        (path,) = written(b_csv=b"20260101,20260102\n1,2\n")
        assert read(path, device_column="20260101", ca_column="20260102")[0].rows == 1


class TestDamagedParquet:
    @pytest.fixture(autouse=True)
    def _proved_by_a_child(self, monkeypatch):
        monkeypatch.setattr(readers, "subprocess", subprocess)

    def test_every_byte(self, tmp_path, capfd):
        """Whatever byte is damaged, the file is read, or refused with 66 or 65: no panic, no abort, no word of it."""
        whole = as_parquet(FRAME, tmp_path / "whole.parquet")
        path, statuses = tmp_path / "damaged.parquet", set()
        for place in range(4, len(whole), len(whole) // 8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            try:
                read(path)
            except BulkcertError as error:
                statuses.add(error.status)
        assert ExitStatus.INPUT_UNREADABLE in statuses
        assert statuses <= {ExitStatus.INPUT_UNREADABLE, ExitStatus.INPUT_INVALID}
        assert capfd.readouterr().err == ""

    def test_a_child_that_dies(self, written, monkeypatch, tmp_path):
        """A child that dies has not proved the file, which is then not touched by this process."""
        child = tmp_path / "child.py"
        child.write_text("import os; os.abort()")
        monkeypatch.setattr(readers, "_CHILD", child)

        (path,) = written(a_parquet=FRAME)
        assert "not a readable Parquet file: it is damaged" in refused(path, status=ExitStatus.INPUT_UNREADABLE)


class TestPinned:
    def test_types_are_kept(self, written):
        """The input's own columns are pinned as they are."""
        frame = FRAME.with_columns(
            tags=pl.Series([["a"], []]),
            raw=pl.Series([b"\xff", None]),
            kind=pl.Series(["x", "y"], dtype=pl.Categorical),
        )
        _, found, pinned = read(*written(a_parquet=frame))

        assert found.select(frame.columns).equals(frame, null_equal=True)
        assert found.select(frame.columns).schema == frame.schema
        assert pinned.path.stat().st_mode & 0o777 == 0o600

    def test_from_the_middle(self, written):
        """A reader may start and end at any row, and have the serials alone."""
        lines = b"".join(b"%d,a,\n" % (n % 150_000) for n in range(250_000))
        checked, _, pinned = read(*written(a_csv=HEADER + lines))
        for first, last in [(1, 1), (32_768, 32_769), (149_990, 200_003), (250_000, None), (250_001, None)]:
            batches = list(annotated(pinned, checked, first_row=first, last_row=last, own=False))
            found = pl.concat(batches)

            assert found[ROW].to_list() == list(range(first, (last or 250_000) + 1))
            assert found.columns[:3] == [ROW, DEVICE_SN, CA_SN]
            assert found.filter(pl.col(ROW) == 150_001)["its first row"].to_list() in ([1], [])

    def test_is_not_written_over(self, written, tmp_path):
        """What is there already, a link above all, is neither followed nor replaced."""
        (path,) = written(a_csv=AS_CSV)
        link, target = tmp_path / "pinned", tmp_path / "target"
        link.symlink_to(target)
        with pytest.raises(BulkcertError, match="cannot write") as caught:
            load([path], link, by_device=True)

        assert caught.value.status == ExitStatus.CANNOT_WRITE
        assert not target.exists()

    def test_a_full_disk(self, written):
        """A disk that refuses ends with 73, and nothing is left."""
        (path,) = written(a_csv=HEADER + b"".join(b"%d,a,\n" % n for n in range(300_000)))
        code = (
            "import resource, signal, sys; from pathlib import Path\n"
            "from bulkcert.errors import BulkcertError; from bulkcert.input import load\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9999, 9999))\n"
            "try: load([Path(sys.argv[1])], Path(sys.argv[2]), by_device=True)\n"
            "except BulkcertError as error: print(int(error.status), error.message)"
        )
        pinned = path.with_name("pinned")
        done = subprocess.run([sys.executable, "-c", code, path, pinned], capture_output=True, check=True, text=True)

        assert done.stdout.startswith(f"73 cannot write {pinned}: ")
        assert done.stderr == ""
        assert not pinned.exists()
