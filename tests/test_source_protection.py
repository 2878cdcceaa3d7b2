"""Protected serials: what a list means for either kind of action, which lists are refused, what check makes of them."""

import gzip

import polars as pl
import pytest
from loading import FIRST_ROW, MESSAGE, OUTCOME, check, read

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import open_protection

KEYS = pl.DataFrame({"DeviceSn": ["1", "2", "3", "1"], "CaSn": ["a", "a", "b", "c"]})


def hit(path, *, by_device=True):
    """Returns which of the rows of KEYS are protected, by their numbers."""
    devices, cas = open_protection(path, by_device=by_device).hits(KEYS if by_device else KEYS.select("CaSn"))
    return [row for row, found in enumerate(devices | cas, 1) if found]


def refused(path, status=ExitStatus.INPUT_INVALID, *, by_device=True):
    """Opens a list that must be refused, and returns what the user is told."""
    with pytest.raises(BulkcertError) as caught:
        open_protection(path, by_device=by_device)

    assert status == caught.value.status
    assert "\n" not in caught.value.message
    return f"{caught.value.message} | {caught.value.advice}"


class TestMeaning:
    @pytest.mark.parametrize(
        ("content", "devices", "cas"),
        [
            ("DeviceSn,CaSn\n1,a\n", [1, 4], [1, 2]),
            ("device_sn,CASN\n1,x\n", [1, 4], []),
            ("DeviceSn,CaSn\n,a\n3,b\n", [1, 2, 3], [1, 2, 3]),
            ('DeviceSn,CaSn\n"",a\n', [1, 2], [1, 2]),
            ("CaSn\na\nc\n", [1, 2, 4], [1, 2, 4]),
            ("Sn,CaSn\nx,b\n", [3], [3]),
            ("DeviceSn,CaSn\n4,d\n,d\n", [], []),
            ("DeviceSn,CaSn\na,d\n", [], []),
            ("Sn\na\n3\n", [1, 2, 3], [1, 2]),
        ],
    )
    def test_tables(self, written, content, devices, cas):
        """A device means itself under any CA, a CA alone all of its devices; for an action on CAs each CA counts."""
        path = written(content)
        lines = [dict(zip(*pair, strict=True)) for pair in _pairs(content)]
        others = [
            written(gzip.compress(content.encode()), "protect.csv.gz"),
            written(pl.DataFrame(lines), "protect.parquet"),
            written(pl.DataFrame(lines), "protect.ndjson"),
        ]

        for each in (path, *others):
            assert (hit(each), hit(each, by_device=False)) == (devices, cas)

    @pytest.mark.parametrize(("content", "name"), [("DeviceSn,CaSn\n3,\n4,b\n", "p.csv"), ("b\n3\n", "p.txt")])
    def test_device_without_a_ca(self, written, content, name):
        """It protects its device; an action on CAs is refused, since it might reach the device."""
        path, cas = written(content, name), written("CaSn\nb\n", "list.csv")

        assert hit(path) == [3]
        with pytest.raises(BulkcertError, match="1 serial, the first '3', may be devices under") as caught:
            check(cas, by_device=False, protection=open_protection(path, by_device=False))
        assert caught.value.status == ExitStatus.INPUT_INVALID

    @pytest.mark.parametrize("name", ["protect.txt", "protect", "protect.list"])
    def test_text(self, written, name):
        """Text has a serial a line: it means whatever has it, a device or a CA with all its devices."""
        content = b"\xef\xbb\xbf# ours\r\n1\r\n\r\n  \n#2\na"
        path = written(content, name)

        assert (hit(path), hit(path, by_device=False)) == ([1, 2, 4], [1, 2])
        assert open_protection(path, by_device=True).describe(0).startswith("2 serials;")

    def test_a_sole_column(self, written):
        """In a sole column Sn, as under any name, serials may hold anything."""
        assert open_protection(written("Sn\n1;a\n"), by_device=True).describe(0).startswith("1 serial;")
        assert open_protection(written("DeviceSn\n1;a\n"), by_device=True).describe(0).startswith("1 device and 0 CAs;")

    def test_to_the_letter(self, written):
        """Serials match exactly: no zeros, cases or parts are forgiven."""
        assert not hit(written("01\n11\nA\n", "protect.txt"))


