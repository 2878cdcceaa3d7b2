"""``report`` at its edges: nothing called, one call, hours between two starts, thousands of CAs, missing files."""

import json
import stat

import pytest
from made_results import START, called, iso, settled, write_results
from program import bulkcert, here, side_by_side

from bulkcert.batch.holding import mark_held
from bulkcert.errors import BulkcertError
from bulkcert.report.counting import count
from bulkcert.report.rendering import render

HOUR_MS = 3_600_000


def figures(path, *, page=False):
    """Returns the figures of a run; text can be made of them, and where it matters the page with its charts."""
    counted = count(path)
    for format_ in ("text", "md", "json", *(["html"] if page else [])):
        assert render(counted, format_)
    return counted


@pytest.fixture
def results(tmp_path):
    return tmp_path / "r.csv"


def test_an_empty_list(results):
    """No rows: it says so, and draws nothing."""
    counted = figures(write_results(results, []))
    assert counted.verdict.line == "The list was empty: there was no certificate to call."
    assert counted.verdict.tone == "good"
    assert b"<svg" not in render(counted, "html")


def test_nothing_was_called(results):
    """All were as wanted already: there is no pace and no latency, but a time."""
    rows = [settled(str(number), finished_at=iso(START + 500)) for number in range(20)]
    counted = figures(write_results(results, rows), page=True)
    assert counted.calls.parts == []
    assert counted.latency.p50 is None
    assert [stone.after_s for stone in counted.containment.milestones] == [0.5] * 4
    assert counted.verdict.line == "20 of 20 certificates are inactive."


def test_one_call(results):
    """One row in one bin of one second."""
    counted = figures(write_results(results, [called()]), page=True)
    (part,) = counted.calls.parts
    assert counted.summary, "the summary that these tests write is none any more"
    assert (part.worst, part.mean, part.p50_ms) == ([1], [1.0], [80.0])
    assert counted.latency.rows == [1]
    assert counted.verdict.line == "1 of 1 certificate is inactive."


def test_one_second(results):
    """Many calls within one second."""
    counted = figures(
        write_results(results, [called(str(number), after_ms=number) for number in range(900)]), page=True
    )
    assert [part.worst for part in counted.calls.parts] == [[900]]


def test_hours_between_two_starts(results):
    """A run that was killed and gone on with: two stretches, nothing of the hours between them."""
    rows = [called(str(number), after_ms=100 * number) for number in range(300)]
    rows += [called(str(1000 + number), after_ms=5 * HOUR_MS + 100 * number) for number in range(200)]
    counted = figures(write_results(results, rows, starts=(0, 5 * HOUR_MS)), page=True)
    assert [(part.started, part.calls) for part in counted.calls.parts] == [
        (iso(START), 300),
        (iso(START + 5 * HOUR_MS), 200),
    ]
    assert all(len(part.mean) <= 30 for part in counted.calls.parts)
    assert [start.started for start in counted.starts] == [iso(START), iso(START + 5 * HOUR_MS)]


def test_many_stretches(results):
    """A certificate called again every hour: the busiest stretches are shown, the others are counted."""
    rows = [called(str(number), after_ms=number) for number in range(50)]
    rows += [called(str(number), after_ms=number * HOUR_MS) for number in range(1, 9)]
    counted = figures(write_results(results, rows), page=True)
    assert len(counted.calls.parts) == 4
    assert counted.calls.left_out == 5


def test_a_long_run_is_binned(results):
    """Ten hours are at most 300 bins, and no call is lost on the way."""
    counted = figures(
        write_results(results, [called(str(number), after_ms=9 * number * 1000) for number in range(4000)])
    )
    (part,) = counted.calls.parts
    assert len(part.mean) <= 300
    assert part.calls == 4000
    assert sum(part.mean[:-1]) / len(part.mean[:-1]) == pytest.approx(1 / 9, rel=0.01)
    assert set(part.worst) == {1}


def test_thousands_of_cas(results):
    """The twenty with the most rows, and all others together; nothing is lost."""
    rows = [
        called(f"{ca}-{number}", f"00ca{ca:06d}", after_ms=ca) for ca in range(5000) for number in range(1 + (ca < 20))
    ]
    counted = figures(write_results(results, rows), page=True)
    assert counted.cas_in_all == 5000
    assert [ca.cas for ca in counted.cas] == [1] * 20 + [4980]
    assert [ca.ca_sn for ca in counted.cas[:20]] == [f"00ca{ca:06d}" for ca in range(20)]
    assert sum(ca.rows for ca in counted.cas) == len(rows)


