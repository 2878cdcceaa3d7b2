"""``RESULTS.failed.csv``: the rows that are not in the desired state, what to do about each, and valid as an input."""

import errno
import json

import polars as pl
import pytest
from made_store import made_run, row, session
from program import INSTANCE, UNHURRIED, here, read_results, write_devices

from bulkcert.output import failed, results
from bulkcert.output.failed import Group
from bulkcert.output.files import cannot_write
from bulkcert.views.ending import GROUPS_SHOWN, failed_lines

OTHER, SAME = {"verified": "active", "verified_at": 1}, {"verified": "inactive", "verified_at": 1}
ROWS = {
    "succeeded": row(own={"meaning": "his, own", "outcome": "won"}),
    "unchanged": row("unchanged"),
    "succeeded, read back": row(**SAME),
    "duplicate": row("duplicate"),
    "not registered": row("not_registered", code="FindDeviceBySnError", message='a "word",\nor two'),
    "failed": row("failed", code="InternalError", own={"meaning": "his, own", "outcome": "won"}),
    "unknown": row("unknown", code="Client.Timeout"),
    "invalid": row("invalid"),
    "protected": row("protected"),
    "undone": row("undone"),
    "not attempted": row(None),
    "drifted": row(**OTHER),
    "deleted since": row(verified="not_registered", verified_at=1),
    "maybe undone": row(claimed_by=2, sent=True),
    "failed, maybe undone": row("failed", claimed_by=2, sent=True),
    "drifted, maybe undone": row(**OTHER, claimed_by=2, sent=True),
    "in doubt, read back": row(None, **OTHER, claimed_by=1),
    "in doubt, found so": row(None, **SAME, claimed_by=1),
    "stopped, found so": row("not_attempted", **SAME),
    "stopped, found so, maybe undone": row("not_attempted", **SAME, claimed_by=2, sent=True),
}
GOOD = (*tuple(ROWS)[:4], "in doubt, found so", "stopped, found so")
ENDED = [session(ended=1), session("undo", after_ms=60_000, ended=1)]


def failed_of(run):
    """Returns the failed rows of a run by number, as they stand in the file."""
    return {int(each["row"]): each for each in read_results(run.failed)}


def test_every_row_that_is_not_in_the_desired_state(tmp_path):
    """Each is in it with its own columns and what to do, however it came to be so; and as many as everybody counts."""
    run = made_run(tmp_path, ROWS.values(), ENDED)
    here("export", run.results).ended(0)
    found, summary = failed_of(run), json.loads(run.summary.read_bytes())
    status = json.loads(here("status", run.results, "--json").stdout)
    report = json.loads(here("report", run.results, "--format", "json").ended(0).stdout)

    assert [name for number, name in enumerate(ROWS, 1) if number in found] == [n for n in ROWS if n not in GOOD]
    assert all(each["what_to_do"] and each["message"] for each in found.values())
    assert found[6] | {"what_to_do": ""} == {
        "DeviceSn": "00000006",
        "CaSn": "00ca",
        "meaning": "his, own",
        "input_outcome": "won",
        "row": "6",
        "outcome": "failed",
        "code": "InternalError",
        "message": found[6]["message"],
        "what_to_do": "",
    }
    assert found[5]["message"] == 'a "word",\nor two'
    assert found[12]["message"] == "succeeded, then read back as active"
    assert found[17]["message"] == "not attempted, then read back as active"
    assert found[17]["what_to_do"] == f"The run has not reached them: `bulkcert resume {run.results}`"
    assert len(found) == status["not_desired"] == summary["failed"]["rows"]
    assert len(found) == sum(each["rows"] for each in report["findings"])
    assert status["failed"] == report["failed"] == summary["failed"]["file"] == str(run.failed)
    assert {each["what_to_do"] for each in found.values()} == {each["advice"] for each in report["findings"]}
    assert run.failed.stat().st_mode & 0o777 == 0o600
    assert run.failed in [*run.everything()], "what removes a run removes it, too"
    assert run.failed in run.kept


@pytest.mark.parametrize("name", [name for name in ROWS if name not in GOOD])
def test_one_row_is_enough(tmp_path, name):
    """There is a file exactly if the run is not in its desired state."""
    files = made_run(tmp_path, [ROWS[good] for good in GOOD] + [ROWS[name]], ENDED)
    here("export", files.results).ended(0)

    assert list(failed_of(files)) == [len(GOOD) + 1]
    assert f"{files.failed}: 1 row" in here("status", files.results).ended(1).stdout


