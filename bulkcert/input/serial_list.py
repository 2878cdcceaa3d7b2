"""A list of serials by itself, read whole: a table, or text with a serial a line. One bad serial refuses it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.columns import listed, malformed, matching, refuse_other_kind, separated_by
from bulkcert.input.files import has_known_suffix
from bulkcert.input.lines import read_lines
from bulkcert.input.places import FilePart
from bulkcert.input.reading import Digest, MalformedError, confirm_utf8, read_bytes, unreadable
from bulkcert.input.serials import REASONS, SerialProblem, all_rounded, faults, numbers
from bulkcert.input.table import Table, open_table
from bulkcert.words import printable

DEVICE = "device"
"""Column of the device serials."""
CA = "ca"
"""Column of the CA serials."""
BARE = "bare"
"""Column of the serials of which the list does not say whether they are those of devices or of CAs."""

_SCHEMA = {DEVICE: pl.String(), CA: pl.String(), BARE: pl.String()}
_OTHERS = {DEVICE: "every other device serial", CA: "every other CA serial", BARE: "every other serial"}
# Headers that say no more than that these are serials. Any other one of a single column may be the first serial.
_NAMES = ("Sn", "Serial", "Serials", "SerialNumber", "SerialNo")
_REPAIR = "Correct the list: a serial that matches nothing protects nothing."
# What hints at a second field, a note or quotes; a serial that has one of these can be listed under a name in CSV.
_NOT_ALONE = r"[\s,;|\"]"
_NOT_ALONE_REASON = "holds white space, a comma, a semicolon, a vertical bar or a quote"
_NOT_ALONE_IN_TEXT = f"{_NOT_ALONE_REASON}: write one serial a line, or give the file its true suffix"
_NOT_ALONE_IN_A_TABLE = (
    f"{_NOT_ALONE_REASON}, as if it were more than a serial: separate the fields by commas, and name the column "
    "DeviceSn, CaSn or Sn"
)


def read_serial_list(
    path: Path, digest: Digest, *, by_device: bool, trust_serials: bool, may_be_empty: bool = False
) -> pl.DataFrame:
    """Returns the serials of a list in three columns, null where a line has none.

    Args:
        path: The file; a known suffix says that it is a table.
        digest: Takes in the bytes of the file as they are.
        by_device: Whether it is for a device action: next to devices Sn is a CA for the others.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.
        may_be_empty: Whether a list without serials is one.

    Raises:
        BulkcertError: INPUT_UNREADABLE; INPUT_INVALID: a serial that cannot be right, none at all, or no usable column.
    """
    if may_be_empty and not path.stat().st_size:
        return pl.DataFrame(schema=_SCHEMA)
    pieces = _table(path, digest, by_device=by_device) if has_known_suffix(path) else _text(path, digest)
    try:
        checked = [piece.checked() for piece in pieces]
    except MalformedError as error:
        raise malformed(path, error, _REPAIR) from None
    found = pl.concat([pl.DataFrame(schema=_SCHEMA), *checked])
    if found.is_empty() and not may_be_empty:
        raise _refused(f"{path}: no serials", "A list without any protects nothing: fill it, or leave it out.")
    if not trust_serials:
        _refuse_rounded(path, found)
    return found


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some consecutive lines of a list.

    Attributes:
        path: The list.
        keys: Their serials: a column for the devices, for the CAs, or for both; or one of bare serials.
        names: What the list calls the columns; empty for text.
        line: Returns the line, or the row of a Parquet file, of a place in ``keys``.
        named: Whether the names say that serials are meant; else each line must look like one serial and no more.
    """

    path: Path
    keys: pl.DataFrame
    names: Mapping[str, str]
    line: Callable[[int], str]
    named: bool

    def checked(self) -> pl.DataFrame:
        """Returns the serials in three columns, null where there is none.

        Raises:
            BulkcertError: INPUT_INVALID: one cannot be right.
        """
        found = {column: faults(self.keys[column]) for column in self.keys.columns}
        blank = pl.DataFrame({column: fault == SerialProblem.BLANK for column, fault in found.items()})
        for serials in self.keys:
            # Where one serial is blank the other one of the line says what is meant.
            fault = found[serials.name].set(
                blank[serials.name] & ~blank.select(pl.all_horizontal(pl.all())).to_series(), SerialProblem.NONE
            )
            self._refuse(serials, numbers(serials), "is a number as spreadsheets write it: the serials were changed")
            for kind, reason in REASONS.items():
                self._refuse(serials, fault == kind, reason)
            if not self.named:
                reason = _NOT_ALONE_IN_A_TABLE if self.names else _NOT_ALONE_IN_TEXT
                self._refuse(serials, serials.str.contains(_NOT_ALONE), reason)
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
    with open_table(path, digest, path) as table:
        parts = list(table.parts)
    names = _chosen(path, table, by_device=by_device)
    for column in names.values():
        table.confirm_text(column)
    named = BARE not in names or any(matching(table.columns, name) for name in _NAMES)
    if table.kind == "csv" and not named:
        # Taken for a serial, a header does no harm; taken for a header, a serial would not be protected.
        yield _Piece(path, pl.DataFrame({BARE: [names[BARE]]}), names, lambda _: "line 1", named)
    for part in parts:
        keys = part.frame.select(_column_of(part.frame, column).alias(key) for key, column in names.items())
        yield _Piece(path, keys, names, partial(_place, part), named)


