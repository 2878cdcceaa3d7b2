"""A run at random, as its files were after each transaction; see damaged_stores.py."""

import sqlite3
from contextlib import ExitStack, closing
from unittest.mock import patch

import msgspec
import polars as pl
from histories import History
from stored import ASKED

from bulkcert.input import annotated
from bulkcert.output.evidence import prove
from bulkcert.output.files import sha256_of
from bulkcert.runs.opened import pinned_of
from bulkcert.store.paths import RunFiles

ROWS = 120
COLUMNS = {"columns": ("DeviceSn", "CaSn"), "device_column": "DeviceSn", "ca_column": "CaSn"}


class Copies(History):
    """A run as it was at each moment: its files (``FILES``).

    Args:
        directory: Where it is made.
        chance: What happens in it.
        run: ID of the run.
    """

    actions = ("inactivate-device",)
    most = (15, 15)

    def __init__(self, directory, chance, run):
        self.files, self.copies, self.run_id = RunFiles(directory / f"{run}.csv"), [], run
        self.files.folder.mkdir()
        self.page, self.logged = chance.choice([512, 512, 1024, 4096]), chance.choice([0, 3, 10, 30, 1000])
        self.cached = chance.choice([5, 4000])  # the first: of a transaction that is not over some is on disk
        on_network = chance.random() < 0.2
        table = [self.serials(row) for row in range(1, ROWS + 1)]
        self.all_serials = pl.DataFrame(table, ["DeviceSn", "CaSn"], orient="row")
        self.all_serials.write_parquet(self.files.pinned(run))
        of = {"instance": f"post-cn-{run}", "endpoint": f"https://{run}.example.com", "rows": ROWS, "run": run}
        asked = msgspec.structs.replace(ASKED, pinned_sha256=sha256_of(self.files.pinned(run)), **of, **COLUMNS)
        (self.list,) = annotated(pinned_of(self.files, asked), own=False)
        with closing(sqlite3.connect(self.files.store)) as db:
            db.execute(f"PRAGMA page_size = {self.page}")
            db.execute("VACUUM")
        with ExitStack() as patched:
            patched.enter_context(patch("bulkcert.store.store.now_ms", self.now))
            patched.enter_context(patch("bulkcert.store.database.is_on_network", lambda _: on_network))
            super().__init__(self.files.store, chance, ROWS, asked)
            for _ in range(chance.randint(2, 6)):
                self.run_session()

    def serials(self, row):
        return f"{self.run_id}{row:07d}", f"ca{row % 3}"

    def keep(self):
        """Keeps a copy of its files."""
        copy = copy_of(self.files.store)
        if not self.copies or copy != self.copies[-1]:
            self.copies.append(copy)

    def may_be_killed(self, chance=0.01):
        self.keep()
        super().may_be_killed(min(chance, 0.01))

    def draft(self, **how):
        self.store.db.execute(f"PRAGMA wal_autocheckpoint = {self.logged}")
        self.store.db.execute(f"PRAGMA cache_size = {self.cached}")
        super().draft(**how)
        if self.session:
            self.keep()

    def begun(self, **how):
        super().begun(**how)
        self.keep()
        if self.maybe(0.3):
            self.control()

    def announces(self):
        return self.maybe(0.05)

    def end(self):
        note = self.store.note

        def noted(**columns):
            self.may_be_killed()
            note(**columns)

        self.store.note = noted
        self.store.end(0)
        self.may_be_killed()
        self.store.seal(prove(pinned_of(self.files, self.asked), self.store.read))
        self.may_be_killed()

    def kill(self):
        copy = self.copies[-1]
        self.store.close()
        put(self.files.store, copy)

    def run_session(self):
        super().run_session()
        self.keep()

    def control(self):
        columns = "session, request, rate, per_address_rate, user, host, pid, asked_at"
        with self.store.transaction() as db:
            values = (self.store.session, "rate", 50, 30, "u", "h", 1, self.now())
            db.execute(f"INSERT INTO control ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        self.keep()
        with self.store.transaction() as db:
            db.execute("UPDATE control SET taken_at = ?", (self.now(),))
        self.keep()


FILES = ("", "-wal", "-journal")
"""What the names of the files of a store add to that of the store."""


def copy_of(store):
    """Returns what is in the files of a store; None for one that is missing."""
    paths = [store.with_name(store.name + end) for end in FILES]
    return tuple(path.read_bytes() if path.exists() else None for path in paths)


def put(store, copy):
    """Makes a store of the files of a copy."""
    store.with_name(f"{store.name}-shm").unlink(missing_ok=True)
    for end, content in zip(FILES, copy, strict=True):
        path = store.with_name(store.name + end)
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
