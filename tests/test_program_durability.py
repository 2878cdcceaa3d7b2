"""Kills and full disks: nothing is called twice that is known done, and nothing is lost."""

import re
import subprocess
from collections import Counter

import pytest
from kill_anywhere import torment
from place import Place
from program import here, outcomes
from stored import ask, status

from bulkcert.store import queries

ROWS = 1000


@pytest.mark.parametrize(("action", "kills"), [("inactivate-device", 2), ("delete-ca", 1)])
def test_kill_anywhere(action, kills):
    """SIGKILL at random instants of run, undo and resume, with faults: see ``kill_anywhere`` for what is proved."""
    # With this seed most instants are while rows are called, where there is most to lose.
    figures = torment(action, kills=kills, rows=150, seed=5, faults=True)

    assert figures.kills.total() == kills


class OnDisk(Place):
    """A list, and its run on a small disk."""

    def __init__(self, directory, service, disk):
        super().__init__(directory, service, ROWS)
        self.results = disk / "results.csv"
        # A column that costs next to nothing where the list is pinned, and two megabytes in the results.
        header, *rows = self.list.read_text().splitlines()
        self.list.write_text("\n".join([f"{header},note", *(f"{row},{'x' * 2000}" for row in rows)]))

    def run(self):
        """Runs to the end; returns how it ended, and the rows that it called."""
        since = self.service.report().arrivals
        finished = super().run("-q", "--max-in-flight", "64")
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
    ("size", "fails"), [("8k", "list"), ("24k", "log"), ("72k", "session"), ("160k", "group"), ("1500k", "results")]
)
def test_full_disk(service, tmp_path, small_disk, size, fails):
    """A full disk stops the run with one message (73); with room again it goes on, and repeats nothing on record."""
    disk, resize = small_disk
    resize(size)
    place = OnDisk(tmp_path, service, disk)
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
