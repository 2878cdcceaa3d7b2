"""What protects a cluster: who gets in, what listens, and what is never said."""

import asyncio
import os
import re
import shutil
import ssl
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import distributed
import pytest
from cluster import ports
from program import KEY_ID, SECRET, free_port, here, start, wait_for, write_devices

from bulkcert.fleet.keys import confirm, make_keys, tls_context
from bulkcert.fleet.messages import Grant, LaneReport
from bulkcert.fleet.network import LostError, Where, connected, listening, reach

TOKEN = "tokenOfALane"


def answer(report):
    """What a coordinator answers here."""
    return Grant(report.number, report.stamp)


@pytest.fixture
def two_clusters(tmp_path):
    """Returns the directories with the keys of two clusters."""
    for name in ("ours", "theirs"):
        make_keys(tmp_path / name, 1, days=1)
    return tmp_path / "ours", tmp_path / "theirs"


def test_foreign_keys_are_refused(two_clusters):
    """By the lane, which does not trust the coordinator, and by the coordinator, which does not trust the lane."""
    ours, theirs = two_clusters
    where = Where("tls", "127.0.0.1", free_port())
    own = confirm(ours / "lane-1.pem")
    foreign = confirm(theirs / "lane-1.pem")

    async def main():
        async with listening(where, ours / "coordinator.pem", answer, lambda _: None):
            assert await reach(where, own) == ""
            assert "keys of different runs" in await reach(where, foreign)
            # It trusts the coordinator, and shows what another authority has signed.
            posing = Path(shutil.copy(foreign, ours / "lane-2.pem"))
            assert await reach(where, posing) == "the coordinator does not take this lane's keys"
            with pytest.raises(LostError):
                async with connected(where, posing, "lane-1"):
                    pytest.fail("it was let in")
            context = ssl.create_default_context(cafile=str(ours / "ca.pem"))
            context.check_hostname = False
            assert await pages(where, context) == b"", "to somebody who shows no certificate at all"
        # A lane's certificate is good for a client only.
        where_else = Where("tls", "127.0.0.1", free_port())
        async with listening(where_else, own, answer, lambda _: None):
            assert "unsuitable certificate purpose" in await reach(where_else, own)

    anyio.run(main)


async def pages(where, context=None):
    """Returns what a coordinator says to somebody who asks for its pages."""
    said = b""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(where.host, where.port, ssl=context)
        writer.write(b"GET /info/main/workers.html HTTP/1.1\r\nHost: any\r\n\r\n")
        with anyio.move_on_after(1 if context is None else 5):
            said = await reader.read(100)
        writer.close()
    return said


class Code:
    """Runs when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("packed", ["ToPickle", "Serialize"])
def test_a_stolen_key_runs_no_code(two_clusters, tmp_path, packed):
    """What a lane sends is read as data alone; who sends more is not heard, and the others are."""
    where = Where("tls", "127.0.0.1", free_port())
    lane, ran = two_clusters[0] / "lane-1.pem", tmp_path / "ran"

    async def main():
        async with listening(where, two_clusters[0] / "coordinator.pem", answer, lambda _: None):
            context = tls_context(lane)
            comm = await distributed.comm.connect(str(where), ssl_context=context, require_encryption=True)
            code = getattr(distributed.protocol, packed)(Code(ran))
            for said in (code, {"said": b"", "more": [code]}):
                # What the coordinator answers to it is an object as well.
                with suppress(OSError, TypeError), anyio.move_on_after(5):
                    await comm.write({"op": "exchange", "said": said, "reply": True})
                    await comm.read()
            assert not ran.exists()
            async with connected(where, lane, "lane-1") as exchange:
                assert await exchange(LaneReport("lane-1", 7, 0.0)) == Grant(7, 0.0)

    anyio.run(main)


def test_nothing_of_dask_runs_or_is_served_that_is_not_needed():
    """No pages, no profiler, at neither coordinator nor lane; one port is open, and five words count there."""
    where, before = Where("tcp", "127.0.0.1", free_port()), ports(os.getpid())

    async def main():
        async with listening(where, None, answer, lambda _: None), connected(where, None, "lane-1") as exchange:
            assert await exchange(LaneReport("lane-1", 7, 0.0)) == Grant(7, 0.0)
            scheduler, worker = (
                next(server for server in kind._instances if server.status == distributed.Status.running)
                for kind in (distributed.Scheduler, distributed.Worker)
            )
            for server in (scheduler, worker):
                assert not hasattr(server, "http_server")
                assert not any("profile" in name for name in server.periodic_callbacks)
            words = {"register-worker", "unregister", "heartbeat_worker", "identity", "exchange"}
            assert set(scheduler.handlers) == words
            assert not worker.handlers
            await worker.heartbeat()
            assert worker.status is distributed.Status.running
            assert ports(os.getpid()) - before == {where.port}
            assert not [thread for thread in threading.enumerate() if "rofile" in thread.name]
            assert b"HTTP" not in await pages(where)

    anyio.run(main)


def test_nothing_that_dask_reads_of_a_machine_is_used(tmp_path):
    """Neither its files nor its variables, where a preload would be code; one port is open, the coordinator's."""
    config = tmp_path / "home/.config/dask"
    config.mkdir(parents=True)
    preload = "distributed:\n  scheduler:\n    preload: [evil]\n  worker:\n    preload: [evil]\n"
    (config / "x.yaml").write_text(preload)
    (tmp_path / "evil.py").write_text("open('was-here', 'w')\n")
    own = {f"DASK_DISTRIBUTED__{who}__PRELOAD": "['evil']" for who in ("SCHEDULER", "WORKER")}
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    own |= {"HOME": str(tmp_path / "home"), "PYTHONPATH": path}
    write_devices(tmp_path / "d.csv", 3)
    port = free_port()
    where = ("--instance", "i", "--endpoint", "http://127.0.0.1:9", "--yes", "--preflight", "never")
    # One more lane than comes, so that it waits.
    run = ("run", "inactivate-device", "d.csv", *where, "--cluster", f"tcp://127.0.0.1:{port}", "--lanes", "2")
    with start(*run, env=own, cwd=tmp_path) as child, lane_process(tmp_path, port, **own) as lane:
        try:
            wait_for(lane, lambda: "calling for" in (tmp_path / "lane.txt").read_text())
            assert (ports(child.pid), ports(lane.pid)) == ({port}, set())
        finally:
            child.kill()
    assert not (tmp_path / "was-here").exists()


