"""``report`` at its edges: nothing called, one call, hours between two sessions, thousands of CAs, killed sessions."""

import json
import stat

import pytest
from made_store import START, made_run, row, session
from program import bulkcert, here

from bulkcert.output.summary import utc
from bulkcert.report.counting import count
from bulkcert.report.rendering import render
from bulkcert.store import lock
from bulkcert.store.schema import Verification

HOUR_MS = 3_600_000


def called(after_ms=0, outcome="succeeded", **columns):
    """Returns a row whose last call was sent so long after the run began, and answered 80 ms later."""
    at = START + after_ms
    times = {"sent_at": at, "finished_at": at + 80, "request_id": f"REQUEST-{after_ms}"}
    return row(outcome, **{**times, **columns})


def figures(files, *, page=False):
    """Returns the figures of a run; text can be made of them, and where it matters the page with its charts."""
    counted = count(files)
    for format_ in ("text", "md", "json", *(["html"] if page else [])):
        assert render(counted, format_)
    return counted


@pytest.fixture
def made(tmp_path):
    """Makes a run in the directory of the test; its results are there, and nothing but there."""

    def make(rows, sessions=None, **asked):
        files = made_run(tmp_path, rows, sessions, name="r.csv", **asked)
        files.results.write_text("results\n")
        return files

    return make


def test_an_empty_list(made):
    """No rows: it says so, and draws nothing."""
    counted = figures(made([]))
    assert counted.verdict.line == "The list was empty: there was no certificate to call."
    assert (counted.verdict.label, counted.verdict.tone) == ("Nothing to do", "good")
    assert counted.exit_meaning == "nothing to do: the list was empty"
    assert b"<svg" not in render(counted, "html")


def test_nothing_was_called(made):
    """All were in the desired state already: there is no pace and no latency, but a time."""
    counted = figures(made([row("unchanged", finished_at=START + 500)] * 20), page=True)
    assert counted.calls.parts == []
    assert counted.latency.p50 is None
    assert [stone.after_s for stone in counted.containment.milestones] == [0.5] * 4
    assert counted.verdict.line == "20 of 20 certificates are inactive."


def test_one_call(made):
    """One row in one bin of one second."""
    counted = figures(made([called()]), page=True)
    (part,) = counted.calls.parts
    assert (part.worst, part.mean, part.p50_ms) == ([1], [1.0], [80.0])
    assert counted.verdict.line == "1 of 1 certificate is inactive."
    assert "\n  1 CA  " in render(counted, "text").decode()


def test_one_second(made):
    """Many calls within one second."""
    counted = figures(made([called(number) for number in range(900)]), page=True)
    assert [part.worst for part in counted.calls.parts] == [[900]]


def test_hours_between_two_sessions(made):
    """A run that was killed and resumed: two stretches, nothing of the hours between them."""
    rows = [called(100 * number) for number in range(300)]
    rows += [called(5 * HOUR_MS + 100 * number) for number in range(200)]
    counted = figures(made(rows, [session(ended=None), session(after_ms=5 * HOUR_MS)]), page=True)
    assert [(part.started, part.calls) for part in counted.calls.parts] == [
        (utc(START / 1000), 300),
        (utc(START / 1000 + 5 * 3600), 200),
    ]
    assert all(len(part.mean) <= 30 for part in counted.calls.parts)
    assert [start.state for start in counted.starts] == ["killed", "ended"]
    assert counted.calls.at_least


def test_many_stretches(made):
    """A certificate called again every hour: the busiest stretches are shown, the others are counted."""
    rows = [called(number) for number in range(50)] + [called(number * HOUR_MS) for number in range(1, 9)]
    counted = figures(made(rows), page=True)
    assert len(counted.calls.parts) == 4
    assert counted.calls.left_out == 5


def test_a_long_run_is_binned(made):
    """Ten hours are at most 300 bins, and no call is lost on the way."""
    counted = figures(made([called(9 * number * 1000) for number in range(4000)]))
    (part,) = counted.calls.parts
    assert len(part.mean) <= 300
    assert part.calls == 4000
    assert sum(part.mean[:-1]) / len(part.mean[:-1]) == pytest.approx(1 / 9, rel=0.01)
    assert set(part.worst) == {1}


