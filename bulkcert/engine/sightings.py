"""What was seen of each row: its status, and when. Rows are found by their serials, whatever the order of the pages."""

import time
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import polars as pl

from bulkcert.input import DEVICE_SN, ROW, ca_keys
from bulkcert.service.actions import Status, ca_key, of_ca_key
from bulkcert.service.classification import Certificate

STATUSES: tuple[Status | None, ...] = (None, *Status)
"""Statuses by the number of each in memory; 0 is not seen."""

NUMBER_OF = {status: number for number, status in enumerate(STATUSES)}

NO_CA = 2**32 - 1
"""Number of a CA that is not counted for itself."""

SHARES = 8
"""Into how many shares, by the hash, the index of a long list is put: to sort takes the memory of one more share."""

LONG = 1_000_000
"""Rows from which a list is long."""


class Sightings:
    """The status of each row of a list, as far as it was read.

    A row's key is kept as two hashes, 96 bits in all, with its number and that of its CA: 24 bytes a row. A
    certificate is taken for a row that it is not with odds of about 1 in 1e15 for ten million of each.

    Args:
        rows: Number of rows of the list.
        cas: CAs that are counted for themselves, by their keys (``ca_key``), in the order of their numbers.
        by_device: Whether a row is a device certificate rather than a CA.
    """

    def __init__(self, rows: int, cas: Iterable[str], *, by_device: bool) -> None:
        self.statuses = bytearray(rows + 1)
        self._seen_ms = array("I", [0]) * (rows + 1)
        self._cas = {ca: number for number, ca in enumerate(cas)}
        self._by_device = by_device
        self._since = round(time.time() * 1000)
        """Unix time in milliseconds from which times are counted."""
        self._index = pl.DataFrame(schema=_INDEXED)
        """The rows in the order of their first hashes."""

    def expect(self, batches: Iterable[pl.DataFrame]) -> None:
        """Takes in, once, the rows that are to be found: annotated ones that may be called."""
        count = SHARES if len(self.statuses) > LONG else 1
        shares: list[list[pl.DataFrame]] = [[] for _ in range(count)]
        for batch in batches:
            cas = ca_keys(batch)
            one, two = _hashes(batch[DEVICE_SN] if self._by_device else None, cas)
            ca = cas.replace_strict(self._cas, default=NO_CA, return_dtype=pl.UInt32) if self._cas else NO_CA
            rows = batch.select(ROW, one=one, two=two, ca=ca).rename({ROW: "row"}).cast(_INDEXED)
            share = rows["one"] // (2**64 // count) if count > 1 else pl.zeros(rows.height, eager=True)
            for number, pieces in enumerate(shares):
                pieces.append(rows.filter(share == number))
        ordered = [self._index]
        while shares:
            if pieces := shares.pop(0):
                ordered.append(pl.concat(pieces, rechunk=True).sort("one"))
        self._index = pl.concat(ordered, rechunk=False)

    def rows_by_ca(self) -> Counter[str]:
        """Returns how many rows each CA has that are to be found, but for CAs that are not counted."""
        names = list(self._cas)
        counts = self._index["ca"].value_counts().iter_rows()
        return Counter({names[ca]: rows for ca, rows in counts if ca != NO_CA})

    @property
    def unseen(self) -> int:
        """Rows that are to be found and were not seen."""
        return self._index.height - (len(self.statuses) - self.statuses.count(0))

    def rows_by_instance(self) -> Counter[str]:
        """Returns how many rows each instance has that are to be found, by the key of all its CAs.

        CAs that are not counted are left out where a list names several instances.
        """
        counts: Counter[str] = Counter()
        for ca, rows in self.rows_by_ca().items():
            counts[ca_key("", of_ca_key(ca)[1])] += rows
        return Counter({"": self.unseen}) if counts.keys() <= {""} else counts

    def see(self, certificates: Sequence[Certificate], ca: str, at: int) -> int:
        """Takes note of a page; returns how many rows were seen for the first time.

        Args:
            certificates: What the page holds; those of no row are ignored.
            ca: Key of the CA whose devices they are, where they do not say; for CAs without a serial.
            at: Unix time in milliseconds.
        """
        if not self._index.height or not certificates:
            return 0
        ca_sn, instance = of_ca_key(ca)
        devices = [found.device_sn for found in certificates] if self._by_device else None
        cas = [found.ca_sn or ca_sn if self._by_device else found.sn for found in certificates]
        cas = [ca_key(found, instance) for found in cas] if instance else cas
        named = None if devices is None else pl.Series(devices, dtype=pl.String)
        one, two = _hashes(named, pl.Series(cas, dtype=pl.String))
        places = self._index["one"].search_sorted(one).clip(upper_bound=self._index.height - 1)
        found = (self._index["one"].gather(places) == one) & (self._index["two"].gather(places) == two)
        fresh = 0
        for row, index in zip(self._index["row"].gather(places.filter(found)), found.arg_true(), strict=True):
            fresh += not self.statuses[row]
            self.see_row(row, certificates[index].status, at)
        return fresh

    def see_row(self, row: int, status: Status, at: int) -> None:
        """Takes note of the status of one row at a time, Unix milliseconds."""
        self.statuses[row] = NUMBER_OF[status]
        self._seen_ms[row] = max(0, at - self._since)

    def miss(self, cas: Collection[str], at: int) -> None:
        """Takes note that rows which were not seen are not registered.

        Args:
            cas: Keys of the CAs whose rows are meant; one without a serial means all of its instance.
            at: When that was so, Unix time in milliseconds.
        """
        meant, whole = self._index, {instance for ca_sn, instance in map(of_ca_key, cas) if not ca_sn}
        if "" not in whole:
            of_whole = [number for ca, number in self._cas.items() if whole and of_ca_key(ca)[1] in whole]
            numbers = pl.Series([self._cas[ca] for ca in cas if ca in self._cas] + of_whole, dtype=pl.UInt32)
            meant = meant.filter(pl.col("ca").is_in(numbers.implode()))
        for row in meant["row"]:
            if not self.statuses[row]:
                self.see_row(row, Status.NOT_REGISTERED, at)

    def status(self, row: int) -> Status | None:
        """Returns the status of a row, or None if it was not seen."""
        return STATUSES[self.statuses[row]]

    def seen_at(self, row: int) -> int:
        """Returns when a row was seen, Unix time in milliseconds; meaningless if it was not."""
        return self._since + self._seen_ms[row]

    def counted(self) -> dict[str, int]:
        """Returns how many rows were seen in each status."""
        counts = {str(status): self.statuses.count(number) for number, status in enumerate(STATUSES) if number}
        return {name: count for name, count in counts.items() if count}

    def forget(self) -> None:
        """Forgets what was seen, to read again."""
        self.statuses = bytearray(len(self.statuses))


_INDEXED = pl.Schema({"row": pl.UInt32, "one": pl.UInt64, "two": pl.UInt32, "ca": pl.UInt32})


def _hashes(devices: pl.Series | None, cas: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Returns the hashes of certificates, of 64 and of 32 bits."""
    # No valid serial holds the character that joins two.
    keys = cas if devices is None else pl.select(pl.concat_str([devices, cas], separator="\x1f")).to_series()
    return keys.hash(seed=1), (keys.hash(seed=2) & 0xFFFFFFFF).cast(pl.UInt32)