LANE_KEY, LANE_SECRET = "laneKeyId", "secretOfALane"
AS_LANE = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": LANE_KEY,
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": LANE_SECRET,
    "ALIBABA_CLOUD_SECURITY_TOKEN": TOKEN,
}


@contextmanager
def lane_process(directory, port, **changed):
    """A lane with credentials of its own, at an address of its own."""
    lane = ("lane", f"tcp://127.0.0.1:{port}", "--source-address", "127.0.0.2", "--name", "far")
    with (directory / "lane.txt").open("wb") as said:
        child = start(*lane, env=AS_LANE | changed, cwd=directory, stdout=said, stderr=said)
    with child:
        try:
            yield child
        finally:
            child.kill()


def test_a_lane_throughout(tmp_path, service):
    """Plan, run, report, verification, watch and undo: over lanes, whose keys are named and whose secrets are nowhere.

    Nowhere: in no list of processes, in no file, and in nothing that is shown. What coordinator and lane say to each
    other is looked at in ``test_fleet``.
    """
    service.seed(write_devices(tmp_path / "d.csv", 120, cas=120))
    service.tell("access-key", id=LANE_KEY, secret=LANE_SECRET, token=TOKEN)
    port, shown, far = free_port(), [], {}
    cluster = ("--cluster", f"tcp://127.0.0.1:{port}", "--lanes", "1", "--rate", "100", "--per-address-rate", "60")
    where = ("--endpoint", service.url, "--instance", "post-cn-emulator", *cluster)

    def do(*command, status=0):
        before = len(service.calls())
        ended = here(*command, cwd=tmp_path).ended(status)
        shown.append(ended.stdout + ended.stderr)
        calls = service.calls()[before:]
        far[command[0]] = {call["operation"] for call in calls if call["address"] == "127.0.0.2"}
        return " ".join(shown[-1].split())

    with lane_process(tmp_path, port) as lane:
        plan = do("plan", "inactivate-device", "d.csv", *where, "--preflight", "always")
        how = ("--preflight", "always", "--yes", "--metrics-file", "m.prom", *where)
        do("run", "inactivate-device", "d.csv", "-o", "r.csv", *how)
        do("verify", "r.csv", *cluster, "--watch", "1s", "--every", "1s", "--yes")
        do("undo", "r.csv", *cluster, "--yes")
        processes = Path(f"/proc/{lane.pid}/cmdline").read_bytes()
    status = do("status", "r.csv", "--json", status=1)
    report = do("report", "r.csv", "--format", "text")

    for named in (plan, report):
        assert f"far (egress {_machine()}/127.0.0.2): {LANE_KEY} from the environment" in named
        assert f"coordinator (egress {_machine()}/any): {KEY_ID} from the environment" in named
    assert f'"key":"{LANE_KEY}","source":"the environment"' in status
    reading = {"GetDeviceCertificate", "ListDeviceCertificateByCaSn"}
    assert all(far[command] & reading for command in ("plan", "run", "verify"))
    assert "InactivateDeviceCertificate" in far["run"]
    assert "ActiveDeviceCertificate" in far["undo"]
    assert re.search(r'^bulkcert_lane_calling{[^}]*lane="far"', (tmp_path / "m.prom").read_text(), re.MULTILINE)
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    everything = [processes, *written, *map(str.encode, shown)]
    for secret in (LANE_SECRET, TOKEN, SECRET):
        assert not any(secret.encode() in each for each in everything), secret


def _machine():
    return Path("/proc/sys/kernel/random/boot_id").read_text().split("-")[0]
