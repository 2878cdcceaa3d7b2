"""The memory of checking an input and reading it again, measured in a process of its own."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import zstandard
from loading import annotated, check, open_source

ROWS = 1_000_000
LIMIT_MB = 300


@pytest.fixture(scope="module")
def content():
    """Returns a list in CSV of 59 bytes a row, each of which stands in it twice."""
    lines = (_line(number % (ROWS // 2)) for number in range(ROWS))
    return ("DeviceSn,CaSn,site,note\n" + "".join(lines)).encode()


def _line(number):
    device = f"{number * 2654435761 % 2**48:012x}{number % 97:04x}"
    return f'{device},00f26900ba0{number % 3},s{number % 997},"note {number}"\n'


def measure(path):
    """Prints rows, duplicates, and the peak of the memory in MB."""
    source = open_source(path, by_device=True)
    checked = check(source)
    rows = sum(batch.height for batch in annotated(source, checked))
    # Not ru_maxrss: a child inherits its parent's there.
    status = Path("/proc/self/status").read_text()
    print(rows, checked.duplicates, int(status.partition("VmHWM:")[2].split()[0]) // 1024)


@pytest.mark.parametrize("suffix", [".csv.zst", ".parquet", ".ndjson"])
def test_a_million_rows(tmp_path, content, suffix):
    """A million rows, half of them duplicates, are checked and read again within the bound."""
    path = tmp_path / f"list{suffix}"
    if suffix == ".csv.zst":
        path.write_bytes(zstandard.compress(content))
    elif suffix == ".parquet":
        # One row group, the hardest case: what reads a file group by group then holds all of it.
        pl.read_csv(content, infer_schema=False).write_parquet(path, row_group_size=ROWS)
    else:
        pl.read_csv(content, infer_schema=False).write_ndjson(path)
    command = [sys.executable, __file__, str(path)]
    rows, found, peak = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())

    assert (rows, found) == (ROWS, ROWS // 2)
    assert peak < LIMIT_MB


if __name__ == "__main__":
    measure(Path(sys.argv[1]))
