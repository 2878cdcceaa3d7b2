"""Memory does not grow with lists: what is done with long or wide ones is measured in processes of their own."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import zstandard
from loading import annotated, load
from program import COMMAND, environment, here, write_devices
from stored import change, status

from bulkcert.input import PinnedList
from bulkcert.input.pinned import Pinning
from bulkcert.output.results import write_results
from bulkcert.store.database import make_tables
from bulkcert.store.outcome import Outcome

ROWS, COLUMNS, WIDE_ROWS = 1_000_000, 1000, 12_000


def measured(does, path):
    """Returns what one of ``MEASURED`` prints, and the peak of its memory in MB."""
    command = [sys.executable, __file__, does.__name__, str(path)]
    *printed, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return [int(number) for number in printed], int(peak)


def read_twice(path):
    """Checks a list and reads it again; prints rows and duplicates."""
    pinned, checked = load(path)
    print(sum(batch.height for batch in annotated(pinned, checked)), checked.duplicates)


@pytest.fixture(scope="module")
def content():
    """Returns a list of 59 bytes a row in CSV, each of which stands in it twice."""
    number = pl.int_range(ROWS, eager=True) % (ROWS // 2)
    device = (number * 2654435761 % 2**48).cast(pl.String).str.zfill(16)
    columns = {"DeviceSn": device, "CaSn": "00f26900ba0" + (number % 3).cast(pl.String)}
    more = {"site": "s" + (number % 997).cast(pl.String), "note": "note " + number.cast(pl.String)}
    return pl.DataFrame(columns | more)


@pytest.mark.parametrize("suffix", [".csv.zst", ".parquet"])
def test_a_million_rows(tmp_path, content, suffix):
    """A million rows, half of them duplicates, are checked and read again within the bound."""
    path = tmp_path / f"list{suffix}"
    if suffix == ".csv.zst":
        path.write_bytes(zstandard.compress(content.write_csv().encode()))
    else:
        # One row group, the hardest case: what reads a file group by group then holds all of it.
        content.write_parquet(path, row_group_size=ROWS)
    printed, peak = measured(read_twice, path)

    assert printed == [ROWS, ROWS // 2]
    assert peak < 300


def write_wide(directory):
    """Writes results with very many columns; prints their rows."""
    names = ("CaSn", *(f"column {number}" for number in range(COLUMNS - 1)))
    pinned = PinnedList(directory / "input.parquet", WIDE_ROWS, names, None, "CaSn")
    pinning = Pinning(pinned.path)
    for first in range(0, WIDE_ROWS, 500):
        texts = pl.Series([f"what stands in row {first + row}" for row in range(500)])
        pinning.write(pl.DataFrame(dict.fromkeys(names, texts)))
    pinning.finish()
    empty = sqlite3.connect(":memory:", check_same_thread=False)
    make_tables(empty)
    empty.execute("INSERT INTO tally (id) VALUES (1)")
    print(write_results(directory / "r.parquet", pinned, lambda query, *about: query(empty, *about)).rows.total())


def test_wide_results(tmp_path):
    """Twelve million cells take no more than a few row groups of them."""
    printed, peak = measured(write_wide, tmp_path)

    assert printed == [pl.scan_parquet(tmp_path / "r.parquet").select(pl.len()).collect().item()] == [WIDE_ROWS]
    assert peak < 480


def test_resuming_a_long_list(service, tmp_path):
    """Memory does not grow with the rows: where one of 200,000 is left, resuming and writing results takes 235 MB."""
    rows, results = 200_000, tmp_path / "out.parquet"
    service.seed(write_devices(tmp_path / "in.csv", rows)[:2])
    run = ("run", "inactivate-device", tmp_path / "in.csv", "-o", results, *service.where, "-q")
    here(*run, "--limit-rows", "1").ended(75)
    columns = "newest, changed, session, http_status, request_id, attempts, sent_at, finished_at, latency_ms"
    numbers = f"WITH RECURSIVE numbers (row) AS (SELECT 3 UNION ALL SELECT row + 1 FROM numbers WHERE row < {rows})"
    called = f"SELECT row, {columns} FROM numbers, (SELECT {columns} FROM certificate WHERE row = 1)"
    change(results, f"{numbers} INSERT INTO certificate (row, {columns}) {called}")
    (tmp_path / "in.csv").unlink()
    # A child's peak is at least that of its parent before it; so its parent is to be a small one.
    small = "import resource, subprocess, sys; ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
    small += "print(ended.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    command = [*COMMAND, "resume", str(results), "--yes", "-q"]
    measured = subprocess.run(
        [sys.executable, "-c", small, *command], env=environment(), check=True, capture_output=True, text=True
    )
    ended, peak_kib = map(int, measured.stdout.split())

    assert (ended, status(results).outcomes) == (0, {Outcome.SUCCEEDED: rows})
    assert peak_kib < 235 * 1024


MEASURED = {does.__name__: does for does in (read_twice, write_wide)}

if __name__ == "__main__":
    MEASURED[sys.argv[1]](Path(sys.argv[2]))
    # Not ru_maxrss: a child inherits its parent's there.
    print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024)
