"""What the check of the input finds: invalid serials, spoilt columns, duplicates, counts."""

import polars as pl
import pytest
from loading import FIRST_ROW, MESSAGE, OUTCOME, check, read, refused

from bulkcert.input import ROW

HEADER = "DeviceSn,CaSn\n"


@pytest.fixture
def opened(written):
    """Writes a list: the body of a CSV file, or a table as Parquet."""
    return lambda content: written(HEADER + content) if isinstance(content, str) else written(content, "list.parquet")


def table(serials, kind=None):
    """Returns a table with these device serials, all under the CA ``ca``."""
    return pl.DataFrame({"DeviceSn": pl.Series(serials, dtype=kind), "CaSn": ["ca"] * len(serials)})


class TestSerials:
    @pytest.mark.parametrize(
        "serial", ["0", "007", "12e5", "1E5", "é" * 64, "x" * 128, "a b", "-", "1.5", "+1", "nullable", "NA"]
    )
    def test_valid(self, opened, serial):
        """Serials are opaque: anything visible of at most 128 bytes is one."""
        assert check(opened(f"{serial},ca\n")).callable == 1

    @pytest.mark.parametrize(
        ("serial", "shown", "reason"),
        [
            ("", "", "is blank"),
            ('""', "", "is blank"),
            (" \u00a0", " \\xa0", "is blank"),
            ("é" * 65, "é" * 39 + "…", "is longer than 128 bytes"),
            ("x" * 129, "x" * 39 + "…", "is longer than 128 bytes"),
            (" x", " x", "begins or ends with white space; remove it"),
            ('"x\n"', "x\\n", "begins or ends with white space; remove it"),
            ("x\0y", "x\\x00y", "holds a control character or an invisible one"),
            ("x\x7f", "x\\x7f", "holds a control character or an invisible one"),
            ('"x\ny"', "x\\ny", "holds a control character or an invisible one"),
            ("x\x1b[31m", "x\\x1b[31m", "holds a control character or an invisible one"),
            ("\ufeffx", "\\ufeffx", "holds a control character or an invisible one"),
            ("x\u200by", "x\\u200by", "holds a control character or an invisible one"),
            ("x\u2028y", "x\\u2028y", "holds a control character or an invisible one"),
            ("NULL", "NULL", "is a placeholder or a formula, not a serial"),
            ("nan", "nan", "is a placeholder or a formula, not a serial"),
            ("#REF!", "#REF!", "is a placeholder or a formula, not a serial"),
            ("#N/A", "#N/A", "is a placeholder or a formula, not a serial"),
            ('"=""0012"""', '="0012"', "is a placeholder or a formula, not a serial"),
        ],
    )
    def test_invalid(self, opened, serial, shown, reason):
        """What cannot be a serial is invalid, with line, column, a printable value and the reason."""
        path = opened(f"a,ca\n{serial},ca\n")
        checked = check(path)

        assert checked.first_invalid == (f"{path}:3: DeviceSn {reason}" + f" ({shown})" * (shown != ""),)
        assert (checked.rows, checked.invalid, checked.duplicates, checked.callable) == (2, 1, 0, 1)

    def test_both_columns(self, opened):
        """A row with two bad serials says so of both; the list of the first invalid rows names the first."""
        path = opened('" a",\nb,\n')
        checked, found, _ = read(path)

        first = f"{path}:2: DeviceSn begins or ends with white space; remove it ( a)"
        assert checked.first_invalid == (first, f"{path}:3: CaSn is blank")
        assert found[MESSAGE].to_list() == [
            "DeviceSn begins or ends with white space; remove it; CaSn is blank",
            "CaSn is blank",
        ]

    def test_twenty_are_kept(self, opened, monkeypatch):
        """Only the first twenty invalid rows are kept, with the lines on which they start; all are counted."""
        monkeypatch.setattr("bulkcert.input.files.CHUNK_BYTES", 100)
        path = opened('"a\r\n",ca\r\n\r\n' * 30)
        checked = check(path)

        assert checked.invalid == 30
        told = "DeviceSn begins or ends with white space; remove it (a\\r\\n)"
        assert list(checked.first_invalid) == [f"{path}:{3 * n - 1}: {told}" for n in range(1, 21)]

    @pytest.mark.parametrize("kind", [pl.String, pl.Categorical, pl.Enum(["07", "8"])])
    def test_text_in_parquet(self, opened, kind):
        """Every kind of text in Parquet is text; a null is blank and has a row, not a line."""
        path = opened(table(["07", "8", None, "07"], kind))
        checked = check(path)

        assert checked.first_invalid == (f"{path}:3: DeviceSn is blank",)
        assert checked.settled.select("row", "first_row").rows() == [(3, None), (4, 1)]

    def test_null_column(self, opened):
        """A Parquet column without a type has only blank serials."""
        assert check(opened(table([None, None], pl.Null))).invalid == 2


