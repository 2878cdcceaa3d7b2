"""Rows that repeat an earlier row's key, found in a memory that a key's length does not touch."""

import polars as pl

PARTS = 16
"""Number of shares of the keys that are searched one after the other: a sixteenth of the rows at a time."""
SHARE_ROWS = 1_000_000
"""Repeats that are followed to their first rows at a time."""


class Firsts:
    """The first row of each key, and the later rows that repeat it.

    A key is kept as two 64-bit hashes with different seeds, 20 bytes a row with its number. Two different keys are
    taken for one only where both hashes agree: among 10 million keys the odds are about 1 in 7e24
    (n * n / 2 ** 129), far below those of a memory error.
    """

    def __init__(self) -> None:
        self._firsts: list[pl.DataFrame] = []
        self._repeats: list[pl.DataFrame] = []

    def add(self, rows: pl.Series, keys: pl.Series) -> None:
        """Takes in the next rows, in order.

        Args:
            rows: Numbers of the rows, UInt32, ascending.
            keys: Key of each, text.
        """
        batch = pl.DataFrame({"row": rows, "one": keys.hash(seed=1), "two": keys.hash(seed=2)})
        # Repeats within the batch are settled at once, so that three keys in ten million rows stay three keys a batch.
        first, repeats = _split(batch)
        self._firsts.append(first)
        if not repeats.is_empty():
            self._repeats.append(repeats)

    def duplicates(self) -> pl.DataFrame:
        """Returns each row that repeats an earlier one and the first such row: ``row``, ``first_row``; unordered."""
        firsts = pl.concat([_NO_KEYS, *self._firsts], rechunk=False)
        self._firsts.clear()
        moved = pl.concat([_split(firsts.filter(pl.col("one") % PARTS == part))[1] for part in range(PARTS)])
        repeats = pl.concat([_NO_REPEATS, *self._repeats])
        self._repeats.clear()
        # What was the first row of its batch may itself repeat one of an earlier batch.
        known = moved.rename({"row": "first_row", "first_row": "earlier"})
        settled = (
            share.join(known, on="first_row", how="left").select(
                "row", pl.coalesce("earlier", "first_row").alias("first_row")
            )
            for share in repeats.iter_slices(SHARE_ROWS)
        )
        return pl.concat([moved, *settled])


_NO_KEYS = pl.DataFrame(schema={"row": pl.UInt32, "one": pl.UInt64, "two": pl.UInt64})


def _split(batch: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns the rows with a key that the batch has not had before, and the others as ``row`` and ``first_row``."""
    if batch["one"].n_unique() == batch.height:
        return batch, _NO_REPEATS
    # Sorting brings the rows of a key together, its first row first; measured, it is far cheaper than grouping.
    new = (pl.col("one") != pl.col("one").shift()) | (pl.col("two") != pl.col("two").shift())
    marked = batch.sort("one", "two", "row").with_columns(
        first_row=pl.when(new.fill_null(value=True)).then("row").forward_fill()
    )
    first = pl.col("row") == pl.col("first_row")
    return marked.filter(first).drop("first_row"), marked.filter(~first).select("row", "first_row")


_NO_REPEATS = pl.DataFrame(schema={"row": pl.UInt32, "first_row": pl.UInt32})
