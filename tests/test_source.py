"""The input: found columns, refused files, invalid rows, duplicates, and the second reading."""

import gzip
import os
import threading

import polars as pl
import pytest
import zstandard
from fuzz_inputs import fuzz
from loading import FIRST_ROW, MESSAGE, OUTCOME, check, read, refused

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import CA_SN, DEVICE_SN, ROW, load
from bulkcert.input import pinned as pinning
from bulkcert.input.findings import Findings

HEADER = b"DeviceSn,CaSn\n"


def rows(path, **options):
    return read(path, **options)[1].to_dicts()


class TestColumns:
    @pytest.mark.parametrize(
        "header",
        [
            "DeviceSn,CaSn",
            "device_sn,ca_sn",
            "DEVICE SN,CA SN",
            "devicesn,casn",
            " Device-Sn ,Ca-Sn",
            "\ufeffDeviceSn,CaSn",
            '"DeviceSn","CaSn"',
            "\n\r\nDeviceSn,CaSn",
        ],
    )
    def test_found_by_name(self, written, header):
        """Case, white space, underscores, hyphens, quotes, a BOM and blank lines before the header do not matter."""
        (row,) = rows(written(f"{header}\n007,00f2\n".encode()))

        assert (row[DEVICE_SN], row[CA_SN]) == ("007", "00f2")

    def test_named_by_option(self, written):
        """Options name other columns, exactly, and win over a name that would be found."""
        path = written(b"DeviceSn,CaSn,x,y\n1,2,3,4\n")
        (row,) = rows(path, device_column="x", ca_column="y")

        assert (row[DEVICE_SN], row[CA_SN]) == ("3", "4")
        assert "'X'; did you mean 'x'; the columns are 'DeviceSn', 'CaSn', 'x', 'y'" in refused(path, device_column="X")

    @pytest.mark.parametrize(("header", "ca"), [(b"Sn,CaSn", "2"), (b"sn,x", "1"), (b"DeviceSn,CaSn", "2")])
    def test_ca_actions(self, written, header, ca):
        """An action on CAs takes CaSn, else Sn; a device list will do."""
        (row,) = rows(written(header + b"\n1,2\n"), by_device=False)

        assert DEVICE_SN not in row
        assert row[CA_SN] == ca

    @pytest.mark.parametrize(
        ("header", "told"),
        [
            (
                b"a,b\n",
                "no DeviceSn and no CaSn column; the columns are 'a', 'b' | Say which columns hold the serials: --dev",
            ),
            (b"serial,ca\n", "--device-column serial --ca-column ca"),
            (b"CA no,cert serial\n", "--device-column 'cert serial' --ca-column 'CA no'"),
            (b"DeviceSn,issuer\n", "Say which column holds the serials: --ca-column issuer"),
            (b"DeviceSn,b\n", "no CaSn column"),
            (b"DeviceSn;CaSn\n", "separated by semicolons"),
            (b"DeviceSn\tCaSn\n", "separated by tabs"),
            (b"DeviceSn,device_sn,CaSn\n", "'DeviceSn' and 'device_sn' may each be the DeviceSn column"),
            (b"DeviceSn,CaSn,ca sn\n", "--ca-column"),
            (b"DeviceSn,CaSn,x,x\n", "line 1: two columns are named 'x'"),
            (b"", "the file is empty"),
            (b"\xef\xbb\xbf", "the file is empty"),
            (b"\n\n", "the file is empty"),
            (b"DeviceSn,CaSn\r1,2\r", "CR alone"),
            ("DeviceSn,CaSn\n".encode("utf-16"), "UTF-16"),
            (b"DeviceSn,CaSn,\xe9\n", "line 1: byte 15 of the line (0xe9) is not UTF-8"),
            (b'DeviceSn,"CaSn\n', "not CSV"),
            (b'"DeviceSn"x,CaSn\n', "not CSV"),
            (b"DeviceSn,CaSn,__bulkcert_row\n", "Rename the column"),
            (",".join(f"c{number}" for number in range(30)).encode(), "'c19' and 10 more"),
        ],
    )
    def test_unusable_header(self, written, header, told):
        """A header in which the serials are not found for certain is refused, with what to do."""
        assert told in refused(written(header))

    def test_one_column_twice(self, written):
        """One column cannot hold both serials."""
        assert "both" in refused(written(HEADER), device_column="CaSn")


