"""Bytes that mark rows: one for each row of a list, and one for row 0, which there is not."""

from collections.abc import Iterator


def rows_marked(marks: bytes | bytearray, mark: int, first: int = 1, last: int | None = None) -> Iterator[int]:
    """Yields the rows that have a mark, in order; a long list with few of them takes milliseconds.

    Args:
        marks: A byte for each row; may change behind the row that was yielded last.
        mark: The byte looked for.
        first: Where to begin.
        last: The last row that is looked at; None for all.
    """
    end = None if last is None else last + 1
    row = marks.find(mark, first, end)
    while row > 0:
        yield row
        row = marks.find(mark, row + 1, end)
