"""What loading a list costs: CPU, wall time and peak memory, by number of rows and format.

By hand: ``python tests/bench_load.py [ROWS ...]``; with ``OTHER=PYTHON`` in the environment, the check of the version
that this interpreter has (0.1 or later) is measured beside it, in the same run.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

LOAD = """
import resource, sys, time
from pathlib import Path
try:
    from bulkcert.input import annotated, load
    code = "bulkcert.input"
    def read(path):
        pinned, checked = load([path], path.with_name("pinned"), by_device=True)
        return checked, lambda: annotated(pinned)
except ImportError:
    from bulkcert.batch.source import annotated, check, open_source
    code = "batch.source"
    def read(path):
        source = open_source(path, by_device=True)
        checked = check(source)
        return checked, lambda: annotated(source, checked)
started, cpu = time.monotonic(), time.process_time()
checked, again = read(Path(sys.argv[1]))
ended, spent = time.monotonic(), time.process_time()
rows = sum(batch.height for batch in again())
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
child = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"{code:14} load {spent - cpu:6.2f} s of CPU (+ {child.ru_utime + child.ru_stime:.2f} s in children),",
      f"{ended - started:6.2f} s; read again {time.process_time() - spent:5.2f} s of CPU; peak {peak:4.0f} MB")
assert rows == checked.rows == int(sys.argv[2])
"""


def write(path, rows):
    """Writes a list of so many rows, 36 bytes each."""
    with path.open("w") as file:
        file.write("DeviceSn,CaSn\n")
        for row in range(rows):
            file.write(f"{356217374433000000 + row * 7919:018d},00ca{row % 37:012d}\n")


def measure(python, path, rows):
    """Prints what one interpreter needs, after a first run that warms the caches."""
    for _ in range(2):
        path.with_name("pinned").unlink(missing_ok=True)
        # -P: not what happens to lie in the working directory, but what this interpreter has installed.
        command = [python, "-P", "-c", LOAD, path, str(rows)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(f"{rows:>11,} rows {path.suffix:8} {told.strip()}", flush=True)


def main():
    """Measures."""
    interpreters = [sys.executable, *filter(None, [os.environ.get("OTHER")])]
    with tempfile.TemporaryDirectory() as folder:
        for rows in map(int, sys.argv[1:] or ["1000000"]):
            path = Path(folder, "list.csv")
            write(path, rows)
            others = [path.with_suffix(suffix) for suffix in (".parquet", ".ndjson")]
            pl.scan_csv(path, infer_schema=False).sink_parquet(others[0])
            pl.scan_csv(path, infer_schema=False).sink_ndjson(others[1])
            for each in (path, *others):
                for python in interpreters:
                    measure(python, each, rows)


if __name__ == "__main__":
    main()
