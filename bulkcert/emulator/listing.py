"""Pages of lists that may hold millions: each is exactly the one that OFFSET gives, and as cheap as the first.

SQLite counts its way to an offset row by row. A listing therefore knows where blocks of rows start and how many each
holds, as far as pages were asked for, and counts within one block only. Certificates that come and go change the number
of one block, so that paging stays cheap meanwhile.
"""

import sqlite3
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

BLOCK = 512
"""Rows of a block when it is first seen."""

_TOO_MANY = 4 * BLOCK

Key = tuple[str, ...]
"""Serials that a list is ordered by; SQLite and Python order them alike, by code points."""


@dataclass(frozen=True, slots=True)
class SortOrder:
    """One kind of list. Each query takes the scope; ``start`` and ``page`` a key to begin with, too.

    Attributes:
        width: Serials in a key.
        count: How many rows there are.
        start: The key so many rows behind.
        page: So many rows, from so many rows behind.
    """

    width: int
    count: str
    start: str
    page: str


CAS = SortOrder(
    1,
    "SELECT COUNT(*) FROM cas WHERE instance = ?",
    "SELECT sn FROM cas WHERE instance = ? AND sn >= ? ORDER BY sn LIMIT 1 OFFSET ?",
    "SELECT * FROM ca_objects WHERE instance = ? AND Sn >= ? ORDER BY Sn LIMIT ? OFFSET ?",
)
"""The CA certificates of an instance."""

DEVICES = SortOrder(
    2,
    "SELECT COUNT(*) FROM devices WHERE instance = ?",
    "SELECT ca_sn, device_sn FROM devices WHERE instance = ? AND (ca_sn, device_sn) >= (?, ?) "
    "ORDER BY ca_sn, device_sn LIMIT 1 OFFSET ?",
    "SELECT * FROM device_objects WHERE instance = ? AND (CaSn, DeviceSn) >= (?, ?) "
    "ORDER BY CaSn, DeviceSn LIMIT ? OFFSET ?",
)
"""The device certificates of an instance."""

DEVICES_OF = SortOrder(
    1,
    "SELECT COUNT(*) FROM devices WHERE instance = ? AND ca_sn = ?",
    "SELECT device_sn FROM devices WHERE instance = ? AND ca_sn = ? AND device_sn >= ? "
    "ORDER BY device_sn LIMIT 1 OFFSET ?",
    "SELECT * FROM device_objects WHERE instance = ? AND CaSn = ? AND DeviceSn >= ? ORDER BY DeviceSn LIMIT ? OFFSET ?",
)
"""The device certificates of a CA."""


class _Listing:
    """One list.

    Args:
        database: Holds the rows.
        order: Kind of the list.
        scope: Whose list it is.

    Attributes:
        total: How many rows it has.
    """

    def __init__(self, database: sqlite3.Connection, order: SortOrder, scope: Key) -> None:
        self._db, self._order, self._scope = database, order, scope
        self.total: int = database.execute(order.count, scope).fetchone()[0]
        # Blocks by their first key; nothing is less than empty texts. The last one reaches to the end of the list, so
        # nothing is known of how many it holds.
        self._starts: list[Key] = [("",) * order.width]
        self._held: list[int] = []
        self._ends: list[int] | None = None

    def page(self, offset: int, size: int) -> list[sqlite3.Row]:
        """Returns so many rows behind so many."""
        if offset >= self.total:
            return []
        block, before = self._block(offset)
        wanted = (*self._scope, *self._starts[block], size, offset - before)
        return self._db.execute(self._order.page, wanted).fetchall()

    def changed(self, key: Key, difference: int) -> None:
        """Takes note that a row came (1) or went (-1)."""
        self.total += difference
        block = bisect_right(self._starts, key) - 1
        if block == len(self._held):
            return
        self._held[block] += difference
        self._ends = None
        if self._held[block] > _TOO_MANY:
            # From here on it is divided again.
            del self._starts[block + 1 :], self._held[block:]

    def _block(self, offset: int) -> tuple[int, int]:
        """Returns the block that holds the row at an offset, and how many rows are before it."""
        if self._ends is None:
            self._ends = list(accumulate(self._held))
        ends = self._ends
        while offset - (known := ends[-1] if ends else 0) >= BLOCK:
            start = self._db.execute(self._order.start, (*self._scope, *self._starts[-1], BLOCK)).fetchone()
            if start is None:
                break
            self._starts.append(tuple(start))
            self._held.append(BLOCK)
            ends.append(known + BLOCK)
        block = bisect_right(ends, offset)
        return block, ends[block - 1] if block else 0


class Listings:
    """All lists that were asked for; whoever changes the tables says so here.

    Args:
        database: Holds the rows.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._known: dict[tuple[SortOrder, Key], _Listing] = {}

    def page(self, order: SortOrder, scope: Key, page_no: int, page_size: int) -> tuple[int, list[sqlite3.Row]]:
        """Returns how many rows a list has, and one page of them; pages count from 1."""
        if (order, scope) not in self._known:
            self._known[order, scope] = _Listing(self._db, order, scope)
        listing = self._known[order, scope]
        return listing.total, listing.page((page_no - 1) * page_size, page_size)

    def changed(self, order: SortOrder, scope: Key, key: Key, difference: int) -> None:
        """Takes note that a row of a list came (1) or went (-1)."""
        if listing := self._known.get((order, scope)):
            listing.changed(key, difference)

    def clear(self) -> None:
        """Forgets all lists, after many rows have changed."""
        self._known.clear()
