"""What may not be read or written: refused with the path and what to do, and nothing is called."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from program import INSTANCE, UNHURRIED, here, write_devices

NOBODY = 65534


@contextmanager
def somebody_else():
    """Lets this process be a user to whom none of the files belong; root may read all."""
    if os.geteuid():
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture(scope="module")
def place(service):
    """A directory that all may read and nobody may write, with files that nobody may read, and one to write in."""
    made = Path(tempfile.mkdtemp(prefix="bulkcert-permissions-"))  # those of pytest are closed to others
    env = {"BULKCERT_ENDPOINT": service.url, "BULKCERT_INSTANCE": INSTANCE}
    service.seed(write_devices(made / "d.csv", 3))
    (made / "open.csv").write_bytes((made / "d.csv").read_bytes())
    (made / "job.toml").write_text('action = "inactivate-device"\ninput = "open.csv"\n')
    (made / "protect.txt").write_text("0042\n")
    here("plan", "inactivate-device", "d.csv", "-o", "p.plan.json", cwd=made, env=env).ended(0)
    (made / "rw").mkdir()
    # With all that is loaded only where it is needed: the user may not read the libraries either.
    kept = ("--metrics-file", "rw/m.prom", "--log-file", "rw/l.log")
    here("run", "inactivate-device", "d.csv", "-o", "r.csv", "--yes", *kept, *UNHURRIED, cwd=made, env=env).ended(0)
    here("cluster", "keys", "keys", cwd=made).ended(0)
    for path, mode in {".": 0o555, "rw": 0o777, "open.csv": 0o444}.items():
        (made / path).chmod(mode)
    for path in ("d.csv", "job.toml", "protect.txt", "p.plan.json", "r.csv", "r.csv.run", "keys"):
        (made / path).chmod(0)
    yield made, env
    made.chmod(0o755)
    for path in ("r.csv.run", "keys"):
        (made / path).chmod(0o755)
    shutil.rmtree(made)


RUN = ("run", "inactivate-device")
CASES = {
    "a list": (66, "d.csv", *RUN, "d.csv", "-o", "rw/1.csv", "--yes"),
    "a job file": (2, "job.toml", "run", "--job", "job.toml", "-o", "rw/2.csv", "--yes"),
    "what is protected": (66, "protect.txt", *RUN, "open.csv", "-o", "rw/3.csv", "--yes", "--protect", "protect.txt"),
    "a plan": (66, "p.plan.json", "run", "--plan", "p.plan.json", "-o", "rw/4.csv", "--yes"),
    "a directory of results": (73, "no.csv", *RUN, "open.csv", "-o", "no.csv", "--yes"),
    "a run of somebody else": (73, "r.csv.run", *RUN, "open.csv", "-o", "r.csv", "--yes"),
    "its status": (66, "r.csv", "status", "r.csv"),
    "its report": (66, "r.csv", "report", "r.csv", "-o", "rw/r.html"),
    "its undo": (66, "r.csv", "undo", "r.csv", "--yes"),
    "its results": (66, "r.csv", "export", "r.csv", "-o", "rw/x.csv"),
    "a log file": (73, "l.log", *RUN, "open.csv", "-o", "rw/5.csv", "--yes", "--log-file", "l.log"),
    "metrics": (73, "m.prom", *RUN, "open.csv", "-o", "rw/6.csv", "--yes", "--metrics-file", "m.prom"),
    "a plan that is made": (73, "n.plan.json", "plan", "inactivate-device", "open.csv", "-o", "n.plan.json"),
    "keys of a cluster": (73, "new-keys", "cluster", "keys", "new-keys"),
    "a directory of runs": (66, "r.csv.run", "runs", "r.csv.run"),
    "a list of the emulator": (66, "d.csv", "emulator", "--port", "0", "--seed-from", "d.csv"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(place, service, case):
    """Each is refused by its documented status, with the path and what to do next; nothing was changed."""
    made, env = place
    status, path, *line = CASES[case]
    before = service.report().changes
    with somebody_else():
        ended = here(*line, cwd=made, env=env).ended(status)

    assert service.report().changes == before
    assert "error: " in ended.stderr
    assert path in ended.stderr
    assert "→" in ended.stderr
    assert case != "a directory of results" or "name a file elsewhere with -o" in ended.stderr
