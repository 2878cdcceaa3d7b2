"""The pass over the whole input that comes before the first call: what may be called, and what never is."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl

from bulkcert.batch.source.duplicates import Firsts
from bulkcert.batch.source.parts import Part, read_parts
from bulkcert.batch.source.protection import Protection
from bulkcert.batch.source.serials import FAULTS, REASONS, Fault, all_rounded, faults, numbers, printable
from bulkcert.batch.source.table import Source
from bulkcert.errors import BulkcertError, ExitStatus

INVALID_SHOWN = 20
"""Invalid rows that are kept with line and value."""
CAS_KEPT = 100_000
"""CAs whose rows are counted each for itself."""

PROTECTED_DEVICE = FAULTS * FAULTS
"""Code of a row whose device is protected; every code below is of an invalid row."""
PROTECTED_CA = PROTECTED_DEVICE + 1
"""Code of a row whose CA is protected, and its device not by itself."""

# Joins the two serials of a key. No valid serial has a control character, so the join is unambiguous.
_JOINT = "\x1f"
_NO_FAULTS = pl.DataFrame(schema={"row": pl.UInt32, "fault": pl.UInt8})
_EXPORT_AS_TEXT = "Export the list again with this column as text, best straight from the registry"


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that is not called, as a message shows it.

    Attributes:
        row: Number of the row, from 1.
        line: Line of a CSV or NDJSON file on which the row starts, from 1; None for Parquet.
        column: The column of the first thing that is wrong, or that is protected.
        value: What stands there, shortened and safe on a terminal.
        reason: What is wrong with it, to be read behind the column's name.
    """

    row: int
    line: int | None
    column: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """What the pass over the whole input found.

    Attributes:
        rows: Rows of the input.
        sha256: Of the file's bytes as they are, in hexadecimal.
        invalid: Rows with a serial that breaks a rule.
        duplicates: Rows that repeat the certificate of an earlier valid row.
        first_invalid: The first invalid rows, 20 at most.
        rows_by_ca: Valid rows of each CA, duplicates included, most rows first; the first 100,000 CAs. Rows that
            are protected do not count.
        rows_of_other_cas: Valid rows of the CAs that are not in ``rows_by_ca``.
        settled: One line for each row that is not called, in order: ``row``, ``first_row`` (null where invalid or
            protected) and the code ``fault`` (0 for a duplicate). Ten bytes a row: the words are made batch by batch.
        protected: Valid rows that are not called because a list protects them; they are no duplicates.
        first_protected: The first protected rows, 20 at most.
        protected_by: Name of that list, safe on a terminal; empty without one.
        protecting: What is on that list, in words; empty without one.
        keys_sha256: Of the serials of the valid rows, in order, in hexadecimal: the same for every file of these rows,
            whatever its format and its other columns.
    """

    rows: int
    sha256: str
    invalid: int
    duplicates: int
    first_invalid: tuple[InvalidRow, ...]
    rows_by_ca: Mapping[str, int]
    rows_of_other_cas: int
    settled: pl.DataFrame
    protected: int = 0
    first_protected: tuple[InvalidRow, ...] = ()
    protected_by: str = ""
    protecting: str = ""
    keys_sha256: str = ""

    @property
    def protected_rows(self) -> pl.Series:
        """Numbers of the protected rows."""
        return self.settled.filter(pl.col("fault") >= PROTECTED_DEVICE)["row"]

    @property
    def protection(self) -> str:
        """How many serials are protected and how many rows that concerns, in words; empty without a list of them."""
        hit = f"{self.protected:,} row{'s' * (self.protected != 1)} protected"
        return f"{self.protected_by}: {self.protecting}; {hit}" if self.protecting else ""

    @property
    def callable(self) -> int:
        """Rows that may be called."""
        return self.rows - self.invalid - self.duplicates - self.protected


def check(
    source: Source,
    *,
    trust_serials: bool = False,
    protection: Protection | None = None,
    on_progress: Callable[[int], None] | None = None,
    numbered: str | None = None,
) -> Check:
    """Reads the whole input once and checks every row.

    Args:
        source: The input.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.
        protection: The rows that must not be called, opened for the same kind of action as the input.
        on_progress: Told the number of rows checked so far, from time to time.
        numbered: Column that must hold the number of each row, or None.

    Raises:
        BulkcertError: INPUT_INVALID: malformed, changed meanwhile, out of order, or a spreadsheet has changed the
            serials; INPUT_UNREADABLE: it cannot be read to its end.
    """
    digest = hashlib.sha256()
    findings = _Findings(source, protection, trust_serials=trust_serials, numbered=numbered)
    try:
        for part in read_parts(source, digest):
            rows = findings.add(part)
            if on_progress:
                on_progress(rows)
    finally:
        source.confirm_unchanged()  # whatever else seems to be wrong with it
    return findings.check(digest.hexdigest())


