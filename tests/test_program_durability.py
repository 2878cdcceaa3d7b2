"""Kills, full disks and long lists: nothing is called twice that is known done, and nothing is lost."""

import re
import subprocess
import sys
from collections import Counter

import pytest
from kill_anywhere import torment
from program import COMMAND, INSTANCE, environment, here, outcomes, write_devices
from stored import ask, change, status

from bulkcert.store import queries
from bulkcert.store.outcome import Outcome

ROWS = 1000


@pytest.mark.parametrize(("action", "kills"), [("inactivate-device", 2), ("delete-ca", 1)])
def test_kill_anywhere(action, kills):
    """SIGKILL at random instants of run, undo and resume, with faults: see ``kill_anywhere`` for what is proved."""
    # With this seed most instants are while rows are called, where there is most to lose.
    figures = torment(action, kills=kills, rows=150, seed=5, faults=True)

    assert figures.kills.total() == kills


class Place:
    """A list, and its run on a small disk."""

    def __init__(self, service, directory, disk):
        self.service, self.list, self.disk = service, directory / "in.csv", disk
        self.results = disk / "out.csv"
        service.seed(write_devices(self.list, ROWS))
        # A column that costs next to nothing where the list is pinned, and two megabytes in the results.
        header, *rows = self.list.read_text().splitlines()
        self.list.write_text("\n".join([f"{header},note", *(f"{row},{'x' * 2000}" for row in rows)]))

    def run(self):
        """Runs to the end; returns how it ended, and the rows that it called."""
        since = self.service.report().arrivals
        where = ("--endpoint", self.service.url, "--instance", INSTANCE, "--yes", "--rate", "100000", "-q")
        more = ("--per-address-rate", "100000", "--limits-raised", "--preflight", "never", "--max-in-flight", "64")
        finished = here("run", "inactivate-device", self.list, "-o", self.results, *where, *more)
        return finished, Counter(int(call["device_sn"]) for call in self.service.calls()[since:])

    @property
    def done(self):
        """Returns the rows that are known done, as the disk tells."""
        try:
            return set(ask(self.results, queries.rows, queries.LEFT_ALONE, 1, ROWS))
        except FileNotFoundError:
            return set()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, and what gives it another size."""
    place = tmp_path / "small"
    place.mkdir()

    def resize(size, *how):
        return subprocess.run(["mount", *how, "-o", f"{'' if how else 'remount,'}size={size}", place], check=False)

    if resize("64k", "-t", "tmpfs", "tmpfs").returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield place, resize
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize(
    ("size", "fails"), [("8k", "list"), ("24k", "log"), ("48k", "session"), ("160k", "group"), ("1500k", "results")]
)
def test_full_disk(service, tmp_path, small_disk, size, fails):
    """A full disk stops the run with one message (73); with room again it goes on, and repeats nothing on record."""
    disk, resize = small_disk
    resize(size)
    place = Place(service, tmp_path, disk)
    refused, first = place.run()
    said = refused.ended(73).stderr

    named = {"list": rf"{disk}\S*\.parquet", "results": place.results}.get(fails, rf"{disk}\S*/store\.sqlite")
    why = "(?:no space left|does not read or write)"
    done = place.done
    assert re.findall(rf"(?i)error: (?:stopped: )?cannot write {named}: .*{why}", said)
    assert len(re.findall("(?m)^error: ", said)) == 1
    assert ("Nothing is lost: the store holds every outcome" in said) == (fails == "results") == (len(done) == ROWS)
    assert bool(first) == (fails in ("results", "group"))
    assert not place.results.exists()
    if first:  # a store that is full may still take why, and then says so
        stands = here("status", place.results)
        noted = stands.ended(73 if fails == "results" or stands.status == 73 else 75).status == 73
        assert bool(re.search("interrupted: cannot write .*(?i:no space left|does not read)", stands.stdout)) == noted
        assert f"resume: bulkcert resume {place.results}" in stands.stdout

    resize("16M")
    finished, second = place.run()
    finished.ended(0)
    assert set(second) == set(range(1, ROWS + 1)) - done
    assert set(first) | set(second) == set(range(1, ROWS + 1))
    assert outcomes(place.results) == {"succeeded": ROWS}
    assert status(place.results).exit_status == 0


def test_resuming_a_long_list(service, tmp_path):
    """Memory does not grow with the rows: where one of 200,000 is left, resuming and writing results takes 235 MB."""
    rows, results = 200_000, tmp_path / "out.parquet"
    service.seed(write_devices(tmp_path / "in.csv", rows)[:2])
    run = ("run", "inactivate-device", tmp_path / "in.csv", "-o", results, *service.where, "-q")
    here(*run, "--limit-rows", "1").ended(75)
    columns = "newest, changed, session, http_status, request_id, attempts, sent_at, finished_at, latency_ms"
    numbers = f"WITH RECURSIVE numbers (row) AS (SELECT 3 UNION ALL SELECT row + 1 FROM numbers WHERE row < {rows})"
    called = f"SELECT row, {columns} FROM numbers, (SELECT {columns} FROM certificate WHERE row = 1)"
    change(results, f"{numbers} INSERT INTO certificate (row, {columns}) {called}")
    (tmp_path / "in.csv").unlink()
    # A child's peak is at least that of its parent before it; so its parent is to be a small one.
    small = "import resource, subprocess, sys; ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
    small += "print(ended.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    command = [*COMMAND, "resume", str(results), "--yes", "-q"]
    measured = subprocess.run(
        [sys.executable, "-c", small, *command], env=environment(), check=True, capture_output=True, text=True
    )
    ended, peak_kib = map(int, measured.stdout.split())

    assert (ended, status(results).outcomes) == (0, {Outcome.SUCCEEDED: rows})
    assert peak_kib < 235 * 1024
