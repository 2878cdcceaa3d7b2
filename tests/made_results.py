"""Results of runs that were never made: files as ``run`` writes them, for what a real run would seldom meet."""

import csv
import hashlib
import json
from collections import Counter
from datetime import UTC, datetime

COLUMNS = (
    *("row", "outcome", "code", "message", "http_status", "request_id"),
    *("attempts", "sent_at", "finished_at", "latency_ms", "prior_status"),
)
START = 1_800_000_000_000
"""When these runs began, Unix milliseconds."""


def iso(milliseconds):
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def called(device="0001", ca="00ca", outcome="succeeded", after_ms=0, **changes):
    """Returns a row that was called so many milliseconds after the start, and answered 80 ms later."""
    sent = {"sent_at": iso(START + after_ms), "finished_at": iso(START + after_ms + 80), "latency_ms": 80.0}
    answer = {"http_status": 200, "request_id": f"REQUEST-{after_ms}", "attempts": 1}
    return {"DeviceSn": device, "CaSn": ca, "outcome": outcome, **answer, **sent, **changes}


def settled(device="0001", ca="00ca", outcome="unchanged", **changes):
    """Returns a row that was not called."""
    return {"DeviceSn": device, "CaSn": ca, "outcome": outcome, "attempts": 0, **changes}


def write_results(path, rows, *, keys=("DeviceSn", "CaSn"), action="inactivate-device", starts=(0,), killed=False):
    """Writes results, journal and summary; returns the path.

    Args:
        path: A .csv file.
        rows: As ``called`` and ``settled`` return them.
        keys: Names of the key columns.
        action: What was asked.
        starts: Milliseconds from ``START`` to each start of the command.
        killed: Whether the last start did not end in order; then there is no summary.
    """
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*keys, *COLUMNS], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "row": number} for number, row in enumerate(rows, 1))
    header = {"action": action, "instance": "post-cn-made", "endpoint": "https://service", "sha256": "5" * 64}
    lines = [{"type": "run", **header, "rows": len(rows), "keys": keys, "version": "0"}]
    for place, start in enumerate(starts):
        lines.append({"type": "session", "pid": 7, "host": "made", "started_at": START + start, "version": "0"})
        if place == 0:
            lines.append({"type": "looking", "at": START})
        if place < len(starts) - 1 or not killed:
            lines.append({"type": "end", "at": START + start + 1})
    path.with_name(f"{path.name}.journal").write_text(
        "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    )
    if not killed:
        write_summary(path, rows, header)
    return path


def write_summary(path, rows, header):
    """Writes the summary of results."""
    caps = {"account": 500, "address": 300, "lane": 249, "source_addresses": ["127.0.0.2", "127.0.0.3"]}
    session = {"calls": len(rows), "achieved_rate": 1.0, "worst_window": 1, "throttles": 0, "retries": 0, "outages": 0}
    times = {"started": iso(START), "finished": iso(START + 1000)}
    summary = {
        **{key: header[key] for key in ("action", "instance", "endpoint")},
        **session,
        **times,
        "input": "devices.csv",
        "input_sha256": header["sha256"],
        "results": path.name,
        "results_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "rows": len(rows),
        "outcomes": Counter(row["outcome"] for row in rows),
        "codes": {},
        "kinds": [],
        "caps": caps,
        "latency_ms": {"p50": 80.0, "p90": 80.0, "p99": 80.0},
        "versions": {"bulkcert": "0"},
        "exit_status": 0,
        "stopped": "",
        "advice": "",
        "sessions": [{**session, **times, "stopped": ""}],
    }
    path.with_name(f"{path.name}.summary.json").write_text(json.dumps(summary))