def test_no_row_no_file(tmp_path):
    """Where all is well there is none; one that was right before is removed, and what a kill has left of one."""
    run = made_run(tmp_path, [ROWS[name] for name in GOOD[:4]], [session()])
    run.failed.write_text("of before\n")
    left = run.failed.with_name(f".{run.failed.name}.0123456789ab.part")
    left.touch()
    here("export", run.results).ended(0)

    assert not run.failed.exists()
    assert not left.exists()
    assert json.loads(run.summary.read_bytes())["failed"] is None
    assert "rows left" not in here("status", run.results).ended(0).stdout


def test_it_is_not_shown_while_it_may_be_old(tmp_path):
    """After a session that was killed nobody is sent to the file that an earlier one has left."""
    run = made_run(tmp_path, ["failed"], [session(ended=1), session(ended=None)])
    run.failed.write_text("of before\n")

    assert "rows left" not in here("status", run.results).ended(75).stdout
    assert json.loads(here("report", run.results, "--format", "json").ended(0).stdout)["failed"] is None


def test_groups(tmp_path, monkeypatch):
    """The summary counts by code and CA, the largest first; of too many CAs the rest is counted together."""
    rows = [row("failed", code="A", ca=f"ca{number // 4}") for number in range(10)] + [row("failed", code="B")]
    run = made_run(tmp_path, [*rows, row(None), row(**OTHER)], [session(ended=1)])

    def groups():
        here("export", run.results).ended(0)
        return json.loads(run.summary.read_bytes())["failed"]["groups"]

    drifted = {"kind": "drifted", "code": "", "ca_sn": "00ca", "rows": 1, "instance": ""}
    assert groups()[:2] == [{**drifted, "kind": "failed", "code": "A", "ca_sn": ca, "rows": 4} for ca in ("ca0", "ca1")]
    assert drifted in groups()
    monkeypatch.setattr(failed, "MOST_GROUPS", 1)
    assert sum(group["rows"] for group in groups()) == 13
    assert {group["ca_sn"] for group in groups()} == {"ca0", ""}


def test_on_the_terminal():
    """A few lines, with code and CA; what was not tried, or was undone, is no failure."""
    many = [Group("failed", "A", f"ca{number}", 9 - number) for number in range(GROUPS_SHOWN + 1)]
    none = [Group(kind, "", "ca", 1) for kind in ("not_attempted", "undone")]
    lines = [line for _, line in failed_lines(failed.FailedRows("r.csv.failed.csv", 40, [*none, *many]))]

    assert lines[0] == "r.csv.failed.csv: 40 rows not in the desired state"
    assert [line.split() for line in lines[1:3]] == [
        ["9", "failed", "A", "CA", "ca0"],
        ["8", "failed", "A", "CA", "ca1"],
    ]
    assert lines[-1].strip() == "and further groups"
    assert len(lines) == GROUPS_SHOWN + 2


@pytest.mark.usefixtures("inside")
def test_from_run_to_run(tmp_path, service):
    """Run, the file as the list of another run, resume, verify, undo: each leaves the file that is true at its end."""
    devices = write_devices("d.csv", 10, cas=2)
    service.seed(devices[:6])
    where, left, pace = service.looking, tmp_path / "r.csv.failed.csv", UNHURRIED

    ran = here("run", "inactivate-device", "d.csv", *where, "-o", "r.csv").ended(1)
    assert [each["DeviceSn"] for each in read_results(left)] == [device for device, _ in devices[6:]]
    assert "rows left     r.csv.failed.csv: 4 rows not in the desired state\n" in ran.stdout
    groups = [line.split() for line in ran.stdout.partition("rows left")[2].splitlines()[1:3]]
    assert groups == [["2", "not_registered", "FindDeviceBySnError", "CA", f"00ca00000{ca}"] for ca in (0, 1)]

    service.seed(devices[6:8])
    here("run", "inactivate-device", left, *where, "-o", "again.csv").ended(1)
    assert [each["DeviceSn"] for each in read_results("again.csv.failed.csv")] == [device for device, _ in devices[8:]]
    service.seed(devices[8:])
    here("resume", "again.csv", "--retry", "not_registered", "--yes", *pace).ended(0)
    assert not (tmp_path / "again.csv.failed.csv").exists()
    here("resume", "r.csv", "--retry", "not_registered", "--yes", *pace).ended(0)
    assert not left.exists()

    service.tell("delete", instance=INSTANCE, ca_sn=devices[0][1], device_sn=devices[0][0])
    verified = here("verify", "r.csv", *pace).ended(1)
    assert [(each["row"], each["outcome"]) for each in read_results(left)] == [("1", "succeeded")]
    assert "rows left     r.csv.failed.csv: 1 row not in the desired state\n" in verified.stdout
    assert "see r.csv.failed.csv" in here("verify", "r.csv", "-q", *pace).ended(1).stderr

    undone = here("undo", "r.csv", "--yes", "--include-unknown", "--log-format", "json", *pace)
    assert json.loads(undone.stderr.splitlines()[-1])["failed"] == "r.csv.failed.csv"
    assert {each["outcome"] for each in read_results(left)} == {"succeeded", "undone"}
    assert "UNDONE" in here("status", "r.csv").ended(1).stdout