def test_thousands_of_cas(made):
    """The twenty with the most rows, and all others together; nothing is lost."""
    rows = [called(ca, ca=f"00ca{ca:06d}") for ca in range(5000) for _ in range(1 + (ca < 20))]
    counted = figures(made(rows), page=True)
    assert counted.cas_in_all == 5000
    assert [ca.cas for ca in counted.cas] == [1] * 20 + [4980]
    assert [ca.ca_sn for ca in counted.cas[:20]] == [f"00ca{ca:06d}" for ca in range(20)]
    assert sum(ca.rows for ca in counted.cas) == len(rows)


def test_many_codes(made):
    """A service that gives each row a code of its own: the first forty, and the number of the rest."""
    counted = figures(made([called(number, "failed", code=f"Code{number:04d}") for number in range(500)]))
    assert len(counted.findings) == 40
    assert counted.findings_left_out == 460


@pytest.mark.parametrize(("action", "done"), [("inactivate-ca", "inactive"), ("delete-ca", "deleted")])
def test_an_action_on_cas(made, action, done):
    """There is no DeviceSn; the words are those of CAs."""
    rows = [called(ca="00ca01"), called(outcome="not_registered", ca="00ca02", code="FindCaBySnError")]
    counted = figures(made(rows, [session(ended=1)], action=action))
    assert counted.verdict.line == f"1 of 2 CAs is {done}; 1 is not: 1 not registered."
    assert {sample.ca_sn for finding in counted.findings for sample in finding.samples} == {"00ca02"}
    assert b"DeviceSn" not in render(counted, "html")
    assert (action == "delete-ca") != any("bulkcert undo" in step for step in counted.verdict.steps)


def test_samples(made):
    """The first rows of a finding with their serials and texts; a row that was not called has none."""
    rows = [called(number, "failed", code="InternalError", message=f"said {number}") for number in range(5)]
    rows += [row("invalid", why="DeviceSn is blank", device="", ca=None), row("not_attempted"), row(None)]
    wrong, left, invalid = figures(made(rows, [session(ended=1)])).findings
    assert [(each.row, each.device_sn, each.message) for each in wrong.samples] == [
        (number + 1, f"{number + 1:08d}", f"said {number}") for number in range(3)
    ]
    assert [(each.row, each.request_id, each.message, each.at) for each in left.samples] == [
        (7, "", "", None),
        (8, "", "", None),
    ]
    (sample,) = invalid.samples
    assert (sample.ca_sn, sample.message) == ("", "DeviceSn is blank")


def test_a_row_that_was_called_and_is_protected_now(made):
    """It tells of its call, not of the list that protects it."""
    protected = {"never": "protected", "why": "DeviceSn is protected by p.csv"}
    (finding,) = figures(made([called(outcome="failed", message="refused", **protected)])).findings
    assert [sample.message for sample in finding.samples] == ["refused"]


KILLED = {"calls": 7, "achieved_rate": 3.5, "worst_window": 5, "retries": 2, "throttles": 1, "outages": 1}


def test_killed(made):
    """A session without an end: what it has said last, how to resume it, and exactly how many rows are in doubt."""
    rows = [called(), row("not_attempted", claimed_by=1), row(None, claimed_by=1), row(None)]
    counted = figures(made(rows, [session(ended=None, figures=KILLED)]), page=True)
    assert (counted.verdict.label, counted.verdict.tone, counted.state) == ("Unfinished", "open", "interrupted")
    assert counted.certificates.in_doubt == 2
    assert "2 rows may have been called by a session that was killed, without a trace." in counted.verdict.notes
    (start,) = counted.starts
    assert (start.state, start.calls, start.achieved_rate, start.finished) == ("killed", 7, 3.5, None)
    assert start.last_sign == utc(START / 1000 + 1)
    assert (counted.calls.run, counted.calls.at_least) == (7, True)
    assert counted.exit_status == 75
    text = render(counted, "text").decode()
    assert "killed; last sign of life 2027-01-15 08:00:01 UTC" in text
    assert "at least 7 calls at 3.5/s; peak (1 s window) 5; 2 retries, 1 throttle, 1 outage" in text
    assert "at least 7 calls, of which 2 retries" in text
    assert f"→ To resume: bulkcert resume {counted.asked.results}\n" in text


