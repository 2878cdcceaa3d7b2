"""The memory of checking an input and reading it again, measured in a process of its own."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import zstandard
from loading import annotated, load

ROWS = 1_000_000
LIMIT_MB = 300


@pytest.fixture(scope="module")
def content():
    """Returns a list of 59 bytes a row in CSV, each of which stands in it twice."""
    number = pl.int_range(ROWS, eager=True) % (ROWS // 2)
    device = (number * 2654435761 % 2**48).cast(pl.String).str.zfill(16)
    columns = {"DeviceSn": device, "CaSn": "00f26900ba0" + (number % 3).cast(pl.String)}
    more = {"site": "s" + (number % 997).cast(pl.String), "note": "note " + number.cast(pl.String)}
    return pl.DataFrame(columns | more)


def measure(path):
    """Prints rows, duplicates, and the peak of the memory in MB."""
    pinned, checked = load(path)
    rows = sum(batch.height for batch in annotated(pinned, checked))
    # Not ru_maxrss: a child inherits its parent's there.
    status = Path("/proc/self/status").read_text()
    print(rows, checked.duplicates, int(status.partition("VmHWM:")[2].split()[0]) // 1024)


@pytest.mark.parametrize("suffix", [".csv.zst", ".parquet"])
def test_a_million_rows(tmp_path, content, suffix):
    """A million rows, half of them duplicates, are checked and read again within the bound."""
    path = tmp_path / f"list{suffix}"
    if suffix == ".csv.zst":
        path.write_bytes(zstandard.compress(content.write_csv().encode()))
    else:
        # One row group, the hardest case: what reads a file group by group then holds all of it.
        content.write_parquet(path, row_group_size=ROWS)
    command = [sys.executable, __file__, str(path)]
    rows, found, peak = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())

    assert (rows, found) == (ROWS, ROWS // 2)
    assert peak < LIMIT_MB


if __name__ == "__main__":
    measure(Path(sys.argv[1]))
