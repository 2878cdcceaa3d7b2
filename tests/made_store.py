"""Stores of runs that were never made: rows, sessions and claims as they are asked for, with the pinned list."""

import json
import sqlite3
from contextlib import closing, contextmanager

import msgspec
import polars as pl

from bulkcert.engine.figures import Stats
from bulkcert.input import annotated
from bulkcert.output.evidence import serials_in
from bulkcert.output.files import sha256_of
from bulkcert.runs.opened import pinned_of
from bulkcert.store.database import make_tables
from bulkcert.store.evidence import TALLIED, digest_of
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Asked

START = 1_800_000_000_000
"""When these runs began, Unix milliseconds."""

RUN_ID = "made"
NEVER = ("invalid", "duplicate", "protected")
OPTIONS = {"rate": 500, "per_address_rate": 300, "source_address": ["127.0.0.2", "127.0.0.3"]}


def row(outcome="succeeded", *, device=None, ca="00ca", own=None, claimed_by=None, sent=False, **columns):
    """Returns a row for ``made_run``.

    Args:
        outcome: Its outcome; None where the store has no certificate of it.
        device: Its device serial; by default its number.
        ca: Its CA serial.
        own: More columns of the list.
        claimed_by: Session that has claimed it.
        sent: Whether that claim stays after an orderly end.
        columns: Columns of ``certificate`` that are otherwise than what a call that succeeds leaves.
    """
    known = {}
    if outcome in NEVER:
        known = {"never": outcome, "why": f"it is {outcome}"}
    elif outcome in ("unchanged", "not_attempted"):
        known = {"newest": outcome}
    elif outcome is not None:
        known = {"newest": outcome, "attempts": 1, "session": 1, "changed": outcome in ("succeeded", "unknown")}
        known |= {"http_status": 200, "request_id": "REQUEST", "sent_at": START, "finished_at": START + 80}
        known |= {"latency_ms": 80.0}
    serials = {"DeviceSn": device, "CaSn": ca, **(own or {})}
    return serials, known | columns, (claimed_by, sent) if claimed_by else None


def session(kind="run", *, after_ms=0, ended=0, figures=None, options=None, **columns):
    """Returns a session for ``made_run``; ``ended`` is its exit status, None where it was killed."""
    began = START + after_ms
    made = {"kind": kind, "pid": 4242, "host": "made", "user": "ops", "version": "0", "access_key_id": "KEY"}
    made |= {"credentials": "made", "started_at": began, "preflight_at": began, "beat_at": began + 1000}
    made |= {"options": json.dumps(OPTIONS | (options or {})), "figures": json.dumps(stats(**(figures or {})))}
    if ended is not None:
        made |= {"ended_at": began + 2000, "exit_status": ended}
    if isinstance(columns.get("verification"), msgspec.Struct):
        columns["verification"] = msgspec.json.encode(columns["verification"]).decode()
    return made | columns


def stats(**figures):
    """Returns live figures, all nothing but those that are given."""
    given = {"phase": "calling", "limit": 494.0, "factor": 1.0, "left_s": None, "stop_status": None, **figures}
    none = {
        each.name: each.type() for each in msgspec.structs.fields(Stats) if each.required and each.name not in given
    }
    return none | given


def made_run(parent, rows=("succeeded",), sessions=None, *, name="results.csv", state_dir=None, **asked):
    """Makes the folder of a run, with store and pinned list, and returns its files; results are not written.

    Args:
        parent: Directory of the results.
        rows: An outcome or a ``row`` each.
        sessions: A ``session`` each; by default one run that ended with 0.
        name: Of the results.
        state_dir: Directory of the folder, unless it is that of the results.
        asked: What is otherwise in ``Asked``.
    """
    files = RunFiles(parent / name, state_dir)
    files.folder.mkdir(mode=0o700)
    rows = [each if isinstance(each, tuple) else row(each) for each in rows]
    table = [{**own, "DeviceSn": own["DeviceSn"] or f"{number:08d}"} for number, (own, _, _) in enumerate(rows, 1)]
    schema = {"DeviceSn": pl.String(), "CaSn": pl.String()}
    pinned = pl.DataFrame(table, schema=None if table else schema, infer_schema_length=None)
    by_device = asked.get("action", "inactivate-device").endswith("device")
    pinned = pinned if by_device else pinned.drop("DeviceSn")
    run_id = asked.get("run", RUN_ID)
    pinned.write_parquet(files.pinned(run_id))
    run = Asked(
        **{
            "run": run_id,
            "pinned_sha256": sha256_of(files.pinned(run_id)),
            "action": "inactivate-device",
            "instance": "post-cn-made",
            "rows": len(rows),
            "endpoint": "https://service",
            "keys_sha256": "5" * 64,
            "sha256": "5" * 64,
            "inputs": ("devices.csv",),
            "results": str(files.results),
            "directory": str(parent),
            "columns": tuple(pinned.columns),
            "device_column": "DeviceSn" if by_device else None,
            "ca_column": "CaSn",
            "version": "0",
            **asked,
        }
    )
    with _database(files.store) as db:
        make_tables(db)
        db.execute("INSERT INTO run VALUES (1, ?)", (msgspec.json.encode(run).decode(),))
        db.execute("INSERT INTO tally (id) VALUES (1)")
        for each in (session(),) if sessions is None else sessions:
            _insert(db, "session", each)
        for number, (_, known, claim) in enumerate(rows, 1):
            if known:
                _insert(db, "certificate", {"row": number, **known})
            if claim:
                _insert(db, "claim", {"row": number, "session": claim[0], "sent": claim[1]})
        seal(db, files, run)
    files.store.chmod(0o600)
    return files


def seal(db, files, run):
    """Gives the rows of a store the digests that they have where nobody has changed them by hand."""
    columns = "newest, code, message, http_status, request_id, attempts, sent_at, finished_at"
    nothing = (f"{name} = NULL" for name in ("digest", "latency_ms", *columns.split(", ")) if name != "attempts")
    db.execute(f"UPDATE certificate SET attempts = 0, {', '.join(nothing)} WHERE newest IS NULL")
    called = f"SELECT row, {columns} FROM certificate WHERE newest IS NOT NULL AND row BETWEEN ? AND ?"
    for batch in annotated(pinned_of(files, run), own=False):
        of_rows = dict(serials_in(batch))
        found = db.execute(called, (min(of_rows, default=1), max(of_rows, default=0))).fetchall()
        digests = [(digest_of(of_rows[call[0]], call), call[0]) for call in found]
        db.executemany("UPDATE certificate SET digest = ? WHERE row = ?", digests)
    tally(db)


def tally(db):
    """Adds up what all rows of a store come to."""
    db.execute(f"UPDATE tally SET (outcomes, claims, marks, sessions, controls) = ({TALLIED})")


@contextmanager
def _database(path):
    db = sqlite3.connect(path)
    with closing(db), db:
        yield db


def _insert(db, table, values):
    names, places = ", ".join(values), ", ".join("?" * len(values))
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", tuple(values.values()))