def test_killed_before(made):
    """A session that was killed and resumed: calls are at least so many, and what it left in doubt is told."""
    rows = [called(), row(None, claimed_by=1)]
    counted = figures(made(rows, [session(ended=None), session(after_ms=9000, ended=75)]))
    assert counted.calls.at_least
    assert counted.certificates.in_doubt == 1
    assert counted.verdict.label == "Not all inactive"


@pytest.mark.parametrize("killed", ["run", "verify"])
def test_killed_and_verified(made, killed):
    """A verification has not ended a run that was killed, and one that was killed has not interrupted the run."""
    run, verify = (None, 0) if killed == "run" else (0, None)
    verdict = figures(made([called()], [session(ended=run), session("verify", after_ms=9000, ended=verify)])).verdict
    assert verdict.label == ("Unfinished" if killed == "run" else "All inactive")
    assert any(
        f"{'The run' if killed == 'run' else 'The last verification'} was interr" in each for each in verdict.notes
    )


@pytest.mark.parametrize(("kind", "noun"), [("run", "run"), ("undo", "undo"), ("verify", "verification")])
def test_a_session_that_runs(made, kind, noun):
    """Somebody holds the run: unfinished, without an exit status; the report takes nothing from it."""
    rows = [called(), row(None, claimed_by=2)]
    files = made(rows, [session(ended=75), session(kind, after_ms=9000, ended=None)])
    held = lock.take(files.lock)
    try:
        counted = figures(files)
        text = render(counted, "text").decode()
    finally:
        held.close()
    assert (counted.unfinished, counted.verdict.tone, counted.exit_status) == (True, "open", None)
    assert [start.state for start in counted.starts] == ["ended", "running"]
    assert counted.certificates.in_doubt == 0
    assert any(note.startswith(f"The {noun} is running") for note in counted.verdict.notes)
    assert counted.verdict.steps == [f"See how far it is: bulkcert status {files.results}"]
    assert ", running\n" in text


def test_without_results(made):
    """Results that were removed are not missed; results that were edited are, since an auditor goes by the hash."""
    files = made([called(), called(5)])
    assert "SHA-256" not in "".join(figures(files).verdict.notes)
    files.summary.write_text(json.dumps({"results_sha256": "0" * 64}))
    edited = figures(files)
    assert any("SHA-256" in note for note in edited.verdict.notes)
    files.results.unlink()
    removed = figures(files, page=True)
    assert removed.asked.results_sha256 is None
    assert any("results file is not there" in note for note in removed.verdict.notes)
    assert (removed.outcomes, removed.findings, removed.calls) == (edited.outcomes, edited.findings, edited.calls)


def test_a_state_directory(made, tmp_path):
    """``--state-dir`` says where the folder is, and every command that is printed says so too."""
    (tmp_path / "state").mkdir()
    made_run(tmp_path, [called(outcome="failed")], name="s.csv", state_dir=tmp_path / "state")
    shown = here("report", "s.csv", "--state-dir", "state", "--format", "text", cwd=tmp_path).ended(0).stdout
    assert "→ To verify: bulkcert verify s.csv --state-dir state\n" in shown
    assert "resume s.csv --retry failed --state-dir state" in shown
    here("report", "s.csv", cwd=tmp_path).ended(66)


def verification(**figures):
    none = {"finished": utc(START / 1000 + 20), "statuses": {}, "wanted": 0, "not_desired": 0, "calls": 3}
    none |= {"called_again": 0, "not_attempted": 0, "exit_status": 0, "stopped": ""}
    return Verification(**none | figures)