class TestUnreadable:
    @pytest.mark.parametrize(
        ("name", "content", "told"),
        [
            ("list.tsv", HEADER, "a list is one of .csv, .csv.gz, .csv.zst, .parquet, .pq, .ndjson, .jsonl, by its"),
            ("list.xlsx", b"PK", "Save the sheet as CSV (UTF-8, with commas)"),
            ("list.txt", HEADER, "rename it to {path}/list.csv"),
            ("list.json", b"[]", "as {path}/list.ndjson"),
            ("list.ndjson.gz", b"", "Only CSV may be compressed"),
            ("list.doc", b"", "Export the list as CSV with commas, as Parquet or as NDJSON"),
            ("list", HEADER, "rename it to {path}/list.csv"),
            ("list.csv", gzip.compress(HEADER, mtime=0), "it seems, gzip"),
            ("list.csv.gz", HEADER, "cannot be decompressed"),
            ("list.csv.gz", gzip.compress(HEADER, mtime=0)[:-4], "ends too early"),
            ("list.csv.gz", gzip.compress(HEADER, mtime=0) + b"junk", "cannot be decompressed"),
            ("list.csv.zst", HEADER, "cannot be decompressed"),
            ("list.csv.zst", zstandard.compress(HEADER)[:-4], "ends too early"),
            ("list.parquet", HEADER, "not a readable Parquet file"),
            ("list.ndjson", gzip.compress(b"{}\n", mtime=0), "it seems, gzip"),
        ],
    )
    def test_content(self, written, name, content, told):
        """A file of an unknown or a damaged kind ends with 66, one line, and what to do about it."""
        path = written(content, name)
        assert told.format(path=path.parent) in refused(path, status=ExitStatus.INPUT_UNREADABLE)


class TestMalformed:
    @pytest.mark.parametrize(
        ("body", "told"),
        [
            (b"1,2\n3\n", "line 3: 1 field, but the header has 2"),
            (b"1,2\n3,4,5\n", "line 3: 3 fields, but the header has 2"),
            (b"1,2\n3,4,\n", "line 3: 3 fields"),
            (b"1,2,3\n4\n", "line 2: 3 fields"),
            (b'1,2\r\n\r\n"a\r\nb",4\r\n5\r\n', "line 6: 1 field"),
            (b"1,2\n   \n", "line 3: 1 field"),
            (b'1,2\n3,"4\n5,6\n', 'line 3: a quote (") is not closed'),
            (b'1,2\n"3"x,4\n', "line 3: a quote"),
            (b'1,2\n3,4"\n5,6"\n', "line 3: a quote"),
            (b'1,2\n3, "4"\n', "line 3: a quote"),
            (b"1,2\n3\r,4\n", "line 3: a carriage return"),
            (b"1,2\r\r\n3,4\r\r\n", "line 2: a carriage return"),
            (b"1,2\n\xc3\xa9\xe9,4\n", "line 3: byte 3 of the line (0xe9) is not UTF-8"),
            (b'1,2\n3,"' + b"x" * 17_000_000, "line 3: the record has no end within 16 MiB"),
        ],
    )
    def test_line_is_named(self, written, body, told):
        """A record that is not CSV, or has fields too many or too few, is refused with the line it starts on."""
        assert told in refused(written(HEADER + body))


class TestRereading:
    @pytest.mark.parametrize("change", ["grown", "touched", "gone"])
    def test_changed_while_it_is_loaded(self, written, change, monkeypatch):
        """A file that is not the same at the end of its reading is refused, whatever has happened to it."""
        path = written(HEADER + b"1,2\n")

        def alter(*_):
            if change == "grown":
                path.write_bytes(HEADER + b"1,2\n3,4\n")
            elif change == "touched":
                os.utime(path, ns=(1, 1))
            else:
                path.unlink()

        status = ExitStatus.INPUT_UNREADABLE if change == "gone" else ExitStatus.INPUT_INVALID
        monkeypatch.setattr(Findings, "add", alter)
        with pytest.raises(BulkcertError) as caught:
            check(path)
        assert status == caught.value.status

    def test_empty_input(self, written):
        """An input without rows is fine, and its only batch is empty and has all columns."""
        for path in (written(HEADER), written(pl.DataFrame(schema={"DeviceSn": str, "CaSn": str}), "list.parquet")):
            checked, found, _ = read(path)

            assert (checked.rows, checked.callable, dict(checked.rows_by_ca)) == (0, 0, {})
            assert found.columns == ["DeviceSn", "CaSn", ROW, DEVICE_SN, CA_SN, OUTCOME, MESSAGE, FIRST_ROW]
            assert found.height == 0


def test_a_signal_while_the_writer_starts(written, tmp_path, monkeypatch):
    """What is raised just then leaves no thread that waits for rows for ever, and with it the process."""

    class Signalled(threading.Thread):
        def start(self):
            super().start()
            raise KeyboardInterrupt

    monkeypatch.setattr(pinning.threading, "Thread", Signalled)
    with pytest.raises(KeyboardInterrupt):
        load([written(HEADER + b"1,2\n")], tmp_path / "signalled.parquet", by_device=True)
    for thread in threading.enumerate():
        if thread.name == "signalled.parquet":
            thread.join(30)
            assert not thread.is_alive()
    assert not (tmp_path / "signalled.parquet").exists()


def test_as_other_readers_find_it():
    """Lists that are broken where it hurts, in all formats: the rows of an independent reader, or a refusal."""
    ends = fuzz(300, seed=1, parquet_each=50)

    assert {end.partition(":")[0] for end in ends} == {"csv", "csv gz", "csv zst", "ndjson", "parquet"}
    assert sum(times for end, times in ends.items() if end.endswith("the same rows")) > 90
