"""Several machines, each played by processes on loopback addresses, and what may happen to them while a run goes.

All of the failure table: ``python tests/cluster.py``; ``test_program_cluster`` has the short half.
"""

import json
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import stamping
from program import (
    bulkcert,
    emulator,
    free_port,
    here,
    outcomes,
    read_results,
    start,
    summary_of,
    wait_for,
    write_devices,
)

from bulkcert import __version__
from bulkcert.engine.pacer import ADDRESS_SHARE
from bulkcert.fleet.caller import clock
from bulkcert.fleet.keys import make_keys
from bulkcert.fleet.shares import LEASE_S

RATE, PER_ADDRESS = 120, 80
JITTER = 30
"""Calls more than were sent in a second that a receiver may see in one: it shares two busy processors with all of the
others, and 8 ms in which it does not run are one call. What was sent is kept to the limit strictly."""

ROWS = 720
SMALL = 2**16
"""Most bytes of a file on a disk that is full: so many the log of a store soon has."""

LATENCY_MS = (20.0, 60.0)
RETRY_AFTER_S = 3.0
"""How long a throttle asks to wait."""

LATE_S = 0.2
"""A machine that wakes a thread so late may let a lane fall silent, or send less than it may."""

ALL_SLOW_S = 0.5
"""Within which all lanes have slowed down after a throttle at one; and how late this machine is, for each of the five
times that a process has to wake for that."""


def ports(pid):
    """The ports on which a process listens."""
    process, sockets = Path(f"/proc/{pid}"), set()
    for file in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(str(file.readlink()))
    lines = [line.split() for line in (process / "net/tcp").read_text().splitlines()[1:]]
    return {int(line[1].split(":")[1], 16) for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets}


class Cluster:
    """An emulator that keeps the limits, keys, a list, and what was started of the rest."""

    def __init__(self, directory, service, open_, *, rows=ROWS):
        self.directory, self.service, self._open = directory, service, open_
        self.stamps = directory / "stamps"
        self.stamps.mkdir()
        self._keeping = {"BEGINS_WITH": "stamping", "STAMPS": str(self.stamps)}
        self.url = f"tls://127.0.0.1:{free_port()}"
        make_keys(directory / "keys", 4, days=1)
        self.devices = write_devices(directory / "d.csv", rows)
        service.seed(self.devices)
        self.lanes = {}

    def lane(self, number, *, env=None):
        """Starts the lane of a number at a loopback address of its own."""
        who = ("--source-address", f"127.0.0.{number + 1}", "--name", f"lane-{number}")
        with (self.directory / f"lane-{number}.txt").open("ab") as said:
            streams = {"stdout": said, "stderr": said}
            self.lanes[number] = self._started("lane", self.url, "--keys", "keys", *who, env=env or {}, **streams)

    def _started(self, *words, env, **streams):
        """Starts a command, which is ended with the cluster."""
        child = self._open.enter_context(start(*words, env={**self._keeping, **env}, cwd=self.directory, **streams))
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
        return self._started(*words, env={})

    def resume(self):
        """Resumes it, to its end."""
        bulkcert("resume", "r.csv", "--yes", env=self._keeping, cwd=self.directory).ended(0)

    def control(self, *words):
        """Asks something of the run, which does it."""
        here("control", "r.csv", *words, cwd=self.directory).ended(0)

    def sent(self):
        """Returns when all lanes have sent, in order."""
        return sorted(at for each in stamping.read(self.stamps) for at in each)

    def doing(self, number):
        """Returns what a lane does, as status says."""
        shown = json.loads(here("status", "r.csv", "--json", cwd=self.directory).stdout)
        lanes = (shown["session"] or {}).get("lanes", [])
        return next((lane["doing"] for lane in lanes if lane["name"] == f"lane-{number}"), "")

    def begun(self, lanes=2):
        """Starts lanes and the run; returns that once a fifth of the rows is called."""
        for number in range(lanes):
            self.lane(number + 1)
        run = self.run(lanes=lanes)
        wait_for(run, lambda: self.service.report().arrivals >= len(self.devices) / 5)
        return run

    def ended(self, run, status=0):
        """Waits for the end of a run, which is as it must be whatever has happened."""
        stdout, stderr = run.communicate(timeout=120)
        said = (stdout + stderr).decode()
        assert run.returncode == status, said
        assert "Traceback" not in said, said
        return said

    def confirm(self, *, handed_over=None):
        """Every row has one outcome, in order; no second held more than a limit; what was called twice was said.

        Returns what the service has seen, the newest session, and what that says of the first lane.
        """
        results = self.directory / "r.csv"
        assert [row["DeviceSn"] for row in read_results(results)] == [device for device, _ in self.devices]
        assert outcomes(results) == {"succeeded": len(self.devices)}
        seen, sessions = self.service.report(), summary_of(results)["sessions"]
        assert max(session["peak_window"] for session in sessions) <= RATE
        assert stamping.peak(self.sent()) <= RATE
        assert max(map(stamping.peak, stamping.read(self.stamps))) <= ADDRESS_SHARE * PER_ADDRESS
        twice = seen.arrivals - len(self.devices) - seen.codes.get("Throttling.User", 0)
        said = sum(session["handed_over"] for session in sessions)
        assert twice <= said if handed_over is None else twice <= handed_over
        newest = sessions[-1]
        return seen, newest, next((lane for lane in newest["lanes"] if lane["name"] == "lane-1"), None)


