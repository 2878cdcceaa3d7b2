"""Damages stores and proves that each is refused, or every row right: python tests/damaged_stores.py [STORES] [SEED].

One run is made by the store's own writer: two sessions that end, one that is killed with its log, an undo. Copies of
it, as they were after each session and each transaction, are cut, have bits and bytes changed, whole pages blank,
exchanged or of another copy, or their log is lost or torn. What a damaged one shows, where it is
not refused, has to be what a whole one has shown: its outcomes, its counts, and what is called and undone by it.
"""

import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.evidence import prove
from bulkcert.runs.opened import pinned_of
from bulkcert.store import queries
from bulkcert.store.database import readable, reading
from bulkcert.store.outcome import Outcome, Record
from bulkcert.store.paths import RunFiles
from bulkcert.store.schema import Asked
from bulkcert.store.status import status_in
from bulkcert.store.store import Store

ROWS = 400
PAGE = 4096
CALLER = {"pid": 1, "host": "h", "user": "u", "version": "1", "access_key_id": "k", "credentials": "c"}
SHOWN = tuple(name for name in queries.WINDOW if name not in ("latency_ms", "altered"))


def serials(row):
    return f"{row:08d}", f"ca{row % 3}"


class Copies:
    """The run as it was at each moment: its two files, and what they show.

    Args:
        directory: Where it is made.
        chance: What happens in it.
    """

    def __init__(self, directory, chance):
        self.files, self.chance, self.copies, self.shown = RunFiles(directory / "r.csv"), chance, [], []
        self.files.folder.mkdir()
        table = pl.DataFrame([serials(row) for row in range(1, ROWS + 1)], ["DeviceSn", "CaSn"], orient="row")
        table.write_parquet(self.files.pinned("r"))
        columns = {"columns": ("DeviceSn", "CaSn"), "device_column": "DeviceSn", "ca_column": "CaSn", "version": "1"}
        of = dict.fromkeys(("instance", "endpoint", "keys_sha256", "sha256", "results", "directory"), "x")
        self.asked = Asked(run="r", action="inactivate-device", rows=ROWS, inputs=("l",), **of, **columns)
        store = Store(self.files.store)
        store.describe(self.asked)
        store.leave_out((row, "invalid", None, "why") for row in range(7, ROWS, 50))
        self.session(store, "run", range(1, 200))
        self.session(Store(self.files.store), "run", range(200, 300))
        self.session(Store(self.files.store), "undo", range(20, 60))
        self.session(Store(self.files.store), "run", range(300, ROWS + 1), ends=False)

    def session(self, store, kind, rows, *, ends=True):
        """Does a session, a few rows at a time, and keeps a copy after each transaction."""
        store.begin(kind, "{}", **CALLER)
        self.keep()
        store.note(preflight_at=5)
        self.keep()
        rows = [row for row in rows if row % 50 != 7]
        states = [(row, serials(row), "active", None) for row in rows if kind == "run" and row % 2]
        store.keep_states(states)
        self.keep()
        for first in range(0, len(rows), 20):
            some = rows[first : first + 20]
            store.claim(some)
            self.keep()
            store.keep([self.record(row, kind) for row in some])
            self.keep()
        if ends:
            store.end(0)
            store.seal(prove(pinned_of(self.files, self.asked), store.read))
            store.close()
            self.keep()
        self.store = store

    def record(self, row, kind):
        outcome = Outcome.UNDONE if kind == "undo" else self.chance.choice([Outcome.SUCCEEDED] * 3 + [Outcome.FAILED])
        more = {"code": "C", "message": "m" * self.chance.randrange(60)} if outcome is Outcome.FAILED else {}
        device, ca = serials(row)
        calls = {"attempts": 1, "sent_at": 5, "finished_at": 6, "latency_ms": 1.5, "changed": kind != "undo"}
        return Record(row, outcome, request_id=f"R{row:030d}", device_sn=device, ca=ca, **more, **calls)

    def keep(self):
        """Keeps a copy of both files."""
        paths = (self.files.store, Path(f"{self.files.store}-wal"))
        self.copies.append(tuple(path.read_bytes() if path.exists() else None for path in paths))


def put(store, copy):
    """Makes a store of the two files of a copy."""
    for end in ("", "-wal", "-shm", "-journal"):
        store.with_name(store.name + end).unlink(missing_ok=True)
    for end, content in zip(("", "-wal"), copy, strict=True):
        if content is not None:
            store.with_name(store.name + end).write_bytes(content)


