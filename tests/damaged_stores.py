"""Damages stores and proves that each is refused, or every row right: python tests/damaged_stores.py [STORES] [SEED].

Each thousand has two runs of its own, made at random by the store's own writer (``damaged_copies``). Copies of one, as
they were after each transaction, are cut, have bits and bytes changed anywhere and where it hurts, pages exchanged, of
another moment, or of the other run; their log is lost, torn, of another moment or of the other run; their pinned list
and their lock are damaged. What a damaged one shows, where it is not refused, has to be what a whole one has shown:
its rows, its counts, its sessions, and what is called and undone by it. A hang and a traceback are wrong, too.
"""

import multiprocessing
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

from damaged_copies import ROWS, Copies, put

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.evidence import prove
from bulkcert.runs.opened import pinned_of
from bulkcert.store import lock, queries
from bulkcert.store.database import readable, reading
from bulkcert.store.status import status_in
from bulkcert.store.store import Store

AT_ONCE, HANG_S = 1000, 60
SHOWN = [place for place, name in enumerate(queries.WINDOW) if name not in ("latency_ms", "altered")]
OF_SESSIONS = ("id", "kind", "options", "user", "host", "access_key_id", "started_at", "preflight_at", "ended_at")
DECIDED = (queries.LEFT_ALONE, queries.UNCHANGED, queries.REACHED, queries.READ_BACK, queries.UNDO_CLAIMED)


def shown(files, db):
    """Returns what a store shows, as it is compared: none of it may be of a damaged one."""
    status = status_in(files, db, lock.current_holder(files.lock))
    digest = prove(pinned_of(files, status.asked), lambda question, *about: question(db, *about))
    rows = [tuple(map(row.__getitem__, SHOWN)) for row in queries.window(db, 1, ROWS)]
    counted = Counter(row[1] for row in rows if row[1])
    if counted[None] or +counted != +Counter({**status.outcomes, "not_attempted": counted["not_attempted"]}):
        raise BulkcertError(ExitStatus.INTERNAL, "the outcomes do not add up", "")  # as the end of a session says
    numbers = status.outcomes, status.left_alone, status.to_call, status.drifted, status.not_desired
    sessions = [[getattr(each, name) for name in OF_SESSIONS] for each in status.sessions]
    questions = [queries.rows(db, condition) for condition in DECIDED]
    by_row = queries.changed(db, "inactive", 1, ROWS), queries.earlier(db, 1, ROWS), [*queries.states_before(db)]
    more = (
        status.maybe_undone,
        status.in_doubt,
        status.unknown_before,
        status.state,
        queries.calls(db),
        queries.kinds(db),
    )
    return repr((status.asked, digest, rows, numbers, sessions, status.controls, questions, by_row, more))


def shown_by(files, *, writes):
    """Returns what a store shows to whoever reads it, or resumes it.

    Raises:
        BulkcertError: It is refused.
    """
    if not writes:
        with readable(files.store, ExitStatus.INPUT_UNREADABLE), reading(files.store) as db:
            return shown(files, db)
    store = Store(files.store)
    try:
        if store.is_new:
            raise FileNotFoundError
        return store.read(lambda db: shown(files, db))
    finally:
        store.close()


# Each of these gets what damages at random, the content of a file, and the size of its pages.


def flipped(chance, content, _page, times=1):
    content = bytearray(content)
    for _ in range(times):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def replaced(chance, content, size, new):
    at = chance.randrange(len(content)) // size * size
    return content[:at] + new + content[at + size :]


