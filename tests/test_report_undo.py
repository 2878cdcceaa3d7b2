"""``report`` of what may be taken back, or was: the same command as in the terminal, and numbers that agree."""

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