def _pairs(content):
    names, *lines = (line.split(",") for line in content.replace('""', "").splitlines())
    return [(names, [field or None for field in fields]) for fields in lines]


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "name", "told"),
        [
            ("DeviceSn,CaSn\n1,a\n,\n", "p.csv", "line 3, column DeviceSn: '' is blank"),
            ("CaSn\na\n\n a\n", "p.csv", "line 4, column CaSn: ' a' begins or ends with white space"),
            ("DeviceSn,CaSn\n1,NULL\n", "p.csv", "line 2, column CaSn: 'NULL' is a placeholder"),
            ("DeviceSn\n1\n3.5E+17\n", "p.csv", "line 3, column DeviceSn: '3.5E+17' is a number as spreadsheets"),
            (f"DeviceSn\n{'x' * 129}\n", "p.csv", "is longer than 128 bytes"),
            ("DeviceSn\n1234567890123450\n", "p.csv", "every serial ends in zeros after its fifteenth"),
            ("DeviceSn,CaSn\n", "p.csv", "no serials"),
            (
                "pumps\n1\n",
                "p.csv",
                "the columns are 'pumps' | Name the columns of the serials so; serials without a name",
            ),
            ("DeviceSn;CaSn\n1;a\n", "p.csv", "separated by semicolons: export the list again with commas"),
            (
                "DeviceSn\tCaSn\n1\ta\n",
                "p.csv",
                "no DeviceSn or CaSn column; the columns are 'DeviceSn\\tCaSn' | The fi",
            ),
            ("DeviceSn|CaSn\n1|a\n", "p.txt", "line 1: 'DeviceSn|CaSn' holds white space, a comma"),
            ("DeviceSn,device_sn\n1,2\n", "p.csv", "'DeviceSn' and 'device_sn' may each be the DeviceSn column"),
            ('{"DeviceSn":"1"}\n{"DeviceSn":2}\n', "p.ndjson", "line 2, column DeviceSn: holds a number (2)"),
            ('{"DeviceSn":"1"}\n{"x":2}\n', "p.ndjson", "line 2, column DeviceSn: '' is blank"),
            (pl.DataFrame({"CaSn": [1]}), "p.parquet", "column CaSn: holds numbers (Int64)"),
            (pl.DataFrame({"CaSn": ["1", " "]}), "p.pq", "row 2, column CaSn: ' ' is blank"),
            ("", "p.txt", "no serials"),
            ("#1\n\n", "p.txt", "no serials"),
            ("# x\n\n1\n1 \n", "p.txt", "line 4: '1 ' begins or ends with white space"),
            ("1\n \u00a0\n", "p.txt", "line 2: ' \\xa0' is blank"),
            ("1\n\nN/A\n", "p.txt", "line 3: 'N/A' is a placeholder"),
            ("1\n1,5E+9\n", "p.txt", "line 2: '1,5E+9' is a number"),
            ("DeviceSn,CaSn\n1,a\n", "p.txt", "line 1: 'DeviceSn,CaSn' holds white space, a comma"),
            ("1 # the pump\n", "p.txt", "line 1: '1 # the pump' holds white space"),
            ('"1"\n', "p.txt", "or a quote"),
            (b"1\n\xff\n", "p.txt", "line 2: byte 1 of the line (0xff) is not UTF-8"),
            (b"1\r2\r", "p.txt", "line 1: '1\\r2' holds a control character"),
            (b"x" * 17_000_000, "p.txt", "line 1: the line has no end"),
        ],
    )
    def test_content(self, written, content, name, told):
        """A serial that could not match, or a list without any, refuses the list, with the line."""
        assert told in refused(written(content, name))

    def test_trusted(self, written):
        """Serials that look rounded are taken where the user says so."""
        path = written("1234567890123450\n", "protect.txt")

        assert "--trust-serials" in refused(path)
        assert open_protection(path, by_device=True, trust_serials=True).describe(0).startswith("1 serial;")

    def test_unreadable(self, written, tmp_path):
        """What is missing, no file, or something else ends with 66."""
        assert "no such file" in refused(tmp_path / "protect.txt", ExitStatus.INPUT_UNREADABLE)
        assert "not a regular file" in refused(tmp_path, ExitStatus.INPUT_UNREADABLE)
        assert "it seems, gzip" in refused(written(gzip.compress(b"1"), "p.txt"), ExitStatus.INPUT_UNREADABLE)
        assert "not a readable Parquet" in refused(written("1", "p.parquet"), ExitStatus.INPUT_UNREADABLE)


