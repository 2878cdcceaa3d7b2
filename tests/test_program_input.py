"""Input of every kind, good and bad, through the whole command; and results that hold all of it."""

import base64
import csv
import datetime as dt
import gzip
import hashlib
import io
import json
import re
import stat

import polars as pl
import pytest
from place import Place
from program import INSTANCE, here, outcomes, read_results, summary_of

from bulkcert.output.results import COLUMNS
from bulkcert.store.paths import RunFiles

OWN = ["DeviceSn", "CaSn", "input_outcome", "outcome"]
ROWS = [
    ["000000000001", "00ca", 'says "hi", twice', "own"],
    ["000000000002", "00ca", "two\nlines", ""],
    ["0e5", "00cb", "ключ 钥匙 🔑", " spaces "],
    ["000000000001", "00ca", "again", "x"],
]
DEVICES = [(device, ca) for device, ca, *_ in ROWS[:3]]


@pytest.fixture
def place(tmp_path, service):
    place = Place(tmp_path, service, 0)
    place.list.write_bytes(as_csv())
    service.seed(DEVICES)
    return place


def as_csv(header=OWN, rows=ROWS, newline="\n"):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=newline).writerows([header, *rows])
    return text.getvalue().encode()


def test_a_list_as_others_write_it(tmp_path, place):
    """Mark, line ends, compression and names matter to nothing: serials go out as they stand, own columns come back."""
    place.list = tmp_path / "names [x] 'y' ü.CSV.GZ"
    text = b"\xef\xbb\xbf" + as_csv(["device_sn", "CA SN", *OWN[2:]], newline="\r\n")
    place.list.write_bytes(gzip.compress(text))
    place.run().ended(0)

    rows = read_results(place.results)
    header = list(rows[0])
    assert header[4:] == list(COLUMNS)
    assert header[2:4] == ["input_outcome", "input_input_outcome"]
    assert [list(row.values())[:4] for row in rows] == ROWS
    assert [row["outcome"] for row in rows] == ["succeeded"] * 3 + ["duplicate"]
    assert {(call["device_sn"], call["ca_sn"]) for call in place.service.calls()[place.started :]} == set(DEVICES)
    assert place.arrivals == 3


def test_three_formats(tmp_path, place):
    """Results are the same in CSV, Parquet and NDJSON; they and the folder of the run are for the owner alone."""
    tables = []
    for suffix in ("csv", "parquet", "ndjson"):
        place.results = tmp_path / f"results.{suffix}"
        place.run().ended(0)
        if suffix == "csv":
            tables.append(pl.read_csv(place.results, infer_schema=False))
        else:
            tables.append(pl.read_parquet(place.results) if suffix == "parquet" else pl.read_ndjson(place.results))
        folder = RunFiles(place.results).folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in (place.results, *folder.iterdir())} == {0o600}
    same = ["DeviceSn", "CaSn", "input_outcome", "input_input_outcome", "row", "outcome", "http_status", "attempts"]
    texts = [table.select(pl.col(same).cast(pl.String).fill_null("")) for table in tables]
    assert texts[0].equals(texts[1])
    assert texts[1].equals(texts[2])
    assert not list(tmp_path.rglob(".*")), "a temporary file was left"


@pytest.mark.parametrize("suffix", ["csv.gz", "csv.zst", "CSV.GZ"])
def test_compressed_results(tmp_path, place, suffix):
    """They are the same CSV, compressed, and an input again; every command about the run takes them."""
    place.run().ended(0)
    plain = pl.read_csv(place.results, infer_schema=False)
    place.results = tmp_path / f"results.{suffix}"
    place.run().ended(0)

    found = pl.read_csv(place.results, infer_schema=False)
    same = ["DeviceSn", "CaSn", "row", "outcome"]
    assert found.columns == plain.columns
    assert found.select(same).equals(plain.select(same))
    assert place.results.read_bytes()[:2] in (b"\x1f\x8b", b"\x28\xb5")
    place.list = place.results
    here("verify", place.results, "--endpoint", place.service.url).ended(0)
    assert pl.read_csv(place.results, infer_schema=False)["verified_status"][0] == "inactive"
    for command in ("status", "report", "runs"):
        about = () if command == "runs" else (place.results,)
        here(command, *about, cwd=tmp_path).ended(0)
    here("undo", place.results, "--endpoint", place.service.url, "--yes", "--include-unknown").ended(0)
    assert set(pl.read_csv(place.results, infer_schema=False)["outcome"]) == {"undone", "duplicate"}
    place.results = tmp_path / "again.csv"
    place.run().ended(0)
    assert outcomes(place.results) == {"succeeded": 3, "duplicate": 1}


