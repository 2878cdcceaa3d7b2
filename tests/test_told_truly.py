"""``status`` and ``report`` tell what is: not a success that was taken back, no reason or step that does not fit."""

import json
import signal

import pytest
from made_results import START, called, iso, settled, write_results
from program import PATIENCE_S, UNHURRIED, here, start, summary_of, write_devices

from bulkcert.batch.holding import mark_held
from bulkcert.report.counting import count
from bulkcert.report.rendering import render

pytestmark = pytest.mark.usefixtures("inside")


@pytest.fixture
def results(tmp_path):
    return tmp_path / "r.csv"


def changed(path, **changes):
    """Changes what the summary of made results says."""
    summary = path.with_name(f"{path.name}.summary.json")
    summary.write_text(json.dumps({**json.loads(summary.read_bytes()), **changes}))


def undo_at(after_ms, rows=3, exit_status=0):
    return {"finished": iso(START + after_ms), "results": "r.undo.csv", "rows": rows, "exit_status": exit_status}


def status(*arguments):
    return here("status", "r.csv", *arguments)


def text(path):
    return render(count(path), "text").decode()


def test_a_run_that_was_taken_back(tmp_path, service):
    """After an undo neither view calls the run a success or offers an undo; when it is done again, both say so."""
    devices = write_devices(tmp_path / "d.csv", 4)
    service.seed(devices)
    run = ("run", "inactivate-device", "d.csv", *service.where, "-q", "-o", "r.csv")
    here(*run).ended(0)
    here("undo", "r.csv", "--yes", "-q", "--include-unknown", *UNHURRIED).ended(0)
    on = summary_of("r.csv")["taken_back"]["finished"][:19]
    told = status().stdout
    assert "with 0: before the undo, every row" in told
    assert f"taken back    4 rows, by r.undo.csv, on {on}Z\n" in told.replace("\n" + " " * 14, " ")
    assert "proves it" not in told
    assert json.loads(status("--json").stdout)["ending"]["taken_back"]["rows"] == 4
    told = text(tmp_path / "r.csv")
    assert told.startswith(f"Taken back: 4 of 4 certificates were taken back on {on.replace('T', ' ')} UTC.")
    assert "bulkcert undo" not in told
    assert "before the undo, every row" in told

    here("verify", "r.csv", "-q", *UNHURRIED).ended(1)
    assert "before the undo" in status().stdout
    told = text(tmp_path / "r.csv")
    assert told.startswith("Taken back: 4 of 4 certificates were taken back on ")
    assert "audit log" not in told

    here(*run, "--retry-failed").ended(0)
    assert "called or read back again on" in status().stdout
    assert "before the undo" not in status().stdout
    told = text(tmp_path / "r.csv")
    assert told.startswith("All inactive: 4 of 4 certificates are inactive.")
    assert "Taken back on" in told
    assert "done again on" in told


def test_a_read_back_before_the_undo_proves_nothing(results):
    """Rows that were read back as wanted and taken back after that are not as wanted; no finding blames anybody."""
    seen = {"verified_status": "inactive", "verified_at": iso(START + 500)}
    write_verified(results, [called(str(number), **seen) for number in range(3)])
    changed(results, taken_back=undo_at(2000))
    figures = count(results)
    assert (figures.verdict.label, figures.verdict.tone) == ("Taken back", "open")
    assert "are inactive" not in figures.verdict.line
    assert figures.findings == []


def write_verified(path, rows):
    """Writes made results whose rows were read back, as far as they say so."""
    write_results(path, rows, keys=("DeviceSn", "CaSn", "verified_status", "verified_at"))
    journal = path.with_name(f"{path.name}.journal")
    journal.write_text(journal.read_text().replace(',"verified_status","verified_at"', ""))


def test_done_again_in_part(results):
    """After an undo only what was called again is as wanted; the rest is counted as taken back."""
    write_results(results, [called("1", after_ms=5000), called("2"), called("3")])
    changed(results, taken_back=undo_at(2000))
    figures = count(results)
    assert figures.verdict.line == "1 of 3 certificates is inactive; 2 are not: 2 taken back."
    assert figures.verdict.tone == "bad"
    assert any("done again on" in note for note in figures.verdict.notes)


def test_an_undo_that_did_not_end_well(results):
    """An undo that ended with 1 is not told of as if everything had been taken back."""
    write_results(results, [called("1"), called("2"), called("3")])
    changed(results, taken_back=undo_at(2000, exit_status=1))
    verdict = count(results).verdict
    assert (verdict.label, verdict.tone) == ("Taken back in part", "bad")
    assert "were to be taken back" in verdict.line
    assert "which ended with 1" in " ".join(status().stdout.split())