def seen(status="inactive", after_ms=15_000, **columns):
    return called(verified=status, verified_at=START + after_ms, **columns)


def test_read_back(made):
    """The newest verification, its reasons for what it has not read, and what was found in another state."""
    rows = [seen(), seen(), seen("active"), called(), row("invalid"), row("duplicate", first_row=1)]
    last = verification(
        statuses={"inactive": 2, "active": 1}, wanted=2, not_desired=1, exit_status=1, unread=2,
        unread_because={"invalid": 1, "refused": 1},
    )  # fmt: skip
    files = made(rows, [session(ended=1), session("verify", after_ms=9000, ended=1, verification=last)])
    counted = figures(files, page=True)
    assert counted.verified.statuses == {"inactive": 2, "active": 1}
    assert (counted.verified.missed, counted.verified.calls, counted.calls.verification) == (1, 3, 3)
    assert counted.verdict.line == (
        "3 of 5 certificates are inactive; 1 is not: 1 active; 1 not read back: 1 invalid; "
        "the last verification did not read 1."
    )
    assert {(each.outcome, each.read_back): each.rows for each in counted.findings} == {
        ("succeeded", "active"): 1,
        ("invalid", ""): 1,
    }
    assert f"To call again (1 drifted): bulkcert resume {files.results} --retry drifted" in (counted.verdict.steps)
    assert counted.certificates.desired == 3
    assert counted.certificates.unread == 1


def test_called_after_the_read_back(made):
    """A row that succeeded after the last read-back is in the desired state; not read since: a note, a step."""
    sessions = [session(ended=1), session("verify", after_ms=9000, ended=1, verification=verification()), session()]
    counted = figures(made([seen(), called(90_000)], sessions))
    assert (counted.verdict.label, counted.verdict.tone) == ("All inactive", "good")
    assert any(note.startswith("1 was not read back since") for note in counted.verdict.notes)
    assert any("bulkcert verify" in step for step in counted.verdict.steps)
    assert counted.verified.calls is None


def test_a_verification_that_read_nothing(made):
    """It proves nothing, whatever an earlier one has read."""
    last = verification(unread=1, unread_because={"not_reached": 1}, exit_status=69, stopped="no answer")
    files = made([seen()], [session(), session("verify", after_ms=9000, ended=69, verification=last)])
    counted = figures(files)
    verdict = counted.verdict
    assert (counted.exit_status, counted.exit_meaning) == (69, "no answer")
    assert (verdict.label, verdict.tone) == ("Not verified", "open")
    assert any("ended with 69: no answer. It read 0 certificates and did not read 1." in each for each in verdict.notes)


def test_the_reason_of_a_stop(made):
    """The exit status is shown with what has stopped the run."""
    counted = figures(
        made([called(), row("not_attempted", again=1)], [session(ended=69, stopped="the service is silent")])
    )
    assert "Exit status  69: the service is silent" in render(counted, "text").decode()
    assert counted.unfinished
    assert counted.verdict.steps[0].startswith("After that, to resume: bulkcert resume")


def test_what_may_be_called_again_and_undone(made):
    """One short command each, with what ``--retry`` and ``undo`` need to work."""
    rows = [called(), called(outcome="unknown"), called(outcome="failed"), called(outcome="not_registered")]
    files = made(rows, [session(ended=1)])
    steps = figures(files).verdict.steps
    assert [step.partition("bulkcert ")[2] for step in steps] == [
        f"resume {files.results} --retry failed,unknown",
        f"resume {files.results} --retry not_registered",
        f"verify {files.results}",
        f"undo {files.results} --include-unknown",
    ]
    assert "2 rows: what they were before is not known" in steps[3]


def test_shares_are_never_rounded_to_all(made):
    """One in 100,000 that is missing is seen."""
    shown = render(figures(made([called()] * 99_999 + [row("invalid")])), "text").decode()
    assert "> 99.99 %" in shown
    assert "< 0.01 %" in shown


