"""Evidence over a whole list: its rows as the store has them, each as it was written, and one digest of all."""

from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import chain
from typing import Any

import polars as pl

from bulkcert.input import CA_SN, DEVICE_SN, ROW, PinnedList, annotated, ca_keys
from bulkcert.store import evidence

PROVED_AT_ONCE = 2048
"""Rows that are asked for and proved at a time: what is made of them on the way stays in the processor's cache."""

Ask = Callable[..., Any]
"""Asks a store one of ``queries``: ``Store.read``, or the same on a connection that only reads."""


class Evidence:
    """The rows of a list, taken batch by batch and in order, while they are proved and their digests added up.

    Args:
        ask: Asks the store.
        last: Number of the last row: with it all of them are proved together.
    """

    def __init__(self, ask: Ask, last: int) -> None:
        self._ask, self._last = ask, last
        self._all = blake2b(digest_size=32)

    def rows(self, batch: pl.DataFrame) -> list[tuple[object, ...]]:
        """Returns what the store has of a batch of ``annotated``: the columns of ``queries.WINDOW``.

        Raises:
            BulkcertError: A row is not as it was written.
        """
        return [*chain.from_iterable(self.proved(batch))]

    def proved(self, batch: pl.DataFrame) -> Iterator[list[tuple[object, ...]]]:
        """Yields the same in parts, which are proved as they are taken."""
        if not batch.height:
            return
        first, (devices, cas) = int(batch[ROW][0]), (column.to_list() for column in _serials(batch))
        for begin in range(0, batch.height, PROVED_AT_ONCE):
            share = slice(begin, begin + PROVED_AT_ONCE)
            rows, digests = self._ask(evidence.proved, first + begin, devices[share], cas[share])
            self._all.update(digests)
            yield rows
        if batch[ROW][-1] == self._last:
            self._ask(evidence.confirm_whole, self.digest)

    @property
    def digest(self) -> str:
        """Of all rows so far, in order: 32 bytes of BLAKE2b over the digests of the rows, in hexadecimal."""
        return self._all.hexdigest()


def serials_in(frame: pl.DataFrame) -> Iterator[tuple[int, evidence.Serials]]:
    """Yields the rows of a frame of ``annotated``, each with its serials; a missing one is empty."""
    return zip(frame[ROW], _serials(frame).iter_rows(), strict=True)


def _serials(frame: pl.DataFrame) -> pl.DataFrame:
    device = pl.col(DEVICE_SN) if DEVICE_SN in frame.columns else pl.lit("").alias(DEVICE_SN)
    return frame.select(device.fill_null(""), ca_keys(frame).alias(CA_SN).fill_null(""))


def prove(pinned: PinnedList, ask: Ask) -> str:
    """Proves that a store has every row of a list as it was written; returns the digest of all.

    Raises:
        BulkcertError: It has not, or the list cannot be read.
    """
    ask(evidence.confirm_mirrors)
    taken = Evidence(ask, pinned.rows)
    for batch in annotated(pinned, own=False):
        for _ in taken.proved(batch):
            pass
    return taken.digest
