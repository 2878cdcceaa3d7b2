"""``bulkcert export``: results anew, all or some, in any format, and never a call."""

import csv
import json
import os
import re
from pathlib import Path

import polars as pl
import pytest
from made_store import made_run, row, session
from program import PATIENCE_S, here, read_results, start, summary_of

import bulkcert
from bulkcert.formats import LISTS
from bulkcert.output.formats import FORMATS
from bulkcert.store import lock

DOCS = Path(bulkcert.__file__).parent / "docs"
ROWS = [
    row("succeeded", own={"Site": "a,b"}, ca="00ca"),
    row("failed", own={"Site": "é"}, ca="00cb", code="InternalError"),
    row("unknown", ca="00ca", code="Client.NoAnswer"),
    row("not_registered", ca="00cb", code="FindDeviceBySnError"),
    row(None, ca="00cb"),
]


@pytest.fixture
def run(tmp_path):
    return made_run(tmp_path, ROWS, [session(ended=1)])


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ((), [1, 2, 3, 4, 5]),
        (("--outcome", "failed,unknown"), [2, 3]),
        (("--outcome", "failed", "--outcome", "not_attempted"), [2, 5]),
        (("--code", "InternalError", "--code", "FindDeviceBySnError"), [2, 4]),
        (("--ca-sn", "00cb"), [2, 4, 5]),
        (("--ca-sn", "00cb", "--outcome", "failed,succeeded"), [2]),
        (("--code", "Nothing"), []),
    ],
)
@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_written(tmp_path, run, suffix, options, rows):
    """The rows that are wanted are written in order, with the list's own columns, in the format of the name."""
    output = tmp_path / f"x{suffix}"
    said = here("export", run.results, "-o", output, *options).ended(0)

    found = read(output)
    assert [int(each["row"]) for each in found] == rows
    assert [each["DeviceSn"] for each in found] == [f"{number:08d}" for number in rows]
    assert [each["Site"] for each in found if int(each["row"]) < 3] == [
        ["a,b", "é"][each - 1] for each in rows if each < 3
    ]
    assert said.stdout.startswith(f"written       {output}: {len(rows) or 'no'} row")
    assert sum(int(line.split()[0]) for line in said.stdout.splitlines()[1:]) == len(rows)
    assert not run.results.exists()
    assert output.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("named", ["-", "/dev/stdout"])
def test_standard_output(tmp_path, run, named):
    """It takes CSV, the same as a file, and nothing else; whoever reads no further ends it in silence."""
    here("export", run.results, "-o", tmp_path / "x.csv", "--outcome", "failed,unknown").ended(0)
    said = here("export", run.results, "-o", named, "--outcome", "failed,unknown").ended(0)

    assert (said.stdout, said.stderr) == ((tmp_path / "x.csv").read_text(), "")
    unread, written = os.pipe()
    os.close(unread)  # before it starts: what is written here fits into a pipe, and a busy machine may be late
    with os.fdopen(written, "wb") as stdout, start("export", run.results, "-o", named, stdout=stdout) as child:
        assert (child.wait(PATIENCE_S), child.stderr.read()) == (141, b"")
    assert Path("/dev/stdout").is_symlink()


def read(path):
    match path.suffix:
        case ".csv":
            return read_results(path)
        case ".gz" | ".zst":
            return pl.read_csv(path, infer_schema=False).to_dicts()
        case ".parquet":
            return pl.read_parquet(path).to_dicts()
        case _:
            return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("where", ["run", "export", "inventory", "results.md", "inventory.md"])
def test_every_format_is_named_where_one_is_chosen(where):
    """Help and pages name each by its suffix."""
    text = (DOCS / where).read_text() if where.endswith(".md") else here(where, "--help").ended(0).stdout

    assert {Path(f"x{suffix}").suffix for suffix in FORMATS} <= {*re.findall(r"\.\w+", text)}
    assert list(FORMATS) == [suffix for suffix, each in LISTS.items() if each.is_written]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("outcome", ["failed,unknown", "unchanged"])
def test_valid_as_an_input(tmp_path, service, run, suffix, outcome):
    """What is written is a list that a run takes, without any row as well."""
    output = tmp_path / f"x{suffix}"
    here("export", run.results, "-o", output, "--outcome", outcome).ended(0)
    here("run", "inactivate-device", output, "-o", tmp_path / "again.csv", *service.where).ended(
        int("failed" in outcome)
    )

    called = read_results(tmp_path / "again.csv")
    assert [each["DeviceSn"] for each in called] == (["00000002", "00000003"] if "failed" in outcome else [])


def test_the_results_themselves(run):
    """Without -o the results are written anew, and the summary that names them; as -o they mean the same."""
    here("export", run.results).ended(0)
    whole, names = run.results.read_bytes(), summary_of(run.results)["results_sha256"]
    run.results.write_bytes(b"")
    said = here("export", run.results, "-o", run.results).ended(0).stdout

    assert run.results.read_bytes() == whole
    assert summary_of(run.results)["results_sha256"] == names
    assert f"{run.results}: 5 rows" in said
    assert len(list(csv.reader(whole.decode().splitlines()))) == 6


def test_beside_a_running_session(tmp_path, run):
    """A session that is running is not disturbed: another file is written beside it, its own results are not (73)."""
    held = lock.take(run.lock)
    here("export", run.results, "-o", tmp_path / "x.csv").ended(0)
    refused = here("export", run.results).ended(73)
    held.close()

    assert "another process holds" in refused.stderr
    assert not run.results.exists()


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (("-o", "there.csv"), 73, "--overwrite"),
        (("-o", "results.csv", "--outcome", "failed"), 73, "only some of its rows"),
        (("--outcome", "failed"), 73, "only some of its rows"),
        (("-o", "other.csv", "--overwrite"), 73, "results of a run"),
        (("-o", "results.csv.run/x.csv"), 73, "in the folder of the run"),
        (("-o", "none/x.csv"), 73, "cannot write"),
        (("-o", "folder.csv", "--overwrite"), 73, "is a directory"),
        (("-o", "x.txt"), 2, "must end in .csv, .csv.gz, .csv.zst, .parquet"),
        (("-o", "x.csv", "--outcome", "failure"), 2, "'failure' is not valid; choose from succeeded"),
    ],
)
def test_refused(tmp_path, run, options, status, told):
    """What may not be written is refused with a word on what to do, and nothing is changed."""
    made_run(tmp_path, name="other.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "there.csv").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    refused = here("export", run.results, *options, cwd=tmp_path).ended(status)

    assert told in refused.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "there.csv").read_text() == "mine"
    here("export", run.results, "-o", "there.csv", "--overwrite", cwd=tmp_path).ended(0)
    assert len(read_results(tmp_path / "there.csv")) == 5


def test_no_run(tmp_path):
    """Without a run there is nothing to write (66)."""
    for options in ((), ("-o", tmp_path / "x.csv")):
        assert "no run has written there" in here("export", tmp_path / "r.csv", *options).ended(66).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ended", [1, None])
def test_what_nobody_knows_was_before(tmp_path, ended):
    """The summary counts these rows as well where the end of the session could not be kept."""
    made_run(tmp_path, ["succeeded", row(before="active"), "failed"], [session(ended=ended)])
    here("export", "results.csv", cwd=tmp_path).ended(0)

    assert summary_of(tmp_path / "results.csv")["unknown_before"] == 1
