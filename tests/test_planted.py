"""Whatever somebody puts under a name that is ever opened: nothing of others is written, and nothing is waited for.

Each name of a table is tried with everything that may be there: the command ends in time, with a documented status and
what to do next; what is elsewhere stays as it is; and where it was refused nothing was changed. In the suite that is a
part of it; --hypothesis-profile thorough tries all.
"""

import os
import shutil
import signal
import socket
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from program import INSTANCE, UNHURRIED, here, write_devices

from bulkcert.errors import ExitStatus

SECONDS = 300
"""What waits for a planted FIFO waits for ever."""


def listening(path):
    """Puts a socket there."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


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
OF_A_STORE = [f"r.csv.run/store.sqlite{ends}" for ends in ("", "-wal", "-shm", "-journal")]
OF_A_NEW_RUN = ["r.csv", "r.csv.failed.csv", "r.csv.run", *OF_A_STORE, "r.csv.run/lock", "r.csv.run/summary.json"]
OF_A_NEW_RUN += ["m.prom", "l.log"]
OUTPUTS = {
    "r.csv.report.html": ("report", "r.csv"),
    "x.html": ("report", "r.csv", "-o", "x.html"),
    "e.csv": ("export", "r.csv", "-o", "e.csv", "--overwrite"),
    "q.plan.json": ("plan", "inactivate-device", "d.csv", "-o", "q.plan.json", "--overwrite"),
    "i.csv": ("inventory", "-o", "i.csv", "--overwrite"),
    "keys": ("cluster", "keys", "keys"),
    "keys/ca.pem": ("cluster", "keys", "keys"),
}
OF_A_RUN = {
    "r.csv": ["verify", "undo", "export", "export --check", "report"],
    "r.csv.failed.csv": ["undo"],
    "r.csv.report.html": ["export --check"],
    "r.csv.run/summary.json": ["verify", "undo", "export", "export --check", "report"],
    "r.csv.run/lock": ["undo", "status", "control", "export"],
    **dict.fromkeys(OF_A_STORE, ("undo", "status")),
    "r.csv.run/store.sqlite": ["undo", "status", "control", "export", "report"],
    "list": ["undo", "report", "export"],
}
MORE = {"undo": ("--yes", "--include-unknown"), "control": ("--rate", "5")}
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
    """Returns a directory with what commands read, and a run that has ended; where the service is."""
    place = tmp_path_factory.mktemp("begun")
    service.seed(write_devices(place / "d.csv", 3)[:2])
    env = {"BULKCERT_ENDPOINT": service.url, "BULKCERT_INSTANCE": INSTANCE}
    here("plan", "inactivate-device", "d.csv", "-o", "p.plan.json", cwd=place, env=env).ended(0)
    here("cluster", "keys", "keys", cwd=place).ended(0)
    here("run", "inactivate-device", "d.csv", "-o", "r.csv", "--yes", *UNHURRIED, cwd=place, env=env).ended(1)
    here("report", "r.csv", cwd=place).ended(0)
    (place / "signers").write_text('a@b namespaces="bulkcert" ssh-ed25519 AAAA\n')
    (place / "p.plan.json.sig").write_text("x\n")
    return place, env


@pytest.fixture
def tries(begun, service, tmp_path):
    """Does a command where something is planted; returns how it ended, and the directory."""
    made, env = begun

    def do(name, plant, line, *, without=()):
        place, victim = tmp_path / "place", tmp_path / "victim"
        shutil.copytree(made, place, symlinks=True)
        for each in without:
            shutil.rmtree(place / each) if (place / each).is_dir() else (place / each).unlink()
        victim.write_text("precious")
        path = next((place / "r.csv.run").glob("input-*")) if name == "list" else place / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        with chdir(path.parent):  # a path of a socket is short
            PLANTS[plant](Path(path.name), victim)
        before, changes = victim.stat(), service.report().changes
        with limited():
            ended = here(*line, cwd=place, env=env, stdin="")
        assert victim.read_text() == "precious"
        assert (victim.stat().st_mtime_ns, victim.stat().st_mode) == (before.st_mtime_ns, before.st_mode)
        assert not victim.with_name("nowhere").exists()
        assert "Traceback" not in ended.stderr
        assert ended.status in {*ExitStatus} - {ExitStatus.INTERNAL}, ended.stderr
        if ended.status > 1:
            assert "error: " in ended.stderr
            assert "→" in ended.stderr
            assert service.report().changes == changes, f"changed, and then {ended.status}: {ended.stderr}"
        print(f"TRIED {name} {plant} {line[0]}: {ended.status} {ended.stderr}")
        return ended, place

    return do


def pairs(names, *found, but=()):
    """Returns names with what is planted there: in the suite a pipe, and what was found once; else everything."""
    if settings.get_current_profile_name() == "thorough":
        return [(name, plant) for name in names for plant in PLANTS if (name, plant) not in but]
    return [*((name, "fifo") for name in names if (name, "fifo") not in but), *found]


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["", "overwrite"])
@pytest.mark.parametrize(
    ("name", "plant"),
    pairs(
        OF_A_NEW_RUN,
        *((f"r.csv.run/{name}", "hard link") for name in ("lock", "store.sqlite", "store.sqlite-shm")),
        *((f"r.csv.run/{name}", "directory") for name in ("store.sqlite", "store.sqlite-wal", "summary.json")),
        *(("l.log", plant) for plant in ("link", "dangling link", "hard link")),
        *((f"r.csv.run{name}", "link") for name in ("", "/lock", "/store.sqlite", "/summary.json")),
        *((name, "directory") for name in ("r.csv", "r.csv.failed.csv", "m.prom")),
    ),
)
def test_where_a_run_writes(tries, name, plant, overwrite):
    """What a run makes replaces what is there, or the run is refused before a call is made; never in its end."""
    tries(name, plant, (*RUN, *overwrite), without=("r.csv", "r.csv.failed.csv", "r.csv.run"))


@pytest.mark.parametrize(("name", "plant"), pairs(OUTPUTS, *((name, "link") for name in OUTPUTS)))
def test_where_others_write(tries, name, plant):
    """The same of reports, plans, exports, inventories and keys."""
    tries(name, plant, OUTPUTS[name], without=("keys",) if name.startswith("keys") else ())


@pytest.mark.parametrize(("what", "plant"), pairs([(name, each) for name, all_ in OF_A_RUN.items() for each in all_]))
def test_in_the_place_of_what_a_run_has(tries, what, plant):
    """What is not the file that the run has made is refused, or made again; it is not believed."""
    name, command = what
    tries(name, plant, (command.split()[0], "r.csv", *command.split()[1:], *MORE.get(command, ())))


ENDLESS = [(name, "endless device") for name in INPUTS]
MEANT = [(name, "fifo") for name in ("x.csv", "x.parquet", "seed.csv", "job.toml")]
MEANT += [("protect.txt", "link"), ("protect.txt", "hard link"), ("db.sqlite", "empty file")]
"""Who names a pipe as a list means to write to it; a line of text is a serial, and an empty file an empty database."""


@pytest.mark.parametrize(("name", "plant"), pairs(INPUTS, ("job.toml", "endless device"), but=[*ENDLESS, *MEANT]))
def test_where_something_is_read(tries, name, plant):
    """What is no list, plan, job, key or database is refused in words, and nothing is waited for that never comes."""
    ended, _ = tries(name, plant, INPUTS[name])
    assert ended.status > 1
