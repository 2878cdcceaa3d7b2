"""The rules that a serial must keep, and what the check of every row of an input has found.

Serials are opaque text of at most 128 bytes (reference, section 10): never parsed as numbers, never changed.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum

import msgspec
import polars as pl

from bulkcert.input.pinned import ROW

INVALID_SHOWN = 20
"""Invalid rows, and protected ones, that are shown."""
SERIAL_LIMIT_BYTES = 128
"""Longest serial that the service takes, in UTF-8 bytes."""
EXACT_DIGITS = 15
"""Significant digits that a spreadsheet keeps of a number; it puts zeros in place of the rest."""

# Nearly every serial matches this at once, and none that is refused below does. Only the others are looked at closely.
_ORDINARY = rf"^[0-9A-Fa-f][0-9A-Za-z_:]{{0,{SERIAL_LIMIT_BYTES - 1}}}$"
# Control characters, and characters that nobody sees: zero-width ones, directions, line and paragraph separators.
_INVISIBLE = r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]"
# 3.56217E+17, 3,56217E+17, 4E-2, 12345.0. Not 12e5, which may well be a hexadecimal serial.
_NUMBER = r"^\s*[+-]?[0-9]+(?:[eE][+-][0-9]+|[.,][0-9]+[eE][+-]?[0-9]+|[.,]0+)\s*$"
# What programs write for nothing, errors of spreadsheets, and a number kept as text by a formula: ="0012".
_PLACEHOLDER = r"(?i)^(?:null|nil|none|nan|n/a|undefined|#[a-z0-9/]+[!?]?|=.*)$"
ROUNDED = rf"^[1-9][0-9]{{{EXACT_DIGITS - 1}}}0+$"
"""A number that has lost its digits after the fifteenth, where every serial of a column is one."""


class SerialProblem(IntEnum):
    """What is wrong with a serial; the numbers are codes in memory only."""

    NONE = 0
    BLANK = 1
    TOO_LONG = 2
    SURROUNDED = 3
    INVISIBLE = 4
    PLACEHOLDER = 5
    NUMBER = 6


REASONS = {
    SerialProblem.BLANK: "is blank",
    SerialProblem.TOO_LONG: f"is longer than {SERIAL_LIMIT_BYTES} bytes",
    SerialProblem.SURROUNDED: "begins or ends with white space; remove it",
    SerialProblem.INVISIBLE: "holds a control character or an invisible one",
    SerialProblem.PLACEHOLDER: "is a placeholder or a formula, not a serial",
    SerialProblem.NUMBER: "is a number as spreadsheets write it: the serials were changed",
}

FAULTS = len(SerialProblem)
"""Number of faults of a serial: those of two make the code of a row, ``first * FAULTS + second``."""
PROTECTED_DEVICE, PROTECTED_CA, NO_INSTANCE, WRONG_INSTANCE, NO_REGION, WRONG_REGION = range(FAULTS**2, FAULTS**2 + 6)
"""Codes of rows whose serials are valid; PROTECTED_CA of one whose device is not protected by itself."""


def faults(serials: pl.Series) -> pl.Series:
    """Returns the fault of each serial as UInt8.

    A NUMBER, as a spreadsheet or a data frame writes it (``3.56217E+17``, ``12345.0``), spoils the whole list.
    """
    ordinary = serials.str.contains(_ORDINARY).fill_null(value=False)
    if ordinary.all():
        return pl.Series([SerialProblem.NONE], dtype=pl.UInt8).new_from_index(0, len(serials))
    text = pl.col("text")
    stripped = text.str.strip_chars()
    fault = (
        pl.when(ordinary)
        .then(SerialProblem.NONE)
        .when(text.is_null() | (stripped == ""))
        .then(SerialProblem.BLANK)
        .when(text.str.contains(_NUMBER))
        .then(SerialProblem.NUMBER)
        .when(text.str.len_bytes() > SERIAL_LIMIT_BYTES)
        .then(SerialProblem.TOO_LONG)
        .when(stripped != text)
        .then(SerialProblem.SURROUNDED)
        .when(text.str.contains(_INVISIBLE))
        .then(SerialProblem.INVISIBLE)
        .when(text.str.contains(_PLACEHOLDER))
        .then(SerialProblem.PLACEHOLDER)
        .otherwise(SerialProblem.NONE)
    )
    return serials.alias("text").to_frame().select(fault.cast(pl.UInt8)).to_series()


class Check(msgspec.Struct, frozen=True):
    """What the pass over the whole input found.

    Attributes:
        columns: The columns that together say which certificate is meant, that of the CA last.
        rows: Rows of the input.
        sha256: Of the bytes of its files as they are, in hexadecimal.
        keys_sha256: Of the serials of all rows, in order, in hexadecimal, and where there are several instances of
            these: the same for every input of these rows, whatever its formats and its other columns; a missing serial
            is an empty one.
        invalid: Rows with a serial that breaks a rule.
        duplicates: Rows that repeat the certificate of an earlier valid row.
        protected: Valid rows that are not called because a list protects them; they are no duplicates.
        first_invalid: The first invalid rows, 20 at most: where each stands, what is wrong in which column, and the
            value, shortened and safe on a terminal, as in ``list.csv:12: DeviceSn is a placeholder (NULL)``; rows of
            Parquet by their numbers in the file.
        first_protected: The first protected rows, likewise.
        settled: One line for each row that is not called, in order: ``row``, ``first_row`` (null where invalid or
            protected) and the code ``fault`` (0 for a duplicate). Ten bytes a row: the words are made batch by batch.
        rows_by_ca: Valid rows of each CA by its key (``ca_key``), duplicates included, most rows first; the first
            100,000 CAs. Rows that are protected do not count.
        protected_by: Name of the list that protects rows, safe on a terminal; empty without one.
        protection: How many serials are protected and how many rows that concerns, in words; empty without a list.
        protected_cas: CAs of ``rows_by_ca`` that are on that list, or have a protected row.
        unplaced: Devices on that list of which neither it nor the input says under which CA they are; their number.
        mistaken: Serials on that list that no row has, while rows that are not protected have them with other letter
            case or other leading zeros, in order.
        instances: The instances that columns name in valid rows, each with its region, which is empty
            where no column names that; none where options say which it is. If they are several, each row is of the
            one that it names.
        instance_columns: The columns of instances and regions; None where there is none, or it does not matter.
    """

    columns: Sequence[str]
    rows: int
    sha256: str
    keys_sha256: str
    invalid: int
    duplicates: int
    protected: int
    first_invalid: tuple[str, ...]
    first_protected: tuple[str, ...]
    settled: pl.DataFrame
    rows_by_ca: Mapping[str, int]
    protected_by: str
    protection: str
    protected_cas: frozenset[str]
    unplaced: int
    mistaken: tuple[str, ...]
    instances: Mapping[str, str]
    instance_columns: tuple[str | None, str | None]

    @property
    def ca_count(self) -> int:
        """CAs of valid rows that are not protected; one more than are counted where not all are."""
        counted = sum(self.rows_by_ca.values())
        return len(self.rows_by_ca) + (counted < self.rows - self.invalid - self.protected)

    @property
    def callable(self) -> int:
        """Rows that may be called."""
        return self.rows - self.invalid - self.duplicates - self.protected

    @property
    def spares_cas(self) -> bool:
        """Whether what a list protects is, or may be, under one of the CAs of the rows."""
        return bool(self.protected_cas or self.unplaced)

    def callable_of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Returns those of some rows, with ``ROW``, that may be called."""
        return frame.join(self.settled, left_on=ROW, right_on="row", how="anti", maintain_order="left")

    def reasons(self) -> pl.DataFrame:
        """Returns why rows are not called: ``row``, ``outcome``, ``first_row`` and ``why``, in words."""
        outcomes, words = {0: "duplicate"}, dict[int, str | None]({0: None})
        for code in self.settled.filter(pl.col("fault") > 0)["fault"].unique():
            outcomes[code] = "protected" if code in (PROTECTED_DEVICE, PROTECTED_CA) else "invalid"
            found = problems(code, self.columns, self.instance_columns, self.protected_by)
            words[code] = "; ".join(map(" ".join, found))
        fault, what = pl.col("fault"), "CA" if len(self.columns) == 1 else "pair"
        return self.settled.select(
            "row",
            fault.replace_strict(outcomes, return_dtype=pl.String).alias("outcome"),
            "first_row",
            pl.when(fault == 0)
            .then(pl.format(f"same {what} as row {{}}", "first_row"))
            .otherwise(fault.replace_strict(words, return_dtype=pl.String))
            .alias("why"),
        )