class TestCheck:
    def test_findings(self, written):
        """Protected rows are counted by themselves: no duplicates, no first rows, not among the CAs' rows."""
        path = written("DeviceSn,CaSn\n1,a\n,b\n", "protected.csv")
        rows = ["1,a", "2,a", "1,a", "2,a", ",a", "1,b", "3,b", "3,b", "1,c", "1,"]
        source = written("\n".join(["DeviceSn,CaSn", *rows, ""]), "list.csv")
        checked, found, _ = read(source, protection=open_protection(path, by_device=True))

        told = "is protected by protected.csv"
        expected = [
            ("protected", f"DeviceSn {told}", None),
            (None, None, None),
            ("protected", f"DeviceSn {told}", None),
            ("duplicate", "same pair as row 2", 2),
            ("invalid", "DeviceSn is blank", None),
            ("protected", f"DeviceSn {told}", None),
            ("protected", f"CaSn {told}", None),
            ("protected", f"CaSn {told}", None),
            ("protected", f"DeviceSn {told}", None),
            ("invalid", "CaSn is blank", None),
        ]
        assert found.select(OUTCOME, MESSAGE, FIRST_ROW).rows() == expected
        assert (checked.protected, checked.invalid, checked.duplicates, checked.callable) == (6, 2, 1, 1)
        assert checked.first_protected[3] == f"{source}:8: CaSn {told} (b)"
        assert [row.split(": ")[0] for row in checked.first_protected] == [f"{source}:{n}" for n in (2, 4, 7, 8, 9, 10)]
        assert dict(checked.rows_by_ca) == {"a": 2}

    def test_cas(self, written):
        """For an action on CAs a CA with a protected device is left out, and the rest is deduplicated."""
        path = written("DeviceSn,CaSn\n1,a\n", "protected.csv")
        source = written("row,CaSn\n1,a\n2,b\n3,a\n4,b\n", "list.csv")
        _, found, _ = read(source, by_device=False, protection=open_protection(path, by_device=False))

        assert found[OUTCOME].to_list() == ["protected", None, "protected", "duplicate"]
        assert found[MESSAGE][0] == "CaSn is protected by protected.csv"

    def test_columns_of_our_names(self, written):
        """Names of columns do not get in the way."""
        protection = open_protection(written("1", "p.txt"), by_device=True)
        named = {"device_column": "row", "ca_column": "fault"}
        source = written("row,fault\n1,a\n", "list.csv")
        checked = check(source, protection=protection, **named)

        assert checked.first_protected == (f"{source}:2: row is protected by p.txt (1)",)

    @pytest.mark.parametrize(
        ("listed", "name", "by_device", "mistaken"),
        [
            ("DeviceSn\n1\n", "p.csv", True, ["1"]),
            ("DeviceSn\n0001\n", "p.csv", True, ["0001"]),
            ("CaSn\n0CA\n", "p.csv", True, ["0CA"]),
            ("CaSn\n0CA\n", "p.csv", False, ["0CA"]),
            ("DeviceSn,CaSn\n1,00ca\n", "p.csv", False, []),
            ("1\n0CA\n", "p.txt", True, ["0CA", "1"]),
            # What is found is no mistake, whatever else is like it; nor is what the rows have in no form at all.
            ("DeviceSn\n001\n", "p.csv", True, []),
            ("DeviceSn\n9\n00ca\n", "p.csv", True, []),
            # A row that is protected anyway needs no other spelling.
            ("DeviceSn,CaSn\n1,\n,00ca\n", "p.csv", True, []),
            ("001\n1\n", "p.txt", True, []),
        ],
    )
    def test_mistaken(self, written, listed, name, by_device, mistaken):
        """A serial in no row that differs from an unprotected row's in case or leading zeros alone is told."""
        source = written("DeviceSn,CaSn\n001,00ca\n00b,00ca\n", "list.csv")
        protection = open_protection(written(listed, name), by_device=by_device)
        checked = check(source, by_device=by_device, protection=protection)

        assert checked.mistaken == tuple(mistaken)
