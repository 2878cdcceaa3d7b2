"""Pages of lists that may hold millions: what OFFSET gives, counted from the nearest place that a page ended at."""

import sqlite3
from bisect import bisect_right, insort
from dataclasses import dataclass, field

Scope = tuple[str, ...]
"""Instance, and CA where the list is that of a CA."""


@dataclass(frozen=True, slots=True)
class SortOrder:
    """One kind of list; serials are ordered by code points, in SQLite as in Python.

    Attributes:
        rows: View, with the condition of the scope.
        key: Columns that it is ordered by.
    """

    rows: str
    key: tuple[str, ...]


CAS = SortOrder("ca_objects WHERE instance = ?", ("Sn",))
"""The CA certificates of an instance."""

DEVICES = SortOrder("device_objects WHERE instance = ?", ("CaSn", "DeviceSn"))
"""The device certificates of an instance."""

DEVICES_OF = SortOrder("device_objects WHERE instance = ? AND CaSn = ?", ("DeviceSn",))
"""The device certificates of a CA."""


@dataclass(slots=True)
class _Seen:
    """What is known of one list: rows in all, and the last key before each offset at which a page ended."""

    total: int
    ends: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)


class Listings:
    """All lists that were asked for; whoever adds or deletes rows clears it.

    Args:
        database: Holds the rows.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._seen: dict[tuple[SortOrder, Scope], _Seen] = {}

    def page(self, order: SortOrder, scope: Scope, page_no: int, page_size: int) -> tuple[int, list[sqlite3.Row]]:
        """Returns how many rows a list has, and one page of them; pages count from 1."""
        seen = self._seen.get((order, scope))
        if seen is None:
            total = self._db.execute(f"SELECT COUNT(*) FROM {order.rows}", scope).fetchone()[0]  # noqa: S608 - ours
            seen = self._seen[order, scope] = _Seen(total)
        offset = (page_no - 1) * page_size
        if offset >= seen.total:
            return seen.total, []
        place = bisect_right(seen.ends, offset, key=lambda end: end[0])
        before, after = seen.ends[place - 1] if place else (0, ("",) * len(order.key))
        names, values = ", ".join(order.key), ", ".join("?" * len(order.key))
        rows = self._db.execute(
            f"SELECT * FROM {order.rows} AND ({names}) > ({values}) ORDER BY {names} LIMIT ? OFFSET ?",  # noqa: S608
            (*scope, *after, page_size, offset - before),
        ).fetchall()
        end = (offset + len(rows), tuple(rows[-1][name] for name in order.key))
        if end not in seen.ends[place : place + 1]:
            insort(seen.ends, end)
        return seen.total, rows

    def clear(self) -> None:
        """Forgets all lists."""
        self._seen.clear()
