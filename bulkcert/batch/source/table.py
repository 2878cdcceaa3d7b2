"""The input as a table: a CSV, Parquet or NDJSON file, opened, with its columns found."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from bulkcert.batch.source.columns import (
    csv_columns,
    find_column,
    malformed,
    not_text,
    parquet_columns,
)
from bulkcert.batch.source.lines import MALFORMED_NDJSON
from bulkcert.batch.source.reading import MalformedError, unreadable
from bulkcert.batch.source.serials import printable
from bulkcert.batch.source.values import read_columns
from bulkcert.errors import BulkcertError, ExitStatus

OWN_PREFIX = "__bulkcert_"
"""What the names of our own columns begin with; an input that has such a column is refused."""

Kind = Literal["csv", "parquet", "ndjson"]
Identity = tuple[int, int, int, int]
"""Device, inode, size in bytes, time of change in nanoseconds: where one differs, the file was changed."""

_KINDS: dict[str, tuple[Kind, str]] = {
    ".csv": ("csv", ""),
    ".csv.gz": ("csv", "gz"),
    ".csv.zst": ("csv", "zst"),
    ".parquet": ("parquet", ""),
    ".pq": ("parquet", ""),
    ".ndjson": ("ndjson", ""),
    ".jsonl": ("ndjson", ""),
}


@dataclass(frozen=True, slots=True)
class Table:
    """An opened file of rows.

    Attributes:
        path: The file.
        kind: How it is read.
        compression: ``gz``, ``zst`` or empty.
        columns: The file's own columns, in order.
        types: Their types; empty for CSV, where all are text.
        not_text: For each column that is not text, where that shows, and what it holds instead.
        identity: Of the file when it was opened.
    """

    path: Path
    kind: Kind
    compression: str
    columns: tuple[str, ...]
    types: Mapping[str, pl.DataType]
    not_text: Mapping[str, tuple[str, str]]
    identity: Identity

    def confirm_text(self, column: str) -> None:
        """Refuses a column of serials that is not text.

        Raises:
            BulkcertError: INPUT_INVALID.
        """
        if column in self.not_text:
            place, reason = self.not_text[column]
            raise BulkcertError(
                ExitStatus.INPUT_INVALID,
                f"{place}, column {printable(column)}: {reason}",
                "Export the list again with this column as text, best straight from the registry.",
            )

    def confirm_unchanged(self) -> None:
        """Compares the file with what it was when opened.

        Raises:
            BulkcertError: INPUT_INVALID: it was changed or replaced; INPUT_UNREADABLE: it is gone.
        """
        if identity(self.path) != self.identity:
            raise self.changed()

    def changed(self) -> BulkcertError:
        """Returns what to tell the user when the file is not what it was."""
        return BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{self.path}: the file was changed while it was in use",
            "Run again when nothing writes to it any more.",
        )


@dataclass(frozen=True, slots=True)
class Source(Table):
    """An opened input, whose rows have not been checked yet.

    Attributes:
        device_column: The column of the device serials; None for an action on CAs.
        ca_column: The column of the CA serials.
    """

    device_column: str | None
    ca_column: str

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that together say which certificate is meant."""
        return (self.ca_column,) if self.device_column is None else (self.device_column, self.ca_column)

    def keys(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Returns the key columns of some rows as text."""
        return frame.select(pl.col(*self.key_columns).cast(pl.String))


def open_source(
    path: Path, *, by_device: bool, device_column: str | None = None, ca_column: str | None = None
) -> Source:
    """Opens an input and finds the columns of the serials.

    Args:
        path: A ``.csv``, ``.csv.gz``, ``.csv.zst``, ``.parquet``, ``.pq``, ``.ndjson`` or ``.jsonl`` file.
        by_device: Whether a row means a device certificate (``DeviceSn`` and ``CaSn``) or a CA (``CaSn`` or ``Sn``).
        device_column: Exact name of the column of the device serials, or None to look for it.
        ca_column: Exact name of the column of the CA serials, or None to look for it.

    Raises:
        BulkcertError: INPUT_UNREADABLE: missing, unreadable, or of an unknown kind; INPUT_INVALID: no usable columns,
            or an NDJSON file is malformed.
    """
    path = Path(path)
    if identity(path)[2] == 0 and _kind(path)[0] == "ndjson":
        # As an inventory that found nothing writes it: a list without rows, which has nowhere to name its columns.
        named, ca_named = (device_column or "DeviceSn") if by_device else None, ca_column or "CaSn"
        both = (ca_named,) if named is None else (named, ca_named)
        return without_rows(path, both, device_column=named, ca_column=ca_named)
    table = open_table(path)
    place, columns = str(table.path), table.columns
    _refuse_own(table.path, columns)
    device = find_column(place, columns, ("DeviceSn",), "--device-column", device_column) if by_device else None
    ca = find_column(place, columns, ("CaSn",) if by_device else ("CaSn", "Sn"), "--ca-column", ca_column)
    if device == ca:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{path}: column {printable(ca)} cannot hold both the device's and the CA's serial",
            "Name two columns with --device-column and --ca-column.",
        )
    source = Source(
        table.path,
        table.kind,
        table.compression,
        columns,
        table.types,
        table.not_text,
        table.identity,
        device_column=device,
        ca_column=ca,
    )
    for column in source.key_columns:
        source.confirm_text(column)
    return source


def without_rows(path: Path, columns: tuple[str, ...], *, device_column: str | None, ca_column: str) -> Source:
    """Opens an NDJSON file that is known to have no rows, and so cannot tell its columns.

    Args:
        path: The file.
        columns: Its columns.
        device_column: Column of the device serials; None for an action on CAs.
        ca_column: Column of the CA serials.

    Raises:
        BulkcertError: INPUT_UNREADABLE: missing, or not a regular file.
    """
    types: dict[str, pl.DataType] = dict.fromkeys(columns, pl.String())
    return Source(path, "ndjson", "", columns, types, {}, identity(path), device_column, ca_column)


def open_table(path: Path) -> Table:
    """Opens a file and finds out its columns; NDJSON is read once for that, and examined.

    Raises:
        BulkcertError: INPUT_UNREADABLE: missing, unreadable, or of an unknown kind; INPUT_INVALID: malformed.
    """
    opened = identity(path)
    kind, compression = _kind(path)
    types: dict[str, pl.DataType] = {}
    spoilt: dict[str, tuple[str, str]] = {}
    if kind == "csv":
        return Table(path, kind, compression, csv_columns(path, compression), types, spoilt, opened)
    if kind == "parquet":
        types = parquet_columns(path)
        spoilt = {column: (str(path), reason) for column, reason in not_text(types).items()}
    else:
        types, spoilt = _ndjson_columns(path)
    return Table(path, kind, compression, tuple(types), types, spoilt, opened)


def has_known_suffix(path: Path) -> bool:
    """Returns whether the file's name says that it is a table."""
    return path.name.lower().endswith(tuple(_KINDS))


def _ndjson_columns(path: Path) -> tuple[dict[str, pl.DataType], dict[str, tuple[str, str]]]:
    try:
        columns = read_columns(path)
    except MalformedError as error:
        raise malformed(path, error, MALFORMED_NDJSON) from None
    if not columns.rows:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID, f"{path}: the file is empty", "Each line must be a JSON object, which is a row."
        )
    told = columns.not_text.items()
    return columns.types(), {column: (f"{path}, line {line}", reason) for column, (line, reason) in told}


def identity(path: Path) -> Identity:
    """Returns what tells a file from another, and from itself after a change.

    Raises:
        BulkcertError: INPUT_UNREADABLE: missing, or not a regular file.
    """
    with unreadable(path):
        found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE,
            f"{path}: not a regular file",
            "Give a file: it is read more than once, which a pipe or a directory does not allow.",
        )
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _kind(path: Path) -> tuple[Kind, str]:
    name = path.name.lower()
    for suffix, kind in _KINDS.items():
        if name.endswith(suffix):
            return kind
    raise BulkcertError(
        ExitStatus.INPUT_UNREADABLE,
        f"{path}: the suffix is none of {', '.join(_KINDS)}",
        "Export the list as CSV with commas, as Parquet or as NDJSON.",
    )


def _refuse_own(path: Path, columns: tuple[str, ...]) -> None:
    for column in columns:
        if column.startswith(OWN_PREFIX):
            raise BulkcertError(
                ExitStatus.INPUT_INVALID,
                f"{path}: a column is named {printable(column)}, and bulkcert keeps names with {OWN_PREFIX} for itself",
                "Rename the column.",
            )