class TestSpreadsheets:
    @pytest.mark.parametrize(
        "serial", ["3.56217E+17", '"3,56217E+17"', "3e-05", "4E+2", "3.5e17", "12345.0", "-1E+9", " 1E+9 "]
    )
    def test_numbers(self, opened, serial):
        """A serial written as a number makes the whole file suspect: refused, with line, value and advice."""
        told = refused(opened(f"a,ca\n\n{serial},ca\n"), trust_serials=True)

        shown = serial.strip('"')
        assert f"line 4, column DeviceSn: {shown}: a spreadsheet has changed the serials" in told
        assert "Export the list again with this column as text" in told

    def test_ca_column(self, opened):
        """The rule holds for every key column, and in Parquet the row is named."""
        source = opened(table(["a", "b"]).with_columns(CaSn=pl.Series(["x", "1.2E+20"])))

        assert "row 2, column CaSn: 1.2E+20" in refused(source)

    def test_rounded(self, opened):
        """A column in which every serial has only zeros after fifteen digits is refused, unless it is trusted."""
        source = opened(",ca\n356217000000000000,ca\n1234567890123450,ca\n")

        assert "line 3, column DeviceSn: 356217000000000000: a spreadsheet" in refused(source)
        assert "--trust-serials" in refused(source)
        assert check(source, trust_serials=True).callable == 2

    @pytest.mark.parametrize("serial", ["123456789012345", "0123456789012340", "1234567890123451", "12345678901234f0"])
    def test_one_exact_serial_proves_the_column(self, opened, serial):
        """One serial that no spreadsheet has rounded clears its column."""
        assert check(opened(f"1234567890123450,ca\n{serial},ca\n")).callable == 2

    @pytest.mark.parametrize(
        ("serials", "kind", "told"),
        [
            ([1, 2], pl.Int64, "holds numbers (Int64)"),
            ([1.0], pl.Float64, "holds numbers (Float64)"),
            ([1], pl.Decimal(20, 0), "holds numbers (Decimal"),
            ([True], pl.Boolean, "holds Boolean"),
            ([1], pl.Datetime("us"), "holds Datetime"),
            ([b"a"], pl.Binary, "holds Binary"),
        ],
    )
    def test_parquet_types(self, opened, serials, kind, told):
        """A Parquet column that is not text is refused with its type."""
        assert f"column DeviceSn: {told}" in refused(opened(table(serials, kind)))


class TestDuplicates:
    def test_exact_pair(self, opened):
        """A duplicate repeats both serials exactly, and names the first valid row; invalid rows are never first."""
        _, found, _ = read(opened("a,b\nA,b\na,B\n,b\na,b\n,b\na,b\nab,\nb,a\n"))

        expected = [
            (1, None, None, None),
            (2, None, None, None),
            (3, None, None, None),
            (4, "invalid", "DeviceSn is blank", None),
            (5, "duplicate", "same pair as row 1", 1),
            (6, "invalid", "DeviceSn is blank", None),
            (7, "duplicate", "same pair as row 1", 1),
            (8, "invalid", "CaSn is blank", None),
            (9, None, None, None),
        ]
        assert expected == found.select(ROW, OUTCOME, MESSAGE, FIRST_ROW).rows()

    def test_ca_action(self, opened):
        """For an action on CAs only the CA counts, and the device serial may be anything."""
        _, found, _ = read(opened("a,b\n,b\na,c\n"), by_device=False)

        assert found[MESSAGE].to_list() == [None, "same CA as row 1", None]

    def test_across_parts(self, opened):
        """The first row is found however far back it is, and through a chain of repeats."""
        count = 300_000
        checked = check(opened(table([str(row % 100_000) for row in range(count)] + ["0", "0"])))
        expected = [(row + 1, row % 100_000 + 1) for row in range(100_000, count)] + [(300_001, 1), (300_002, 1)]

        assert expected == checked.settled.select("row", "first_row").rows()
        assert checked.callable == 100_000


class TestCounts:
    def test_rows_by_ca(self, opened):
        """Valid rows are counted by CA, most first; past 100,000 CAs it is only known that there are more."""
        few = check(opened("1,a\n2,b\n3,b\n3,b\n,b\n"))
        many = check(opened("".join(f"{n},{n:05}\n" for n in range(100_904))))

        assert (list(few.rows_by_ca.items()), few.ca_count) == ([("b", 3), ("a", 1)], 2)
        assert (len(many.rows_by_ca), many.ca_count) == (100_000, 100_001)
