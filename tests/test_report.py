"""``report`` over made stores: one number for each certificate, one honest line, and the way on."""

import json
import os
import stat

import pytest
from made_store import START, made_run, row, session
from program import bulkcert, here

from bulkcert.output.summary import utc
from bulkcert.report.counting import count
from bulkcert.report.rendering import render
from bulkcert.store import lock
from bulkcert.store.sessions import Verification

HOUR_MS = 3_600_000
BEFORE, AFTER = START + 1000, START + 9500
"""Before an undo, and after it."""


def called(after_ms=0, outcome="succeeded", **columns):
    """Returns a row whose last call was sent so long after the run began, and answered 80 ms later."""
    times = {"sent_at": START + after_ms, "finished_at": START + after_ms + 80, "request_id": f"REQUEST-{after_ms}"}
    return row(outcome, **{**times, **columns})


def seen(outcome="succeeded", *, status="inactive", at=AFTER, **columns):
    return row(outcome, verified=status, verified_at=at, **columns)


def verification(**figures):
    none = {"finished": utc(START / 1000 + 20), "statuses": {}, "wanted": 0, "not_desired": 0, "calls": 3}
    none |= {"called_again": 0, "exit_status": 0, "stopped": ""}
    return Verification(**none | figures)


def figures(files):
    """Returns the figures of a run; every format can be made of them."""
    counted = count(files)
    for format_ in ("text", "md", "json", "html"):
        assert render(counted, format_)
    return counted


def text_of(files):
    return render(count(files), "text").decode()


@pytest.fixture
def made(tmp_path):
    """Makes a run in the directory of the test; its results are there, and nothing but there."""

    def make(rows, sessions=None, **asked):
        files = made_run(tmp_path, rows, sessions, name="r.csv", **asked)
        files.results.write_text("results\n")
        return files

    return make


ENDED = [session(), session("undo", after_ms=5000, ended=0)]
IN_PART = [session(), session("undo", after_ms=5000, ended=1)]
KILLED = [session(), session("undo", after_ms=5000, ended=None)]
READ = [*IN_PART, session("verify", after_ms=9000, ended=1)]
MAYBE = {"claimed_by": 2, "sent": True}
FIVE = "1 not registered, 1 failed, 1 invalid, 1 not attempted, 1 protected"
NO_ANSWER = "may be: no answer to the undo is known"

HEADLINES = {
    "nothing": ([], None, "Nothing to do", "The list was empty: there was no certificate to call.", {}),
    "one": ([called()], None, "All inactive", "1 of 1 certificate is inactive.", {"desired": 1}),
    "no calls": (["unchanged"] * 20, None, "All inactive", "20 of 20 certificates are inactive.", {"desired": 20}),
    "each outcome": (
        [called(), "failed", "unknown", "not_registered", "invalid", row("duplicate", first_row=1), "protected", None],
        [session(ended=1)],
        "Not all inactive",
        f"1 of 7 certificates is inactive; 5 are not: {FIVE}; 1 may or may not be: no answer came.",
        {"desired": 1},
    ),
    "killed": (
        [called(), row("not_attempted", claimed_by=1), row(claimed_by=1, outcome=None), None],
        [session(ended=None)],
        "Unfinished",
        "1 of 4 certificates is inactive; 3 are not: 3 not attempted.",
        {"in_doubt": 2},
    ),
    "killed, then resumed": (
        [called(), row(None, claimed_by=1)],
        [session(ended=None), session(after_ms=9000, ended=75)],
        "Not all inactive",
        "1 of 2 certificates is inactive; 1 is not: 1 not attempted.",
        {"in_doubt": 1},
    ),
    "the verification was killed": (
        [called()],
        [session(), session("verify", after_ms=9000, ended=None)],
        "All inactive",
        "1 of 1 certificate is inactive.",
        {"desired": 1},
    ),
    "called after the read-back": (
        [seen(), called(90_000)],
        [session(ended=1), session("verify", after_ms=9000, ended=1, verification=verification()), session()],
        "All inactive",
        "2 of 2 certificates are inactive.",
        {"desired": 2, "unread": 1},
    ),
    "all of it undone": (["undone"] * 3, ENDED, "UNDONE", "3 of 3 certificates are active again.", {"undone": 3}),
    "undone in part": (
        ["undone", "succeeded", "failed"],
        IN_PART,
        "UNDONE",
        "1 of 3 certificates is active again; 1 is inactive; 1 other: 1 failed.",
        {"undone": 1, "desired": 1, "outcomes": {"failed": 1}},
    ),
    "perhaps undone": (
        [row("undone"), row(**MAYBE), row("unknown", **MAYBE), row("duplicate", first_row=1)],
        KILLED,
        "UNDONE",
        f"1 of 3 certificates is active again; 2 {NO_ANSWER}.",
        {"undone": 1, "maybe_undone": 2},
    ),
    "perhaps all undone": (
        [row(**MAYBE), row()],
        IN_PART,
        "UNDONE",
        f"0 of 2 certificates are active again; 1 {NO_ANSWER}; 1 is inactive.",
        {"maybe_undone": 1, "desired": 1},
    ),
    "read back before the undo, which proves nothing": (
        [seen(at=BEFORE, **MAYBE), row("undone")],
        IN_PART,
        "UNDONE",
        f"1 of 2 certificates is active again; 1 {NO_ANSWER}.",
        {"undone": 1, "maybe_undone": 1},
    ),
    "read back after the undo": (
        ["undone", seen(), seen("undone", status="active"), seen()],
        READ,
        "UNDONE",
        "2 of 4 certificates are active again; 2 are inactive.",
        {"undone": 2, "desired": 2},
    ),
    "deleted since": (
        [seen("undone", status="not_registered"), row("undone")],
        READ,
        "UNDONE",
        "1 of 2 certificates is active again; 1 other: 1 not registered.",
        {"undone": 1, "statuses": {"not_registered": 1}},
    ),
    "done again": (
        ["succeeded"] * 2,
        [*ENDED, session(after_ms=9000)],
        "All inactive",
        "2 of 2 certificates are inactive.",
        {"desired": 2},
    ),
}
TONES = {"Nothing to do": "good", "All inactive": "good", "Unfinished": "open"}


