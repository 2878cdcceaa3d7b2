"""Why a change is made, and who has approved it: asked for where a job demands it, kept, and shown everywhere."""

import json

import pytest
from program import INSTANCE, UNHURRIED, here, summary_of, write_devices

CHANGE = {"ticket": "CHG-4711", "reason": "a key has leaked", "approved_by": "alice"}
KEPT = CHANGE | {"plan": None}
GIVEN = ("--ticket", CHANGE["ticket"], "--reason", CHANGE["reason"], "--approved-by", CHANGE["approved_by"])


@pytest.fixture
def job(tmp_path, service):
    """A job that demands a ticket and an approval, over a list of five active devices."""
    service.seed(write_devices(tmp_path / "devices.csv", 5))
    path = tmp_path / "job.toml"
    path.write_text(
        'action = "inactivate-device"\ninput = "devices.csv"\nresults = "r.csv"\n'
        f'instance = "{INSTANCE}"\nendpoint = "{service.url}"\nrequire = ["ticket", "approved-by"]\n'
    )
    return path


def facts(text):
    """Returns the values of a listing by their names."""
    return dict(line.strip().split("  ", 1) for line in text.splitlines() if "  " in line.strip())


def test_it_is_kept_and_shown(job, service):
    """Question, status, summary, report and every line of the log have ticket, reason and approver."""
    results = job.with_name("r.csv")
    first = here("run", "--job", job, "--yes", *UNHURRIED, *GIVEN, "--limit-rows", "2").ended(75)
    status = here("status", results).ended(75).stdout
    page = here("report", results, "--format", "text").ended(0).stdout

    for shown in (first.stderr, status, page):
        found = {name.lower(): value.strip() for name, value in facts(shown).items()}
        assert [found[name.replace("_", " ")] for name in CHANGE] == [*CHANGE.values()]
    assert summary_of(results)["sessions"][0]["change"] == KEPT
    assert json.loads(here("status", "--json", results).stdout)["sessions"][0]["change"] == KEPT

    resumed = here("resume", results, *UNHURRIED, "--yes", "--log-format", "json").ended(0)
    lines = [json.loads(line) for line in resumed.stderr.splitlines()]
    assert {line["ticket"] for line in lines if line["run"]} == {CHANGE["ticket"]}
    for event in ("run_started", "run_finished"):
        (line,) = [line for line in lines if line["event"] == event]
        assert line.items() >= KEPT.items()
    assert [each["change"] for each in summary_of(results)["sessions"]] == [KEPT] * 2


def test_an_undo_has_its_own(job, service):
    """What is undone is another change: it wants its own ticket, and the report has both."""
    results = job.with_name("r.csv")
    here("run", "--job", job, "--yes", *UNHURRIED, *GIVEN).ended(0)
    refused = here("undo", "--job", job, "--yes", *UNHURRIED).ended(2)
    assert "--ticket is missing, and --require demands it" in refused.stderr

    here("undo", "--job", job, "--yes", *UNHURRIED, "--ticket", "CHG-4712", "--approved-by", "bob").ended(0)
    page = here("report", results, "--format", "text").ended(0).stdout
    assert "CHG-4711" in page
    assert "CHG-4712" in page
    assert "CHG-4712" in here("status", results).ended(1).stdout


def test_a_watch_changes_certificates_too(job, service):
    """What a job demands it demands of a watch, which calls again; not of a verification that only reads."""
    here("run", "--job", job, "--yes", *UNHURRIED, *GIVEN).ended(0)
    here("verify", "--job", job, *UNHURRIED).ended(0)
    watch = ("verify", "--job", job, *UNHURRIED, "--yes", "--watch", "1", "--every", "1")
    assert "--ticket is missing, and --require demands it" in here(*watch).ended(2).stderr
    here(*watch, *GIVEN).ended(0)
    changes = [each["change"]["ticket"] for each in summary_of(job.with_name("r.csv"))["sessions"]]
    assert changes == ["CHG-4711", "", "CHG-4711"]


@pytest.mark.parametrize(
    ("given", "missing"),
    [((), ["ticket", "approved-by"]), (("--ticket", "CHG-1"), ["approved-by"]), (("--ticket", " "), ["ticket"])],
)
def test_a_job_demands_it(job, service, given, missing):
    """Without what the job demands no calls are made, and all that is missing is named; a rehearsal is not real."""
    before = service.report().arrivals
    refused = here("run", "--job", job, "--yes", *given).ended(2)

    assert all(f"--{name} is missing, and --require demands it" in refused.stderr for name in missing)
    assert service.report().arrivals == before
    assert not job.with_name("r.csv.run").exists()
    here("rehearse", "--job", job, *given).ended(0)


@pytest.mark.parametrize("typed", ["", "reason", "ticket"])
@pytest.mark.parametrize("how", ["option", "variable"])
def test_nothing_lifts_what_a_job_demands(job, typed, how):
    """What is demanded by an option or a variable comes to it; the way round would be open to everybody."""
    more = ("--require", typed) if how == "option" else ()
    env = {"BULKCERT_REQUIRE": typed} if how == "variable" else None
    refused = here("run", "--job", job, "--yes", *more, env=env).ended(2).stderr

    missing = [f"--{name} is missing" in refused for name in ("ticket", "approved-by", "reason")]
    assert missing == [True, True, typed == "reason"]


def test_what_is_not_meant_for_a_terminal_does_nothing_to_it(job, service):
    """A reason is shown as text, whatever it holds: escape sequences, Markdown, HTML."""
    evil = "\x1b[31m<b>|`x`"
    here("run", "--job", job, "--yes", *UNHURRIED, *GIVEN[:2], "--reason", evil, "--approved-by", "x").ended(0)

    results = job.with_name("r.csv")
    text, markdown = (here("report", results, "--format", each).ended(0).stdout for each in ("text", "md"))
    here("report", results).ended(0)
    page = results.with_name("r.csv.report.html").read_text()
    assert "\x1b" not in here("status", results).ended(0).stdout + text + markdown + page
    assert "<b>" not in page + markdown
