"""Runs for long at the full rate, with faults: python tests/long_run.py [MINUTES] [SEED].

Two addresses, an answer after 0 to 200 ms, 3 % of faults, a JSON log, metrics, and ``status --follow`` beside it. It
prints the memory of the run and of the follower every five minutes. In the end it reads what the emulator holds, as a
list of all certificates, and compares it with every row of the results. It exits with 1 if anything is wrong.
"""

import re
import sys
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL

import polars as pl
from bench_rate import ADDRESSES
from measuring import SEEDED, at, write_long
from program import bulkcert, start, summary_of

from bulkcert.emulator.process import running

FAULTS = {"internal-error": 0.01, "html-502": 0.01, "drop-before": 0.005, "drop-after": 0.005}
RATE = 494
"""Calls per second of two addresses (help measured)."""

ACCOUNT, ADDRESS = 500, 300
"""The documented limits (reference, section 2)."""

EVERY_S = 300


def memory_mb(child):
    """Returns the resident memory of a process in MB; 0 if it is gone."""
    try:
        status = Path(f"/proc/{child.pid}/status").read_text()
    except OSError:
        return 0
    return int(found[1]) // 1024 if (found := re.search(r"VmRSS:\s+(\d+)", status)) else 0


def call(url, folder):
    """Runs the list and prints memory meanwhile; returns the exit status."""
    kept = ("--metrics-file", "long.prom", "--log-file", "long.log", "--log-format", "json")
    lanes = [f"--source-address={address}" for address in ADDRESSES]
    run = ("run", "inactivate-device", "devices.csv", "-o", "results.csv", *at(url, *kept, "--max-errors", "100%"))
    started, next_at = time.monotonic(), EVERY_S
    with (
        (folder / "stderr").open("w") as log,
        start(*run, *lanes, cwd=folder, stdout=DEVNULL, stderr=log) as child,
        start("status", "--follow", "results.csv", cwd=folder, stdout=log, stderr=log) as follower,
    ):
        while child.poll() is None:
            time.sleep(1)
            if (passed := time.monotonic() - started) >= next_at:
                mb = f"{memory_mb(child)} MB, status --follow {memory_mb(follower)} MB"
                print(f"minute {passed / 60:.0f}: run {mb}", flush=True)
                next_at += EVERY_S
        followed = follower.wait(timeout=60)
    if child.returncode:
        print((folder / "stderr").read_text()[-3000:], flush=True)
    assert followed == child.returncode, f"status --follow exited with {followed}, the run with {child.returncode}"
    return child.returncode


def contradicted(url, folder):
    """Returns how often an outcome goes with a state that it excludes, by outcome and state."""
    bulkcert("inventory", "-o", "held.parquet", *at(url)[:4], "-q", cwd=folder).ended(0)
    states = pl.scan_parquet(folder / "held.parquet").select("DeviceSn", "Status")
    rows = pl.scan_csv(folder / "results.csv", infer_schema=False).select("DeviceSn", "outcome")
    both = rows.join(states, on="DeviceSn", how="left").group_by("outcome", "Status").len().collect()
    print(both.sort("outcome", "Status"))
    done, left = pl.col("outcome").is_in(["succeeded", "unchanged"]), pl.col("outcome") == "failed"
    off = pl.col("Status").cast(pl.String).str.to_lowercase() == "inactive"
    return both.filter((done & ~off) | (left & off) | pl.col("Status").is_null())


def main():
    """Runs, compares, and returns the exit status."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 10**9
    rows = round(minutes * 60 * RATE * (1 - sum(FAULTS.values())))
    print(f"seed {seed}, {rows:,} rows", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        devices = write_long(folder / "devices.csv", rows)
        faults = [f"--fault={fault}={share}" for fault, share in FAULTS.items()]
        latency = ("--latency-ms", "0", "200")
        with running(SEEDED, f"--seed-from={devices}", *latency, *faults, f"--fault-seed={seed}") as emulator:
            status = call(emulator.url, folder)
            report = emulator.report()
            print(f"exit {status}; {describe(report)}", flush=True)
            wrong = contradicted(emulator.url, folder)
        results = pl.scan_csv(folder / "results.csv", infer_schema=False)
        counts = results.select(pl.len(), pl.col("DeviceSn").n_unique()).collect().row(0)
        peak = summary_of(folder / "results.csv")["peak_window"]
    print(f"worst window by the run's own clock: {peak} of {ACCOUNT}; {counts} of {rows:,} rows")
    print(wrong if wrong.height else "no outcome contradicts what the emulator holds")
    return int(bool(peak > ACCOUNT or report.blocks or wrong.height or counts != (rows, rows)))


def describe(report):
    """Returns what the emulator counted, in words."""
    each = ", ".join(f"{name} {seen.peak_window} of {ADDRESS}" for name, seen in sorted(report.addresses.items()))
    whole = f"{report.arrivals:,} calls at {report.rate:.1f}/s, worst window {report.peak_window} of {ACCOUNT}"
    return f"{whole} ({each}), {report.throttled:,} throttled, {report.blocks} blocks"


if __name__ == "__main__":
    sys.exit(main())
