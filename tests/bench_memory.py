"""Prints time and peak memory of whole runs over long lists: python tests/bench_memory.py [ROWS ...].

The list is read, checked and pinned, a thousand rows are called, and results are written for all rows.
"""

import sys
import tempfile
from pathlib import Path

from measuring import SEEDED, measured, write_long
from program import INSTANCE

from bulkcert.emulator.process import running

CALLED = 1000


def main():
    with tempfile.TemporaryDirectory() as directory, running(SEEDED) as emulator:
        where = ("--endpoint", emulator.url, "--instance", INSTANCE, "--yes", "-q", "--limit-rows", CALLED)
        for rows in map(int, sys.argv[1:] or ("1000000", "10000000")):
            devices = write_long(Path(directory, f"devices-{rows}.csv"), rows)
            ended = measured("run", "inactivate-device", devices, *where, cwd=directory)
            print(f"{rows} rows: peak {ended.peak_mb:.0f} MB, {ended.wall_s:.1f} s, exit {ended.status}", flush=True)


if __name__ == "__main__":
    main()