@pytest.mark.parametrize("case", HEADLINES)
def test_the_headline(made, case):
    """Each certificate is counted once; what is not known now is never called good."""
    rows, sessions, label, line, known = HEADLINES[case]
    counted = figures(made(rows, sessions))
    assert (counted.verdict.label, counted.verdict.line) == (label, line)
    assert counted.verdict.tone == ("open" if sessions is KILLED else TONES.get(label, "bad"))
    assert (counted.exit_status == 0) == (counted.verdict.tone == "good")
    found = counted.certificates
    assert {name: getattr(found, name) for name in known} == known
    counts = (found.desired, found.undone, found.maybe_undone, *found.statuses.values(), *found.outcomes.values())
    assert sum(counts) == len(rows) - counted.outcomes.get("duplicate", 0)


@pytest.mark.parametrize(
    ("rows", "sessions", "note"),
    [
        ([row(claimed_by=1)], [session(ended=None)], "The run was interrupted: killed, its machine"),
        ([row()], [session(ended=None, exit_status=73, stopped="disk full")], "The run stopped early: disk full"),
        ([row(None, claimed_by=1)], [session(ended=None)], "1 row may have been called by a session that was"),
        (["undone"], KILLED, "The undo was interrupted: killed, its machine went down, or its disk"),
        (["undone"], ENDED, "The last undo began on 2027-01-15 08:00:05 UTC."),
        ([called()], [session(), session("verify", ended=None)], "The last verification was interrupted"),
        ([called()], None, "Not read back: this is what the service answered"),
        ([seen(), called()], [session(), session("verify"), session()], "1 was not read back since"),
        (["succeeded", None], [session("undo", ended=77, stopped="denied")], "The undo stopped early: denied"),
    ],
)
def test_notes(made, rows, sessions, note):
    """What limits the line is said below it."""
    notes = figures(made(rows, sessions)).verdict.notes
    assert any(each.startswith(note) for each in notes)
    assert "disk full" not in note or not any("killed" in each for each in notes)


@pytest.mark.parametrize(("kind", "noun"), [("run", "run"), ("undo", "undo"), ("verify", "verification")])
def test_a_session_that_runs(made, kind, noun):
    """Somebody holds the run: unfinished, without an exit status; the report takes nothing from it."""
    files = made([called(), row(None, claimed_by=2)], [session(ended=75), session(kind, after_ms=9000, ended=None)])
    with lock.take(files.lock):
        counted, text = figures(files), text_of(files)
    assert (counted.verdict.tone, counted.exit_status, counted.certificates.in_doubt) == ("open", None, 0)
    assert [start.state for start in counted.starts] == ["ended", "running"]
    assert any(note.startswith(f"The {noun} is running") for note in counted.verdict.notes)
    assert counted.verdict.steps == [f"See how far it is: `bulkcert status {files.results}`"]
    assert ", running\n" in text


