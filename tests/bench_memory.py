"""Prints time and peak memory of whole runs over long lists: python tests/bench_memory.py [ROWS ...].

The list is read, checked and pinned, a thousand rows are called, and results are written for all rows.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from bench_rate import KEYS

from bulkcert.emulator.process import running

CALLED = 1000


def measure(url: str, devices: Path, rows: int) -> None:
    """Runs a list of so many rows and prints what it took."""
    with devices.open("w") as file:
        file.write("DeviceSn,CaSn\n")
        file.writelines(f"{number:018d},007269004887000001\n" for number in range(rows))
    command = ["-m", "bulkcert", "run", "inactivate-device", str(devices), "--yes", "--quiet", "--overwrite"]
    command += ["--instance=post-cn-bench", f"--endpoint={url}", f"--limit-rows={CALLED}"]
    started = time.perf_counter()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, *command],
        os.environ | KEYS,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, used = os.wait4(child, 0)
    seconds = time.perf_counter() - started
    print(
        f"{rows} rows: peak {used.ru_maxrss / 1024:.0f} MB, {seconds:.1f} s, exit {os.waitstatus_to_exitcode(status)}",
        flush=True,
    )


def main() -> None:
    """Measures each number of rows asked for."""
    with tempfile.TemporaryDirectory() as directory, running("--instance=post-cn-bench") as emulator:
        for rows in map(int, sys.argv[1:] or ("1000000", "10000000")):
            measure(emulator.url, Path(directory) / f"devices-{rows}.csv", rows)


if __name__ == "__main__":
    main()
