"""The memory of checking an input and reading it again, measured in a process of its own."""

import gzip
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import polars as pl
import pytest
import zstandard
from loading import annotated, check, open_source

ROWS = 1_000_000
LIMIT_MB = 300

COMPRESS = {".gz": lambda content: gzip.compress(content, 1), ".zst": zstandard.compress}


def write(path, rows, kind):
    """Writes a list of so many rows, 59 bytes each."""
    content = _content(rows, kind)
    if path.suffix == ".ndjson":
        pl.read_csv(content, infer_schema=False).write_ndjson(path)
        return
    if path.suffix == ".parquet":
        # One row group, the hardest case: what reads a file group by group then holds all of it.
        pl.read_csv(content, infer_schema=False).write_parquet(path, row_group_size=rows)
    else:
        path.write_bytes(COMPRESS.get(path.suffix, bytes)(content))


@cache
def _content(rows, kind):
    numbers = (number % (rows // 2) if kind == "twice" else number for number in range(rows))
    return ("DeviceSn,CaSn,site,note\n" + "".join(map(_line, numbers))).encode()


def _line(number):
    device = f"{number * 2654435761 % 2**48:012x}{number % 97:04x}"
    return f'{device},00f26900ba0{number % 3},s{number % 997},"note {number}"\n'


def measure(path, kind):
    """Prints rows, duplicates, seconds of check and of reading, and the peak of the memory in MB."""
    started = time.monotonic()
    source = open_source(path, by_device=kind != "ca")
    checked = check(source)
    between = time.monotonic()
    rows = sum(batch.height for batch in annotated(source, checked))
    ended = time.monotonic()
    # Not ru_maxrss: a child inherits its parent's there.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    print(rows, checked.duplicates, round(between - started, 1), round(ended - between, 1), peak)


def run(path, kind):
    """Measures in a child process; returns rows, duplicates, seconds of check and of reading, and the peak in MB."""
    command = [sys.executable, __file__, str(path), kind]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return tuple(map(float, printed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds the big files."""
    return tmp_path_factory.mktemp("memory")


@pytest.mark.parametrize("name", ["list.csv.zst", "list.parquet", "list.ndjson"])
def test_a_million_rows(folder, name):
    """A million rows, half of them duplicates, are checked and read again within the bound."""
    path = folder / name
    write(path, ROWS, "twice")
    rows, found, _, _, peak = run(path, "twice")

    assert (rows, found) == (ROWS, ROWS // 2)
    assert peak < LIMIT_MB


if __name__ == "__main__":
    measure(Path(sys.argv[1]), sys.argv[2])