def test_sessions(made):
    """Run, undo and verification by their names, each with its own calls; of one that was killed what it said last."""
    last = {"calls": 7, "achieved_rate": 3.5, "peak_window": 5, "retries": 2, "throttles": 1, "outages": 1}
    sessions = [session(ended=None, figures=last), session("undo", figures={"calls": 4}), session("verify", ended=1)]
    files = made(["undone"], sessions)
    counted, text = figures(files), text_of(files)
    assert [(start.kind, start.state, start.calls) for start in counted.starts] == [
        ("run", "killed", 7),
        ("undo", "ended", 4),
        ("verify", "ended", 0),
    ]
    assert (counted.calls.run, counted.calls.at_least, counted.calls.peak_window) == (11, True, 5)
    assert [kind for kind in ("run", "undo", "verify") if f"Command     {kind}\n" in text] == ["run", "undo", "verify"]
    assert "interrupted; last sign of life 2027-01-15 08:00:01 UTC" in text
    assert "at least 7 calls at 3.5/s; peak (1 s window) 5; 2 retries, 1 throttle, 1 outage" in text
    assert "at least 11 calls, of which 2 retries" in text


@pytest.mark.parametrize(
    ("rows", "sessions", "shown"),
    [
        ([], None, "Exit status  0: nothing to do: the list was empty"),
        ([called(), None], [session(ended=69, stopped="silence")], "Exit status  69: silence"),
        ([called(), None], [session(ended=None)], "Exit status  75: interrupted; to resume: bulkcert resume"),
        ([called()] * 19_999 + ["invalid"], None, "> 99.99 %"),
        ([called()] * 19_999 + ["invalid"], None, "< 0.01 %"),
        ([called()], None, "\n  1 CA  "),
        ([called()], [session(ended=75), session()], "Command     resume\n"),
    ],
)
def test_text(made, rows, sessions, shown):
    """An exit status with its reason; shares that are never rounded to all, nor to nothing."""
    assert shown in text_of(made(rows, sessions))


def test_commands_can_be_copied(made):
    """On a terminal sentences are broken between words, and commands not at all; in Markdown they are code."""
    rows = [called(outcome="not_registered", code="FindDeviceBySnError"), row("failed", code="Client.Timeout")]
    files = made(rows, [session(ended=1, stopped="a reason " * 20)])
    counted = figures(files)
    lines = render(counted, "text", 80).decode().splitlines()
    command = f"bulkcert resume {files.results} --retry not_registered"

    assert f"    {command}" in lines
    assert all(len(line) <= 80 for line in lines if str(files.results) not in line and "SHA-256" not in line)
    assert set(" ".join(lines).split()) <= set(render(counted, "text").decode().split())
    assert f"`{command}`" in render(counted, "md").decode()
    assert f"<code>{command}</code>" in render(counted, "html").decode()


@pytest.mark.parametrize(
    ("rows", "bins", "bin_s"),
    [
        ([called()], 1, 1),
        ([called(number) for number in range(900)], 1, 1),
        ([called(100 * number + hours * HOUR_MS) for hours in (0, 5) for number in range(300)], 151, 120),
        ([called(9 * number * 1000) for number in range(4000)], 300, 120),
    ],
)
def test_calls_over_time(made, rows, bins, bin_s):
    """From the first call to the last in at most 300 bins, and no call is lost on the way."""
    calls = figures(made(rows)).calls
    shown = calls.over_time
    assert (shown.started, shown.bin_s, len(shown.mean)) == (utc(START / 1000), bin_s, bins)
    assert sum(shown.mean[:-1]) * bin_s == pytest.approx(calls.shown, abs=max(bin_s, 900))
    assert max(shown.worst) <= calls.shown == len(rows)


def test_no_calls_over_time(made):
    """Where nothing was called there is nothing to draw."""
    assert figures(made(["unchanged"])).calls.over_time is None


