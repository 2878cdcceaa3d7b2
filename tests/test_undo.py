"""``undo``: exactly what a run has changed is changed back, whatever happened to the run or to the undo."""

import json
import sqlite3
from pathlib import Path

import pytest
from place import OFF, Inside
from program import (
    INSTANCE,
    UNHURRIED,
    here,
    outcomes,
    read_results,
    start,
    summary_of,
    wait_for,
    write_devices,
    write_list,
)
from stored import ask, change, kill, status
from watching import watch

from bulkcert.engine.failures import Stop
from bulkcert.errors import ExitStatus
from bulkcert.runs.undo import Undo
from bulkcert.store.outcome import Outcome
from bulkcert.store.store import Store

pytestmark = pytest.mark.usefixtures("inside")

ON = "ActiveDeviceCertificate"


@pytest.fixture
def place(service, tmp_path):
    return Inside(service, tmp_path.name)


def interrupted(kind="run", *, open_rows=()):
    """Leaves the newest session as a kill does that came before the outcomes of some rows were written."""
    kill("r.csv")
    for row in open_rows:
        change("r.csv", "INSERT INTO claim (row, session) SELECT ?, MAX(id) FROM session", row)
        if kind == "run":
            change("r.csv", "UPDATE certificate SET newest = NULL, changed = 0, attempts = 0 WHERE row = ?", row)


# What is undone.


def test_only_what_was_changed(place):
    """Rows that were in the desired state before are not touched; the results say of each what it is now."""
    place.list(60)
    place.service.seed(place.devices[:20], "0")
    place.run().ended(0)
    since = place.service.report().arrivals
    place.undo().ended(0)

    assert place.states == ["0"] * 20 + ["1"] * 40
    assert place.calls(since, ON) == [*range(21, 61)]
    assert [row["outcome"] for row in read_results("r.csv")] == ["unchanged"] * 20 + ["undone"] * 40


def test_undo_of_cas(place):
    """A CA action over a device list is undone for each CA that it has changed."""
    service = place.service
    devices = write_devices("d.csv", 9, cas=3)
    service.tell("seed", instance=INSTANCE, rows=[(ca, "") for _, ca in devices[:3]])
    service.tell("seed", instance=INSTANCE, rows=[(devices[0][1], "")], status="0")
    before = service.all_states()
    here("run", "inactivate-ca", "d.csv", *service.looking, "-o", "r.csv").ended(0)
    assert service.all_states() != before
    place.undo().ended(0)

    assert service.all_states() == before


def test_delete_has_no_undo(place):
    """2: what was deleted cannot be brought back, and that is said before anything else."""
    place.service.seed(write_devices("d.csv", 4, cas=2))
    here("run", "delete-ca", "d.csv", *place.service.where, "-o", "r.csv", "--confirm-devices", 4).ended(0)

    assert "cannot be undone" in here("undo", "r.csv", "--yes").ended(2).stderr


def test_unknown_states_want_a_word(place):
    """2: without a preflight nobody knows what to restore; one word leaves those rows, another undoes all of them."""
    place.made(3, "--preflight", "never").ended(0)
    refused = place.undo().ended(2).stderr
    assert "3 rows" in refused
    assert "--include-unknown" in refused
    left = place.undo("--no-include-unknown").ended(0).stderr
    assert "nothing to undo: all that r.csv has changed are 3 rows whose state before is not known" in left
    assert place.states == ["0"] * 3
    place.undo("--include-unknown", "--limit-rows", "1").ended(75)
    assert "2 rows" in place.undo("--no-include-unknown").ended(0).stderr
    place.undo("--include-unknown").ended(0)

    assert place.states == ["1"] * 3


def test_undo_asks(place):
    """2 without a yes, or with a wrong option: nothing is called, and nothing is left of an undo that was not begun."""
    place.made(5).ended(0)
    here("undo", "r.csv", *UNHURRIED).ended(2)
    assert "See bulkcert undo --help" in place.undo("--max-errors", "many").ended(2).stderr

    assert place.states == ["0"] * 5
    assert status("r.csv").exit_status == 0
    assert [each.kind for each in status("r.csv").sessions] == ["run"]


def test_json(place):
    """--json prints an object whatever there was to do; nothing was undone where nothing was to be undone."""
    place.made(3).ended(0)
    done = json.loads(place.undo("--json", "-q").ended(0).stdout)
    assert (done["rows"], done["undone"], done["exit_status"]) == (3, 3, 0), "that of the undo, as it exits"
    assert (done["run"]["exit_status"], done["run"]["outcomes"]) == (1, {"undone": 3}), "that of the run now"
    told = place.undo("--json", "-q").ended(0)

    assert json.loads(told.stdout) == {"rows": 0, "undone": 0, "unknown": 0, "exit_status": 0, "run": None}
    assert told.stderr == ""


