"""What loading a list costs: CPU, wall time and peak memory, by format: python tests/bench_load.py [ROWS ...]."""

import sys
import tempfile
from pathlib import Path

import polars as pl
from measuring import measured, write_long

LOAD = """
import resource, sys, time
from pathlib import Path
from bulkcert.input import annotated, load
path = Path(sys.argv[1])
started, cpu = time.monotonic(), time.process_time()
pinned, checked = load([path], path.with_name("pinned"), by_device=True)
ended, spent = time.monotonic(), time.process_time()
rows = sum(batch.height for batch in annotated(pinned))
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
child = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"load {spent - cpu:6.2f} s of CPU (+ {child.ru_utime + child.ru_stime:.2f} s in children),",
      f"{ended - started:6.2f} s; read again {time.process_time() - spent:5.2f} s of CPU; peak {peak:4.0f} MB")
assert rows == checked.rows == int(sys.argv[2])
"""


def main():
    with tempfile.TemporaryDirectory() as folder:
        for rows in map(int, sys.argv[1:] or ["1000000"]):
            path = write_long(Path(folder, "list.csv"), rows)
            others = [path.with_suffix(suffix) for suffix in (".parquet", ".ndjson")]
            pl.scan_csv(path, infer_schema=False).sink_parquet(others[0])
            pl.scan_csv(path, infer_schema=False).sink_ndjson(others[1])
            for each in (path, *others):
                for _ in range(2):  # the first warms the caches
                    path.with_name("pinned").unlink(missing_ok=True)
                    ended = measured(LOAD, each, rows, command=(sys.executable, "-c"))
                print(f"{rows:>11,} rows {each.suffix:8} {ended.stdout.decode().strip()}", flush=True)


if __name__ == "__main__":
    main()