@contextmanager
def lateness():
    """Yields a list that in the end has the longest time that a thread woke up too late."""
    late, over = [0.0], threading.Event()

    def watch():
        while not over.is_set():
            began = time.monotonic()
            over.wait(0.01)
            late[0] = max(late[0], time.monotonic() - began - 0.01)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield late
    finally:
        over.set()
        watching.join()


@contextmanager
def cluster(directory, **more):
    """A cluster that is cleared away in the end."""
    caps = {"account_cap": RATE + JITTER, "address_cap": PER_ADDRESS}
    wait = {"latency_ms": LATENCY_MS, "retry_after_ms": round(1000 * RETRY_AFTER_S)}
    with emulator(caps=caps, **wait) as service, ExitStack() as open_:
        yield Cluster(directory, service, open_, **more)


def lane_is_killed(made):
    """Its rows go to the others."""
    run = made.begun()
    made.lanes[1].kill()
    killed_at = clock()
    with lateness() as late:
        made.ended(run)
    # Its share is given again within 3.5 s: two lanes of three alone never send so much.
    after = [at for at in made.sent() if killed_at + 2.5 < at < killed_at + 4.5]
    assert stamping.peak(after) > RATE * 2 / 3 or late[0] > LATE_S
    assert made.confirm()[2]["doing"] == "is gone"


def lane_is_frozen(made):
    """Its share is given away meanwhile; when it is back it calls none of the rows that it held."""
    run = made.begun()
    made.lanes[1].send_signal(signal.SIGSTOP)
    wait_for(run, lambda: made.doing(1) == "silent", pause_s=0.2)
    time.sleep(1.5)
    made.lanes[1].send_signal(signal.SIGCONT)
    assert "of lanes that fell silent given to others" in " ".join(made.ended(run).split())
    assert made.confirm()[1]["handed_over"] > 0


def coordinator_is_frozen(made):
    """Lanes stop when their leases end, and continue when it does."""
    run = made.begun()
    run.send_signal(signal.SIGSTOP)
    frozen_at = clock()
    time.sleep(8)
    assert made.sent()[-1] <= frozen_at + LEASE_S
    run.send_signal(signal.SIGCONT)
    made.ended(run)
    made.confirm()


def coordinator_is_killed(made):
    """Nobody sends two seconds later; the same lanes serve the session that resumes it."""
    run = made.begun()
    killed_at = clock()
    run.kill()
    run.communicate()
    time.sleep(2.5)
    assert made.sent()[-1] <= killed_at + LEASE_S
    made.resume()
    made.confirm(handed_over=RATE * 2)


def lane_joins(made):
    """One that comes late gets a share."""
    run = made.begun(lanes=1)
    made.control("--pause")
    made.lane(2)
    wait_for(run, lambda: made.doing(2), pause_s=0.2)
    made.control("--continue")
    made.ended(run)
    seen, *_ = made.confirm()
    assert seen.addresses["127.0.0.3"].arrivals > 0


def lane_leaves(made):
    """SIGTERM: its calls in flight are finished and reported; nothing is called twice."""
    run = made.begun()
    with lateness() as late:
        made.lanes[1].terminate()
        assert made.lanes[1].wait(30) == 0
        made.ended(run)
    seen, *_ = made.confirm()
    assert seen.arrivals == len(made.devices) or late[0] > LATE_S
    assert "SIGTERM received" in made.said(1)


def coordinator_is_terminated(made):
    """SIGTERM at the coordinator: all drain, and the lanes serve the session that resumes it."""
    run = made.begun()
    run.terminate()
    made.ended(run, 143)
    made.resume()
    seen, *_ = made.confirm()
    assert seen.arrivals == len(made.devices)


def credentials_are_refused(made):
    """A lane whose key the service does not know is named, and the others call its rows."""
    made.lane(1, env={"ALIBABA_CLOUD_ACCESS_KEY_ID": "unknownKeyId"})
    made.lane(2)
    run = made.run()
    made.ended(run)
    *_, lane = made.confirm(handed_over=RATE)
    assert lane["doing"].startswith("refused: ")
    assert lane["key"] == "unknownKeyId"


def list_is_verified_and_undone(made):
    """Preflight, verification and undo go over the lanes as well, under the same limits."""
    made.lane(1)
    made.lane(2)
    made.ended(made.run(preflight="always"))
    made.confirm(handed_over=len(made.devices))
    for command in ("verify", "undo"):
        bulkcert(command, "r.csv", *made.options(2)[4:], env=made._keeping, cwd=made.directory).ended(0)
    seen = made.service.report()
    assert stamping.peak(made.sent()) <= RATE
    assert seen.addresses["127.0.0.2"].arrivals > len(made.devices) / 6
    assert outcomes(made.directory / "r.csv") == {"undone": len(made.devices)}


