"""Evidence: a byte that was changed is noticed and said with its row, and what belongs together is proved to."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import polars as pl
import pytest
from damaged_stores import torment
from made_store import made_run, row, session
from program import UNHURRIED, here, summary_of, write_devices
from stored import change

from bulkcert.output.files import sha256_of
from bulkcert.store import evidence
from bulkcert.store.paths import RunFiles

ROWS = [
    row("succeeded", request_id="REQUEST-1"),
    row("failed", request_id="REQUEST-2", code="InternalError", message="it is late"),
    row("unchanged", before="inactive", finished_at=5),
    row("duplicate", first_row=1),
    row("succeeded", before="active", verified="inactive", verified_at=7),
    row(None),
]

CHANGES = {
    "outcome": (1, "newest = 'failed'"),
    "no outcome": (1, "newest = NULL"),
    "code": (2, "code = 'InternalErros'"),
    "message": (2, "message = 'it is date'"),
    "request ID": (1, "request_id = 'REQUEST-7'"),
    "attempts": (1, "attempts = 2"),
    "attempts, of no call": (5, "attempts = x''"),
    "sent": (1, "sent_at = sent_at + 1"),
    "finished": (3, "finished_at = 6"),
    "again": (2, "again = 1"),
    "changed": (1, "changed = 0"),
    "state before": (5, "before = 'bctive'"),
    "why": (4, "why = 'jt is duplicate'"),
    "never": (4, "never = 'invalid'"),
    "which it repeats": (4, "first_row = 2"),
    "read back": (5, "verified = 'active'"),
    "when it was": (5, "verified_at = 8"),
}


CALL = ("newest", "digest", "code", "message", "http_status", "request_id", "sent_at", "finished_at", "latency_ms")
UNCALLED = {"code": "'C'", "message": "'m'", "http_status": 0, "request_id": "'R'", "attempts": 1, "finished_at": 0}
CHANGES |= {f"never called, {name}": (4, f"{name} = {value}") for name, value in UNCALLED.items()}


def tamper(results, statement, *values):
    """Changes a store as a disk does: without its copies and digests."""
    with closing(sqlite3.connect(RunFiles(results).store, isolation_level=None)) as db:
        kept = db.execute("SELECT sql, name FROM sqlite_master WHERE sql LIKE '%mirror GENERATED%'").fetchall()
        db.execute("PRAGMA writable_schema = ON")
        for sql, name in kept:
            plain = re.sub(r"(\w*mirror) GENERATED ALWAYS AS \(.*?\) STORED", r"\1", sql, flags=re.DOTALL)
            db.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (plain, name))
        db.execute("PRAGMA writable_schema = RESET")
        db.execute(statement, values)
        db.execute("PRAGMA writable_schema = ON")
        db.executemany("UPDATE sqlite_master SET sql = ? WHERE name = ?", kept)


@pytest.fixture
def run(tmp_path):
    files = made_run(tmp_path, ROWS, [session(ended=1)])
    here("export", files.results).ended(0)
    return files.results


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_changed_is_noticed(run, what):
    """Whatever it is: nothing is written, and the row is said."""
    number, changed = CHANGES[what]
    before = run.read_bytes()
    tamper(run, f"UPDATE certificate SET {changed} WHERE row = ?", number)

    said = here("export", run).ended(73).said
    assert f"row {number} is not as it was written" in said
    assert run.read_bytes() == before


@pytest.mark.parametrize("command", [("report",), ("undo", "--yes"), ("verify",), ("export", "-o", "x.csv")])
def test_whoever_decides_by_it(run, inside, command):
    """No command takes what was changed for the truth; none of these makes a call."""
    tamper(run, "UPDATE certificate SET newest = 'succeeded' WHERE row = 2")
    name, *options = command
    said = here(name, run, *options)

    assert said.status in (66, 73)
    assert "row 2 is not as it was written" in said.said


def test_who_resumes(service, inside):
    """What was done is not done again because of a changed byte, and what was not is not taken for done."""
    write_devices("d.csv", 30)
    run = ("run", "inactivate-device", "d.csv", "-o", "r.csv", *service.where)
    here(*run, "--limit-rows", 20).ended(75)
    arrivals = service.report().changes
    tamper(Path("r.csv"), "UPDATE certificate SET again = 1 WHERE row = 6")
    for command in (run, ("resume", "r.csv", "--yes")):
        assert "row 6 is not as it was written" in here(*command).ended(73).said
    assert service.report().changes == arrivals


@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ("run", "asked = json_set(asked, '$.endpoint', 'https://elsewhere') || ''"),
        ("session", "exit_status = 0"),
        ("session", "kind = 'undo'"),
        ("claim", "row = 5"),
    ],
)
def test_what_is_no_row_is_noticed_too(tmp_path, table, changed):
    """What was asked, what a session did, and what it may have called."""
    files = made_run(tmp_path, [row(), row(None, claimed_by=1), *map(row, ["failed"] * 4)], [session(ended=None)])
    here("status", files.results).ended(75)
    tamper(files.results, f"UPDATE {table} SET {changed}")

    assert f"a {table} in it is not as it was written" in here("status", files.results).ended(66).said
    here("export", files.results).ended(73)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM certificate WHERE row = 5",
        f"UPDATE certificate SET {', '.join(f'{name} = NULL' for name in CALL)}, attempts = 0 WHERE row = 1",
        "UPDATE certificate SET before = NULL WHERE row = 5",
        "UPDATE certificate SET verified = NULL, verified_at = NULL WHERE row = 5",
        "UPDATE certificate SET again = 1 WHERE row = 2",
        "UPDATE certificate SET never = NULL, first_row = NULL, why = NULL WHERE row = 4",
        "UPDATE certificate SET session = 1 WHERE row = 7",
        "DELETE FROM attempt",
        "UPDATE attempt SET session = 3",
        "UPDATE attempt SET attempts = 2",
        "DELETE FROM claim",
        "DELETE FROM session WHERE id = 2",
        "UPDATE session SET ended_at = NULL WHERE id = 1",
        "DELETE FROM control",
    ],
)
def test_what_is_of_another_time(tmp_path, statement):
    """Each as it was written: that one is missing, or is as it was before, is noticed all the same."""
    files = made_run(
        tmp_path,
        [*ROWS, row("not_attempted", session=2, claimed_by=2)],
        [session(ended=1), session(ended=None, after_ms=1000)],
    )
    change(files.results, "UPDATE certificate SET code = 'Later', newest = 'unknown' WHERE row = 2")
    asked = "INSERT INTO control (session, request, user, host, pid, asked_at) VALUES (1, 'pause', 'u', 'h', 1, 5)"
    change(files.results, asked)
    here("export", files.results).ended(0)
    with closing(sqlite3.connect(files.store, isolation_level=None)) as db:
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        assert db.execute(statement).rowcount

    for command in ("export", "report", "verify"):
        said = here(command, files.results).said
        assert "rows are missing, or are of another time" in said


def test_pages_that_are_exchanged(tmp_path):
    """Each row is as it was written, and in its table; but not where a question for it looks."""
    files = made_run(
        tmp_path, [*(row("failed", request_id=f"REQUEST-{n}") for n in range(100)), row(None)], [session(ended=1)]
    )
    here("export", files.results).ended(0)
    content = files.store.read_bytes()
    pages = [content[at : at + 4096] for at in range(0, len(content), 4096)]
    one, two, *_ = (number for number, page in enumerate(pages) if page[0] == 13 and b"REQUEST-" in page)  # leaves
    pages[one], pages[two] = pages[two], pages[one]
    files.store.write_bytes(b"".join(pages))

    for command in ("export", "report", "verify"):
        assert "its indexes and its tables contradict each other" in here(command, files.results).said


def test_other_serials(run):
    """A row is of the certificate that was called: the list cannot be exchanged for another."""
    (pinned,) = RunFiles(run).folder.glob("input-*")
    frame = pl.read_parquet(pinned)
    frame.with_columns(DeviceSn=frame["DeviceSn"].str.replace("00000002", "00000007")).write_parquet(pinned)
    for command in ("export", "report", "undo", "verify"):
        assert "it is not as it was written" in here(command, run).ended(66).said

    change(run, "UPDATE run SET asked = json_set(asked, '$.pinned_sha256', ?) || ''", sha256_of(pinned))
    assert "row 2 is not as it was written" in here("export", run).ended(73).said


def test_what_belongs_together(run):
    """Store, results, summary and report have one digest of all rows."""
    said = here("export", run, "--check").ended(0).stdout
    digest = summary_of(run)["rows_digest"]
    assert said.splitlines()[-1].split() == ["digest", digest]
    assert re.search("report +none", said)

    here("report", run).ended(0)
    assert f"{run}.report.html: of these rows" in here("export", run, "--check").ended(0).stdout
    shown = json.loads(here("report", run, "--format", "json").ended(0).stdout)
    assert shown["rows_digest"] == digest
    assert digest in "".join(here("report", run, "--format", "text").ended(0).stdout.split())


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "csv.zst", "parquet", "ndjson"])
def test_results_of_every_format(tmp_path, suffix):
    """They are proved byte for byte."""
    files = made_run(tmp_path, ROWS, [session(ended=1)], name=f"r.{suffix}")
    here("export", files.results).ended(0)
    here("export", files.results, "--check").ended(0)
    content = files.results.read_bytes()
    files.results.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])

    assert "not what the store has" in here("export", files.results, "--check").ended(65).said


def test_what_does_not(run):
    """A file that was changed is named (65), one that is missing too (66); export and report put it right."""
    files = RunFiles(run)
    here("report", run).ended(0)

    def refused(status, path):
        said = here("export", run, "--check").ended(status)
        assert path.name in said.stderr.partition("\n")[0]
        return said.said

    files.report.write_text(files.report.read_text().replace(summary_of(run)["rows_digest"], "0" * 64))
    assert f"made again: bulkcert report {run}" in refused(65, files.report)
    here("report", run).ended(0)
    change(run, "UPDATE certificate SET code = 'Later' WHERE row = 2")
    assert f"made again: bulkcert export {run}" in refused(65, run)
    here("export", run).ended(0)
    refused(65, files.report)
    here("report", run).ended(0)
    here("export", run, "--check").ended(0)
    files.summary.write_text("{}")
    refused(65, files.summary)
    run.unlink()
    refused(66, run)


def test_replaced_outcomes(run):
    """They are for audit: changed, they are noticed by --check."""
    change(run, "UPDATE certificate SET newest = 'succeeded' WHERE row = 2")
    here("export", run).ended(0)
    here("export", run, "--check").ended(0)
    tamper(run, "UPDATE attempt SET code = 'Other'")

    assert "an earlier outcome of row 2" in here("export", run, "--check").ended(66).said


PROVING = [("export",), ("export", "--check"), ("export", "-o", "x.csv"), ("report",)]


@pytest.mark.parametrize("command", PROVING)
@pytest.mark.parametrize("guards", [True, False])
def test_rows_are_proved_once(tmp_path, inside, monkeypatch, command, guards):
    """In one command once is enough, whoever the results are for."""
    rows = [*ROWS, row("failed", message="=1+1")]  # which is quoted for people alone
    files = made_run(tmp_path, rows, [session(ended=1, options={"formula_guard": guards})])
    here("export", files.results).ended(0)
    whole = Mock(side_effect=evidence.confirm_whole)
    monkeypatch.setattr(evidence, "confirm_whole", whole)

    name, *options = command
    assert here(name, files.results, *options).status in (0, 1)
    assert whole.call_count == 1


def test_what_is_computed_has_no_type(run):
    """SQLite, looking for damage, would compute it for each row to look at the type: half of what a proof takes."""
    with closing(sqlite3.connect(RunFiles(run).store)) as db:
        columns = db.execute("SELECT name, type, hidden FROM pragma_table_xinfo('certificate')").fetchall()
    computed = {name: type_ for name, type_, hidden in columns if hidden}

    assert {"altered", "outcome", "mark", "mirror", "states_mirror"} == {*computed}
    assert not any(computed.values())


def test_a_report_elsewhere(run, tmp_path):
    """It is named with --report, which goes with --check alone, as --check goes with nothing else."""
    here("report", run, "-o", tmp_path / "r.md").ended(0)
    here("export", run, "--check", "--report", tmp_path / "r.md").ended(0)
    here("export", run, "--check", "--report", tmp_path / "none.md").ended(66)
    here("export", run, "--report", tmp_path / "r.md").ended(2)
    here("export", run, "--check", "-o", tmp_path / "x.csv").ended(2)


def test_a_real_run(tmp_path, service, inside):
    """After a run, an undo and a verification all of it belongs together."""
    devices = write_devices("d.csv", 30)
    service.seed(devices[:25])
    here("run", "inactivate-device", "d.csv", "-o", "r.csv", *service.looking).ended(1)
    here("export", "r.csv", "--check").ended(0)
    here("undo", "r.csv", "--yes").ended(0)
    here("verify", "r.csv", *UNHURRIED).ended(1)
    here("export", "r.csv", "--check").ended(0)


MAKING_WAY = {
    "cut": lambda content: content[:5000],
    "no header": lambda content: bytes(100) + content[100:],
    "another action": lambda content: content.replace(b'"inactivate-device"', b'"inactivate-devicf"'),
    "what was asked": lambda content: content.replace(b'"action"', b'"actioo"', 1),
    "a table": lambda content: content.replace(b"CREATE TABLE certificate", b"CREATE TABLE certificatf"),
    "an outcome": lambda content: content.replace(b"succeeded", b"succeedee", 9),
    "pages": lambda content: content[:8192] + bytes(len(content) - 8192),
}


@pytest.mark.parametrize("damage", MAKING_WAY)
def test_a_damaged_store_makes_way(service, inside, damage):
    """It is refused, no call is made; with --overwrite, as the advice is, the run begins from scratch."""
    service.seed(write_devices("d.csv", 30))
    run = ("run", "inactivate-device", "d.csv", "-o", "r.csv", *service.where)
    here(*run).ended(0)
    store, changes = RunFiles(Path("r.csv")).store, service.report().changes
    store.write_bytes(MAKING_WAY[damage](store.read_bytes()))
    for command in (run, ("resume", "r.csv", "--yes"), ("undo", "r.csv", "--yes"), ("export", "r.csv")):
        said = here(*command)
        assert said.status in (66, 73)
        assert "is damaged: " in said.said
    assert service.report().changes == changes

    here(*run, "--overwrite").ended(0)
    here("export", "r.csv", "--check").ended(0)


def test_damaged_stores():
    """The short form of ``damaged_stores.py``: each is refused, or shows every row as it was."""
    counts, wrong = torment(1, 60)

    assert not wrong
    assert {what for _, what in counts} == {"refused", "right"}
