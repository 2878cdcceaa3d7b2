"""What it costs to prove a row as it was written: python tests/bench_evidence.py [ROWS].

A store is made: of rows that were called; the same with states that were read first; and with all of
them read back as well. It is read with and without the proof, in turn, and the least of several counts; likewise its
outcomes are encoded with and without digests.
"""

import random
import sys
import tempfile
import time
import uuid
from functools import partial
from pathlib import Path

import msgspec
from made_store import made_run, row, session

from bulkcert.input import ROW, annotated
from bulkcert.output.evidence import prove
from bulkcert.runs.opened import pinned_of
from bulkcert.store import queries
from bulkcert.store.database import reading
from bulkcert.store.evidence import confirm_whole, encoded
from bulkcert.store.outcome import Outcome, Record

TIMES, AT_ONCE = 7, 2048
NOW = 1_800_000_000_000


def serials_of(row):
    return f"{356217374433000000 + row * 7919:018d}", f"00ca{row % 37:012d}"


def outcome(row, chance):
    """Returns what came of a row; of three in a hundred, an error."""
    bad = chance.random() < 0.03
    how = (Outcome.FAILED, "InternalError", "late", 500) if bad else (Outcome.SUCCEEDED, None, None, 200)
    request = str(uuid.UUID(int=chance.getrandbits(128))).upper()
    return Record(row, *how, request, 1, NOW + row, NOW + row + 80, 80.25, *serials_of(row), changed=not bad)


def made(folder, outcomes, *, states, read_back):
    """Makes the store of a run with these outcomes; returns its files."""
    more = {"before": "active"} if states else {}
    more |= {"verified": "inactive", "verified_at": NOW} if read_back else {}
    columns = ("code", "message", "http_status", "request_id", "attempts", "sent_at", "finished_at", "latency_ms")
    rows = []
    for each in outcomes:
        known = {name: getattr(each, name) for name in (*columns, "changed")}
        rows.append(row(each.outcome, device=each.device_sn, ca=each.ca, **known, **more))
    return made_run(folder, rows, [session(ended=1)])


def least_us(rows, **ways):
    """Returns the CPU of each way in microseconds a row: the least of several, in turn."""
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(TIMES):
        for name, way in ways.items():
            began = time.process_time()
            way()
            least[name] = min(least[name], (time.process_time() - began) / rows * 1e6)
    return least


def only_read(db, pinned):
    """Reads list and rows as a proof does, with nothing of what proves them."""
    columns = ", ".join(f"c.{name}" for name in queries.WINDOW[:-2])
    statement = f"SELECT {columns} FROM certificate c LEFT JOIN certificate o ON o.row = c.first_row"
    for batch in annotated(pinned, own=False):
        for share in batch.iter_slices(AT_ONCE):
            rows = int(share[ROW][0]), int(share[ROW][-1])
            db.execute(f"{statement} WHERE c.row BETWEEN ? AND ?", rows).fetchall()


def main():
    rows = int(sys.argv[1]) if sys.argv[1:] else 200_000
    kinds = {"called": (False, False), "states read first": (True, False), "read back as well": (True, True)}
    chance = random.Random(1)
    outcomes = [outcome(number, chance) for number in range(1, rows + 1)]
    for name, (states, read_back) in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            files = made(Path(folder), outcomes, states=states, read_back=read_back)
            with reading(files.store) as db:
                pinned = pinned_of(files, queries.asked(db))
                ask = lambda question, *about: question(db, *about)  # noqa: E731
                whole = partial(confirm_whole, db, prove(pinned, ask))
                ways = {"bare": partial(only_read, db, pinned), "proved": partial(prove, pinned, ask), "whole": whole}
                cost = least_us(rows, **ways)
        groups = [outcomes[first : first + 256] for first in range(0, rows, 256)]
        kept = least_us(
            rows,
            bare=lambda: [msgspec.json.encode(each) for each in groups],  # noqa: B023
            digested=lambda: [encoded(each) for each in groups],  # noqa: B023
        )
        proof, digest = cost["proved"] - cost["bare"], kept["digested"] - kept["bare"]
        each = f"its digest and its copies {proof - cost['whole']:.2f}, indexes and sums {cost['whole']:.2f}"
        print(f"{rows:,} rows, {name}: proving {proof:.2f} us a row ({each}); keeping its digest {digest:.2f} us")


if __name__ == "__main__":
    main()
