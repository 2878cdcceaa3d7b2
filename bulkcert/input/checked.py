"""What the pass over the whole input found, and the codes of the rows that are not called."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from bulkcert.input.serials import FAULTS

PROTECTED_DEVICE = FAULTS * FAULTS
"""Code of a row whose device is protected; every code below is of an invalid row."""
PROTECTED_CA = PROTECTED_DEVICE + 1
"""Code of a row whose CA is protected, and its device not by itself."""


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

    @property
    def shown(self) -> str:
        """The value in parentheses, to be read behind the reason; empty where there is none."""
        return f" ({self.value})" if self.value else ""


@dataclass(frozen=True, slots=True)
class Check:
    """What the pass over the whole input found.

    Attributes:
        rows: Rows of the input.
        sha256: Of the bytes of its files as they are, in hexadecimal.
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
        unfound: Serials on that list that no row has.
        unplaced: Those of them that may be devices of which neither the list nor the input knows the CA; their
            number.
        mistaken: Those serials of ``unfound`` that rows which are not protected have with other letter case or other
            leading zeros; their number.
        first_mistaken: The first of them in order, safe on a terminal; empty without any.
        protected_cas: CAs of ``rows_by_ca`` that are on the list, or have a protected row.
        keys_sha256: Of the serials of all rows, in order, in hexadecimal: the same for every input of these rows,
            whatever its formats and its other columns; a missing serial is an empty one.
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
    unfound: int = 0
    unplaced: int = 0
    mistaken: int = 0
    first_mistaken: str = ""
    protected_cas: frozenset[str] = frozenset()
    keys_sha256: str = ""

    @property
    def protected_rows(self) -> pl.Series:
        """Numbers of the protected rows."""
        return self.settled.filter(pl.col("fault") >= PROTECTED_DEVICE)["row"]

    @property
    def protection(self) -> str:
        """How many serials are protected and how many rows that concerns, in words; empty without a list of them."""
        hit = f"{self.protected:,} row{'s' * (self.protected != 1)} protected"
        serials = f"{self.unfound:,} serial{' is' if self.unfound == 1 else 's are'}"
        unfound = f"; {serials} in no row" * (self.unfound > 0)
        return f"{self.protected_by}: {self.protecting}; {hit}{unfound}" if self.protecting else ""

    @property
    def callable(self) -> int:
        """Rows that may be called."""
        return self.rows - self.invalid - self.duplicates - self.protected