def test_called_after_the_read_back(results):
    """A row that succeeded after the last read-back is as wanted; that it was not read since is a note, and a step."""
    rows = [called("1", verified_status="inactive", verified_at=iso(START + 500)), called("2", after_ms=9000)]
    write_verified(results, rows)
    verdict = count(results).verdict
    assert (verdict.label, verdict.tone) == ("All inactive", "good")
    assert any(note.startswith("1 was not read back since") for note in verdict.notes)
    assert any("bulkcert verify" in step for step in verdict.steps)


def test_killed_before(results):
    """Where a session was killed that may have called, calls are at least so many, in both views, and rows may be more.

    A session that verified and was killed may not have called what the run had not come to.
    """
    write_results(results, [called("1"), settled("2", outcome="not_attempted")], starts=(0, 9000))
    journal = results.with_name("r.csv.journal")
    lines = journal.read_text().splitlines()
    begun = ({"type": "looked", "at": START}, {"type": "reach", "row": 2})
    killed = [*lines[:3], *(json.dumps(line, separators=(",", ":")) for line in begun), *(line for line in lines[4:])]
    assert '"end"' in lines[3]
    assert '"end"' in killed[-1]
    assert "Up to" not in text(results)
    journal.write_text("\n".join(killed) + "\n")
    changed(results, finished=iso(START + 10_000))
    changed(results, calls_at_least=True)
    told = text(results)
    assert "Up to 1 row may have been called by a session that was killed" in told
    assert "calls         at least 2" in told
    assert "calls         at least 2" in status().stdout

    changed(results, taken_back=undo_at(9500, rows=2))
    assert text(results).startswith("Taken back: 2 of 2 certificates were taken back")
    changed(results, taken_back=undo_at(9500, rows=1))
    assert "1 that may have been changed is not among them" in text(results)
    changed(results, taken_back=None)

    verifying = killed[1].replace('"version"', '"verifies":true,"version"')
    journal.write_text("\n".join([killed[0], verifying, *killed[2:]]) + "\n")
    assert "Up to" not in text(results)


def test_not_attempted_has_no_message(results):
    """A sample of a row that was not called says nothing about a message."""
    write_results(results, [called("1"), settled("2", outcome="not_attempted")])
    told = text(results)
    assert "row 2: 2 of CA 00ca\n" in told
    assert "no message" not in told


def test_the_reason_of_a_stop(results):
    """The exit status is told with what has stopped the run, not with a hint at what nobody has kept."""
    write_results(results, [called("1"), settled("2", outcome="not_attempted")])
    changed(results, exit_status=69, stopped="the service is silent")
    assert "with 69: the service is silent" in status().stdout
    assert "exit status   69: the service is silent" in text(results)


def test_an_empty_list(results):
    """With no rows nothing is proved by a verification, and nothing was made inactive."""
    write_results(results, [])
    assert "nothing to do: the list was empty" in status().stdout
    assert "verify" not in status().stdout
    assert count(results).verdict.label == "Nothing to do"


def test_one_of_each(results):
    """One is not told of in the plural."""
    write_results(results, [called("1")])
    changed(results, retries=1, throttles=1)
    for told in (text(results), status().stdout):
        assert "1 retry, 1 throttle" in told
    assert "\n1 CA\n" in text(results)


def test_what_cannot_be_reported(tmp_path, results):
    """A directory is refused as such (66); a page that cannot be written with the advice that fits (73)."""
    assert "Name the results file" in here("report", ".").ended(66).stderr
    write_results(results, [called("1")])
    refused = here("report", "r.csv", "-o", "no/such/x.html").ended(73).stderr
    assert "Create the directory" in refused
    assert "Make room" not in refused


def test_a_first_run_has_no_report_yet(results):
    """While the first run goes on: that it does, and what tells of it (75); after a kill: how to go on (66)."""
    write_results(results, [called("1")], killed=True)
    results.unlink()
    assert "with --limit-rows 0" in " ".join(here("report", "r.csv").ended(66).stderr.split())
    with results.with_name("r.csv.journal").open("r+b") as journal:
        mark_held(journal.fileno())
        refused = " ".join(here("report", "r.csv").ended(75).stderr.split())
    assert "the run goes on" in refused
    assert "bulkcert status r.csv" in refused


def test_no_run_is_not_proposed(results):
    """What was refused is not named as a run that is there."""
    results.with_name("r.csv.journal").touch()
    results.with_name("other.csv.journal").touch()
    refused = status().ended(66).stderr
    assert "Runs there: other.csv." in refused


def test_following_is_ended_without_advice(results):
    """SIGTERM ends ``--follow`` with 143; there is nothing to go on with."""
    write_results(results, [called("1")])
    with results.with_name("r.csv.journal").open("r+b") as journal:
        mark_held(journal.fileno())
        with start("status", "r.csv", "--follow") as following:
            assert following.stdout.readline()
            following.send_signal(signal.SIGTERM)
            _, said = following.communicate(timeout=PATIENCE_S)
    assert (following.returncode, said) == (143, b"")
