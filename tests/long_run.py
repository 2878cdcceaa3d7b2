"""Runs for long at the full rate, with faults: python tests/long_run.py [MINUTES] [SEED].

Two addresses, an answer after 0 to 200 ms, 3 % of faults, a JSON log, metrics, and ``status --follow`` beside it. It
prints the memory of the run and of the follower every five minutes. In the end it reads what the emulator holds, as a
list of all certificates, and compares it with every row of the results. It exits with 1 if anything is wrong.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import polars as pl
from bench_rate import ADDRESSES, COMMAND, KEYS

from bulkcert.emulator.limits import Report
from bulkcert.emulator.process import Running, running

FAULTS = {"internal-error": 0.01, "html-502": 0.01, "drop-before": 0.005, "drop-after": 0.005}
RATE = 494
"""Calls per second of two addresses (help measured)."""

ACCOUNT, ADDRESS = 500, 300
"""The documented limits (reference, section 2)."""


def memory_mb(pid: int) -> float:
    """Returns the resident memory of a process in MB; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024 if "VmRSS:" in status else 0.0


def bulkcert(*arguments: str) -> list[str]:
    """Returns a command of bulkcert."""
    return [*COMMAND, *arguments]


def call(emulator: Running, devices: Path, results: Path) -> int:
    """Runs the list and prints memory meanwhile; returns the exit status."""
    folder, service = results.parent, ("--instance=post-cn-long", f"--endpoint={emulator.url}")
    arguments = [*service, "--yes", "--quiet", "--preflight=never", "--log-format=json", f"--results={results}"]
    arguments += [f"--source-address={address}" for address in ADDRESSES]
    arguments += [f"--metrics-file={folder / 'long.prom'}", f"--log-file={folder / 'long.log'}", "--max-errors=100%"]
    started, next_at = time.monotonic(), 300.0
    with (
        (folder / "stderr").open("w") as log,
        subprocess.Popen(
            bulkcert("run", "inactivate-device", str(devices), *arguments),
            env=os.environ | KEYS,
            stdout=subprocess.DEVNULL,
            stderr=log,
        ) as child,
        subprocess.Popen(bulkcert("status", "--follow", str(results)), stdout=log, stderr=log) as follower,
    ):
        while child.poll() is None:
            time.sleep(1)
            if (passed := time.monotonic() - started) >= next_at:
                mb = f"{memory_mb(child.pid):.0f} MB, status --follow {memory_mb(follower.pid):.0f} MB"
                print(f"minute {passed / 60:.0f}: run {mb}", flush=True)
                next_at += 300
        followed = follower.wait(timeout=60)
    if child.returncode:
        print((folder / "stderr").read_text()[-3000:], flush=True)
    assert followed == child.returncode, f"status --follow exited with {followed}, the run with {child.returncode}"
    return child.returncode


def contradicted(emulator: Running, results: Path) -> pl.DataFrame:
    """Returns how often an outcome goes with a state that it excludes, by outcome and state."""
    held = results.parent / "held.parquet"
    service = ("--instance=post-cn-long", f"--endpoint={emulator.url}", "--quiet")
    subprocess.run(bulkcert("inventory", f"--output={held}", *service), env=os.environ | KEYS, check=True)
    states = pl.scan_parquet(held).select("DeviceSn", "Status")
    rows = pl.scan_csv(results, infer_schema=False).select("DeviceSn", "outcome")
    both = rows.join(states, on="DeviceSn", how="left").group_by("outcome", "Status").len().collect()
    print(both.sort("outcome", "Status"))
    done, left = pl.col("outcome").is_in(["succeeded", "unchanged"]), pl.col("outcome") == "failed"
    off = pl.col("Status").cast(pl.String).str.to_lowercase() == "inactive"
    return both.filter((done & ~off) | (left & off) | pl.col("Status").is_null())


def main() -> int:
    """Runs, compares, and returns the exit status."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 10**9
    rows = round(minutes * 60 * RATE * (1 - sum(FAULTS.values())))
    print(f"seed {seed}, {rows:,} rows", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        devices, results = folder / "devices.csv", folder / "results.csv"
        devices.write_text("DeviceSn,CaSn\n" + "".join(f"{n:018d},00726900488700{n % 50:04d}\n" for n in range(rows)))
        arguments = ["--instance=post-cn-long", f"--seed-from={devices}", "--latency-ms", "0", "200"]
        faults = [f"--fault={fault}={share}" for fault, share in FAULTS.items()]
        with running(*arguments, *faults, f"--fault-seed={seed}") as emulator:
            status = call(emulator, devices, results)
            report = emulator.report()
            print(f"exit {status}; {describe(report)}", flush=True)
            wrong = contradicted(emulator, results)
        counts = pl.scan_csv(results, infer_schema=False).select(pl.len(), pl.col("DeviceSn").n_unique()).collect()
        sent = msgspec.json.decode((folder / "results.csv.run" / "summary.json").read_bytes())
    print(f"worst window by the run's own clock: {sent['peak_window']} of {ACCOUNT}; {counts.row(0)} of {rows:,} rows")
    print(wrong if wrong.height else "no outcome contradicts what the emulator holds")
    is_over = sent["peak_window"] > ACCOUNT or report.blocks
    return int(bool(is_over or wrong.height or counts.row(0) != (rows, rows)))


def describe(report: Report) -> str:
    """Returns what the emulator counted, in words."""
    each = ", ".join(f"{name} {seen.peak_window} of {ADDRESS}" for name, seen in sorted(report.addresses.items()))
    whole = f"{report.arrivals:,} calls at {report.rate:.1f}/s, worst window {report.peak_window} of {ACCOUNT}"
    return f"{whole} ({each}), {report.throttled:,} throttled, {report.blocks} blocks"


if __name__ == "__main__":
    sys.exit(main())
