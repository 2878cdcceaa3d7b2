"""The snapshot that a run leaves beside its results while it goes on, and the lock that says so."""

import fcntl
import threading

from program import INSTANCE, outcomes, wait_for

from bulkcert.batch import snapshot
from bulkcert.batch.holding import is_held
from bulkcert.batch.lines import Header, session_line
from bulkcert.batch.recovery import open_journal
from bulkcert.batch.standing import State

HEADER = Header("inactivate-device", INSTANCE, "http://127.0.0.1:9", "0" * 64, 3, ("DeviceSn", "CaSn"), "0.1.0")


def test_looking_keeps_no_run_from_starting(tmp_path):
    """Asking takes no lock: a journal that is asked about all the time can be opened, and told from a free one."""
    path, over = tmp_path / "r.csv.journal", threading.Event()
    path.touch()

    def ask():
        while not over.is_set():
            is_held(path)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(300):
            journal = open_journal(path, HEADER, session_line(0, "0.1.0"))
            assert is_held(path)
            journal.begin()
            journal.close()
            assert not is_held(path)
    finally:
        over.set()
        asking.join()
    with path.open("rb") as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_snapshot_that_cannot_be_written_disturbs_nothing(place):
    """Where the snapshot cannot be written the run goes on all the same, and ends in order."""
    place.results.with_name("results.csv.status.json").mkdir()
    before = place.service.report().arrivals
    with place.running() as run:
        found = place.until(lambda now: now.goes_on)
        wait_for(run, lambda: place.service.report().arrivals >= before + 60)
        place.end(run)
    assert found.state is State.STARTING
    assert outcomes(place.results)["succeeded"] == place.service.report().arrivals - before


def test_owner_only(place):
    """The snapshot can be read by its owner only: it holds the command and its environment."""
    with place.running():
        place.calling()
        assert place.results.with_name("results.csv.status.json").stat().st_mode & 0o777 == 0o600


def test_a_snapshot_appears_whole(tmp_path, place):
    """Whoever reads while it is written reads the old one or the new one."""
    with place.running():
        taken = place.calling().snapshot
    results, over, torn = tmp_path / "x.csv", threading.Event(), []
    snapshot.write(taken, results)

    def read():
        while not over.is_set():
            if snapshot.read(results) is None:
                torn.append(1)

    reading = threading.Thread(target=read)
    reading.start()
    for _ in range(300):
        snapshot.write(taken, results)
    over.set()
    reading.join()
    assert not torn
    assert not results.with_name("x.csv.status.json.part").exists()