def test_summary_adds_up(place):
    """The summary says what went in and came out: hashes, counts, caps, pace, latencies, times, versions, status."""
    place.list.write_bytes(as_csv(rows=[*ROWS, ["", "00ca", "", ""], ["0099", "00cc", "", ""]]))
    place.run("--skip-invalid", "--json").ended(1)

    summary = summary_of(place.results)
    assert summary["outcomes"] == outcomes(place.results)
    assert summary["codes"] == {"FindDeviceBySnError": 1}
    assert summary["input_sha256"] == hashlib.sha256(place.list.read_bytes()).hexdigest()
    assert summary["results_sha256"] == hashlib.sha256(place.results.read_bytes()).hexdigest()
    assert (summary["calls"], summary["retries"], summary["throttles"]) == (4, 0, 0)
    assert 1 <= summary["peak_window"] <= 4
    assert summary["caps"] == {"account": 100000, "address": 100000, "lane": 90000, "source_addresses": ["any"]}
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p90"] <= summary["latency_ms"]["p99"]
    assert summary["started"] < summary["finished"]
    assert (summary["exit_status"], set(summary["versions"])) == (1, {"bulkcert", "python"})


def test_columns_of_every_type(tmp_path, place):
    """Typed, nested and binary columns of Parquet stay so in Parquet; nested is nested in NDJSON, and text in CSV."""
    own = pl.DataFrame(
        {
            "serial": [device for device, *_ in ROWS],
            "CaSn": [ca for _, ca, *_ in ROWS],
            "when": [dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)] * 4,
            "number": [1, None, 3, 4],
            "tags": [["a", "b"], [], None, ["c"]],
            "place": [{"x": 1.5, "y": [1, None]}, None] * 2,
            "key": [b"\x00\xff", b"", None, b"abc"],
        }
    )
    place.list = tmp_path / "devices.parquet"
    own.write_parquet(place.list)
    for suffix in ("parquet", "ndjson", "csv"):
        place.results = tmp_path / f"results.{suffix}"
        place.run("--device-column", "serial").ended(0)

    found = pl.read_parquet(tmp_path / "results.parquet")
    assert found.select(own.columns).equals(own, null_equal=True)
    assert found.schema["sent_at"] == pl.Datetime("ms", "UTC")
    texts = read_results(place.results)
    values = [json.loads(line) for line in (tmp_path / "results.ndjson").read_text().splitlines()]
    for name in ("tags", "place"):
        assert [row[name] for row in values] == own[name].to_list()
        assert [json.loads(row[name]) if row[name] else None for row in texts] == own[name].to_list()
    assert base64.b64decode(texts[0]["key"]) == b"\x00\xff"
    place.list, place.results = tmp_path / "results.ndjson", tmp_path / "again.ndjson"
    place.run("--device-column", "serial").ended(0)


def test_what_no_results_can_hold_is_said_before_the_first_call(tmp_path, place):
    """Columns that a format cannot hold refuse the run (73): nothing is called, and no store is left."""
    place.list = tmp_path / "d.parquet"
    pl.DataFrame({"DeviceSn": ["n1"], "CaSn": ["nca"], "blob": [{"raw": b"\x00"}]}).write_parquet(place.list)
    for suffix in ("csv", "ndjson"):
        place.results = tmp_path / f"r.{suffix}"
        assert "No calls were made" in place.run().ended(73).stderr
    assert (place.arrivals, sorted(path.name for path in tmp_path.iterdir())) == (0, ["d.parquet", "devices.csv"])


def test_trusted_serials(place):
    """Fifteen digits and zeros in every row are what a spreadsheet leaves of longer ones, but for --trust-serials."""
    devices = [(f"86{number:013d}000", "00ca") for number in range(1, 4)]
    place.list.write_bytes(as_csv(OWN[:2], devices))
    place.service.seed(devices)
    refused = place.run().ended(65)

    assert "--trust-serials" in refused.stderr
    assert place.arrivals == 0
    place.run("--trust-serials").ended(0)


def test_results_are_not_the_input(tmp_path, place):
    """Results never overwrite the input, not even through a link, nor with --overwrite."""
    (tmp_path / "link.csv").symlink_to(place.list)
    for results in (tmp_path / "link.csv", f"{tmp_path}/../{tmp_path.name}/devices.csv"):
        place.results = results
        assert "is the input itself" in place.run("--overwrite").ended(2).stderr
    assert (place.list.read_bytes(), place.arrivals) == (as_csv(), 0)