def test_rehearsed_twice(place):
    """Each rehearsal undoes what it has done itself, not what the one before did."""
    write_devices("d.csv", 10)
    rehearse = ("rehearse", "inactivate-device", "d.csv", "-q", "--json", "--and-then", "undo", "--latency-ms", 0, 0)
    first, second = (
        json.loads(here(*rehearse, *more).ended(0).stdout)
        for more in (("--already", "0.5", "--preflight", "always"), ())
    )

    assert first["undo"]["undone"] == first["summary"]["outcomes"]["succeeded"] < 10
    assert second["undo"]["rows"] == 10


# What an undone run says, and what becomes of it.


def test_an_undone_run_says_so(place):
    """1 and UNDONE, with how many certificates are in the opposite state and the command that does it again.

    Alike for status, the summary, the same command and the report; nothing is called meanwhile.
    """
    place.made(3).ended(0)
    undone = place.undo().ended(0)
    assert "all of it is undone" in undone.stdout
    since = place.service.report().arrivals
    told = [here("status", "r.csv").ended(1), place.run().ended(1), place.resume().ended(1)]
    for finished in told:
        said = " ".join((finished.stdout + finished.stderr).split())
        assert "UNDONE: 3 certificates are active again" in said
        assert "bulkcert resume r.csv --retry undone" in said
    summary = summary_of("r.csv")
    assert (summary["exit_status"], summary["undone"], summary["outcomes"]) == (1, 3, {"undone": 3})
    report = json.loads(here("report", "r.csv", "--format", "json").ended(0).stdout)
    assert "bulkcert resume r.csv --retry undone" in json.dumps(report)

    assert place.service.report().arrivals == since
    assert outcomes("r.csv") == {"undone": 3}


@pytest.mark.parametrize("late", ["r.csv", "r.csv.run/summary.json"])
def test_an_undo_that_was_killed_before_its_results_or_summary(place, late):
    """Whoever undoes it again finds nothing to undo, and leaves results and a summary that say so."""
    place.made(3).ended(0)
    before = Path(late).read_bytes()
    place.undo().ended(0)
    Path(late).write_bytes(before)
    place.undo().ended(0)

    assert summary_of("r.csv")["outcomes"] == outcomes("r.csv") == {"undone": 3}


def test_an_undo_whose_outcomes_cannot_be_written(place, monkeypatch):
    """Every call was answered, and the store says nothing of it: that is no success (73), and it is done again."""

    def keep(store, group):
        error = sqlite3.OperationalError()
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    place.made(3).ended(0)
    with monkeypatch.context() as full:
        full.setattr(Store, "keep", keep)
        assert "no space left" in place.undo().ended(73).stderr
    # The store has taken why, which is little, and says so.
    assert "interrupted while it undid: cannot write" in here("status", "r.csv").ended(73).stdout
    place.undo().ended(0)

    assert place.states == ["1"] * 3
    assert outcomes("r.csv") == {"undone": 3}


@pytest.mark.parametrize(
    ("outcomes", "stop", "ends"),
    [
        ({"undone": 3}, True, 0),
        ({"undone": 2, "failed": 1}, False, 1),
        ({"undone": 2, "unknown": 1}, True, 143),
        ({"undone": 2, "not_attempted": 1}, True, 143),
    ],
)
def test_an_undo_that_is_stopped_at_its_last_calls(outcomes, stop, ends):
    """Those that the stop cuts short have an outcome, too: it has not come to its end all the same, and is resumed."""
    undo = Undo(None, None, None, None, known=3)
    undo.progress.outcomes.update({Outcome(name): count for name, count in outcomes.items()})
    undo.progress.stop = Stop(ExitStatus.TERMINATED, "SIGTERM received", "") if stop else None

    assert undo._came_to() == ends


def test_undone_once(place):
    """The same undo again calls nothing; one that was stopped goes on, with the same command or with resume."""
    place.made(30).ended(0)
    place.undo("--limit-rows", "10").ended(75)
    assert place.states.count("1") == 10
    place.undo("--limit-rows", "10").ended(75)
    assert place.states.count("1") == 20
    place.resume().ended(0)
    assert place.states == ["1"] * 30
    since = place.service.report().arrivals
    assert "nothing to undo: all that r.csv has changed, 30 rows, is undone already" in place.undo().ended(0).stderr

    assert place.calls(0, ON) == [*range(1, 31)]
    assert place.service.report().arrivals == since


