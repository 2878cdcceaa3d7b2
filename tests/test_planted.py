"""Whatever somebody puts under a name that is ever opened: nothing of others is written, and nothing is waited for.

A row of the table is a name, and the command that opens it. Each is tried with everything that may be there: the command
ends in time, with a documented status; what is elsewhere stays as it is; and who changed nothing has called nothing.
"""

import os
import shutil
import signal
import socket
import stat
from contextlib import contextmanager

import pytest
from program import INSTANCE, UNHURRIED, here, write_devices

from bulkcert.errors import ExitStatus

SECONDS = 20
"""What waits for a planted FIFO waits for ever."""


def listening(path):
    """Puts a socket there."""
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path.parent)  # a path of a socket is short
        made.bind(path.name)


PLANTS = {
    "link": lambda path, victim: path.symlink_to(victim),
    "dangling link": lambda path, victim: path.symlink_to(victim.with_name("nowhere")),
    "hard link": lambda path, victim: path.hardlink_to(victim),
    "fifo": lambda path, _: os.mkfifo(path),
    "socket": lambda path, _: listening(path),
    "directory": lambda path, _: (path / "x").mkdir(parents=True),
    "foreign file": lambda path, _: path.write_bytes(b"\x00\xffplanted\n" * 99),
    "empty file": lambda path, _: path.touch(),
    "endless device": lambda path, _: path.symlink_to("/dev/zero"),
    "full device": lambda path, _: path.symlink_to("/dev/full"),
}
RUN = ("run", "inactivate-device", "d.csv", "-o", "r.csv", "--yes", "--log-file", "l.log", "--metrics-file", "m.prom")
PLAN = ("run", "--plan", "p.plan.json", "-o", "n.csv", "--yes")
OUTPUTS = {
    "r.csv": RUN,
    "r.csv.failed.csv": RUN,
    "r.csv.run": RUN,
    "r.csv.run/store.sqlite": RUN,
    "r.csv.run/store.sqlite-wal": RUN,
    "r.csv.run/store.sqlite-shm": RUN,
    "r.csv.run/store.sqlite-journal": RUN,
    "r.csv.run/lock": RUN,
    "r.csv.run/summary.json": RUN,
    "m.prom": RUN,
    "l.log": RUN,
    "r.csv.report.html": ("report", "r.csv"),
    "x.html": ("report", "r.csv", "-o", "x.html"),
    "e.csv": ("export", "r.csv", "-o", "e.csv"),
    "q.plan.json": ("plan", "inactivate-device", "d.csv", "-o", "q.plan.json"),
    "i.csv": ("inventory", "-o", "i.csv"),
    "keys": ("cluster", "keys", "keys"),
    "keys/ca.pem": ("cluster", "keys", "keys"),
}
OF_A_RUN = {
    "r.csv": ["verify", "undo", "resume", "export", "report"],
    "r.csv.failed.csv": ["undo"],
    "r.csv.run/summary.json": ["verify", "undo", "export"],
    "r.csv.run/lock": ["verify", "undo", "status", "control", "export"],
    "r.csv.run/store.sqlite": ["verify", "undo", "status", "control", "export", "report"],
    "r.csv.run/input": ["verify", "undo", "report", "export"],
}
INPUTS = {
    "x.csv": ("run", "inactivate-device", "x.csv", "-o", "n.csv", "--yes"),
    "x.parquet": ("plan", "inactivate-device", "x.parquet"),
    "protect.txt": (*RUN[:3], "-o", "n.csv", "--yes", "--protect", "protect.txt"),
    "job.toml": ("run", "--job", "job.toml"),
    "p.plan.json": PLAN,
    "p.plan.json.sig": (*PLAN, "--approver-key", "signers"),
    "signers": (*PLAN, "--approver-key", "signers"),
    "keys/ca.pem": (*RUN[:3], "-o", "n.csv", "--yes", "--cluster", "tls://127.0.0.1:1", "--keys", "keys"),
    "keys/lane-1.pem": ("lane", "tls://127.0.0.1:1", "--keys", "keys"),
    "seed.csv": ("emulator", "--port", "0", "--seed-from", "seed.csv", "--exit-on-eof"),
    "db.sqlite": ("emulator", "--port", "0", "--database", "db.sqlite", "--exit-on-eof"),
    "none.csv": ("status", "none.csv"),
}


