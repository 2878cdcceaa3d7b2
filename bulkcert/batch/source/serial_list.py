"""A list of serials by itself, read whole: a table, or text with a serial a line. One bad serial refuses it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from bulkcert.batch.source.columns import listed, malformed, matching, refuse_other_kind
from bulkcert.batch.source.lines import read_lines
from bulkcert.batch.source.parts import Part, read_parts
from bulkcert.batch.source.reading import Digest, MalformedError, confirm_utf8
from bulkcert.batch.source.serials import REASONS, Fault, all_rounded, faults, numbers, printable
from bulkcert.batch.source.table import Table, has_known_suffix, open_table
from bulkcert.errors import BulkcertError, ExitStatus

DEVICE = "device"
"""Column of the device serials."""
CA = "ca"
"""Column of the CA serials."""

_SCHEMA = {DEVICE: pl.String(), CA: pl.String()}
_TOLD = {DEVICE: "device", CA: "CA"}
_REPAIR = "Correct the list and run again: a serial that matches nothing protects nothing."
# What hints at a second field, a note or quotes; a serial that has one of these can be listed in CSV.
_NOT_ALONE = r"[\s,;\"]"
_NOT_ALONE_REASON = (
    "holds white space, a comma, a semicolon or a quote: write one serial a line, or give the file its true suffix"
)


def read_serial_list(path: Path, digest: Digest, *, by_device: bool, trust_serials: bool) -> pl.DataFrame:
    """Returns the serials of a list in two columns, null where a line has none.

    Args:
        path: The file; a known suffix says that it is a table.
        digest: Takes in the bytes of the file as they are.
        by_device: Whether serials without a column are those of devices; if not, every line must have a CA.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.

    Raises:
        BulkcertError: INPUT_UNREADABLE; INPUT_INVALID: a serial that cannot be right, none at all, or no usable column.
    """
    read = _table if has_known_suffix(path) else _text
    try:
        pieces = [piece.checked(by_device=by_device) for piece in read(path, digest, by_device=by_device)]
    except MalformedError as error:
        raise malformed(path, error, _REPAIR) from None
    found = pl.concat([pl.DataFrame(schema=_SCHEMA), *pieces])
    if found.is_empty():
        raise _refused(f"{path}: no serials", "A list without any protects nothing: fill it, or leave it out.")
    if not trust_serials:
        _refuse_rounded(path, found)
    return found


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some consecutive lines of a list.

    Attributes:
        path: The list.
        keys: Their serials: a column for the devices, for the CAs, or for both.
        names: What the list calls the columns; empty for text.
        line: Returns the line, or the row of a Parquet file, of a place in ``keys``.
    """

    path: Path
    keys: pl.DataFrame
    names: Mapping[str, str]
    line: Callable[[int], str]

    def checked(self, *, by_device: bool) -> pl.DataFrame:
        """Returns the serials in two columns, null where there is none.

        Raises:
            BulkcertError: INPUT_INVALID: one cannot be right.
        """
        found = {column: faults(self.keys[column]) for column in self.keys.columns}
        blank = pl.DataFrame({column: fault == Fault.BLANK for column, fault in found.items()})
        for serials in self.keys:
            fault = found[serials.name]
            if by_device or serials.name == DEVICE:  # the other serial of the line says what is meant
                fault = fault.set(
                    blank[serials.name] & ~blank.select(pl.all_horizontal(pl.all())).to_series(), Fault.NONE
                )
            self._refuse(serials, numbers(serials), "is a number as spreadsheets write it: the serials were changed")
            for kind, reason in REASONS.items():
                self._refuse(serials, fault == kind, reason)
            if not self.names:
                self._refuse(serials, serials.str.contains(_NOT_ALONE), _NOT_ALONE_REASON)
        kept = self.keys.select(
            pl.when(~blank[column]).then(pl.col(column)).alias(column) for column in self.keys.columns
        )
        return pl.concat([pl.DataFrame(schema=_SCHEMA), kept], how="diagonal")

    def _refuse(self, serials: pl.Series, wrong: pl.Series, reason: str) -> None:
        if wrong.any():
            index = wrong.arg_max() or 0
            column = f", column {printable(self.names[serials.name])}" if self.names else ""
            value = printable(serials[index] or "")
            raise _refused(f"{self.path}, {self.line(index)}{column}: '{value}' {reason}", _REPAIR)


def _table(path: Path, digest: Digest, *, by_device: bool) -> Iterator[_Piece]:
    table = open_table(path)
    # In a list of CAs Sn is the serial of a CA, beside devices it may be of either.
    chosen = {DEVICE: _column(table, "DeviceSn"), CA: _column(table, *(("CaSn",) if by_device else ("CaSn", "Sn")))}
    names = {key: column for key, column in chosen.items() if column is not None}
    if not names and _column(table, "Sn") is not None:
        raise _refused(
            f"{path}: the column Sn does not say whether these are serials of devices or of CAs",
            "Name it DeviceSn if each is a device that must not be touched, CaSn if each is a CA with all its devices.",
        )
    if not names:
        raise _refused(
            f"{path}: no DeviceSn or CaSn column; {listed(table.columns)}", "Name the columns of the serials so."
        )
    if not by_device and CA not in names:
        raise _refused(
            f"{path}: no CaSn column, so the list does not say which CAs must not be touched",
            "Add a CaSn column: the CA of each device.",
        )
    for column in names.values():
        table.confirm_text(column)
    rows = 0
    for part in read_parts(table, digest):
        keys = part.frame.select(pl.col(column).cast(pl.String).alias(key) for key, column in names.items())
        yield _Piece(path, keys, names, partial(_place, part, rows))
        rows += keys.height


def _text(path: Path, digest: Digest, *, by_device: bool) -> Iterator[_Piece]:
    start = True
    for lines in read_lines(path, digest):
        if start:
            refuse_other_kind(path, lines.text)
        start = False
        confirm_utf8(lines.text, lines.line)
        records = [(line, text) for line, text in lines.records() if not text.startswith(b"#")]
        serials = [text.removesuffix(b"\r").decode() for _, text in records]
        keys = pl.DataFrame({DEVICE if by_device else CA: serials}, schema_overrides=_SCHEMA)
        yield _Piece(path, keys, {}, partial(_line, [line for line, _ in records]))


def _place(part: Part, rows: int, index: int) -> str:
    (line,) = part.lines([index])
    return f"row {rows + index + 1}" if line is None else f"line {line}"


def _line(lines: list[int], index: int) -> str:
    return f"line {lines[index]}"


def _column(table: Table, *names: str) -> str | None:
    for name in names:
        found = matching(table.columns, name)
        if len(found) > 1:
            told = " and ".join(f"'{printable(column)}'" for column in found)
            raise _refused(f"{table.path}: {told} may each be the {name} column", "Rename or remove all but one.")
        if found:
            return found[0]
    return None


def _refuse_rounded(path: Path, found: pl.DataFrame) -> None:
    for serials in found:
        nonblank = serials.drop_nulls()
        if len(nonblank) and all_rounded(nonblank):
            told = f"'{printable(nonblank[0])}' and every other {_TOLD[serials.name]} serial"
            raise _refused(
                f"{path}: {told} ends in zeros after its fifteenth digit: a spreadsheet has changed the serials",
                "Export it again with this column as text; or give --trust-serials if these are the true serials.",
            )


def _refused(message: str, advice: str) -> BulkcertError:
    return BulkcertError(ExitStatus.INPUT_INVALID, message, advice)