def swapped(chance, content, page):
    exchanged = bytearray(content)
    one, two = (chance.randrange(max(len(content) // page, 1)) * page for _ in range(2))
    exchanged[one : one + page], exchanged[two : two + page] = content[two : two + page], content[one : one + page]
    return bytes(exchanged)


def near(pattern, within):
    """Returns what changes a byte near one of the places where a pattern is."""

    def change(chance, content, _page):
        places = [found.start() for found in re.finditer(pattern, content)] or [0]
        at = min(chance.choice(places) + chance.randrange(within), len(content) - 1)
        return content[:at] + bytes([content[at] ^ chance.randrange(1, 256)]) + content[at + 1 :]

    return change


def free_page(chance, content, page):
    at = max(int.from_bytes(content[32:36], "big") - 1, 0) * page + chance.randrange(min(page, 40))
    return content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]


BROKEN = {
    "a bit": flipped,
    "bits": lambda c, content, page: flipped(c, content, page, c.randint(2, 40)),
    "a byte": lambda c, content, _: replaced(c, content, 1, bytes([c.choice([0, 255, c.randrange(256)])])),
    "a sector": lambda c, content, _: replaced(c, content, 512, c.choice([bytes(512), c.randbytes(512)])),
    "cut": lambda c, content, _: content[: c.randrange(len(content))],
    "swapped": swapped,
    "header": near(rb"\A", 100),
    "schema": near(rb"CREATE ", 700),
    "asked": near(rb'"(action|instance|endpoint|run|rows|inputs)"', 50),
    "free page": free_page,
}


def mixed(chance, content, other, page):
    """Puts some pages of another file into the place of those of this one."""
    count = max(1, min(len(content), len(other)) // page)
    few = chance.randint(1, count if chance.random() < 0.3 else min(count, 3))
    for number in chance.sample(range(count), few):
        content = content[: number * page] + other[number * page : (number + 1) * page] + content[(number + 1) * page :]
    return content


def of_others(chance, copy, page, copies):
    """Returns a copy that has something of another moment, or of another run, and what; its log may be lost."""
    (store, *logs), (other, *other_logs) = copy, chance.choice(copies)
    kind = chance.choice(["pages", "pages", "log", *(["log lost", "log torn"] if any(logs) else [])])
    if kind == "pages":
        return (mixed(chance, store, other, page), *logs), kind
    if kind == "log":
        return (store, *other_logs), kind
    if kind == "log lost":
        return (store, *(log and chance.choice([None, b""]) for log in logs)), kind
    return (store, *(log and log[: chance.randrange(len(log))] for log in logs)), kind


def damaged(chance, run, another):
    """Returns a damaged copy, and what was done to it."""
    copy = list(chance.choice(run.copies))
    if chance.random() < 0.5:
        copies, whose = (run.copies, "moment") if chance.random() < 0.8 else (another.copies, "run")
        copy, kind = of_others(chance, copy, run.page, copies)
        return copy, kind if kind.startswith("log ") else f"{kind} of another {whose}"
    kind = chance.choice([*BROKEN])
    logs = [place for place, log in enumerate(copy) if place and log]
    place = logs[0] if logs and chance.random() < 0.3 else 0
    copy[place] = BROKEN[kind](chance, copy[place], run.page)
    return copy, kind + ("", ", in the log", ", in the journal")[place]


def beside(chance, run, another):
    """Damages another file of the run; returns what was done, and what puts it right."""
    path = chance.choice([run.files.pinned(run.asked.run), run.files.lock])
    whole = path.read_bytes() if path.exists() else b"{}"
    kind = chance.choice(["a bit", "bits", "a byte", "cut", "swapped", "of another run"])
    other = another.files.pinned(another.asked.run).read_bytes()
    path.write_bytes(other if kind == "of another run" else BROKEN[kind](chance, whole, 64))
    return f"{path.suffix or path.name}: {kind}", lambda: path.write_bytes(whole)


def torment(seed, stores):
    """Damages so many stores; returns how many of each kind were refused, or right, and what was shown wrong."""
    chance, counts, wrong = random.Random(seed), Counter(), []
    with tempfile.TemporaryDirectory() as directory:
        run, another = (Copies(Path(directory), chance, name) for name in ("r", "s"))
        read_once = {"annotated": lambda *_, **__: [run.list], "_serials": lambda _: run.all_serials}
        list_read = patch.multiple("bulkcert.output.evidence", **read_once)
        whole = set()
        with list_read:
            for copy in run.copies:
                put(run.files.store, copy)
                whole.add(shown_by(run.files, writes=False))
        for number in range(stores):
            copy, kind, repaired = (*damaged(chance, run, another), None)
            if chance.random() < 0.03:
                copy = chance.choice(run.copies)
                kind, repaired = beside(chance, run, another)
            put(run.files.store, copy)
            with nullcontext() if repaired else list_read:
                found = verdict(run.files, whole, writes=bool(number % 2))
            if repaired:
                repaired()
            counts[kind, found if found in ("right", "refused") else "WRONG"] += 1
            if found not in ("right", "refused"):
                wrong.append((seed, number, kind, found))
    return counts, wrong


def verdict(files, whole, *, writes):
    """Returns whether a store is refused or right, or what is wrong."""
    try:
        signal.alarm(HANG_S)
        return "right" if shown_by(files, writes=writes) in whole else "something else"
    except (BulkcertError, FileNotFoundError):
        return "refused"
    except BaseException as error:  # noqa: BLE001 - it is what is looked for
        return repr(error)
    finally:
        signal.alarm(0)


def ring(*_):
    raise TimeoutError


def at_seed(task):
    signal.signal(signal.SIGALRM, ring)
    return torment(*task)


def main():
    given = [*map(int, sys.argv[1:])]
    stores, seed = (*given, *(100_000, random.randrange(2**20))[len(given) :])[:2]
    print(f"{stores:,} stores, seed {seed}", flush=True)
    began, counts, wrong, tried = time.monotonic(), Counter(), [], 0
    tasks = [(seed + first, min(AT_ONCE, stores - first)) for first in range(0, stores, AT_ONCE)]
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=4) as pool:
        for found, more in pool.imap_unordered(at_seed, tasks):
            counts, wrong, tried = counts + found, wrong + more, tried + found.total()
            sums = {what: sum(n for (_, is_), n in counts.items() if is_ == what) for what in ("right", "refused")}
            print(f"{time.monotonic() - began:6.0f} s {tried:9,} {sums} {len(wrong)} wrong {more[:8]}", flush=True)
    for (kind, what), number in sorted(counts.items()):
        print(f"{number:9,} {what:8} {kind}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