def test_the_file_of_somebody_else(tmp_path, service):
    """A file of that name that no run has made is not replaced unasked; the input itself never is."""
    devices = write_devices(tmp_path / "d.csv", 3)
    service.seed(devices)
    theirs, calls = tmp_path / "r.csv.failed.csv", len(service.calls())
    theirs.write_text("DeviceSn,CaSn\n000000000001,00ca000000\n")
    run = ("run", "inactivate-device", *service.looking, "-o", "r.csv")

    refused = here(*run, "d.csv", cwd=tmp_path).ended(73)
    own = here(*run, theirs, "--overwrite", cwd=tmp_path).ended(2)
    assert "r.csv.failed.csv exists" in refused.stderr
    assert "its failed rows in the input itself" in own.said
    assert theirs.read_text().startswith("DeviceSn")
    assert len(service.calls()) == calls
    here(*run, "d.csv", "--overwrite", cwd=tmp_path).ended(0)
    assert not theirs.exists()


def test_of_a_rehearsal(tmp_path):
    """Nobody is sent after certificates that no call has reached."""
    run = made_run(tmp_path, ["failed"], [session(ended=1)], rehearsal=True)
    here("export", run.results).ended(0)

    assert failed_of(run)[1]["what_to_do"].startswith("REHEARSAL: nothing. Of a real run: ")


@pytest.mark.parametrize("command", ["export", "report"])
def test_no_other_product_takes_its_place(tmp_path, command):
    """It is the run's own, whatever may be overwritten."""
    run = made_run(tmp_path, ["failed"], [session(ended=1)])
    here("export", run.results).ended(0)
    before, form = run.failed.read_bytes(), ("--format", "text") if command == "report" else ("--overwrite",)

    assert here(command, run.results, "-o", run.failed, *form).status in (2, 73)
    assert run.failed.read_bytes() == before


def test_columns_of_any_type(tmp_path, service):
    """What a table holds beside the serials is text in it, so that no run fails in its end over a column."""
    table = pl.DataFrame({"DeviceSn": ["000000000077"], "CaSn": ["00ca77"], "tags": [["a", "b"]], "raw": [b"\xff"]})
    table = table.with_columns(
        at=pl.lit(7).cast(pl.Time), took=pl.lit(7).cast(pl.Duration), on=pl.lit(7).cast(pl.Date), none=pl.lit(None)
    )
    table.with_columns(price=pl.lit("1.50").cast(pl.Decimal(10, 2))).write_parquet(tmp_path / "d.parquet")
    here("run", "inactivate-device", "d.parquet", *service.looking, "-o", "r.parquet", cwd=tmp_path).ended(1)
    (found,) = read_results(tmp_path / "r.parquet.failed.csv")

    assert (found["tags"], found["raw"], found["price"], found["on"]) == ('["a","b"]', "/w==", "1.50", "1970-01-08")


def test_where_it_cannot_be_written(tmp_path, service, monkeypatch):
    """The run says so, ends with 73, and its results are there all the same."""

    def full(path, *_, **_options):
        raise cannot_write(path, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(results, "clear_left", full)
    service.seed(write_devices(tmp_path / "d.csv", 3))
    run = ("run", "inactivate-device", "d.csv", *service.looking, "-o", "r.csv", "--overwrite")
    said = here(*run, cwd=tmp_path).ended(73)

    assert "r.csv.failed.csv" in said.stderr
    assert read_results(tmp_path / "r.csv")
