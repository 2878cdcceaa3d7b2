"""The rules that a serial must keep, as polars expressions over a column of text.

Serials are opaque text of at most 128 bytes (reference, section 10): never parsed as numbers, never changed.
"""

from enum import IntEnum

import polars as pl

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
_ROUNDED = rf"^[1-9][0-9]{{{EXACT_DIGITS - 1}}}0+$"


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


def all_rounded(serials: pl.Series) -> bool:
    """Returns whether every serial is a number that has lost its digits after the fifteenth."""
    return bool(serials.str.contains(_ROUNDED).all())
