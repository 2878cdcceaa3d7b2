"""``undo`` where a run ended badly: what may have been changed is restored to what it was, where that is known."""

import json

import pytest
from program import UNHURRIED, here, outcomes, read_results, start, summary_of, wait_for

CALL = "InactivateDeviceCertificate"


@pytest.fixture
def run(tmp_path, service):
    """Makes a run over six active devices of a CA of its own; returns its command and the devices."""
    name = tmp_path.name[:24]
    devices = [(f"{name}{number}", f"{name}ca") for number in range(6)]
    (tmp_path / "d.csv").write_text("DeviceSn,CaSn\n" + "".join(f"{device},{ca}\n" for device, ca in devices))
    service.seed(devices)
    command = ("run", "inactivate-device", "d.csv", *service.looking, "-q", "-o", "r.csv")
    here(*command, cwd=tmp_path).ended(0)
    return command, devices


def rewrite(journal, change):
    """Changes the lines of a journal: each decoded line becomes another, or goes."""
    changed = [change(json.loads(line)) for line in journal.read_text().splitlines()]
    journal.write_text("".join(json.dumps(line) + "\n" for line in changed if line is not None))


def test_killed_before_an_outcome_was_written(tmp_path, service, run):
    """The look is on disk before the first call, so nobody is asked about rows that a kill left without an outcome."""
    command, devices = run
    rewrite(tmp_path / "r.csv.journal", lambda line: None if line["type"] in ("row", "end") else line)
    here(*command, "--limit-rows", "0", cwd=tmp_path).ended(75)
    assert outcomes(tmp_path / "r.csv") == {"not_attempted": 6}
    undone = here("undo", "r.csv", "--yes", *UNHURRIED, cwd=tmp_path).ended(0)

    assert "to take back: 6 rows" in undone.stderr
    assert service.states(devices) == ["1"] * 6


@pytest.mark.parametrize("outcome", ["failed", "unknown", "not_attempted"])
def test_called_whatever_came_of_it(tmp_path, service, run, outcome):
    """A row that was called is restored if it was in the opposite state, though its last answer was no success."""
    command, devices = run
    rewrite(
        tmp_path / "r.csv.journal",
        lambda line: (
            line | {"outcome": outcome, "again": outcome == "not_attempted"} if line["type"] == "row" else line
        ),
    )
    here(*command, "--limit-rows", "0", cwd=tmp_path)
    assert outcomes(tmp_path / "r.csv") == {outcome: 6}
    here("undo", "r.csv", "--yes", *UNHURRIED, cwd=tmp_path).ended(0)

    assert service.states(devices) == ["1"] * 6


def test_what_was_never_called_is_left_alone(tmp_path, service, run):
    """Rows that a limit kept from being called are no business of the undo, though a verification was killed since."""
    command, devices = run
    service.seed(devices)
    here(*command, "--overwrite", "--limit-rows", "2", cwd=tmp_path).ended(75)
    with start("verify", "r.csv", *UNHURRIED, "--watch", "1h", "--every", "1s", "--yes", cwd=tmp_path) as watching:
        journal = tmp_path / "r.csv.journal"
        wait_for(watching, lambda: b'"seen"' in journal.read_bytes())
        watching.kill()
        watching.communicate()
    here("undo", "r.csv", "--yes", *UNHURRIED, cwd=tmp_path).ended(0)

    assert [row["original_row"] for row in read_results(tmp_path / "r.undo.csv")] == ["1", "2"]
    assert service.states(devices) == ["1"] * 6


def test_a_call_that_was_refused_has_changed_nothing(tmp_path, service):
    """What a refusal for the whole run met was not called: nobody is asked what it was before."""
    name = tmp_path.name[:24]
    devices = [(f"{name}{number}", f"{name}ca") for number in range(4)]
    (tmp_path / "d.csv").write_text("DeviceSn,CaSn\n" + "".join(f"{device},{ca}\n" for device, ca in devices))
    service.seed(devices[1:])
    command = ("run", "inactivate-device", "d.csv", *service.looking, "-q", "-o", "r.csv", "--max-in-flight", "1")
    service.tell("faults", shares={f"{CALL}:NoPermission": 1.0}, seed=1)
    here(*command, cwd=tmp_path).ended(77)
    service.tell("faults", shares={}, seed=1)
    here(*command, cwd=tmp_path).ended(1)

    assert summary_of(tmp_path / "r.csv")["unknown_before"] == 0
    here("undo", "r.csv", "--yes", *UNHURRIED, cwd=tmp_path).ended(0)
    assert service.states(devices) == [None, "1", "1", "1"]
