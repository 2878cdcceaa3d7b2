"""The pass over the whole input that comes before the first call: what may be called, and what never is."""

import hashlib
from collections.abc import Callable, Sequence
from types import MappingProxyType

import polars as pl

from bulkcert.batch.source.checked import PROTECTED_CA, PROTECTED_DEVICE, Check, InvalidRow
from bulkcert.batch.source.columns import matching
from bulkcert.batch.source.duplicates import Firsts
from bulkcert.batch.source.parts import Part, read_parts
from bulkcert.batch.source.protection import Protection, Search
from bulkcert.batch.source.serials import FAULTS, REASONS, Fault, all_rounded, faults, numbers, printable
from bulkcert.batch.source.table import Source
from bulkcert.errors import BulkcertError, ExitStatus

INVALID_SHOWN = 20
"""Invalid rows that are kept with line and value."""
CAS_KEPT = 100_000
"""CAs whose rows are counted each for itself."""

# Joins the two serials of a key. No valid serial has a control character, so the join is unambiguous.
_JOINT = "\x1f"
_NO_FAULTS = pl.DataFrame(schema={"row": pl.UInt32, "fault": pl.UInt8})
_EXPORT_AS_TEXT = "Export the list again with this column as text, best straight from the registry"


def check(
    source: Source,
    *,
    trust_serials: bool = False,
    protection: Protection | None = None,
    device_column: str | None = None,
    on_progress: Callable[[int], None] | None = None,
    numbered: str | None = None,
) -> Check:
    """Reads the whole input once and checks every row.

    Args:
        source: The input.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.
        protection: The rows that must not be called, opened for the same kind of action as the input.
        device_column: For an action on CAs the column of devices beside them, if it is not to be looked for by name:
            the CA of a protected device is protected.
        on_progress: Told the number of rows checked so far, from time to time.
        numbered: Column that must hold the number of each row, or None.

    Raises:
        BulkcertError: INPUT_INVALID: malformed, changed meanwhile, out of order, or a spreadsheet has changed the
            serials; INPUT_UNREADABLE: it cannot be read to its end.
    """
    digest = hashlib.sha256()
    search = Search(protection) if protection else None
    seeks = protection is not None and source.device_column is None and len(protection.device_serials) > 0
    beside = _devices_beside(source, device_column) if seeks else []
    findings = _Findings(source, search, beside, trust_serials=trust_serials, numbered=numbered)
    try:
        if search and beside:
            _find_devices(source, search, beside)
        for part in read_parts(source, digest):
            rows = findings.add(part)
            if on_progress:
                on_progress(rows)
    finally:
        source.confirm_unchanged()  # whatever else seems to be wrong with it
    return findings.check(digest.hexdigest())


def _devices_beside(source: Source, named: str | None) -> list[str]:
    """Returns the columns of devices in the input of an action on CAs.

    Raises:
        BulkcertError: INPUT_INVALID: one is not text.
    """
    columns = [named] if named in source.columns else matching(source.columns, "DeviceSn")
    columns = [column for column in columns if column != source.ca_column]
    for column in columns:
        source.confirm_text(column)
    return columns


def _find_devices(source: Source, search: Search, columns: Sequence[str]) -> None:
    """Reads the input of an action on CAs for the protected devices that stand beside them.

    Raises:
        BulkcertError: INPUT_INVALID: malformed; INPUT_UNREADABLE.
    """
    for part in read_parts(source, hashlib.sha256()):
        cas = source.keys(part.frame)[source.ca_column]
        for column in columns:
            search.note_devices(part.frame[column].cast(pl.String), cas)


class _Findings:
    """What the check has found so far.

    Args:
        source: The input.
        search: The rows that must not be called.
        beside: Columns of devices in the input of an action on CAs.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.
        numbered: Column that must hold the number of each row, or None.
    """

    def __init__(
        self,
        source: Source,
        search: Search | None,
        beside: Sequence[str],
        *,
        trust_serials: bool,
        numbered: str | None,
    ) -> None:
        self._source = source
        self._numbered = numbered
        self._keys = hashlib.sha256()
        self._search = search
        self._beside = beside
        self._protected_by = printable(search.protection.path.name) if search else ""
        self._protected_cas: set[str] = set()
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
        for column in self._beside:  # what was changed would not be found
            self._refuse_numbers(part, part.frame[column].cast(pl.String))
        rows = pl.int_range(self._rows + 1, self._rows + keys.height + 1, dtype=pl.UInt32, eager=True).alias("row")
        if self._numbered is not None:
            self._confirm_order(part, rows, self._numbered)
        valid = fault == Fault.NONE
        if not valid.all():
            self._note_invalid(part, keys, pl.DataFrame([rows, fault]).filter(~valid))
            rows, keys = rows.filter(valid), keys.filter(valid)
        if keys.height:
            self._keys.update(f"{_joined(keys).str.join(chr(10)).item()}\n".encode())
        if self._search:
            rows, keys = self._leave_out_protected(part, rows, keys, self._search)
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
        search, duplicates = self._search, self._firsts.duplicates()
        mistaken = search.mistaken.to_list() if search else []
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
            protecting=search.protection.told() if search else "",
            unfound=search.missed if search else 0,
            unplaced=search.unplaced if search else 0,
            mistaken=len(mistaken),
            first_mistaken=printable(mistaken[0]) if mistaken else "",
            protected_cas=self._cas_with_protected(),
            keys_sha256=self._keys.hexdigest(),
        )

    def _cas_with_protected(self) -> frozenset[str]:
        """Returns the CAs with rows left that are on the list of protected serials, or have a protected row."""
        if self._search is None:
            return frozenset()
        cas = pl.Series(list(self._rows_by_ca), dtype=pl.String)
        listed = cas.filter(self._search.protection.named_cas.hold(cas))
        return frozenset(listed) | (self._protected_cas & self._rows_by_ca.keys())

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
        self, part: Part, rows: pl.Series, keys: pl.DataFrame, search: Search
    ) -> tuple[pl.Series, pl.DataFrame]:
        """Notes the protected ones of some valid rows; returns the other rows and their keys."""
        by_device, by_ca = search.hits(keys)
        hit = by_device | by_ca
        if not hit.any():
            return rows, keys
        code = PROTECTED_CA - by_device.cast(pl.UInt8)  # one less where it is the device
        found = pl.DataFrame([rows, code.alias("fault")]).filter(hit)
        self._protected.append(found)
        self._protected_cas.update(keys[self._source.ca_column].filter(by_device).unique())
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
