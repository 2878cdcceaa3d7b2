"""The rows of a table, read part by part as often as needed.

Serials are text from the first byte to the last. Of polars nothing unstable is used: CSV and NDJSON are parsed in
blocks of whole records, Parquet is read in slices.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import polars as pl

from bulkcert.batch.source.blocks import Block, read_blocks
from bulkcert.batch.source.columns import malformed, parquet_errors
from bulkcert.batch.source.lines import MALFORMED_NDJSON, Lines, read_lines
from bulkcert.batch.source.reading import Digest, MalformedError, read_bytes, unreadable
from bulkcert.batch.source.table import Table

PART_ROWS = 131_072
"""Rows that are taken from a Parquet file at a time."""
PART_CELLS = 4 * 1024 * 1024
"""Cells that are made of NDJSON at a time: where objects leave out most keys, a few bytes may be a long row."""


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive rows of the input.

    Attributes:
        frame: The input's own columns.
        block: The bytes they came from; None for Parquet.
    """

    frame: pl.DataFrame
    block: Block | Lines | None

    def lines(self, indexes: Sequence[int]) -> list[int | None]:
        """Returns the lines on which rows start, None for Parquet. Slow, for messages.

        Args:
            indexes: Places of the rows in the frame, from 0, ascending.
        """
        if self.block is None or not indexes:
            return [None for _ in indexes]
        first = [line for line, _ in islice(self.block.records(), indexes[-1] + 1)]
        return [first[index] for index in indexes]


def read_parts(table: Table, digest: Digest | None = None) -> Iterator[Part]:
    """Returns the rows of a file in order, in at least one part; little is read ahead of what is asked for.

    Args:
        table: The file.
        digest: Takes in the bytes of the file; with one, the structure of a CSV file is examined as well.

    Raises:
        BulkcertError: INPUT_INVALID: malformed; INPUT_UNREADABLE: it cannot be read to its end.
    """
    if table.kind == "csv":
        return _csv_parts(table, digest)
    return _parquet_parts(table, digest) if table.kind == "parquet" else _ndjson_parts(table, digest)


def _csv_parts(table: Table, digest: Digest | None) -> Iterator[Part]:
    try:
        blocks = read_blocks(table.path, table.compression, digest)
        _, _, first = next(blocks, Block(b"", 1)).without_header()
        for block in chain((first,), blocks):
            yield Part(_examined(block, table) if digest else block.frame(table.columns), block)
    except MalformedError as error:
        raise malformed(table.path, error) from None


def _examined(block: Block, table: Table) -> pl.DataFrame:
    records = block.examine(len(table.columns))
    frame = block.frame(table.columns)
    if frame.height != records:
        raise MalformedError(block.line, f"from here on there are {records} records, but {frame.height} were read")
    return frame


def _parquet_parts(table: Table, digest: Digest | None) -> Iterator[Part]:
    if digest:
        with unreadable(table.path):
            for _ in read_bytes(table.path, digest):
                pass
    with parquet_errors(table.path):
        # Slices, not collect_batches, which holds a whole row group: a file may have only one, of ten million rows.
        scan = pl.scan_parquet(table.path, glob=False)
        rows = scan.select(pl.len()).collect().item()
        for start in range(0, max(rows, 1), PART_ROWS):
            yield Part(scan.slice(start, PART_ROWS).collect(engine="streaming"), None)


def _ndjson_parts(table: Table, digest: Digest | None) -> Iterator[Part]:
    parts = 0
    try:
        for lines in read_lines(table.path, digest):
            parts += 1
            for some in lines.slices(max(PART_CELLS // len(table.columns), 1)):
                yield Part(_all_read(some, table) if digest else some.frame(table.types), some)
    except MalformedError as error:
        raise malformed(table.path, error, MALFORMED_NDJSON) from None
    if not parts:
        yield Part(pl.DataFrame(schema=dict(table.types)), None)


def _all_read(lines: Lines, table: Table) -> pl.DataFrame:
    frame, objects = lines.frame(table.types), sum(1 for _ in lines.records())
    if frame.height != objects:
        raise MalformedError(lines.line, f"from here on there are {objects} objects, but {frame.height} were read")
    return frame