def test_cas(made):
    """Of thousands the twenty with the most rows, and all others together; nothing is lost."""
    rows = [called(ca, ca=f"00ca{ca:06d}") for ca in range(5000) for _ in range(1 + (ca < 20))]
    counted = figures(made(rows))
    assert counted.cas_in_all == 5000
    assert [(ca.ca_sn, ca.cas, ca.rows) for ca in counted.cas] == [
        *((f"00ca{ca:06d}", 1, 2) for ca in range(20)),
        ("", 4980, 4980),
    ]


@pytest.mark.parametrize(("action", "done"), [("inactivate-ca", "inactive"), ("delete-ca", "deleted")])
def test_an_action_on_cas(made, action, done):
    """There is no DeviceSn; the words are those of CAs."""
    rows = [called(ca="00ca01"), called(outcome="not_registered", ca="00ca02", code="FindCaBySnError")]
    counted = figures(made(rows, [session(ended=1)], action=action))
    assert counted.verdict.line == f"1 of 2 CAs is {done}; 1 is not: 1 not registered."
    assert {sample.ca_sn for finding in counted.findings for sample in finding.samples} == {"00ca02"}
    assert b"DeviceSn" not in render(counted, "html")
    assert (action == "delete-ca") != any("bulkcert undo" in step for step in counted.verdict.steps)


def test_findings(made):
    """The most rows first, each with its first rows, their serials and texts; a row that was not called has none."""
    rows = [called(number, "failed", code="InternalError", message=f"said {number}") for number in range(5)]
    rows += [row("invalid", why="DeviceSn is blank", device="", ca=None), row("not_attempted"), row(None)]
    rows += [called(outcome="failed", message="refused", never="protected", why="DeviceSn is protected by p.csv")]
    wrong, left, protected, invalid = figures(made(rows, [session(ended=1)])).findings
    assert (wrong.outcome, wrong.code, wrong.rows) == ("failed", "InternalError", 5)
    assert [(each.row, each.device_sn, each.message) for each in wrong.samples] == [
        (number + 1, f"{number + 1:08d}", f"said {number}") for number in range(5)
    ]
    assert [(each.row, each.request_id, each.message) for each in left.samples] == [(7, "", ""), (8, "", "")]
    assert [(each.ca_sn, each.message) for each in invalid.samples] == [("", "DeviceSn is blank")]
    # A row that was called and is protected now: what came of its call.
    assert [each.message for each in protected.samples] == ["refused"]


def test_up_to_500_are_named(made):
    """Kinds with few rows are named whole; where the others are is said with a command, which a terminal needs more."""
    rows = [row("failed", code="InternalError")] * 2000 + ["unknown"] * 300 + ["not_registered"] * 20
    files = made([called(), *rows], [session(ended=1)])
    counted = figures(files)
    command = f"bulkcert export {files.results} --outcome failed --code InternalError -o {files.results}.failed.csv"

    assert [len(each.samples) for each in counted.findings] == [240, 240, 20]
    assert f"and 1,760 more, all in {files.results}; into a file of their own: {command}" in text_of(files)
    assert "and 280 more" in render(counted, "text", 10_000).decode()
    assert "220 more are named at the end" in text_of(files)
    files.failed.write_text("row\n")
    assert f"and 1,760 more, all in {files.failed}" in text_of(files)


def test_duplicates_are_explained(made):
    """Where the rows are more than the certificates, it is said why; where they are not, nothing is."""
    files = made([called(), row("duplicate", first_row=1)])
    assert "The list has 2 rows: 1 certificate and 1 duplicate, which has the outcome" in text_of(files)
    assert "duplicate" not in figures(made_run(files.folder.parent, [called()])).verdict.notes


LEAK = ("--exposed-since", "2027-01-15T15:00", "--timezone", "Asia/Shanghai", "--format", "text")


def test_exposure(tmp_path, made):
    """From the leak until so many were off, in the time zone that was asked for; what is on again is not off."""
    rows = [called(minute * 60_000) for minute in range(98)]
    made([*rows, seen(status="active"), row("duplicate", first_row=1), "failed"], [session(ended=1)])
    shown = here("report", "r.csv", *LEAK, cwd=tmp_path).ended(0).stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]

    assert "Leaked 2027-01-15 15:00:00 +08:00" in lines
    assert "50 % of the list exposed for 1 h 49 min, until 2027-01-15 16:49:00 +08:00 (50 certificates)" in lines
    assert "99 % of the list not reached: 2 are not known to be off (99 certificates)" in lines
    assert "UTC" not in shown.replace("--timezone UTC", "")


