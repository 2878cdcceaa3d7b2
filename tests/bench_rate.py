"""Prints the rate that a server sees: python tests/bench_rate.py [ROWS].

A whole run against an emulator that answers after 0 to 200 ms, with the default caps, from two loopback addresses and
from one; from two on asyncio's own loop; and from two with a busy loop on the core that it may use. What counts is what
the emulator's own clock saw.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import SEEDED, at, measured, write_long
from program import COMMAND

from bulkcert.emulator.process import running

ON_ASYNCIO = [sys.executable, "-c", "import sys; sys.modules['uvloop'] = None; import bulkcert.__main__ as b; b.main()"]
ADDRESSES = ["127.0.0.2", "127.0.0.3"]


def measure(devices, addresses, name="", command=COMMAND):
    """Runs the list once from these addresses and prints what the emulator saw."""
    own = [f"--source-address={address}" for address in addresses]
    # A run of its own: one that drops another asks the service first.
    results = devices.with_name(f"{time.monotonic_ns()}.csv")
    with running(SEEDED, f"--seed-from={devices}", "--latency-ms=0", "200") as emulator:
        run = ("run", "inactivate-device", devices, "-o", results, *at(emulator.url), *own)
        ended, report = measured(*run, command=command), emulator.report()
    worst = ", ".join(f"{name} {seen.peak_window}" for name, seen in sorted(report.addresses.items()))
    print(
        f"{len(addresses)} addresses{name}: {report.arrivals} calls, {report.rate:.1f}/s at the server, worst "
        f"one-second window {report.peak_window} ({worst}), {report.throttled} throttled, {report.blocks} blocks, "
        f"{ended.cpu_s / report.arrivals * 1e6:.0f} us of CPU a row with the start, exit {ended.status}",
        flush=True,
    )


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as directory:
        devices = write_long(Path(directory, "devices.csv"), rows)
        measure(devices, ADDRESSES)
        measure(devices, ADDRESSES[:1])
        measure(devices, ADDRESSES, " on asyncio", ON_ASYNCIO)
        one_core = ["taskset", "--cpu-list", "1"]
        with subprocess.Popen([*one_core, sys.executable, "-c", "while True: pass"]) as busy:
            measure(devices, ADDRESSES, " beside a busy loop", [*one_core, *COMMAND])
            busy.kill()


if __name__ == "__main__":
    main()