def test_done_again_in_part_and_undone_again(place):
    """While a row that was undone has not been done again the run is undone, for all alike; then it is not.

    What was done again can be undone again, any number of times.
    """
    place.made(10).ended(0)
    place.undo().ended(0)
    told = place.resume("--retry", "undone", "--limit-rows", "1").ended(75)
    assert place.states.count("0") == 1
    assert (status("r.csv").undone, status("r.csv").is_undone) == (9, True)
    assert "bulkcert resume r.csv --retry undone" in told.stderr
    told = place.resume("--retry", "undone").ended(0)
    assert place.states == ["0"] * 10
    assert (status("r.csv").exit_status, status("r.csv").is_undone) == (0, False)
    assert "UNDONE" not in told.stdout
    place.undo().ended(0)
    assert place.states == ["1"] * 10
    place.run("--retry", "undone").ended(0)
    place.undo().ended(0)
    assert place.states == ["1"] * 10

    attempts = ask("r.csv", lambda db: db.execute("SELECT outcome FROM attempt WHERE row = 1 ORDER BY id").fetchall())
    assert attempts == [("succeeded",), ("undone",)] * 2 + [("succeeded",)]


def test_the_rest_of_a_run(place):
    """A run that was stopped, and is undone, calls nothing more by itself; --retry undone and --overwrite do."""
    place.made(20, "--limit-rows", "5").ended(75)
    place.undo().ended(0)
    assert place.states == ["1"] * 20
    assert "nothing to call: the run was undone" in place.run().ended(1).stderr
    assert place.states == ["1"] * 20
    place.resume("--retry", "undone").ended(0)
    assert outcomes("r.csv") == {"succeeded": 20}
    place.undo().ended(0)
    place.run("--overwrite").ended(0)

    assert place.states == ["0"] * 20
    assert outcomes("r.csv") == {"succeeded": 20}


# A run that ended badly.


@pytest.mark.parametrize("resumed", [False, True])
def test_killed_before_an_outcome_was_written(place, resumed):
    """The preflight is on disk before the first call: nobody is asked about rows that a kill left without an outcome.

    All that such a session had claimed is undone, whatever came of it since, and nothing else.
    """
    place.made(9, "--limit-rows", "6").ended(75)
    interrupted(open_rows=(2, 3, 4, 5, 6))
    if resumed:
        place.resume("--limit-rows", "1").ended(75)
    assert status("r.csv").in_doubt == 5 - resumed
    undone = place.undo().ended(0)

    assert "to undo: 6 rows" in undone.stderr
    assert place.states == ["1"] * 9
    assert len(place.calls(0, ON)) == 6
    assert outcomes("r.csv") == {"undone": 6, "not_attempted": 3}


def test_a_call_that_was_refused_has_changed_nothing(place):
    """What a refusal for the whole run met was not called: nobody is asked what it was before."""
    place.list(4)
    write_list("d.csv", [*place.devices, (f"{place.name}never", place.devices[0][1])])
    with place.service.faulty(seed=1, **{f"{OFF}:NoPermission": 1.0}):
        place.run("--max-in-flight", "1").ended(77)
    place.run().ended(1)

    assert summary_of("r.csv")["unknown_before"] == 0
    place.undo().ended(0)
    assert place.states == ["1"] * 4


def test_a_refusal_after_a_lost_answer_says_nothing_of_the_first_attempt(place):
    """No row that was really changed is failed: it is read back, or is unknown; says why, and is undone."""
    place.made(30, "--limit-rows", "1").ended(75)
    with place.service.faulty(seed=3, **{"drop-after": 0.4, "ParameterFieldCheckFailed": 0.3}):
        place.run("--max-errors", "100%").ended(1)

    rows = read_results("r.csv")
    done = [row for row, state in zip(rows, place.states, strict=True) if state == "0"]
    assert {row["outcome"] for row in done} == {"succeeded", "unknown"}
    lost = [row for row in rows if row["outcome"] == "unknown" and row["code"] == "ParameterFieldCheckFailed"]
    assert lost
    assert all("an attempt may have been carried out" in row["message"] for row in lost)
    assert all(row["outcome"] != "succeeded" or "read back inactive" in row["message"] for row in rows if row["code"])
    place.undo().ended(0)
    assert place.states == ["1"] * 30