def test_what_ends_no_exposure(tmp_path, made):
    """Certificates that are switched on were not exposed until then."""
    made([called()], action="activate-device")
    refused = here("report", "r.csv", *LEAK, cwd=tmp_path).ended(2).stderr
    assert "this run is activate-device, which ends no exposure" in refused


def test_headings(tmp_path, made):
    """Title and executor as they were given, ticket and approver as the run was given them; and a place to sign."""
    change = {"ticket": "CHG-4711", "reason": "a key has leaked", "approved_by": "Wang Fang"}
    made([called()], [session(options=change)])
    command = ("report", "r.csv", "--title", "Leak <of> 12 May", "--executor", "Li Lei")
    here(*command, cwd=tmp_path).ended(0)
    page = (tmp_path / "r.csv.report.html").read_text()

    assert "Report: Leak &lt;of&gt; 12 May: inactivate-device on post-cn-made" in page
    for name, value in (("Ticket", "CHG-4711"), ("Reason", "a key has leaked"), ("Executed by", "Li Lei")):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in page
    assert "<tr><td>Approved by</td><td>Wang Fang</td><td></td><td></td></tr>" in page
    assert "Executed by  ops on made" in here("report", "r.csv", "--format", "text", cwd=tmp_path).ended(0).stdout


def test_findings_of_an_undo(made):
    """What was undone, or may have been, is named with what to do; nobody is blamed for the state that it is in."""
    rows = [row("undone"), seen("undone", status="active"), row(**MAYBE), seen(at=BEFORE, status="active", **MAYBE)]
    files = made(rows, READ)
    counted = figures(files)
    assert {(each.outcome, each.read_back, each.maybe_undone): each.rows for each in counted.findings} == {
        ("undone", "", False): 2,
        ("succeeded", "", True): 2,
    }
    assert all(f"bulkcert resume {files.results} --retry undone" in each.advice for each in counted.findings)
    assert "audit log" not in text_of(files)


def test_read_back(made):
    """The newest verification, its reasons for what it has not read, and what was found in another state."""
    rows = [seen(), seen(), seen(status="active"), called(), row("invalid"), row("duplicate", first_row=1)]
    last = verification(
        statuses={"inactive": 2, "active": 1}, wanted=2, not_desired=1, exit_status=1, unread=2,
        unread_because={"invalid": 1, "refused": 1},
    )  # fmt: skip
    files = made(rows, [session(ended=1), session("verify", after_ms=9000, ended=1, verification=last)])
    counted = figures(files)
    assert counted.verified.statuses == {"inactive": 2, "active": 1}
    assert (counted.verified.missed, counted.verified.calls) == (1, 3)
    assert counted.verdict.line == (
        "3 of 5 certificates are inactive; 1 is not: 1 active; 1 not read back: 1 invalid; "
        "the last verification did not read 1."
    )
    assert {(each.outcome, each.read_back): each.rows for each in counted.findings} == {
        ("succeeded", "active"): 1,
        ("invalid", ""): 1,
    }
    assert f"To call again (1 drifted): `bulkcert resume {files.results} --retry drifted`" in counted.verdict.steps
    assert (counted.certificates.desired, counted.certificates.unread) == (3, 1)


def test_a_verification_that_read_nothing(made):
    """It proves nothing, whatever an earlier one has read."""
    last = verification(unread=1, unread_because={"not_reached": 1}, exit_status=69, stopped="no answer")
    counted = figures(made([seen()], [session(), session("verify", after_ms=9000, ended=69, verification=last)]))
    verdict = counted.verdict
    assert (counted.exit_status, counted.exit_meaning) == (69, "no answer")
    assert (verdict.label, verdict.tone) == ("Not verified", "open")
    assert any("ended with 69: no answer. It read 0 certificates and did not read 1." in each for each in verdict.notes)


def test_results_that_were_changed_or_removed(made):
    """Results that were removed are not missed; results that were edited are, since an auditor goes by the hash."""
    files = made([called(), called(5)])
    assert "SHA-256" not in "".join(figures(files).verdict.notes)
    files.summary.write_text(json.dumps({"results_sha256": "0" * 64}))
    edited = figures(files)
    assert any("SHA-256" in note for note in edited.verdict.notes)
    files.results.unlink()
    removed = figures(files)
    assert removed.results.sha256 is None
    assert any("results file is not there" in note for note in removed.verdict.notes)
    assert (removed.outcomes, removed.findings, removed.calls) == (edited.outcomes, edited.findings, edited.calls)


