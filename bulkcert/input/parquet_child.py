"""Reads a Parquet file in a process of its own, for ``parquet.py``: a damaged file may panic or abort the reader.

Run as a script, so that it needs nothing but polars. Writes to standard output, each behind one byte of kind and eight
of length: frames as Arrow IPC streams (``F``), at last why the file cannot be read (``E``) or that it was (``.``).
"""

import io
import os
import resource
import sys

import polars as pl

PART_ROWS = 131_072
"""Rows that are read at a time."""
PART_CELLS = 4 * 1024 * 1024
"""Cells that are read at a time at most."""


def main(path: str) -> None:
    """Writes the rows of a file to standard output, in at least one frame."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A damaged length may ask for any amount: what the machine does not have must fail, not swap.
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (memory + 2**32, memory + 2**32))
    try:
        _write(path)
    except pl.exceptions.PolarsError as error:
        _send(b"E", str(error).partition("\n")[0].encode())
    else:
        _send(b".", b"")
    sys.stdout.flush()


def _write(path: str) -> None:
    # Slices, not collect_batches, which holds a whole row group: a file may have only one, of ten million rows.
    scan = pl.scan_parquet(path, glob=False)
    width = len(scan.collect_schema())
    rows = scan.select(pl.len()).collect().item()
    step = max(min(PART_ROWS, PART_CELLS // max(width, 1)), 1)
    for start in range(0, max(rows, 1), step):
        frame = scan.slice(start, step).collect(engine="streaming")
        if frame.height != min(step, rows - start):
            raise pl.exceptions.ComputeError("it has fewer rows than it says")
        buffer = io.BytesIO()
        frame.write_ipc_stream(buffer)
        _send(b"F", buffer.getbuffer())


def _send(kind: bytes, content: bytes | memoryview) -> None:
    sys.stdout.buffer.write(kind + len(content).to_bytes(8, "little"))
    sys.stdout.buffer.write(content)


if __name__ == "__main__":
    main(sys.argv[1])