def shown_by(files, asked, *, writes):
    """Returns what a store shows to whoever reads it, or resumes it.

    Raises:
        BulkcertError: It is refused.
    """

    def of(db):
        status = status_in(files, db)
        prove(pinned_of(files, queries.asked(db)), lambda question, *about: question(db, *about))
        rows = [tuple(row[queries.WINDOW.index(name)] for name in SHOWN) for row in queries.window(db, 1, ROWS)]
        if Counter(row[1] for row in rows if row[1]) != +Counter({**status.outcomes, Outcome.NOT_ATTEMPTED: 0}):
            raise BulkcertError(ExitStatus.INTERNAL, "the outcomes do not add up", "")  # as the end of a session says
        called = queries.rows(db, queries.LEFT_ALONE)
        changed = queries.changed(db, "inactive", 1, ROWS)
        return rows, called, changed, queries.in_doubt(db)

    if not writes:
        with readable(files.store, ExitStatus.INPUT_UNREADABLE), reading(files.store) as db:
            return of(db)
    store = Store(files.store)
    try:
        return store.read(of)
    finally:
        store.close()


def flipped(chance, content, times):
    content = bytearray(content)
    for _ in range(times):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def replaced(chance, content, size, new):
    at = chance.randrange(len(content)) // size * size
    return content[:at] + new + content[at + size :]


def swapped(chance, content):
    one, two = (chance.randrange(len(content) // PAGE) * PAGE for _ in range(2))
    exchanged = bytearray(content)
    exchanged[one : one + PAGE], exchanged[two : two + PAGE] = content[two : two + PAGE], content[one : one + PAGE]
    return bytes(exchanged)


BROKEN = {
    "a bit": lambda c, content: flipped(c, content, 1),
    "bits": lambda c, content: flipped(c, content, c.randint(2, 40)),
    "a byte": lambda c, content: replaced(c, content, 1, bytes([c.choice([0, 255, c.randrange(256)])])),
    "a sector": lambda c, content: replaced(c, content, 512, c.choice([bytes(512), c.randbytes(512)])),
    "cut": lambda c, content: content[: c.randrange(len(content))],
    "swapped": swapped,
}


def pages(chance, content, other):
    """Puts some pages of another copy into the place of those of this one."""
    count = max(1, min(len(content), len(other)) // PAGE)
    for page in chance.sample(range(count), chance.randint(1, count)):
        content = content[: page * PAGE] + other[page * PAGE : (page + 1) * PAGE] + content[(page + 1) * PAGE :]
    return content


def damaged(chance, copies):
    """Returns a damaged copy, and what was done to it."""
    (store, log), (other, _) = chance.choice(copies), chance.choice(copies)
    kind = chance.choice([*BROKEN, "mixed", *(["log lost", "log torn"] * 2 if log else [])])
    in_log = bool(log) and kind in BROKEN and chance.random() < 0.3
    if kind in BROKEN:
        broken = BROKEN[kind](chance, log if in_log else store)
        return ((store, broken) if in_log else (broken, log)), kind + " of the log" * in_log
    logs = {"mixed": log, "log lost": chance.choice([None, b""])}
    if kind == "log torn":
        logs[kind] = log[: chance.randrange(len(log))]
    return (pages(chance, store, other) if kind == "mixed" else store, logs[kind]), kind


def torment(seed, stores):
    """Damages so many stores; returns how many of each kind were refused, or right, and what was shown wrong."""
    chance, counts, wrong = random.Random(seed), Counter(), []
    with tempfile.TemporaryDirectory() as directory:
        made = Copies(Path(directory), chance)
        whole = []
        for copy in made.copies:
            put(made.files.store, copy)
            whole.append(shown_by(made.files, made.asked, writes=False))
        for number in range(stores):
            copy, kind = damaged(chance, made.copies)
            put(made.files.store, copy)
            try:
                is_right = shown_by(made.files, made.asked, writes=bool(number % 2)) in whole
            except (BulkcertError, FileNotFoundError):
                counts[kind, "refused"] += 1
                continue
            except Exception as error:  # noqa: BLE001 - it is what is looked for
                is_right = False
                kind = f"{kind}: {error!r}"
            counts[kind, "right" if is_right else "WRONG"] += 1
            if not is_right:
                wrong.append((seed, number, kind))
    return counts, wrong


def main():
    stores, seed = (*map(int, sys.argv[1:]), *(100_000, random.randrange(2**20))[len(sys.argv) - 1 :])
    print(f"{stores:,} stores, seed {seed}", flush=True)
    began, counts, wrong = time.monotonic(), Counter(), []
    for first in range(0, stores, 1000):
        found, more = torment(seed + first, min(1000, stores - first))
        counts, wrong = counts + found, wrong + more
        print(f"{time.monotonic() - began:6.0f} s {first + 1000:9,} {len(wrong)} wrong {wrong[-3:]}", flush=True)
    for (kind, what), number in sorted(counts.items()):
        print(f"{number:9,} {what:8} {kind}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