def test_66_unreadable(place):
    """66: an input that is missing, or that is no file."""
    place.list.unlink()
    assert f"{place.list}: no such file" in place.run().ended(66).stderr
    place.list.mkdir()
    assert "a directory\n" in (said := place.run().ended(66).stderr)
    assert f"Name the files in it, as {place.list}/*.csv" in said


def test_65_invalid_rows(tmp_path, place):
    """65: invalid rows are named with their lines, the first twenty; nothing is called unless they are skipped."""
    place.list.write_bytes(as_csv(rows=ROWS + [["", "00ca", "", ""]] * 25))
    refused = place.run().ended(65)

    assert "25 of 29 rows are invalid; no calls were made" in refused.stderr
    assert re.findall(r"devices\.csv:(\d+): ", refused.stderr) == [str(line) for line in range(7, 27)]
    assert "and 5 more" in refused.stderr
    assert "--skip-invalid" in refused.stderr
    assert (place.arrivals, [*tmp_path.iterdir()]) == (0, [place.list]), "no calls, and nothing is left"
    place.run("--skip-invalid").ended(1)
    assert outcomes(place.results) == {"succeeded": 3, "duplicate": 1, "invalid": 25}
    assert place.arrivals == 3


def test_a_pipe(place):
    """A list from standard input is a run as any other: the same one resumes it, the store alone, but no other list."""
    stdin = as_csv(newline="\r\n").decode()
    place.list = "-"
    left = place.run("--limit-rows", 1, stdin=stdin).ended(75)
    assert "input         standard input: 4 rows (1 duplicate)\n" in left.stderr
    refused = place.run(stdin=stdin.replace("0e5", "0e6")).ended(65)
    assert "it differs in the list: new certificates: 1, gone: 1, the same: 2" in refused.stderr
    assert "standard input, line 2: 1 field" in place.run(stdin="DeviceSn,CaSn\n1\n").ended(65).stderr
    place.run("--limit-rows", 1, stdin=stdin).ended(75)
    here("resume", place.results, "--yes").ended(0)

    assert [list(row.values())[:4] for row in read_results(place.results)] == ROWS
    assert outcomes(place.results) == {"succeeded": 3, "duplicate": 1}
    assert place.arrivals == 3


def test_a_pipe_is_rehearsed_and_planned(tmp_path, place):
    """What can be read but once is read once, and every part of a rehearsal goes by that."""
    stdin = as_csv().decode()
    where = ("--endpoint", place.service.url, "--instance", INSTANCE)
    plan = here("plan", "inactivate-device", "-", *where, "--json", stdin=stdin).ended(0)
    then = ("--preflight", "always", "--and-then", "verify", "--and-then", "undo", "--json", "-q")
    told = here("rehearse", "inactivate-device", "-", "-o", tmp_path / "r.csv", *then, stdin=stdin).ended(0)

    assert json.loads(plan.stdout)["rows"] == 4
    made = json.loads(told.stdout)
    assert (made["summary"]["outcomes"], made["undo"]["run"]["outcomes"]) == (
        {"succeeded": 3, "duplicate": 1},
        {"duplicate": 1, "undone": 3},
    )
    assert made["summary"]["input"] == "-"
    assert place.arrivals == 3, "the plan: one certificate, one page, and what no page has shown"


def test_several_files(tmp_path, place):
    """Files and patterns are one list: rows are counted on, a duplicate names the row of another file."""
    (tmp_path / "b").mkdir()
    for number in (2, 1):
        frame = pl.DataFrame({"DeviceSn": [f"b{number}"], "CaSn": ["00ca"], "input_outcome": [""], "outcome": [""]})
        frame.write_parquet(tmp_path / f"b/{number}.parquet")
    place.service.seed([("b1", "00ca"), ("b2", "00ca")])
    (tmp_path / "last.csv").write_bytes(as_csv(rows=ROWS[:1]))
    inputs = (tmp_path / "b/*.parquet", tmp_path / "last.csv")
    left = place.run(*inputs, "--limit-rows", 2).ended(75)
    assert f"{place.list}, {inputs[0]}, {inputs[1]}: 7 rows (2 duplicates)" in left.stderr
    place.list.unlink()
    (tmp_path / "b/1.parquet").unlink()
    here("resume", place.results, "--yes").ended(0)

    rows = read_results(place.results)
    assert [row["row"] for row in rows] == [*"1234567"]
    assert [row["DeviceSn"] for row in rows] == [*(device for device, *_ in ROWS), "b1", "b2", ROWS[0][0]]
    assert [row["message"] for row in rows[3::3]] == ["same pair as row 1"] * 2
    assert place.arrivals == 5