def problems(
    code: int, columns: Sequence[str], instance_columns: tuple[str | None, str | None], protected_by: str
) -> list[tuple[str, str]]:
    """Returns the columns that keep a row from being called, and why each does.

    Args:
        code: Of the row; not 0.
        columns: The columns of the serials, that of the CA last.
        instance_columns: Those of instances and regions.
        protected_by: Name of the list that protects rows.
    """
    if code < PROTECTED_DEVICE:
        # The code's last digit to the base FAULTS belongs to the last column.
        found = zip(columns, divmod(code, FAULTS)[-len(columns) :], strict=True)
        return [(column, REASONS[SerialProblem(fault)]) for column, fault in found if fault]
    column, reason = {
        PROTECTED_DEVICE: (columns[0], f"is protected by {protected_by}"),
        PROTECTED_CA: (columns[-1], f"is protected by {protected_by}"),
        NO_INSTANCE: (instance_columns[0], "is blank"),
        WRONG_INSTANCE: (instance_columns[0], "must be letters, digits, - and _ only, as in post-cn-7mz2d000001"),
        NO_REGION: (instance_columns[1], "is blank"),
        WRONG_REGION: (instance_columns[1], "is not a region of the service, as cn-hangzhou is"),
    }[code]
    return [(column or "", reason)]
