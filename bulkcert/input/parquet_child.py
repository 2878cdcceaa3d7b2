"""Reads the whole of a Parquet file for nothing but the proof that it can be read, for ``parquet.py``.

Run as a script, in a process of its own, so that it needs nothing but polars. Its exit status is 0 if the file can be
read; else standard output may say why not.
"""

import gc
import resource
import sys
from collections.abc import Iterator
from os import sysconf
from pathlib import Path

if __name__ == "__main__":
    gc.disable()  # a tenth of what importing polars costs

import polars as pl

PART_ROWS = 131_072
"""Rows that are read at a time."""
PART_CELLS = 4 * 1024 * 1024
"""Cells that are read at a time at most."""


def frames(path: Path) -> Iterator[pl.DataFrame]:
    """Yields the rows of a file in order, in at least one frame.

    Raises:
        PolarsError: It cannot be read.
    """
    # Slices, not collect_batches, which holds a whole row group: a file may have only one, of ten million rows.
    scan = pl.scan_parquet(path, glob=False)
    width = len(scan.collect_schema())
    rows = scan.select(pl.len()).collect().item()
    step = max(min(PART_ROWS, PART_CELLS // max(width, 1)), 1)
    for start in range(0, max(rows, 1), step):
        frame = scan.slice(start, step).collect(engine="streaming")
        if frame.height != min(step, rows - start):
            raise pl.exceptions.ComputeError("it has fewer rows than it says")
        yield frame


def main(path: str) -> int:
    """Reads a file; returns the exit status."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A damaged length may ask for any amount: what the machine does not have must fail, not swap.
    memory = sysconf("SC_PHYS_PAGES") * sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (memory + 2**32, memory + 2**32))
    try:
        for _ in frames(Path(path)):
            pass
    except pl.exceptions.PolarsError as error:
        sys.stdout.write(str(error).partition("\n")[0])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