def test_many_codes(results):
    """A service that gives each row a code of its own: the first forty, and the number of the rest."""
    rows = [called(str(number), after_ms=number, outcome="failed", code=f"Code{number:04d}") for number in range(500)]
    counted = figures(write_results(results, rows))
    assert len(counted.findings) == 40
    assert counted.findings_left_out == 460


@pytest.mark.parametrize(("action", "done"), [("inactivate-ca", "inactive"), ("delete-ca", "deleted")])
def test_an_action_on_cas(results, action, done):
    """There is no DeviceSn; the words are those of CAs."""
    rows = [called(ca="00ca01"), called(ca="00ca02", outcome="not_registered", code="FindCaBySnError")]
    counted = figures(write_results(results, rows, keys=("CaSn",), action=action))
    assert counted.verdict.line == f"1 of 2 CAs is {done}; 1 is not: 1 not registered."
    assert {sample.ca_sn for finding in counted.findings for sample in finding.samples} == {"00ca02"}
    assert b"DeviceSn" not in render(counted, "html")


def test_columns_of_another_name(results):
    """Keys that were named by options, and one that had the name of ours, are found through the journal."""
    rows = [{**called(outcome="failed", code="InternalError"), "serial": "0001", "input_code": "00ca01"}]
    write_results(results, rows, keys=("serial", "input_code"))
    journal = results.with_name("r.csv.journal")
    journal.write_text(journal.read_text().replace('"input_code"', '"code"', 1))
    (finding,) = figures(results).findings
    assert (finding.samples[0].device_sn, finding.samples[0].ca_sn) == ("0001", "00ca01")


def test_killed(results):
    """No summary and a start without an end: unfinished, and told so; everything else is there."""
    counted = figures(write_results(results, [called(), settled("2", outcome="not_attempted")], killed=True))
    assert counted.verdict.label == "Unfinished"
    assert any("killed" in note for note in counted.verdict.notes)
    assert any("no summary" in note for note in counted.verdict.notes)
    assert counted.calls.run is None
    assert "killed" in render(counted, "text").decode()


@pytest.mark.parametrize("killed", ["run", "verification"])
def test_killed_and_verified(results, killed):
    """A verification has not ended a run that was killed, and one that was killed has not cut the run off."""
    write_results(results, [called()], starts=(0, 9000))
    journal = results.with_name("r.csv.journal")
    *lines, begun, end = journal.read_text().splitlines()
    verifying = begun.replace('"version"', '"verifies":true,"version"')
    lines = [*lines[:-1], verifying, end] if killed == "run" else [*lines, verifying]
    journal.write_text("\n".join(lines) + "\n")
    verdict = figures(results).verdict
    assert verdict.label == ("Unfinished" if killed == "run" else "All inactive")
    assert any(
        f"last {'start of the command' if killed == 'run' else killed} was killed" in each for each in verdict.notes
    )


def test_a_summary_that_cannot_be_read(results):
    """A summary with a byte that no text has is told of as if it were missing."""
    write_results(results, [called()])
    summary = results.with_name("r.csv.summary.json")
    summary.write_bytes(summary.read_bytes().replace(b"devices", b"devic\xff"))
    assert any("no summary" in note for note in figures(results).verdict.notes)


def test_a_run_that_goes_on(results):
    """Somebody holds the journal: unfinished; and the report takes nothing from it."""
    write_results(results, [called()])
    with results.with_name("r.csv.journal").open("r+b") as journal:
        mark_held(journal.fileno())
        counted = figures(results)
        assert counted.unfinished
        assert counted.verdict.tone == "open"
    assert not count(results).unfinished


def test_changed_since(results):
    """Results that are not those of the summary: said, since an auditor goes by the hash."""
    write_results(results, [called(), called("2")])
    results.write_text(results.read_text().replace("succeeded", "unchanged", 1))
    assert any("SHA-256" in note for note in figures(results).verdict.notes)


def test_sorted_by_somebody(results):
    """Results whose rows were put in another order still give their samples."""
    write_results(results, [called(str(number)) for number in range(9)] + [called("wrong", outcome="failed")])
    header, *lines = results.read_text().splitlines(keepends=True)
    results.write_text(header + "".join(reversed(lines)))
    assert [sample.device_sn for finding in figures(results).findings for sample in finding.samples] == ["wrong"]


