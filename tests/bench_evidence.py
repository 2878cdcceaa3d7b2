"""What it costs to prove a row as it was written: python tests/bench_evidence.py [ROWS].

A store is made by its own writer: of rows that were called; the same with states that were read first; and with all of
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
import polars as pl

from bulkcert.input import ROW, annotated
from bulkcert.output.evidence import prove
from bulkcert.output.files import sha256_of
from bulkcert.runs.opened import pinned_of
from bulkcert.store import queries, read_states
from bulkcert.store.database import reading
from bulkcert.store.evidence import confirm_whole, encoded
from bulkcert.store.outcome import Outcome, Record
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Asked
from bulkcert.store.store import Store

TIMES, AT_ONCE = 7, 2048
NOW = 1_800_000_000_000
CALLER = {"pid": 1, "host": "h", "user": "u", "version": "1", "access_key_id": "k", "credentials": "c"}


def serials_of(row):
    return f"{356217374433000000 + row * 7919:018d}", f"00ca{row % 37:012d}"


def outcome(row, chance):
    """Returns what came of a row; of three in a hundred, an error."""
    bad = chance.random() < 0.03
    how = (Outcome.FAILED, "InternalError", "late", 500) if bad else (Outcome.SUCCEEDED, None, None, 200)
    request = str(uuid.UUID(int=chance.getrandbits(128))).upper()
    return Record(row, *how, request, 1, NOW + row, NOW + row + 80, 80.25, *serials_of(row), changed=not bad)


def made(folder, rows, *, states, read_back):
    """Makes the store of a run; returns its files, and its outcomes."""
    files = RunFiles(folder / "r.csv")
    files.folder.mkdir(mode=0o700)
    pinned = files.pinned("made")
    serials = [serials_of(row) for row in range(1, rows + 1)]
    pl.DataFrame(serials, ["DeviceSn", "CaSn"], orient="row").write_parquet(pinned)
    columns = {"columns": ("DeviceSn", "CaSn"), "device_column": "DeviceSn", "ca_column": "CaSn", "inputs": ("l",)}
    sums = {"keys_sha256": "0", "sha256": "0", "pinned_sha256": sha256_of(pinned)}
    where = {"instance": "i", "endpoint": "e", "results": str(files.results), "directory": str(folder), "version": "1"}
    store = Store(files.store)
    store.describe(asked := Asked(run="made", action="inactivate-device", rows=rows, **columns, **sums, **where))
    store.begin("run", "{}", **CALLER)
    chance = random.Random(1)
    outcomes = [outcome(row, chance) for row in range(1, rows + 1)]
    for first in range(0, rows, 256):
        some = outcomes[first : first + 256]
        if states:
            read_states.keep(store, [(each.row, serials[each.row - 1], "active", None) for each in some])
        store.claim([each.row for each in some])
        store.keep(some)
        if read_back:
            read_states.keep_later(store, [("inactive", NOW, each.row) for each in some], lambda _: {})
    store.end(1)
    store.seal(prove(pinned_of(files, asked), store.read))
    store.close()
    return files, outcomes


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
    for name, (states, read_back) in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            files, outcomes = made(Path(folder), rows, states=states, read_back=read_back)
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
