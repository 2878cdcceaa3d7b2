"""Whether the undo of a run stands: one rule, by which every command tells the same."""

import json

import pytest
from program import UNHURRIED, here, start, summary_of, wait_for, write_devices

pytestmark = pytest.mark.usefixtures("inside")


@pytest.fixture
def devices(service, tmp_path):
    """Returns devices of this test's own that a run has switched off; the list is ``d.csv``, the results ``r.csv``."""
    name = tmp_path.name[:20]
    pairs = [(f"{name}{device}", f"{name}{ca}") for device, ca in write_devices("d.csv", 40)]
    (tmp_path / "d.csv").write_text("DeviceSn,CaSn\n" + "".join(f"{device},{ca}\n" for device, ca in pairs))
    service.seed(pairs)
    run(service)
    return pairs


def run(service, *more, status=0):
    return here("run", "inactivate-device", "d.csv", *service.looking, "-q", "-o", "r.csv", *more).ended(status)


def undo(*more, status=0):
    return here("undo", "r.csv", "--yes", "-q", *UNHURRIED, *more).ended(status)


def ending():
    """Returns what ``status --json`` says of the end of the run."""
    return json.loads(here("status", "r.csv", "--json").stdout)["ending"]


def stands():
    """Returns whether the undo stands, as status, report, a watch that asks and the run's own summary all tell."""
    state = " ".join(here("status", "r.csv").stdout.split()).split("action")[0]
    report = json.loads(here("report", "r.csv", "--format", "json").ended(0).stdout)
    asked = here("verify", "r.csv", "--watch", "1s", *UNHURRIED).ended(2).stderr
    told = ["before the undo" in state, "before the undo" in report["exit_meaning"], "would be called again" in asked]
    assert len(set(told)) == 1, (state, report["exit_meaning"], asked)
    return told[0]


def test_an_undo_that_was_killed(service, devices):
    """SIGKILL half-way through: from its first call on, the run it takes back is no success, and a watch is warned.

    The same undo then goes on, and how it ended replaces the mark.
    """
    with start("undo", "r.csv", "--yes", "-q", "--rate", "5") as undoing:
        wait_for(undoing, lambda: service.states(devices).count("1") >= 5)
        undoing.kill()
        undoing.communicate()
    assert service.states(devices).count("0") > 5
    noted = ending()["taken_back"]
    assert (noted["results"], noted["rows"], noted["exit_status"]) == ("r.undo.csv", 40, 75)
    assert "bulkcert status r.undo.csv" in " ".join(here("status", "r.csv").stdout.split())
    verdict = json.loads(here("report", "r.csv", "--format", "json").stdout)["verdict"]
    assert (verdict["tone"], verdict["label"]) == ("bad", "Taken back in part")
    assert stands()
    undo()
    assert service.states(devices) == ["1"] * 40
    assert ending()["taken_back"]["exit_status"] == 0
    assert ending()["taken_back"]["finished"] > noted["finished"]


def test_an_undo_that_was_not_begun(service, devices):
    """2 without a yes, or a limit of no rows: what has called nothing leaves no mark."""
    here("undo", "r.csv", *UNHURRIED).ended(2)
    undo("--limit-rows", "0", status=75)
    assert summary_of("r.csv")["taken_back"] is None


def test_the_mark_cannot_be_written(service, devices, tmp_path):
    """73 where the run cannot be marked as taken back: then nothing is."""
    in_the_way = tmp_path / ".r.csv.summary.json.part"
    in_the_way.mkdir()
    assert "r.csv.summary.json" in undo(status=73).stderr
    assert service.states(devices) == ["0"] * 40


def test_done_again_in_part(service, devices):
    """While a row that was taken back has not been done again the undo stands, for all alike; then it does not.

    What was called again meanwhile can be taken back with the line that is offered.
    """
    undo()
    assert stands()
    here("verify", "r.csv", "-q", *UNHURRIED).ended(1)
    assert stands()
    again = ("run", "inactivate-device", "d.csv", *service.looking, "-o", "r.csv", "--retry-failed")
    told = here(*again, "--limit-rows", "1").ended(75)
    assert service.states(devices).count("0") == 1
    assert ending()["taken_back"]["standing"] == 39
    assert stands()
    assert "before the undo, " in told.stdout
    assert ", called again in part since" in told.stdout
    assert "bulkcert undo r.csv --overwrite" in told.stderr
    told = here(*again).ended(0)
    assert service.states(devices) == ["0"] * 40
    assert not stands()
    assert "before the undo" not in told.stdout
    assert ", called again since" in told.stdout


def test_the_rest_of_a_run(service, devices):
    """However many rows the run goes on to call, those that were taken back before are so still."""
    service.seed(devices)
    run(service, "--overwrite", "--limit-rows", "5", status=75)
    undo()
    run(service)
    assert service.states(devices).count("0") == 35
    assert ending()["taken_back"]["standing"] == 5
    assert stands()


def test_seen_done_again(service, devices):
    """What somebody else has done again does not stand as taken back once it was read; the undo again says no more."""
    undo()
    service.seed(devices, "0")
    assert stands()
    here("verify", "r.csv", "-q", *UNHURRIED).ended(0)
    assert not stands()
    undo()
    assert not stands(), "an undo that has called nothing has taken nothing back"
