"""``report`` of what may be taken back, or was: the same command as in the terminal, and numbers that agree."""

import json
import shlex

import pytest
from program import UNHURRIED, here, summary_of, write_devices

from bulkcert.report.counting import count

pytestmark = pytest.mark.usefixtures("inside")

COUNT = 5


@pytest.fixture
def run(service, tmp_path):
    """Runs over active devices of this test's own, which nobody has looked at before; returns a function for that."""
    name = tmp_path.name[:20]
    devices = [(f"{name}{device}", f"{name}{ca}") for device, ca in write_devices(tmp_path / "d.csv", COUNT)]
    (tmp_path / "d.csv").write_text("DeviceSn,CaSn\n" + "".join(f"{device},{ca}\n" for device, ca in devices))
    service.seed(devices)

    def made(*more, status=0):
        command = ("run", "inactivate-device", "d.csv", *service.where, "-o", "r.csv", *more)
        return here(*command).ended(status).stderr

    made.states = lambda: service.states(devices)
    yield made
    service.tell("faults", shares={})


def undo(*more, status=0):
    return here("undo", "r.csv", "--yes", "-q", "--include-unknown", *UNHURRIED, *more).ended(status)


def offered(text):
    """Returns the undo that a text names, and what it says about it."""
    (line,) = (line for line in text.splitlines() if "bulkcert undo" in line)
    return line.lower().lstrip(" -→")


def in_report(tmp_path):
    return offered("\n".join(count(tmp_path / "r.csv").verdict.steps)).replace(str(tmp_path / "r.csv"), "r.csv")


def works(command):
    here(*shlex.split(command.partition("bulkcert ")[2]), "--yes", "-q", *UNHURRIED).ended(0)


def test_the_report_names_the_undo_that_the_hand_off_names(run, tmp_path):
    """Where nobody has looked before, and after an undo, the report's command has the options that make it work."""
    told = offered(run())
    assert "--include-unknown" in told
    assert in_report(tmp_path) == told
    works(in_report(tmp_path))
    assert run.states() == ["1"] * COUNT

    here("verify", "r.csv", "-q", *UNHURRIED).ended(1)
    told = offered(run("--retry-failed"))
    assert "--overwrite" in told
    assert in_report(tmp_path) == told
    works(in_report(tmp_path))
    assert run.states() == ["1"] * COUNT


def test_rows_that_are_only_unknown_may_be_taken_back(run, tmp_path, service):
    """A run whose calls were all left without an answer may have changed something: the report says how to undo it."""
    service.tell("faults", shares={"drop-after": 1.0})
    told = offered(run("--attempts", "1", "--max-errors", "100%", status=69))
    service.tell("faults", shares={})
    assert summary_of("r.csv")["outcomes"] == {"unknown": COUNT}
    assert in_report(tmp_path) == told
    works(in_report(tmp_path))
    assert run.states() == ["1"] * COUNT


def change_lines(change):
    with open("r.csv.journal", encoding="utf-8") as file:  # noqa: PTH123
        lines = [change(json.loads(line)) for line in file]
    with open("r.csv.journal", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.writelines(json.dumps(line) + "\n" for line in lines)


@pytest.mark.parametrize("exit_status", [0, 1])
def test_the_rows_of_an_undo_are_counted_alike(run, tmp_path, service, exit_status):
    """What was called and refused in the end is undone, and counted as taken back wherever the report counts."""
    run("-q", "--max-errors", "100%")
    refused = {"outcome": "failed", "code": "InternalError"}
    change_lines(lambda line: line | refused if line.get("row") == COUNT else line)
    run("-q", "--limit-rows", "0", status=1)
    if exit_status:
        service.tell("faults", shares={"ActiveDeviceCertificate:MqttOwnerCheckError": 1.0})
    undo("--max-errors", "100%", status=77 if exit_status else 0)
    assert summary_of("r.csv")["taken_back"]["rows"] == COUNT

    figures = count(tmp_path / "r.csv")
    assert figures.verdict.line.startswith(f"{COUNT} of {COUNT} certificates were")
    assert ";" not in figures.verdict.line, "a row is counted elsewhere as well"
    assert any(f"({COUNT} rows, see" in note for note in figures.verdict.notes)


def test_what_was_not_come_to_is_no_less_a_finding_after_an_undo(run, tmp_path):
    """Rows that the outcomes call not wanted are named among what is not as wanted, though the run was taken back.

    A session that was killed may have called them, so that the undo takes them up as well.
    """
    run("-q", "--limit-rows", "2", status=75)
    with open("r.csv.journal", encoding="utf-8") as file:  # noqa: PTH123
        lines = [line for line in file if '"type":"end"' not in line]
    with open("r.csv.journal", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.writelines(lines)
    run("-q", "--limit-rows", "0", status=75)
    undo()
    assert summary_of("r.csv")["taken_back"]["rows"] == COUNT

    figures = count(tmp_path / "r.csv")
    not_wanted = {each.outcome: each.rows for each in figures.outcomes if each.wanted == "no"}
    assert not_wanted == {"not_attempted": COUNT - 2}
    assert {finding.outcome: finding.rows for finding in figures.findings} == not_wanted


def test_a_run_with_rows_not_attempted_is_unfinished(run, tmp_path):
    """``unfinished`` is true until all rows were come to; ``going_on`` only while somebody holds the run."""
    run("-q", "--limit-rows", "2", status=75)
    stopped = json.loads(here("report", "r.csv", "--format", "json").ended(0).stdout)
    assert (stopped["unfinished"], stopped["going_on"]) == (True, False)
    run("-q")
    done = json.loads(here("report", "r.csv", "--format", "json").ended(0).stdout)
    assert (done["unfinished"], done["going_on"]) == (False, False)