def test_no_journal(results):
    """The summary alone is enough to know what was asked."""
    write_results(results, [called()])
    results.with_name("r.csv.journal").unlink()
    counted = figures(results)
    assert counted.asked.instance == "post-cn-made"
    assert any("no journal" in note for note in counted.verdict.notes)


def test_shares_are_never_rounded_to_all(results):
    """One in 100,000 that is missing is seen."""
    rows = [called(str(number), after_ms=number // 9) for number in range(99_999)] + [settled(outcome="invalid")]
    told = render(figures(write_results(results, rows)), "text").decode()
    assert "> 99.99 %" in told
    assert "< 0.01 %" in told


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"DeviceSn,CaSn\n1,2\n", "no column row"), (b"\xff\xfe\x00", "is not the results"), (b"", "is not the results")],
)
def test_65_not_results(results, content, said):
    """65 for a file that no run has written."""
    write_results(results, [called()])
    results.write_bytes(content)
    with pytest.raises(BulkcertError, match=said) as raised:
        count(results)
    assert raised.value.status == 65


def test_errors(tmp_path, results):
    """66 without results, 65 for what is none, 73 where nothing can be written, 2 for what would be overwritten."""
    write_results(results, [called()])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    cases = [
        (66, ("missing.csv",)),
        (73, ("r.csv", "-o", "no/such/directory.html")),
        (2, ("r.csv", "--format", "pdf")),
        (2, ("r.csv", "-o", "r.csv")),
        (2, ("r.csv", "-o", "./r.csv.journal")),
        (2, ("r.csv", "-o", "r.csv.summary.json", "--format", "json")),
    ]
    told = side_by_side(lambda case: bulkcert("report", *case[1], cwd=tmp_path).ended(case[0]), cases)
    for refused in told:
        assert refused.stderr.startswith("error: ")
        assert "internal" not in refused.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "begins"), [("x.html", "<!doctype html>"), ("x.MD", "# "), ("x.json", "{"), ("x.txt", "All inactive: ")]
)
def test_the_name_of_the_file_says_what_it_is_to_be(tmp_path, results, name, begins):
    """Without ``--format`` the file is what its name ends in."""
    write_results(results, [called()])
    here("report", "r.csv", "-o", name, cwd=tmp_path).ended(0)
    assert (tmp_path / name).read_text().startswith(begins)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "x.pdf"), "Let it end in .html, .md, .json, .txt"),
        (("-o", "x"), "Let it end in"),
        (("-o", "x.md", "--format", "html"), "--output x.md is the name of md, and --format is html"),
        (("-o", "x.txt", "--format", "json"), "is the name of text, and --format is json"),
    ],
)
def test_a_name_that_does_not_fit(tmp_path, results, options, said):
    """2 where the name of the file says another format than was asked for, or none; nothing is written."""
    write_results(results, [called()])
    before = sorted(tmp_path.iterdir())
    assert said in here("report", "r.csv", *options, cwd=tmp_path).ended(2).stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_format_that_is_asked_for_needs_no_name(tmp_path, results):
    """With ``--format`` a file may have a name that says nothing."""
    write_results(results, [called()])
    here("report", "r.csv", "-o", "ticket.log", "--format", "text", cwd=tmp_path).ended(0)
    assert (tmp_path / "ticket.log").read_text().startswith("All inactive: ")


def test_written_whole_and_for_its_owner(tmp_path, results):
    """The page stands beside the results, replaces an older one, is its owner's only; nothing is said on stderr."""
    write_results(results, [called()])
    page = tmp_path / "r.csv.report.html"
    page.write_text("older")
    done = bulkcert("report", "r.csv", cwd=tmp_path, env={"HOME": "/proc/nowhere"}).ended(0)
    assert done.stderr == ""
    assert "1 of 1 certificate is inactive." in done.stdout
    assert page.read_text().startswith("<!doctype html>")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "r.csv",
        "r.csv.journal",
        "r.csv.report.html",
        "r.csv.summary.json",
    ]
    printed = bulkcert("report", "r.csv", "--format", "json", cwd=tmp_path).ended(0)
    assert json.loads(printed.stdout)["asked"]["rows"] == 1
