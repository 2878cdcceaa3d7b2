"""Several machines, each played by processes on loopback addresses, and what may happen to them while a run goes.

All of the failure table: ``python tests/cluster.py``; ``test_program_cluster`` has the short half.
"""

import os
import signal
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from program import bulkcert, emulator, outcomes, read_results, start, summary_of, wait_for, write_devices

from bulkcert.fleet.keys import make_keys

RATE, PER_ADDRESS = 120, 80
JITTER = 30
"""Calls more than were sent in a second that a receiver may see in one: it shares two busy processors with all of the
others, and 8 ms in which it does not run are one call. A share that is given twice would be 40."""

SKEW = 2
"""The same by the stamps of the lanes, whose clocks the coordinator compares by what they report."""

ROWS = 720
LATENCY_MS = (20.0, 60.0)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """An emulator that keeps the limits, keys, a list, and what was started of the rest."""

    def __init__(self, directory, service, open_, *, rows=ROWS):
        self.directory, self.service, self._open = directory, service, open_
        self.url = f"tls://127.0.0.1:{free_port()}"
        make_keys(directory / "keys", 4, days=1)
        self.devices = write_devices(directory / "d.csv", rows)
        service.seed(self.devices)
        self.lanes = {}

    def lane(self, number, *, env=None, command=(), keys="keys"):
        """Starts the lane of a number at a loopback address of its own."""
        where = (
            "lane",
            self.url,
            "--keys",
            keys,
            "--source-address",
            f"127.0.0.{number + 1}",
            "--name",
            f"lane-{number}",
        )
        with (self.directory / f"lane-{number}.txt").open("ab") as said:
            child = start(*where, *command, env=env, cwd=self.directory, stderr=said, stdout=said)
        self.lanes[number] = self._open.enter_context(child)
        self._open.callback(lambda: child.poll() is None and child.kill())
        return child

    def said(self, number):
        return (self.directory / f"lane-{number}.txt").read_text()

    def options(self, lanes):
        cluster = ("--cluster", self.url, "--keys", "keys", "--lanes", lanes)
        rates = ("--rate", RATE, "--per-address-rate", PER_ADDRESS, "--source-address", "127.0.0.10")
        where = ("--endpoint", self.service.url, "--instance", "post-cn-emulator", "--yes")
        return (*where, *rates, *cluster)

    def run(self, *, lanes=2, preflight="never"):
        """Starts the run; returns it."""
        words = ("run", "inactivate-device", "d.csv", "-o", "r.csv", "--preflight", preflight, *self.options(lanes))
        child = self._open.enter_context(start(*words, cwd=self.directory))
        self._open.callback(lambda: child.poll() is None and child.kill())
        return child

    def wait_until_called(self, share=0.2, run=None):
        """Waits until a share of the rows is called."""
        wait_for(run, lambda: self.service.report().arrivals >= share * len(self.devices))

    def ended(self, run, status=0):
        """Waits for the end of a run, which is as it must be whatever has happened."""
        stdout, stderr = run.communicate(timeout=120)
        said = (stdout + stderr).decode()
        assert run.returncode == status, said
        assert "Traceback" not in said, said
        return said

    def confirm(self, *, handed_over=None):
        """Every row has one outcome, in order; no window was above a limit; what was called twice was said."""
        results = self.directory / "r.csv"
        assert [row["DeviceSn"] for row in read_results(results)] == [device for device, _ in self.devices]
        assert outcomes(results) == {"succeeded": len(self.devices)}
        seen, sessions = self.service.report(), summary_of(results)["sessions"]
        assert max(session["peak_window"] for session in sessions) <= RATE + SKEW
        assert seen.peak_window <= RATE + JITTER, seen
        assert max(each.peak_window for each in seen.addresses.values()) <= PER_ADDRESS, seen
        twice = seen.arrivals - len(self.devices)
        said = sum(session["handed_over"] for session in sessions)
        assert twice <= said if handed_over is None else twice <= handed_over
        return seen, sessions


@contextmanager
def cluster(directory, **more):
    """A cluster that is cleared away in the end."""
    caps = {"account_cap": RATE + JITTER, "address_cap": PER_ADDRESS}
    with emulator(caps=caps, latency_ms=LATENCY_MS) as service, ExitStack() as open_:
        yield Cluster(directory, service, open_, **more)


def lane_is_killed(made):
    """Its rows go to the others."""
    made.lane(1)
    made.lane(2)
    run = made.run()
    made.wait_until_called(run=run)
    made.lanes[1].kill()
    made.ended(run)
    _, sessions = made.confirm()
    assert next(lane for lane in sessions[-1]["lanes"] if lane["name"] == "lane-1")["doing"] == "is gone"


