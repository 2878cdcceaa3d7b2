"""The memory of writing results with very many columns, measured in a process of its own."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import polars as pl

from bulkcert.input import PinnedList
from bulkcert.input.pinned import Pinning
from bulkcert.output.results import write_results
from bulkcert.store.database import make_tables

COLUMNS, ROWS = 1000, 12_000
LIMIT_MB = 480


def measure(directory):
    """Prints the rows that were written, and the peak of the memory in MB."""
    names = ("CaSn", *(f"column {number}" for number in range(COLUMNS - 1)))
    pinned = PinnedList(directory / "input.parquet", ROWS, names, None, "CaSn", (("list", 1),))
    with Pinning(pinned.path) as pinning:
        for first in range(0, ROWS, 500):
            texts = pl.Series([f"what stands in row {first + row}" for row in range(500)])
            pinning.write(pl.DataFrame(dict.fromkeys(names, texts)))
        pinning.finish()
    empty = sqlite3.connect(":memory:", check_same_thread=False)
    make_tables(empty)
    empty.execute("INSERT INTO tally (id) VALUES (1)")
    rows = write_results(directory / "r.parquet", pinned, lambda query, *about: query(empty, *about)).rows
    # Not ru_maxrss: a child inherits its parent's there.
    status = Path("/proc/self/status").read_text()
    print(rows.total(), int(status.partition("VmHWM:")[2].split()[0]) // 1024)


def test_wide_results_do_not_fill_the_memory(tmp_path):
    """Twelve million cells take no more than a few row groups of them."""
    command = [sys.executable, __file__, str(tmp_path)]
    rows, peak = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())

    assert rows == pl.scan_parquet(tmp_path / "r.parquet").select(pl.len()).collect().item() == ROWS
    assert peak < LIMIT_MB


if __name__ == "__main__":
    measure(Path(sys.argv[1]))
