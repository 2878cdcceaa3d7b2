"""A file of rows, opened for one reading: its columns, and its rows part by part.

Serials are text from the first byte to the last. Of polars nothing unstable is used: CSV is parsed in blocks of whole
records, NDJSON in blocks of whole lines, and Parquet is proved readable by a child process before it is read.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.blocks import Block, read_blocks
from bulkcert.input.columns import csv_columns, malformed, not_text, refuse_other_kind
from bulkcert.input.files import File, Kind, open_file
from bulkcert.input.lines import MALFORMED_NDJSON, Columns, read_lines
from bulkcert.input.parquet import read_parquet
from bulkcert.input.pinning import cannot_pin
from bulkcert.input.places import FilePart
from bulkcert.input.reading import Digest, MalformedError
from bulkcert.words import printable


@dataclass(frozen=True, slots=True)
class Table:
    """An opened file of rows.

    Attributes:
        name: What messages call the file.
        kind: How it is read.
        types: Types of its columns, in order; those of NDJSON are known once all parts are read.
        not_text: For each column that is not text, where that shows, and what it holds instead; likewise.
        parts: Its rows in order, which can be asked for once; at least one part, except of NDJSON.
    """

    name: str
    kind: Kind
    types: dict[str, pl.DataType]
    not_text: dict[str, tuple[str, str]]
    parts: Iterator[FilePart]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns so far."""
        return tuple(self.types)

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


@contextmanager
def open_table(path: Path, digest: Digest, spool: Path) -> Iterator[Table]:
    """Opens a file of rows for one reading.

    Args:
        path: The file; ``-`` is standard input.
        digest: Takes in its bytes as they are.
        spool: Where a Parquet file that comes through a pipe is kept while it is read; must not exist.

    Raises:
        BulkcertError: INPUT_UNREADABLE: missing, unreadable, or of an unknown kind; INPUT_INVALID: malformed, or
            changed while it was read. Also where the parts are asked for.
    """
    with open_file(path, digest) as file, ExitStack() as stack:
        try:
            if file.kind == "csv":
                yield _csv(file)
            elif file.kind == "ndjson":
                yield _ndjson(file)
            else:
                source = stack.enter_context(_whole(file, spool))
                yield _parquet(file, read_parquet(source, file.name))
        except BulkcertError:
            file.confirm_unchanged()  # whatever else seems to be wrong with it
            raise
        file.confirm_unchanged()


def _csv(file: File) -> Table:
    try:
        blocks = read_blocks(file.chunks)
        line, header, first = next(blocks, Block(b"", 1)).without_header()
    except MalformedError as error:
        raise malformed(file.name, error) from None
    types: dict[str, pl.DataType] = dict.fromkeys(csv_columns(file.name, line, header), pl.String())
    return Table(file.name, "csv", types, {}, _csv_parts(file, chain((first,), blocks), tuple(types)))


def _csv_parts(file: File, blocks: Iterator[Block], columns: tuple[str, ...]) -> Iterator[FilePart]:
    row = 1
    try:
        for block in blocks:
            frame = block.frame(columns)
            yield FilePart(frame, file.name, row, block)
            row += frame.height
    except MalformedError as error:
        raise malformed(file.name, error) from None


def _parquet(file: File, frames: Iterator[pl.DataFrame]) -> Table:
    first = next(frames)
    types = dict(first.schema)
    spoilt = {column: (file.name, reason) for column, reason in not_text(types).items()}
    return Table(file.name, "parquet", types, spoilt, _parquet_parts(file, chain((first,), frames)))


def _parquet_parts(file: File, frames: Iterator[pl.DataFrame]) -> Iterator[FilePart]:
    for _ in file.chunks:  # for the digest; polars reads the file for itself
        pass
    row = 1
    for frame in frames:
        yield FilePart(frame, file.name, row, None)
        row += frame.height


@contextmanager
def _whole(file: File, spool: Path) -> Iterator[Path]:
    """Gives a Parquet file that can be read from its end, as the format needs it."""
    if file.identity is not None:
        yield file.path
        return
    with ExitStack() as stack:
        try:
            with open(spool, "xb", opener=_for_the_owner) as copy:
                stack.callback(spool.unlink)
                copy.writelines(file.chunks)
        except OSError as error:
            raise cannot_pin(spool, error) from error
        yield spool


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _ndjson(file: File) -> Table:
    types: dict[str, pl.DataType] = {}
    spoilt: dict[str, tuple[str, str]] = {}
    return Table(file.name, "ndjson", types, spoilt, _ndjson_parts(file, types, spoilt))


def _ndjson_parts(file: File, types: dict[str, pl.DataType], spoilt: dict[str, tuple[str, str]]) -> Iterator[FilePart]:
    row, columns = 1, Columns()
    try:
        for lines in read_lines(file.chunks):
            if row == 1:
                refuse_other_kind(file.name, lines.text)
            skip = 0
            for frame in columns.frames(lines):
                types.update(dict.fromkeys(columns.names, pl.String()))
                for column, (line, reason) in columns.not_text.items():
                    spoilt[column] = f"{file.name}, line {line}", reason
                yield FilePart(frame, file.name, row, lines, skip)
                row, skip = row + frame.height, skip + frame.height
    except MalformedError as error:
        raise malformed(file.name, error, MALFORMED_NDJSON) from None
    if row == 1 and not file.is_empty:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{file.name}: the file is empty",
            "Each line must be a JSON object, which is a row.",
        )
