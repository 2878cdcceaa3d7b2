"""What a check of every row finds: what may be called, and what never is."""

import hashlib
from collections.abc import Sequence
from types import MappingProxyType

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.checked import PROTECTED_CA, PROTECTED_DEVICE, Check, InvalidRow
from bulkcert.input.duplicates import Firsts
from bulkcert.input.places import PlacesOf
from bulkcert.input.protection import Search
from bulkcert.input.serials import FAULTS, REASONS, SerialProblem, all_rounded, faults, numbers
from bulkcert.words import printable

INVALID_SHOWN = 20
"""Invalid rows that are kept with line and value."""
CAS_KEPT = 100_000
"""CAs whose rows are counted each for itself."""

# Joins the two serials of a key. No valid serial has a control character, so the join is unambiguous.
_JOINT = "\x1f"
# In place of a line feed or a joint in an invalid serial, when the rows are hashed: no valid one has it either.
_SPOILT = "\x1e"
_NO_FAULTS = pl.DataFrame(schema={"row": pl.UInt32, "fault": pl.UInt8})
_EXPORT_AS_TEXT = "Export the list again with this column as text, best straight from the registry"


class Findings:
    """What was found so far.

    Args:
        keys: The columns that together say which certificate is meant, that of the CA last.
        search: The rows that must not be called.
        devices: Columns of devices in the input of an action on CAs.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.
    """

    def __init__(
        self,
        keys: Sequence[str],
        search: Search | None = None,
        devices: Sequence[str] = (),
        *,
        trust_serials: bool,
    ) -> None:
        self._columns = keys
        self._keys = hashlib.sha256()
        self._search = search
        self._device_columns = devices
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
        # to report of the first one.
        self._suspects: dict[str, str] = {} if trust_serials else dict.fromkeys(keys, "")

    def add(self, frame: pl.DataFrame, places: PlacesOf) -> None:
        """Takes in the next rows.

        Raises:
            BulkcertError: INPUT_INVALID: a spreadsheet has changed the serials.
        """
        keys = frame.select(pl.col(*self._columns).cast(pl.String))
        fault = pl.Series("fault", [SerialProblem.NONE], dtype=pl.UInt8).new_from_index(0, keys.height)
        for serials in keys:
            self._refuse_numbers(places, serials)
            found = faults(serials)
            self._suspect(places, serials, found != SerialProblem.BLANK)
            fault = fault * FAULTS + found
        for column in self._device_columns:  # what was changed would not be found
            self._refuse_numbers(places, frame[column].cast(pl.String))
        rows = pl.int_range(self._rows + 1, self._rows + keys.height + 1, dtype=pl.UInt32, eager=True).alias("row")
        valid = fault == SerialProblem.NONE
        joined = _joined(keys)
        if keys.height:
            self._keys.update(f"{_whole(keys, joined, valid).str.join(chr(10)).item()}\n".encode())
        if not valid.all():
            self._note_invalid(places, keys, pl.DataFrame([rows, fault]).filter(~valid))
            rows, keys, joined = rows.filter(valid), keys.filter(valid), joined.filter(valid)
        if self._search:
            free = self._note_protected(places, rows, keys, self._search)
            rows, keys, joined = rows.filter(free), keys.filter(free), joined.filter(free)
        self._firsts.add(rows, joined)
        self._count(keys[self._columns[-1]])
        self._rows += frame.height

    def note_devices(self, frame: pl.DataFrame) -> None:
        """Takes in, before any row is added, the devices named with CAs: the CA of a protected one is protected."""
        if self._search is None:
            return
        cas = frame[self._columns[-1]].cast(pl.String)
        for column in self._device_columns:
            self._search.note_devices(frame[column].cast(pl.String), cas)

    def check(self, sha256: str) -> Check:
        """Returns the findings, now that all rows are in.

        Raises:
            BulkcertError: INPUT_INVALID: a spreadsheet has rounded the serials.
        """
        for suspect in self._suspects.values():
            if suspect:
                advice = f"{_EXPORT_AS_TEXT}; or give --trust-serials if these are the true serials."
                raise _changed(suspect, "every serial ends in zeros after its fifteenth digit", advice)
        search, duplicates = self._search, self._firsts.duplicates()
        mistaken = search.mistaken.to_list() if search else []
        invalid, protected = pl.concat([_NO_FAULTS, *self._invalid]), pl.concat([_NO_FAULTS, *self._protected])
        settled = [
            duplicates.with_columns(fault=pl.lit(SerialProblem.NONE, pl.UInt8)),
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
            protecting=search.protection.describe() if search else "",
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

    def _refuse_numbers(self, places: PlacesOf, serials: pl.Series) -> None:
        found = numbers(serials)
        if found.any():
            place = _place(places, serials, found.arg_max() or 0)
            raise _changed(place, "this one is a number as spreadsheets write it", f"{_EXPORT_AS_TEXT}.")

    def _suspect(self, places: PlacesOf, serials: pl.Series, nonblank: pl.Series) -> None:
        if serials.name not in self._suspects or not nonblank.any():
            return
        if not all_rounded(serials.filter(nonblank)):
            del self._suspects[serials.name]
        elif not self._suspects[serials.name]:
            self._suspects[serials.name] = _place(places, serials, nonblank.arg_max() or 0)

    def _note_invalid(self, places: PlacesOf, keys: pl.DataFrame, invalid: pl.DataFrame) -> None:
        self._invalid.append(invalid)
        shown = invalid.head(INVALID_SHOWN - len(self._first_invalid))
        indexes = [row - self._rows - 1 for row in shown["row"]]
        for index, place, code in zip(indexes, places(indexes), shown["fault"], strict=True):
            # The code's last digit to the base FAULTS belongs to the last column.
            codes = divmod(code, FAULTS)[-keys.width :]
            column, fault = next((name, fault) for name, fault in zip(keys.columns, codes, strict=True) if fault)
            value = printable(keys[column][index] or "")
            row = self._rows + index + 1
            self._first_invalid.append(InvalidRow(row, place.line, column, value, REASONS[SerialProblem(fault)]))

    def _note_protected(self, places: PlacesOf, rows: pl.Series, keys: pl.DataFrame, search: Search) -> pl.Series:
        """Notes the protected ones of some valid rows; returns which are not."""
        by_device, by_ca = search.hits(keys)
        hit = by_device | by_ca
        if not hit.any():
            return ~hit
        code = PROTECTED_CA - by_device.cast(pl.UInt8)  # one less where it is the device
        found = pl.DataFrame([rows, code.alias("fault")]).filter(hit)
        self._protected.append(found)
        self._protected_cas.update(keys[self._columns[-1]].filter(by_device).unique())
        shown = found.head(INVALID_SHOWN - len(self._first_protected))
        found_at = places([row - self._rows - 1 for row in shown["row"]])
        values = keys.filter(hit).head(shown.height).rows()
        for (row, fault), place, serials in zip(shown.rows(), found_at, values, strict=True):
            key = 0 if fault == PROTECTED_DEVICE else -1
            reason = f"is protected by {self._protected_by}"
            shown_row = InvalidRow(row, place.line, keys.columns[key], printable(serials[key]), reason)
            self._first_protected.append(shown_row)
        return ~hit

    def _count(self, cas: pl.Series) -> None:
        for ca, rows in cas.value_counts(sort=False).iter_rows():
            if ca in self._rows_by_ca or len(self._rows_by_ca) < CAS_KEPT:
                self._rows_by_ca[ca] = self._rows_by_ca.get(ca, 0) + rows
            else:
                self._rows_of_other_cas += rows


def _place(places: PlacesOf, serials: pl.Series, index: int) -> str:
    """Returns where a serial is, and the serial."""
    (place,) = places([index])
    return f"{place}, column {printable(serials.name)}: {printable(serials[index])}"


def _changed(where: str, reason: str, advice: str) -> BulkcertError:
    message = f"{where}: a spreadsheet has changed the serials: {reason}"
    return BulkcertError(ExitStatus.INPUT_INVALID, message, advice)


def _whole(keys: pl.DataFrame, joined: pl.Series, valid: pl.Series) -> pl.Series:
    """Returns one text without line feeds for each row, whatever an invalid one holds."""
    if valid.all():
        return joined
    whole = pl.concat_str(pl.all().fill_null("").str.replace_all(f"[\n{_JOINT}]", _SPOILT), separator=_JOINT)
    return keys.select(whole).to_series().zip_with(~valid, joined)


def _joined(keys: pl.DataFrame) -> pl.Series:
    """Returns one text for each row."""
    return keys.select(pl.concat_str(pl.all(), separator=_JOINT)).to_series()