@pytest.mark.parametrize(
    ("status", "arguments", "said"),
    [
        (66, ("missing.csv",), "no run has written there"),
        (66, (".",), "a directory"),
        (73, ("r.csv", "-o", "no/such/directory.html"), "Create the directory"),
        (2, ("r.csv", "--format", "pdf"), "pdf"),
        (2, ("r.csv", "-o", "r.csv", "--format", "text"), "would overwrite"),
        (2, ("r.csv", "-o", "devices.csv", "--format", "md"), "would overwrite"),
        (2, ("r.csv", "-o", "link.html"), "would overwrite"),
        (2, ("r.csv", "-o", "./r.csv.run/store.sqlite", "--format", "text"), "would overwrite"),
        (2, ("r.csv", "-o", "r.csv.run/new.html"), "would overwrite"),
        (2, ("r.csv", "-o", "x.pdf"), "Let it end in .html, .md, .json, .txt"),
        (2, ("r.csv", "-o", "x"), "Let it end in"),
        (2, ("r.csv", "--timezone", "Mars/Olympus"), "this machine has no such time zone"),
        (2, ("r.csv", "--exposed-since", "yesterday"), "is not a time such as"),
        (2, ("r.csv", "--exposed-since", "2027-01-15T08:00:01"), "is after the run began, 2027-01-15 08:00:00 UTC"),
    ],
)
def test_what_is_refused(tmp_path, made, status, arguments, said):
    """66 where there is no run, 73 where nothing can be written, 2 for what does not fit or would be overwritten."""
    (tmp_path / "devices.csv").write_text("list")
    (tmp_path / "link.html").symlink_to("devices.csv")
    made([called()])
    before = sorted(path.name for path in tmp_path.rglob("*"))
    refused = here("report", *arguments, cwd=tmp_path).ended(status).stderr
    assert refused.startswith("error: ")
    assert said in refused
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert (tmp_path / "devices.csv").read_text() == "list"


def test_a_run_that_is_starting(tmp_path, made):
    """75 while its first session has not begun: there is nothing to report yet."""
    files = made([called()])
    files.store.unlink()
    with lock.take(files.lock):
        refused = here("report", "r.csv", cwd=tmp_path).ended(75).stderr
    assert "bulkcert status r.csv" in refused


@pytest.mark.parametrize(
    ("name", "options", "begins"),
    [
        ("x.html", (), "<!doctype html>"),
        ("x.MD", (), "# "),
        ("x.json", (), "{"),
        ("x.txt", (), "All inactive: "),
        ("ticket.log", ("--format", "text"), "All inactive: "),
        ("ticket.md", ("--format", "text"), "All inactive: "),
    ],
)
def test_the_format(tmp_path, made, name, options, begins):
    """It is what ``--format`` says; without that the file is what its name ends in."""
    made([called()])
    here("report", "r.csv", "-o", name, *options, cwd=tmp_path).ended(0)
    assert (tmp_path / name).read_text().startswith(begins)


def test_standard_output(tmp_path, made):
    """It is named like a file, and then never replaced by one, nor is any other that is no file."""
    files = made(["succeeded"])
    for named in ("-", "/dev/stdout"):
        assert here("report", files.results, "-o", named).ended(0).stdout.startswith("All inactive")
        assert here("report", files.results, "-o", named, "--format", "html").ended(0).stdout.startswith("<!doctype")
    os.mkfifo(tmp_path / "pipe.html")
    refused = here("report", files.results, "-o", tmp_path / "pipe.html").ended(73)
    assert f"{tmp_path / 'pipe.html'} is not a file" in refused.stderr
    assert (tmp_path / "pipe.html").is_fifo()


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.csv.report.html", "r.csv.run"]


def test_calls_of_a_killed_session(tmp_path):
    """What the outcomes of its rows took is counted though its live figures had not come so far."""
    ended, killed = session(figures={"calls": 9}), session(after_ms=9000, ended=None, figures={"calls": 3})
    rows = ["succeeded", *[row(session=2, attempts=2)] * 4]
    seen = count(made_run(tmp_path, rows, [ended, killed]))
    assert [each.calls for each in seen.starts] == [9, 8]
    assert (seen.calls.run, seen.calls.at_least) == (17, True)
