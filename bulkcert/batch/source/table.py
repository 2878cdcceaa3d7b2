"""The input as a table: a CSV or Parquet file, opened, and read part by part as often as needed.

Serials are text from the first byte to the last. Of polars nothing unstable is used: CSV is parsed in blocks of whole
records, Parquet is read in slices.
"""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import polars as pl

from bulkcert.batch.source.blocks import Block, MalformedError, read_blocks
from bulkcert.batch.source.columns import (
    confirm_text,
    csv_columns,
    find_column,
    malformed,
    parquet_columns,
    parquet_errors,
)
from bulkcert.batch.source.reading import Digest, read_bytes, unreadable
from bulkcert.batch.source.serials import printable
from bulkcert.errors import BulkcertError, ExitStatus

OWN_PREFIX = "__bulkcert_"
"""What the names of our own columns begin with; an input that has such a column is refused."""
PART_ROWS = 131_072
"""Rows that are taken from a Parquet file at a time."""

Kind = Literal["csv", "parquet"]
Identity = tuple[int, int, int, int]
"""Device, inode, size in bytes, time of change in nanoseconds: where one differs, the file was changed."""

_KINDS: dict[str, tuple[Kind, str]] = {
    ".csv": ("csv", ""),
    ".csv.gz": ("csv", "gz"),
    ".csv.zst": ("csv", "zst"),
    ".parquet": ("parquet", ""),
    ".pq": ("parquet", ""),
}


@dataclass(frozen=True, slots=True)
class Source:
    """An opened input, whose rows have not been checked yet.

    Attributes:
        path: The file.
        kind: How it is read.
        compression: ``gz``, ``zst`` or empty.
        columns: The input's own columns, in order.
        device_column: The column of the device serials; None for an action on CAs.
        ca_column: The column of the CA serials.
        identity: Of the file when it was opened.
    """

    path: Path
    kind: Kind
    compression: str
    columns: tuple[str, ...]
    device_column: str | None
    ca_column: str
    identity: Identity

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that together say which certificate is meant."""
        return (self.ca_column,) if self.device_column is None else (self.device_column, self.ca_column)

    def keys(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Returns the key columns of some rows as text."""
        return frame.select(pl.col(*self.key_columns).cast(pl.String))

    def confirm_unchanged(self) -> None:
        """Compares the file with what it was when opened.

        Raises:
            BulkcertError: INPUT_INVALID: it was changed or replaced; INPUT_UNREADABLE: it is gone.
        """
        if _identity(self.path) != self.identity:
            raise self.changed()

    def changed(self) -> BulkcertError:
        """Returns what to tell the user when the file is not what it was."""
        return BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{self.path}: the file was changed while it was in use",
            "Run again when nothing writes to it any more.",
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive rows of the input.

    Attributes:
        frame: The input's own columns.
        block: The bytes they came from; None for Parquet.
    """

    frame: pl.DataFrame
    block: Block | None

    def lines(self, indexes: Sequence[int]) -> list[int | None]:
        """Returns the lines on which rows start, None for Parquet. Slow, for messages.

        Args:
            indexes: Places of the rows in the frame, from 0, ascending.
        """
        if self.block is None or not indexes:
            return [None for _ in indexes]
        first = [line for line, _ in islice(self.block.records(), indexes[-1] + 1)]
        return [first[index] for index in indexes]


def open_source(
    path: Path, *, by_device: bool, device_column: str | None = None, ca_column: str | None = None
) -> Source:
    """Opens an input and finds the columns of the serials.

    Args:
        path: A ``.csv``, ``.csv.gz``, ``.csv.zst``, ``.parquet`` or ``.pq`` file.
        by_device: Whether a row means a device certificate (``DeviceSn`` and ``CaSn``) or a CA (``CaSn`` or ``Sn``).
        device_column: Exact name of the column of the device serials, or None to look for it.
        ca_column: Exact name of the column of the CA serials, or None to look for it.

    Raises:
        BulkcertError: INPUT_UNREADABLE: missing, unreadable, or of an unknown kind; INPUT_INVALID: no usable header.
    """
    path = Path(path)
    identity = _identity(path)
    kind, compression = _kind(path)
    types = parquet_columns(path) if kind == "parquet" else {}
    columns = tuple(types) if kind == "parquet" else csv_columns(path, compression)
    _refuse_own(path, columns)
    place = str(path)
    device = find_column(place, columns, ("DeviceSn",), "--device-column", device_column) if by_device else None
    ca = find_column(place, columns, ("CaSn",) if by_device else ("CaSn", "Sn"), "--ca-column", ca_column)
    if device == ca:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{path}: column {printable(ca)} cannot hold both the device's and the CA's serial",
            "Name two columns with --device-column and --ca-column.",
        )
    source = Source(path, kind, compression, columns, device, ca, identity)
    for column in source.key_columns:
        confirm_text(path, column, types.get(column, pl.String()))
    return source


def read_parts(source: Source, digest: Digest | None = None) -> Iterator[Part]:
    """Returns the input's rows in order, in at least one part; little is read ahead of what is asked for.

    Args:
        source: The input.
        digest: Takes in the bytes of the file; with one, the structure of a CSV file is examined as well.

    Raises:
        BulkcertError: INPUT_INVALID: malformed; INPUT_UNREADABLE: it cannot be read to its end.
    """
    return _csv_parts(source, digest) if source.kind == "csv" else _parquet_parts(source, digest)


def _csv_parts(source: Source, digest: Digest | None) -> Iterator[Part]:
    try:
        blocks = read_blocks(source.path, source.compression, digest)
        _, _, first = next(blocks, Block(b"", 1)).without_header()
        for block in chain((first,), blocks):
            yield Part(_examined(block, source) if digest else block.frame(source.columns), block)
    except MalformedError as error:
        raise malformed(source.path, error) from None


def _examined(block: Block, source: Source) -> pl.DataFrame:
    records = block.examine(len(source.columns))
    frame = block.frame(source.columns)
    if frame.height != records:
        raise MalformedError(block.line, f"from here on there are {records} records, but {frame.height} were read")
    return frame


def _parquet_parts(source: Source, digest: Digest | None) -> Iterator[Part]:
    if digest:
        with unreadable(source.path):
            for _ in read_bytes(source.path, digest):
                pass
    with parquet_errors(source.path):
        # Slices, not collect_batches, which holds a whole row group: a file may have only one, of ten million rows.
        scan = pl.scan_parquet(source.path, glob=False)
        rows = scan.select(pl.len()).collect().item()
        for start in range(0, max(rows, 1), PART_ROWS):
            yield Part(scan.slice(start, PART_ROWS).collect(engine="streaming"), None)


def _identity(path: Path) -> Identity:
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
        "Export the list as CSV with commas or as Parquet.",
    )


def _refuse_own(path: Path, columns: tuple[str, ...]) -> None:
    for column in columns:
        if column.startswith(OWN_PREFIX):
            raise BulkcertError(
                ExitStatus.INPUT_INVALID,
                f"{path}: a column is named {printable(column)}, and bulkcert keeps names with {OWN_PREFIX} for itself",
                "Rename the column.",
            )