def test_the_undo_that_is_offered_works(place):
    """Also after a watch has called what nobody had seen before: then it wants a word, which is offered with it."""
    place.list(4)
    late = [(f"{place.name}late", place.devices[0][1])]
    write_list("d.csv", [*place.devices, *late])
    place.run("--preflight", "always").ended(1)
    place.service.seed(late)
    watch("r.csv", lambda: wait_for(None, lambda: place.service.states(late) == ["0"])).ended(0)
    offered = [line for line in place.run().ended(0).stderr.splitlines() if "bulkcert undo" in line]
    report = json.loads(here("report", "r.csv", "--format", "json").ended(0).stdout)
    offered += [step for step in report["verdict"]["steps"] if "bulkcert undo" in step]

    assert ["--include-unknown" in step for step in offered] == [True] * 2
    place.undo("--include-unknown").ended(0)
    assert place.service.states([*place.devices, *late]) == ["1"] * 5


def test_killed_while_it_is_done_again(place):
    """What a session may have called that was killed after the undo is not told as undone; undo does it again."""
    place.made(6).ended(0)
    place.undo().ended(0)
    place.resume("--retry", "undone", "--limit-rows", "3").ended(75)
    change("r.csv", "UPDATE certificate SET newest = 'undone', changed = 0, again = 1 WHERE row IN (2, 3)")
    interrupted("redo", open_rows=(2, 3))
    assert status("r.csv").exit_status == 75
    assert "to undo: 3 rows" in place.undo().ended(0).stderr

    assert place.states == ["1"] * 6
    assert (status("r.csv").undone, status("r.csv").in_doubt) == (6, 0)
    assert len(place.calls(0, ON)) == 9


# An undo that ended badly.


def test_an_undo_that_is_refused(place):
    """77: nothing is undone, the run is not said to be, and the undo goes on once the refusal is gone."""
    place.made(20).ended(0)
    with place.service.faulty(seed=1, **{f"{ON}:NoPermission": 1.0}):
        assert "bulkcert resume r.csv" in place.undo().ended(77).stderr
    assert (outcomes("r.csv"), status("r.csv").is_undone) == ({"succeeded": 20}, False)
    place.resume().ended(0)

    assert place.states == ["1"] * 20


def test_an_undo_that_was_killed(place):
    """SIGKILL half-way through: from its first call on the run is no success; the same undo then goes on."""
    place.made(40).ended(0)
    with start("undo", "r.csv", "--yes", "-q", "--rate", "5") as undoing:
        wait_for(undoing, lambda: status("r.csv").undone >= 2)
        undoing.kill()
        undoing.communicate()
    assert place.states.count("0") > 5
    stands = status("r.csv")
    assert (stands.state, stands.exit_status, stands.is_undone) == ("interrupted", 75, True)
    assert stands.maybe_undone > 0
    assert "bulkcert resume r.csv" in here("status", "r.csv").ended(75).stdout
    place.resume(*UNHURRIED).ended(0)

    assert place.states == ["1"] * 40
    assert (status("r.csv").exit_status, status("r.csv").maybe_undone) == (1, 0)


@pytest.mark.parametrize("command", ["undo", "resume"])
@pytest.mark.parametrize("claimed", [(), (2, 3)], ids=["before its first claim", "before its first call"])
def test_an_undo_that_was_killed_before_its_first_call(place, command, claimed):
    """It is started again like anything else."""
    place.made(5).ended(0)
    place.undo("--limit-rows", "1").ended(75)
    interrupted("undo", open_rows=claimed)
    assert (status("r.csv").state, status("r.csv").maybe_undone) == ("interrupted", len(claimed))
    getattr(place, command)().ended(0)

    assert place.states == ["1"] * 5
    assert outcomes("r.csv") == {"undone": 5}


@pytest.mark.parametrize("command", ["undo", "resume"])
def test_an_undo_that_was_killed_after_its_last_call(place, command):
    """It comes to its end: the results are written, and the run is undone, not interrupted."""
    place.made(5).ended(0)
    place.undo().ended(0)
    kill("r.csv")
    Path("r.csv").write_text("")
    assert status("r.csv").exit_status == 75
    getattr(place, command)().ended(0)

    assert (status("r.csv").state, status("r.csv").exit_status) == ("ended", 1)
    assert outcomes("r.csv") == {"undone": 5}


@pytest.mark.parametrize("fault", ["ParameterCheckFailed", "no-echo"])
def test_an_undo_in_vain(place, fault):
    """1: what the run has made of a row stays where it could not be changed back, also where that is not known."""
    place.made(4).ended(0)
    with place.service.faulty(seed=1, **{f"{ON}:{fault}" if fault[0] == "P" else fault: 1.0}):
        place.undo("--attempts", "1").ended(1)
    lost = 4 if fault == "no-echo" else 0
    assert outcomes("r.csv") == {"succeeded": 4}
    assert (status("r.csv").maybe_undone, status("r.csv").exit_status) == (lost, min(lost, 1))
    place.undo().ended(0)

    assert place.states == ["1"] * 4
    assert status("r.csv").maybe_undone == 0