def limits_change(made):
    """What ``control`` asks of the coordinator reaches the lanes."""
    run = made.begun()
    made.control("--rate", RATE // 2)
    # What was granted before is over then.
    time.sleep(LEASE_S + 1.5)
    lowered_at = clock()
    time.sleep(2)
    made.control("--pause")
    time.sleep(0.5)
    paused_at = clock()
    time.sleep(1.5)
    assert 0 < stamping.peak([at for at in made.sent() if at >= lowered_at]) <= RATE // 2
    assert made.sent()[-1] < paused_at
    made.control("--rate", RATE)
    made.control("--continue")
    made.ended(run)
    made.confirm()
    assert stamping.peak([at for at in made.sent() if at >= paused_at]) > RATE // 2


def disk_is_full(made):
    """The coordinator's disk refuses: all stop, nothing that is on record is called again."""
    run = made.begun()
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (SMALL, SMALL))
    said = made.ended(run, 73)
    full_at = clock()
    assert "cannot write" in said
    time.sleep(1)
    assert made.sent()[-1] < full_at
    made.resume()
    made.confirm(handed_over=2 * RATE)


def address_is_blocked(made):
    """That lane alone gets no answers, and status says so; it continues when the block is over."""
    run = made.begun()
    service = made.service.url.removeprefix("http://").split(":")
    for _ in range(2 * PER_ADDRESS):
        with socket.create_connection(service, source_address=("127.0.0.2", 0)) as one:
            one.sendall(b"GET /?Action=ListCaCertificate HTTP/1.1\r\nHost: service\r\n\r\n")
    wait_for(run, lambda: made.doing(1) == "no answer from the service", pause_s=0.2)
    assert made.doing(2) == "calling"
    made.ended(run)
    seen = made.service.report()
    assert [name for name, each in seen.addresses.items() if each.blocks] == ["127.0.0.2"]
    assert outcomes(made.directory / "r.csv") == {"succeeded": len(made.devices)}


def lane_is_throttled(made):
    """All lanes slow down, within half a second, whichever it was; here the answer asks for a pause."""
    run = made.begun()
    with lateness() as late:
        made.service.tell("refuse", address="127.0.0.2", code="Throttling.User")
        wait_for(run, lambda: "Throttling.User" in made.service.report().codes)
        throttled_at = clock()
        made.service.tell("refuse", address="127.0.0.2", code="")
        time.sleep(RETRY_AFTER_S - 0.5)
        paused_to = clock()
    slowed_at = throttled_at + ALL_SLOW_S + 5 * late[0]
    sent = stamping.read(made.stamps)
    assert [at for each in sent for at in each if slowed_at < at < paused_to] == []
    made.ended(run)
    seen, session, _ = made.confirm()
    # Each of the three has sent before and after.
    assert all(each[0] < throttled_at < each[-1] for each in stamping.read(made.stamps))
    assert session["throttles"] == seen.codes["Throttling.User"]


def lane_hears_that_all_is_wrong(made):
    """An answer that every row would get: all lanes stop, whichever got it; the rows are called by the next session."""
    run = made.begun()
    made.service.tell("refuse", address="127.0.0.2", code="MqttInstanceNotFound")
    said = made.ended(run, 78)
    stopped_at = clock()
    assert "lane lane-1: MqttInstanceNotFound" in " ".join(said.split())
    time.sleep(1)
    assert made.sent()[-1] < stopped_at
    assert 0 < outcomes(made.directory / "r.csv")["not_attempted"] < len(made.devices)
    made.service.tell("refuse", address="127.0.0.2", code="")
    made.resume()
    made.confirm(handed_over=RATE)


def lane_is_of_another_version(made):
    """It is refused, makes no call, and says what to do; the run does not wait for it."""
    made.lane(1, env={"VERSION": "0.0.9"})
    made.lane(2)
    made.ended(made.run(lanes=1))
    seen, *_ = made.confirm()
    assert "127.0.0.2" not in seen.addresses
    wait_for(None, lambda: f"bulkcert 0.0.9 here, {__version__} at the coordinator" in made.said(1))


FEWER_ROWS = {lane_is_throttled: 300, lane_hears_that_all_is_wrong: 300, lane_is_of_another_version: 120}
SHORT = (lane_is_killed, lane_is_frozen, coordinator_is_killed, lane_leaves, credentials_are_refused)
SHORT += (lane_is_throttled, lane_hears_that_all_is_wrong, lane_is_of_another_version)
ALL = (
    *SHORT,
    coordinator_is_frozen,
    lane_joins,
    coordinator_is_terminated,
    list_is_verified_and_undone,
    limits_change,
    disk_is_full,
    address_is_blocked,
)


def play(scenario, directory):
    """Plays one, from its first lane to its end."""
    with cluster(directory, rows=FEWER_ROWS.get(scenario, ROWS)) as made:
        scenario(made)


def main(names):
    for scenario in ALL:
        if names and scenario.__name__ not in names:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            play(scenario, Path(directory))
        print(f"{scenario.__name__}: as it must be, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    os.environ["ALIBABA_CLOUD_ECS_METADATA_DISABLED"] = "true"
    main(sys.argv[1:])