@contextmanager
def limited():
    """Ends what takes too long."""

    def late(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def begun(tmp_path_factory, service):
    """Returns a directory with what commands read, and a run that has ended."""
    place = tmp_path_factory.mktemp("begun")
    service.seed(write_devices(place / "d.csv", 3)[:2])
    env = {"BULKCERT_ENDPOINT": service.url, "BULKCERT_INSTANCE": INSTANCE}
    here("plan", "inactivate-device", "d.csv", "-o", "p.plan.json", cwd=place, env=env).ended(0)
    here("cluster", "keys", "keys", cwd=place).ended(0)
    here("run", "inactivate-device", "d.csv", "-o", "r.csv", "--yes", *UNHURRIED, cwd=place, env=env).ended(1)
    (place / "signers").write_text("a@b namespaces=\"bulkcert\" ssh-ed25519 AAAA\n")
    (place / "p.plan.json.sig").write_text("x\n")
    (place / "lane.toml").write_text("")
    return place, env


def tried(begun, service, tmp_path, name, plant, line, *, anew=False):
    """Does a command where something is planted; returns how it ended, and what there is then."""
    made, env = begun
    place, victim = tmp_path / "place", tmp_path / "victim"
    shutil.copytree(made, place, symlinks=True)
    if anew:
        shutil.rmtree(place / "r.csv.run")
        for each in ("r.csv", "r.csv.failed.csv"):
            (place / each).unlink()
        shutil.rmtree(place / "keys")
    victim.write_text("precious")
    victim.chmod(0o640)
    before = victim.stat()
    path = place / name
    if path.name == "input":
        path = next((place / "r.csv.run").glob("input-*"))
    if name.startswith("r.csv.run/") or name.startswith("keys/"):
        path.parent.mkdir(mode=0o700, exist_ok=True)
    if stat.S_ISDIR(os.lstat(path).st_mode) if os.path.lexists(path) else False:
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    here_ = os.getcwd()
    PLANTS[plant](path, victim)
    os.chdir(here_)
    changes = service.report().changes
    with limited():
        ended = here(*line, cwd=place, env=env, stdin="")
    after = victim.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_mode, victim.read_text()) == (8, before.st_mtime_ns, before.st_mode, "precious")
    assert not victim.with_name("nowhere").exists()
    assert "Traceback" not in ended.stderr
    assert ended.status in {*ExitStatus} - {ExitStatus.INTERNAL}, ended.stderr
    if ended.status not in (0, 1):
        assert "error: " in ended.stderr
        assert "→" in ended.stderr, ended.stderr
        assert service.report().changes == changes, f"changed, and then {ended.status}: {ended.stderr}"
    return ended, place


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_made(begun, service, tmp_path, name, plant):
    """..."""
    for extra in ((), ("--overwrite",)) if OUTPUTS[name][0] in ("run", "export", "plan", "inventory") else ((),):
        ended, place = tried(begun, service, tmp_path / "".join(extra), name, plant, (*OUTPUTS[name], *extra), anew=OUTPUTS[name] is RUN or "keys" in name) if not (tmp_path / "".join(extra)).mkdir(exist_ok=True) else 0
        print(f"{name} {plant} {extra}: {ended.status} {ended.stderr[-400:]}")


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize(("name", "command"), [(n, c) for n, cs in OF_A_RUN.items() for c in cs])
def test_what_a_run_has(begun, service, tmp_path, name, command, plant):
    """..."""
    more = {"undo": ("--yes",), "resume": ("--yes", "--retry", "not_registered"), "control": ("--rate", "5"), }.get(command, ())
    ended, _ = tried(begun, service, tmp_path, name, plant, (command, "r.csv", *more))
    print(f"{command} {name} {plant}: {ended.status} {ended.stderr[-400:]}")


@pytest.mark.parametrize("plant", [each for each in PLANTS if "endless" not in each])
@pytest.mark.parametrize("name", INPUTS)
def test_what_is_read(begun, service, tmp_path, name, plant):
    """..."""
    ended, _ = tried(begun, service, tmp_path, name, plant, INPUTS[name])
    print(f"{name} {plant}: {ended.status} {ended.stderr[-400:]}")