def lane_is_frozen(made):
    """Its share is given away meanwhile; when it is back it calls none of the rows that it held."""
    made.lane(1)
    made.lane(2)
    run = made.run()
    made.wait_until_called(run=run)
    made.lanes[1].send_signal(signal.SIGSTOP)
    time.sleep(5)
    made.lanes[1].send_signal(signal.SIGCONT)
    assert "of lanes that fell silent given to others" in " ".join(made.ended(run).split())
    _, sessions = made.confirm()
    assert sessions[-1]["handed_over"] > 0


def coordinator_is_frozen(made):
    """Lanes stop when their leases end, and continue when it does."""
    made.lane(1)
    made.lane(2)
    run = made.run()
    made.wait_until_called(run=run)
    run.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    before = made.service.report().arrivals
    time.sleep(4)
    assert made.service.report().arrivals == before
    run.send_signal(signal.SIGCONT)
    made.ended(run)
    made.confirm()


def coordinator_is_killed(made):
    """Nobody sends two seconds later; the same lanes serve the session that resumes it."""
    made.lane(1)
    made.lane(2)
    run = made.run()
    made.wait_until_called(run=run)
    run.kill()
    run.communicate()
    time.sleep(2.5)
    before = made.service.report().arrivals
    time.sleep(1)
    assert made.service.report().arrivals == before
    resumed = bulkcert("resume", "r.csv", "--yes", cwd=made.directory)
    resumed.ended(0)
    made.confirm(handed_over=RATE * 2)


def lane_joins(made):
    """One that comes late gets a share."""
    made.lane(1)
    run = made.run(lanes=1)
    made.wait_until_called(run=run)
    made.lane(2)
    made.ended(run)
    seen, _ = made.confirm()
    assert seen.addresses["127.0.0.3"].arrivals > 0


def lane_leaves(made):
    """SIGTERM: its calls in flight are finished and reported; nothing is called twice."""
    made.lane(1)
    made.lane(2)
    run = made.run()
    made.wait_until_called(run=run)
    made.lanes[1].terminate()
    assert made.lanes[1].wait(30) == 0
    made.ended(run)
    seen, _ = made.confirm()
    assert seen.arrivals == len(made.devices)
    assert "SIGTERM received" in made.said(1)


def coordinator_is_terminated(made):
    """SIGTERM at the coordinator: all drain, and the lanes serve the session that resumes it."""
    made.lane(1)
    made.lane(2)
    run = made.run()
    made.wait_until_called(run=run)
    run.terminate()
    made.ended(run, 143)
    bulkcert("resume", "r.csv", "--yes", cwd=made.directory).ended(0)
    seen, _ = made.confirm()
    assert seen.arrivals == len(made.devices)


def credentials_are_refused(made):
    """A lane whose key the service does not know is named, and the others call its rows."""
    made.lane(1, env={"ALIBABA_CLOUD_ACCESS_KEY_ID": "unknownKeyId"})
    made.lane(2)
    run = made.run()
    made.ended(run)
    _, sessions = made.confirm(handed_over=RATE)
    lane = next(lane for lane in sessions[-1]["lanes"] if lane["name"] == "lane-1")
    assert lane["doing"].startswith("refused: ")
    assert lane["key"] == "unknownKeyId"


def keys_are_of_another_cluster(made):
    """A lane with keys of another cluster does not get in, and says why; the run does not notice."""
    make_keys(made.directory / "others", 2, days=1)
    made.lane(1, keys="others")
    made.lane(2)
    run = made.run(lanes=1)
    made.ended(run)
    made.confirm()
    assert "keys of different runs" in made.said(1)


def list_is_verified_and_undone(made):
    """Preflight, verification and undo go over the lanes as well, under the same limits."""
    made.lane(1)
    made.lane(2)
    made.ended(made.run(preflight="always"))
    made.confirm(handed_over=len(made.devices))
    for command in ("verify", "undo"):
        ended = bulkcert(command, "r.csv", *made.options(2)[4:], cwd=made.directory)
        ended.ended(0)
    seen = made.service.report()
    assert seen.peak_window <= RATE + JITTER, seen
    assert seen.addresses["127.0.0.2"].arrivals > len(made.devices) / 6
    assert outcomes(made.directory / "r.csv") == {"undone": len(made.devices)}


SHORT = (lane_is_killed, lane_is_frozen, coordinator_is_killed, lane_leaves, credentials_are_refused)
ALL = (
    *SHORT,
    coordinator_is_frozen,
    lane_joins,
    coordinator_is_terminated,
    keys_are_of_another_cluster,
    list_is_verified_and_undone,
)


def main(names):
    for scenario in ALL:
        if names and scenario.__name__ not in names:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as directory, cluster(Path(directory)) as made:
            scenario(made)
        print(f"{scenario.__name__}: as it must be, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    os.environ["ALIBABA_CLOUD_ECS_METADATA_DISABLED"] = "true"
    main(sys.argv[1:])
