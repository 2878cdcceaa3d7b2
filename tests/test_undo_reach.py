"""``undo`` of a run that was killed takes back what that may have called, and nothing far beyond it."""

import json
import re

import pytest
from program import INSTANCE, UNHURRIED, emulator, here, start, wait_for, write_devices

from bulkcert.batch.engine import FORESEEN_CALLS

ROWS = 3 * FORESEEN_CALLS


@pytest.mark.parametrize("already", [0, 0.9], ids=["none already", "nine of ten already"])
def test_what_another_run_has_done_stays(tmp_path, already):
    """Rows that the killed run was far from are left as they are now; all that it has called are as they were."""
    with emulator(tmp_path, latency_ms=(2, 8)) as service:
        devices = write_devices(tmp_path / "d.csv", 10 * ROWS if already else ROWS)
        service.seed(devices, "1")
        if already:
            service.seed([device for number, device in enumerate(devices) if number % 10], "0")
        before = service.states(devices[:200])
        where = ("--endpoint", service.url, "--instance", INSTANCE, "--yes", "-q", "--max-in-flight", "16", *UNHURRIED)
        command = ("run", "inactivate-device", tmp_path / "d.csv", *where)
        with start(*command, "-o", tmp_path / "a.csv") as child:
            wait_for(child, lambda: service.report().changes >= FORESEEN_CALLS * 1.2)
            child.kill()
        changed = service.report().changes
        stopped = here(*(part for part in command if part != "-q"), "-o", tmp_path / "a.csv", "--limit-rows", "0")
        notes = json.loads(here("report", tmp_path / "a.csv", "--format", "json").ended(0).stdout)["verdict"]["notes"]
        [doubtful] = [note for note in notes if "without a trace" in note]
        printed = [line for line in stopped.ended(75).stderr.splitlines() if line.startswith("to take it back")]
        here(*command, "-o", tmp_path / "b.csv").ended(0)
        assert [line.partition(": ")[2] for line in printed] == [f"bulkcert undo {tmp_path / 'a.csv'}"]
        undone = here("undo", tmp_path / "a.csv", "--yes", "--json").ended(0)

        assert int(re.search(r"Up to ([\d,]+) row", doubtful)[1].replace(",", "")) <= 2 * FORESEEN_CALLS
        taken_back = json.loads(undone.stdout)["rows"]
        # Rows in flight had no line, and calls may be foreseen twice as far as half the way to the next line.
        assert changed <= taken_back <= changed + 2 * FORESEEN_CALLS
        assert service.states(devices[:200]) == before
        assert service.counts()["devices"] == {"1": taken_back, "0": len(devices) - taken_back}


def test_the_journal_foresees_calls_but_rarely(tmp_path, service):
    """A run of some thousand calls waits for the disk a few times more than it would, not for each row."""
    service.seed(write_devices(tmp_path / "d.csv", ROWS))
    here("run", "inactivate-device", tmp_path / "d.csv", *service.where, "-o", tmp_path / "r.csv").ended(0)
    lines = [json.loads(line) for line in (tmp_path / "r.csv.journal").read_text().splitlines()]
    reach = [line["row"] for line in lines if line["type"] == "reach"]

    assert reach[-1] == ROWS
    assert sorted(set(reach)) == reach
    assert len(reach) <= 2 * ROWS / FORESEEN_CALLS + 1
    known = 0
    for line in lines:
        known = line["row"] if line["type"] == "reach" else known
        assert line["type"] != "row" or line["row"] <= known, "it stands before the rows that it foresees"