class _Findings:
    """What the check has found so far.

    Args:
        source: The input.
        protection: The rows that must not be called.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.
        numbered: Column that must hold the number of each row, or None.
    """

    def __init__(
        self, source: Source, protection: Protection | None, *, trust_serials: bool, numbered: str | None
    ) -> None:
        self._source = source
        self._numbered = numbered
        self._keys = hashlib.sha256()
        self._protection = protection
        self._protected_by = printable(protection.path.name) if protection else ""
        self._rows = 0
        self._first_invalid: list[InvalidRow] = []
        self._invalid: list[pl.DataFrame] = []
        self._first_protected: list[InvalidRow] = []
        self._protected: list[pl.DataFrame] = []
        self._firsts = Firsts()
        self._rows_by_ca: dict[str, int] = {}
        self._rows_of_other_cas = 0
        # The columns in which every serial so far looks like a number that has lost its last digits; with each, what
        # to tell of the first one.
        self._suspects: dict[str, str] = {} if trust_serials else dict.fromkeys(source.key_columns, "")

    def add(self, part: Part) -> int:
        """Takes in the next rows; returns how many there were so far."""
        keys = self._source.keys(part.frame)
        fault = pl.Series("fault", [Fault.NONE], dtype=pl.UInt8).new_from_index(0, keys.height)
        for serials in keys:
            self._refuse_numbers(part, serials)
            found = faults(serials)
            self._suspect(part, serials, found != Fault.BLANK)
            fault = fault * FAULTS + found
        rows = pl.int_range(self._rows + 1, self._rows + keys.height + 1, dtype=pl.UInt32, eager=True).alias("row")
        if self._numbered is not None:
            self._confirm_order(part, rows, self._numbered)
        valid = fault == Fault.NONE
        if not valid.all():
            self._note_invalid(part, keys, pl.DataFrame([rows, fault]).filter(~valid))
            rows, keys = rows.filter(valid), keys.filter(valid)
        if keys.height:
            self._keys.update(f"{_joined(keys).str.join(chr(10)).item()}\n".encode())
        if self._protection:
            rows, keys = self._leave_out_protected(part, rows, keys, self._protection)
        self._firsts.add(rows, _joined(keys))
        self._count(keys[self._source.ca_column])
        self._rows += part.frame.height
        return self._rows

    def check(self, sha256: str) -> Check:
        """Returns the findings, now that all rows are in.

        Raises:
            BulkcertError: INPUT_INVALID: a spreadsheet has rounded the serials.
        """
        for told in self._suspects.values():
            if told:
                advice = f"{_EXPORT_AS_TEXT}; or give --trust-serials if these are the true serials."
                raise self._changed(told, "every serial ends in zeros after its fifteenth digit", advice)
        duplicates = self._firsts.duplicates()
        invalid, protected = pl.concat([_NO_FAULTS, *self._invalid]), pl.concat([_NO_FAULTS, *self._protected])
        settled = [
            duplicates.with_columns(fault=pl.lit(Fault.NONE, pl.UInt8)),
            *(
                found.select("row", pl.lit(None, pl.UInt32).alias("first_row"), "fault")
                for found in (invalid, protected)
            ),
        ]
        return Check(
            rows=self._rows,
            sha256=sha256,
            invalid=invalid.height,
            duplicates=duplicates.height,
            first_invalid=tuple(self._first_invalid),
            rows_by_ca=MappingProxyType(dict(sorted(self._rows_by_ca.items(), key=lambda ca: (-ca[1], ca[0])))),
            rows_of_other_cas=self._rows_of_other_cas,
            settled=pl.concat(settled).sort("row"),
            protected=protected.height,
            first_protected=tuple(self._first_protected),
            protected_by=self._protected_by,
            protecting=self._protection.told() if self._protection else "",
            keys_sha256=self._keys.hexdigest(),
        )

    def _confirm_order(self, part: Part, rows: pl.Series, column: str) -> None:
        told = part.frame[column].cast(pl.UInt32, strict=False)
        wrong = told.ne_missing(rows)
        if wrong.any():
            index = wrong.arg_max() or 0
            stands = printable(str(part.frame[column][index]))
            raise BulkcertError(
                ExitStatus.INPUT_INVALID,
                f"{self._source.path}: row {rows[index]} is numbered {stands} in the column {column}: rows were moved, "
                "added or taken out since it was written",
                "Run the command that wrote it again with --limit-rows 0: that calls nothing and writes it anew.",
            )

    def _refuse_numbers(self, part: Part, serials: pl.Series) -> None:
        found = numbers(serials)
        if found.any():
            told = self._place(part, serials, found.arg_max() or 0)
            raise self._changed(told, "this one is a number as spreadsheets write it", f"{_EXPORT_AS_TEXT}.")

    def _suspect(self, part: Part, serials: pl.Series, nonblank: pl.Series) -> None:
        if serials.name not in self._suspects or not nonblank.any():
            return
        if not all_rounded(serials.filter(nonblank)):
            del self._suspects[serials.name]
        elif not self._suspects[serials.name]:
            self._suspects[serials.name] = self._place(part, serials, nonblank.arg_max() or 0)

    def _place(self, part: Part, serials: pl.Series, index: int) -> str:
        """Returns where a serial stands, and the serial."""
        (line,) = part.lines([index])
        place = f"row {self._rows + index + 1}" if line is None else f"line {line}"
        return f"{place}, column {printable(serials.name)}: {printable(serials[index])}"

    def _changed(self, told: str, reason: str, advice: str) -> BulkcertError:
        message = f"{self._source.path}, {told}: a spreadsheet has changed the serials: {reason}"
        return BulkcertError(ExitStatus.INPUT_INVALID, message, advice)

    def _note_invalid(self, part: Part, keys: pl.DataFrame, invalid: pl.DataFrame) -> None:
        self._invalid.append(invalid)
        shown = invalid.head(INVALID_SHOWN - len(self._first_invalid))
        indexes = [row - self._rows - 1 for row in shown["row"]]
        for index, line, code in zip(indexes, part.lines(indexes), shown["fault"], strict=True):
            # The code's last digit to the base FAULTS belongs to the last column.
            codes = divmod(code, FAULTS)[-keys.width :]
            column, fault = next((name, fault) for name, fault in zip(keys.columns, codes, strict=True) if fault)
            value = printable(keys[column][index] or "")
            self._first_invalid.append(InvalidRow(self._rows + index + 1, line, column, value, REASONS[Fault(fault)]))

    def _leave_out_protected(
        self, part: Part, rows: pl.Series, keys: pl.DataFrame, protection: Protection
    ) -> tuple[pl.Series, pl.DataFrame]:
        """Notes the protected ones of some valid rows; returns the other rows and their keys."""
        by_device, by_ca = protection.hits_by_serial(keys)
        hit = by_device | by_ca
        if not hit.any():
            return rows, keys
        code = PROTECTED_CA - by_device.cast(pl.UInt8)  # one less where it is the device
        found = pl.DataFrame([rows, code.alias("fault")]).filter(hit)
        self._protected.append(found)
        shown = found.head(INVALID_SHOWN - len(self._first_protected))
        lines = part.lines([row - self._rows - 1 for row in shown["row"]])
        values = keys.filter(hit).head(shown.height).rows()
        for (row, fault), line, serials in zip(shown.rows(), lines, values, strict=True):
            place = 0 if fault == PROTECTED_DEVICE else -1
            column, value = keys.columns[place], printable(serials[place])
            self._first_protected.append(InvalidRow(row, line, column, value, f"is protected by {self._protected_by}"))
        return rows.filter(~hit), keys.filter(~hit)

    def _count(self, cas: pl.Series) -> None:
        for ca, rows in cas.value_counts(sort=False).iter_rows():
            if ca in self._rows_by_ca or len(self._rows_by_ca) < CAS_KEPT:
                self._rows_by_ca[ca] = self._rows_by_ca.get(ca, 0) + rows
            else:
                self._rows_of_other_cas += rows


def _joined(keys: pl.DataFrame) -> pl.Series:
    """Returns one text for each row."""
    return keys.select(pl.concat_str(pl.all(), separator=_JOINT)).to_series()
