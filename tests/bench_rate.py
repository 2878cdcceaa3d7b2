"""Prints the rate that a server sees: python tests/bench_rate.py [ROWS].

A whole run against an emulator that answers after 0 to 200 ms, with the default caps, from two loopback addresses and
from one; from two on asyncio's own loop; and from two with a busy loop on the core that it may use. What counts is what
the emulator's own clock saw.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bulkcert.emulator.process import running

KEYS = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "testAccessKeyId",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "testAccessKeySecret",
    "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
}


COMMAND = [sys.executable, "-m", "bulkcert"]
ON_ASYNCIO = [sys.executable, "-c", "import sys; sys.modules['uvloop'] = None; import bulkcert.__main__ as b; b.main()"]
ADDRESSES = ["127.0.0.2", "127.0.0.3"]


def measure(devices: Path, addresses: list[str], name: str = "", command: Sequence[str] = COMMAND) -> None:
    """Runs the list once from these addresses and prints what the emulator saw."""
    arguments = ["--instance=post-cn-bench", f"--seed-from={devices}", "--latency-ms=0", "200"]
    with running(*arguments) as emulator:
        command = [*command, "run", "inactivate-device", str(devices), "--yes", "--quiet"]
        command += ["--instance=post-cn-bench", f"--endpoint={emulator.url}", "--preflight=never"]
        # A run of its own: one that drops another asks the service first.
        command += [f"--results={devices.with_name(str(time.monotonic_ns()))}.csv"]
        command += [f"--source-address={address}" for address in addresses]
        with subprocess.Popen(command, env=os.environ | KEYS, stdout=subprocess.DEVNULL) as child:
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        report = emulator.report()
    cpu = (used.ru_utime + used.ru_stime) / report.arrivals * 1e6
    worst = ", ".join(f"{name} {seen.peak_window}" for name, seen in sorted(report.addresses.items()))
    print(
        f"{len(addresses)} addresses{name}: {report.arrivals} calls, {report.rate:.1f}/s at the server, worst "
        f"one-second window {report.peak_window} ({worst}), {report.throttled} throttled, {report.blocks} blocks, "
        f"{cpu:.0f} us of CPU a row with the start, exit {child.returncode}",
        flush=True,
    )


def main() -> None:
    """Makes the list and measures each case."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as directory:
        devices = Path(directory) / "devices.csv"
        lines = [f"{number:018d},007269004887000001\n" for number in range(rows)]
        devices.write_text("DeviceSn,CaSn\n" + "".join(lines))
        measure(devices, ADDRESSES)
        measure(devices, ADDRESSES[:1])
        measure(devices, ADDRESSES, " on asyncio", ON_ASYNCIO)
        one_core = ["taskset", "--cpu-list", "1"]
        with subprocess.Popen([*one_core, sys.executable, "-c", "while True: pass"]) as busy:
            measure(devices, ADDRESSES, " beside a busy loop", [*one_core, *COMMAND])
            busy.kill()


if __name__ == "__main__":
    main()
