"""Cells that a spreadsheet would run: quoted where people open them, exact for programs, and never the list's own."""

import json

import msgspec
import polars as pl
import pytest
from made_store import made_run, row, session
from program import UNHURRIED, emulator, here, read_results, summary_of, write_devices

from bulkcert.emulator.messages import Answer
from bulkcert.store.paths import RunFiles

RUN = ["=1+1", "+1-2", "-x", "@SUM(A1)", "\tx", "\rx"]
HARMLESS = ["a=1", " =1", "'=1", "1-2", ""]
OWN = [*RUN, "-5", "+86 130", "+8613012345678", *HARMLESS]


def body(status, **fields):
    return Answer(status, msgspec.json.encode({"RequestId": "R", **fields}))


def hostile(service, rule):
    """Lets ``rule(operation)`` put another answer in the place of the one of a call that was done."""
    emulated, answer = service._emulator, service._emulator.answer

    def answered(request):
        given, delay_s = answer(request)
        return rule(request.headers.get("x-acs-action", "")) or given, delay_s

    emulated.answer = answered


def rows():
    made = [row("failed", code=text, message=text, request_id=text, own={"Note": "n"}) for text in [*RUN, *HARMLESS]]
    return [*made, *(row("succeeded", own={"Note": text}) for text in OWN)]


@pytest.fixture
def run(tmp_path):
    return made_run(tmp_path, rows(), [session(ended=1)]).results


OUTSIDE = ("code", "message", "request_id")


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "csv.zst"])
def test_what_people_open(tmp_path, run, suffix):
    """What comes from outside is quoted, what the list has is as it was and counted in one warning."""
    said = here("export", run, "-o", tmp_path / f"x.{suffix}").ended(0)
    found = pl.read_csv(tmp_path / f"x.{suffix}", infer_schema=False).fill_null("").to_dicts()

    for text, each in zip([*RUN, *HARMLESS], found, strict=False):
        assert [each[name] for name in OUTSIDE] == ["'" * (text in RUN) + text] * 3
    assert [each["Note"] for each in found[-len(OWN) :]] == OWN
    count, first = len(RUN) + 1, len(RUN) + len(HARMLESS) + 1
    assert f"would be run by a spreadsheet in {count} rows (the first: {first})" in said.said


@pytest.mark.parametrize("suffix", ["csv", "ndjson", "parquet"])
def test_what_programs_read(tmp_path, run, suffix):
    """Other formats are exact, and CSV with --no-formula-guard; nothing is warned of."""
    output = tmp_path / f"x.{suffix}"
    said = here("export", run, "-o", output, *(["--no-formula-guard"] if suffix == "csv" else []))
    read = {"csv": lambda: pl.read_csv(output, infer_schema=False), "parquet": lambda: pl.read_parquet(output)}
    read["ndjson"] = lambda: pl.DataFrame([json.loads(line) for line in output.read_text().splitlines()])
    found = read[suffix]().fill_null("")

    for name in OUTSIDE:
        assert found[name][: len(RUN) + len(HARMLESS)].to_list() == [*RUN, *HARMLESS]
    assert found["Note"][-len(OWN) :].to_list() == OWN
    assert not said.stderr


def test_rows_that_are_left(run):
    """The failed rows too are for people; for programs where the results are."""
    here("export", run).ended(0)
    here("export", run, "--check").ended(0)
    left = read_results(RunFiles(run).failed)
    assert [each["code"] for each in left[: len(RUN)]] == [f"'{text}" for text in RUN]
    here("export", run, "--no-formula-guard").ended(0)
    here("export", run, "--check").ended(0)
    assert [each["code"] for each in read_results(run)[: len(RUN)]] == RUN


@pytest.mark.parametrize("options", [(), ("--no-formula-guard",)])
def test_a_run(tmp_path, service, inside, options):
    """What it was started with holds for all that writes its results; a warning and the summary count rows."""
    write_devices("d.csv", 3)
    lines = (tmp_path / "d.csv").read_text().splitlines()
    noted = [f"{line},{note}" for line, note in zip(lines, ["Note", "=1", "x", "@y"], strict=True)]
    (tmp_path / "d.csv").write_text("\n".join(noted))
    code = "=cmd|calc"
    hostile(service, lambda name: body(500, Code=code, Message="m") if name.startswith("Inactivate") else None)
    run = ("run", "inactivate-device", "d.csv", "-o", "r.csv", *service.where, *options, "--max-errors", "100%")
    said = here(*run, "--attempts", 1).ended(1)
    expected = code if options else f"'{code}"

    assert ("would be run by a spreadsheet in 2 rows" in said.said) == (not options)
    for again in ((), ("verify", "r.csv", *UNHURRIED), ("export", "r.csv"), ("resume", "r.csv", "--yes")):
        if again:
            here(*again)
        assert summary_of("r.csv")["formulas"] == ({"rows": 0, "first": 0} if options else {"rows": 2, "first": 1})
        assert {each["code"] for each in read_results("r.csv")} == {expected}
        assert {each["code"] for each in read_results("r.csv.failed.csv")} == {expected}
    assert [each["Note"] for each in read_results("r.csv")] == ["=1", "x", "@y"]

    hostile(service, lambda _: body(403, Code="NoPermission", Message="m"))
    here("verify", "r.csv", *UNHURRIED).ended(77)
    assert summary_of("r.csv")["formulas"]["rows"] == (0 if options else 2), "what has read nothing forgets nothing"


@pytest.mark.parametrize("options", [(), ("--no-formula-guard",)])
def test_an_inventory(tmp_path, options):
    """Names are quoted; serials never, but counted."""
    shown = {"DeviceSn": "=1", "CaSn": "ca", "DeviceName": "=2", "Status": "1"}
    with emulator() as service:
        hostile(service, lambda _: body(200, Data={"Total": 1, "DeviceCertificateVOS": [shown]}))
        where = ("--endpoint", service.url, "--instance", "post-cn-emulator", *UNHURRIED)
        said = here("inventory", *where, "-o", "all.csv", *options, cwd=tmp_path).ended(0)
    (found,) = read_results(tmp_path / "all.csv")

    assert (found["DeviceSn"], found["DeviceName"]) == ("=1", "=2" if options else "'=2")
    assert ("would be run by a spreadsheet in 1 row (row 1)" in said.said) == (not options)
