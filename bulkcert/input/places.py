"""Consecutive rows of an input, and where each of them is."""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import polars as pl

from bulkcert.input.blocks import Block
from bulkcert.input.lines import Lines


class Place(NamedTuple):
    """Where a row is.

    Attributes:
        file: What messages call its file.
        row: Its number in the file, from 1.
        line: The line on which it starts, from 1; None for Parquet.
    """

    file: str
    row: int
    line: int | None

    def __str__(self) -> str:
        """Returns the place as a message names it."""
        return f"{self.file}, row {self.row}" if self.line is None else f"{self.file}, line {self.line}"


PlacesOf = Callable[[Sequence[int]], list[Place]]
"""Returns where some of consecutive rows stand, from their places among these, from 0, ascending."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """Consecutive rows of one file.

    Attributes:
        frame: The file's own columns.
        file: What messages call the file.
        row: Number in the file of the first of them, from 1.
        block: The bytes they came from; None for Parquet.
        skip: Records of the block before them.
    """

    frame: pl.DataFrame
    file: str
    row: int
    block: Block | Lines | None
    skip: int = 0

    def places(self, indexes: Sequence[int]) -> list[Place]:
        """Returns where rows stand, from their places in the frame, from 0, ascending. Slow, for messages."""
        if self.block is None or not indexes:
            return [Place(self.file, self.row + index, None) for index in indexes]
        lines = [line for line, _ in islice(self.block.records(), self.skip + indexes[-1] + 1)]
        return [Place(self.file, self.row + index, lines[self.skip + index]) for index in indexes]

    def lines(self) -> "array[int] | int | None":
        """Returns the line of each row, or that of the first one where each has one line, or None for Parquet."""
        if self.block is None:
            return None
        if not self.skip and self.frame.height == self.block.text.count(b"\n"):
            return self.block.line
        records = islice(self.block.records(), self.skip, self.skip + self.frame.height)
        return array("L", (line for line, _ in records))


class Places:
    """Where every row of an input is, kept for rows that are checked once their bytes are gone."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._parts: list[tuple[str, int, array[int] | int | None]] = []

    def add(self, first_row: int, part: FilePart) -> None:
        """Takes in the next rows, of which the first has this number."""
        self._firsts.append(first_row)
        self._parts.append((part.file, part.row, part.lines()))

    def behind(self, first_row: int) -> PlacesOf:
        """Returns the places of the rows from this number on."""
        return partial(self._of, first_row)

    def _of(self, first_row: int, indexes: Sequence[int]) -> list[Place]:
        return [self._place(first_row + index) for index in indexes]

    def _place(self, row: int) -> Place:
        at = bisect_right(self._firsts, row) - 1
        file, first, lines = self._parts[at]
        behind = row - self._firsts[at]
        line = lines[behind] if isinstance(lines, array) else None if lines is None else lines + behind
        return Place(file, first + behind, line)