def test_errors(tmp_path, made):
    """66 where there is no run, 73 where nothing can be written, 2 for what would be overwritten."""
    (tmp_path / "devices.csv").write_text("list")
    (tmp_path / "link.html").symlink_to("devices.csv")
    made([called()])
    before = sorted(path.name for path in tmp_path.rglob("*"))
    cases = [
        (66, ("missing.csv",)),
        (66, (".",)),
        (73, ("r.csv", "-o", "no/such/directory.html")),
        (2, ("r.csv", "--format", "pdf")),
        (2, ("r.csv", "-o", "r.csv")),
        (2, ("r.csv", "-o", "devices.csv", "--format", "md")),
        (2, ("r.csv", "-o", "link.html")),
        (2, ("r.csv", "-o", "./r.csv.run/store.sqlite", "--format", "text")),
        (2, ("r.csv", "-o", "r.csv.run/new.html")),
        (2, ("r.csv", "-o", "r.csv.run/summary.json", "--format", "json")),
    ]
    for status, arguments in cases:
        refused = here("report", *arguments, cwd=tmp_path).ended(status)
        assert refused.stderr.startswith("error: ")
        assert "internal" not in refused.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert (tmp_path / "devices.csv").read_text() == "list"


def test_what_cannot_be_written(tmp_path, made):
    """The advice fits the reason."""
    made([called()])
    refused = here("report", "r.csv", "-o", "no/such/x.html", cwd=tmp_path).ended(73).stderr
    assert "Create the directory" in refused
    assert "Make room" not in refused


@pytest.mark.parametrize("damage", ["not a store", ""])
def test_a_store_that_cannot_be_believed(tmp_path, made, damage):
    """66, and nothing is concluded from it."""
    made([called()]).store.write_text(damage)
    assert "Traceback" not in here("report", "r.csv", cwd=tmp_path).ended(66).stderr


def test_a_run_that_is_starting(tmp_path, made):
    """75 while its first session has not begun: there is nothing to report yet."""
    files = made([called()])
    files.store.unlink()
    held = lock.take(files.lock)
    try:
        refused = here("report", "r.csv", cwd=tmp_path).ended(75).stderr
    finally:
        held.close()
    assert "bulkcert status r.csv" in refused


@pytest.mark.parametrize(
    ("name", "begins"), [("x.html", "<!doctype html>"), ("x.MD", "# "), ("x.json", "{"), ("x.txt", "All inactive: ")]
)
def test_the_name_of_the_file_says_what_it_is_to_be(tmp_path, made, name, begins):
    """Without ``--format`` the file is what its name ends in."""
    made([called()])
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
def test_a_name_that_does_not_fit(tmp_path, made, options, said):
    """2 where the name of the file says another format than was asked for, or none; nothing is written."""
    made([called()])
    before = sorted(tmp_path.iterdir())
    assert said in here("report", "r.csv", *options, cwd=tmp_path).ended(2).stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_format_that_is_asked_for_needs_no_name(tmp_path, made):
    """With ``--format`` a file may have a name that says nothing."""
    made([called()])
    here("report", "r.csv", "-o", "ticket.log", "--format", "text", cwd=tmp_path).ended(0)
    assert (tmp_path / "ticket.log").read_text().startswith("All inactive: ")


def test_written_whole_and_for_its_owner(tmp_path, made):
    """The page stands beside the results, replaces an older one, is its owner's only; nothing is said on stderr."""
    made([called()])
    page = tmp_path / "r.csv.report.html"
    page.write_text("older")
    done = bulkcert("report", "r.csv", cwd=tmp_path, env={"HOME": "/proc/nowhere"}).ended(0)
    assert done.stderr == ""
    assert "1 of 1 certificate is inactive." in done.stdout
    assert page.read_text().startswith("<!doctype html>")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "r.csv",
        "r.csv.report.html",
        "r.csv.run",
    ]
    printed = bulkcert("report", "r.csv", "--format", "json", cwd=tmp_path).ended(0)
    assert json.loads(printed.stdout)["asked"]["rows"] == 1