def _column_of(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Returns a column as text; it may be missing in some rows of NDJSON."""
    return pl.col(column).cast(pl.String) if column in frame.columns else pl.lit(None, pl.String)


def _chosen(path: Path, table: Table, *, by_device: bool) -> dict[str, str]:
    """Returns the columns of a table by what they hold."""
    device, ca = _column(path, table, "DeviceSn"), _column(path, table, "CaSn")
    either = None if ca else _column(path, table, "Sn")
    if device and not by_device:
        ca = ca or either
    if device or ca:
        return {key: column for key, column in ((DEVICE, device), (CA, ca)) if column}
    if either:
        return {BARE: either}
    advice = "Name the columns of the serials so."
    if separator := separated_by(table.columns):
        advice = f"The fields seem to be separated by {separator}: export the list again with commas."
    elif len(table.columns) == 1:
        return {BARE: table.columns[0]}
    raise _refused(f"{path}: no DeviceSn or CaSn column; {listed(table.columns)}", advice)


def _text(path: Path, digest: Digest) -> Iterator[_Piece]:
    with unreadable(path), path.open("rb") as file:
        pieces = list(read_lines(read_bytes(file, digest)))
    if pieces:
        refuse_other_kind(path, pieces[0].text)
    for lines in pieces:
        confirm_utf8(lines.text, lines.line)
        records = [(line, text) for line, text in lines.records() if not text.startswith(b"#")]
        serials = [text.removesuffix(b"\r").decode() for _, text in records]
        keys = pl.DataFrame({BARE: serials}, schema_overrides={BARE: pl.String()})
        yield _Piece(path, keys, {}, partial(_line, [line for line, _ in records]), named=False)


def _place(part: FilePart, index: int) -> str:
    (place,) = part.places([index])
    return f"row {place.row}" if place.line is None else f"line {place.line}"


def _line(lines: list[int], index: int) -> str:
    return f"line {lines[index]}"


def _column(path: Path, table: Table, name: str) -> str | None:
    found = matching(table.columns, name)
    if len(found) > 1:
        text = " and ".join(f"'{printable(column)}'" for column in found)
        raise _refused(f"{path}: {text} may each be the {name} column", "Rename or remove all but one.")
    return found[0] if found else None


def _refuse_rounded(path: Path, found: pl.DataFrame) -> None:
    for serials in found:
        nonblank = serials.drop_nulls()
        if len(nonblank) and all_rounded(nonblank):
            text = f"'{printable(nonblank[0])}' and {_OTHERS[serials.name]}"
            raise _refused(
                f"{path}: {text} ends in zeros after its fifteenth digit: a spreadsheet has changed the serials",
                "Export it again with this column as text; or give --trust-serials if these are the true serials.",
            )


def _refused(message: str, advice: str) -> BulkcertError:
    return BulkcertError(ExitStatus.INPUT_INVALID, message, advice)
