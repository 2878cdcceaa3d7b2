"""Names and texts from outside: none does anything to a terminal, or to a browser, whichever command shows it."""

import csv
from pathlib import Path

import pytest
from place import FAST
from program import INSTANCE, emulator, here

EVIL = "\x1b]0;owned\x07\x1b[31mX<script>alert(1)<-script>"
LIST, RESULTS = f"l{EVIL}.csv", f"r{EVIL}.csv"


@pytest.fixture
def where():
    with emulator() as running:
        running.seed([("0000000001", "00ca000001")])
        limits = ("--limits-raised", "--rate", FAST, "--per-address-rate", FAST)
        yield ("--endpoint", running.url, "--instance", INSTANCE, *limits)


def test_from_every_field(where, tmp_path, monkeypatch):
    """Of the list's name, header and cells, of results, reason and ticket, user, job, values and words."""
    monkeypatch.chdir(tmp_path)
    with Path(LIST).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("DeviceSn", "CaSn", EVIL), ("0000000001", "00ca000001", EVIL), ("2", "00", EVIL)])
    kept = ("--metrics-file", "m.prom", "--log-file", "l.log", "-v", "--attempts", "1")
    asked = ("--yes", "--ticket", EVIL, "--reason", EVIL, "-o", RESULTS)
    change = ("run", "inactivate-device", LIST, *where)
    for words in (
        ("plan", *change[1:]),
        (*change, *asked, *kept),
        *((command, RESULTS) for command in ("status", "verify", "report", "undo", "resume")),
        ("runs", "."),
        ("control", RESULTS, "--pause"),
        ("report", RESULTS, "-o", "report.html"),
        ("report", RESULTS, "-o", "report.md"),
        ("export", RESULTS, "-o", "e.csv"),
        ("run", EVIL, LIST),
        ("run", "inactivate-device", EVIL, *where),
        ("run", "inactivate-device", LIST, "--instance", EVIL, "--region", EVIL),
        ("run", "--job", EVIL),
        ("help", EVIL),
        (EVIL,),
    ):
        ended = here(*words, env={"USER": EVIL, "LOGNAME": EVIL})
        said = ended.stdout + ended.stderr
        assert not {"\x1b", "\x07"} & {*said}, words
        assert "Traceback" not in said
        assert ended.status != 70

    for path in ("report.html", "report.md", "m.prom", "l.log"):
        assert not {"\x1b", "\x07"} & {*(text := (tmp_path / path).read_text(encoding="utf-8"))}, path
        assert "<script>alert" not in text or path in ("report.md", "l.log"), "there it stands in code, or in a log"
