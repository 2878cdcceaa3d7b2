"""What several machines make together, and what that costs the coordinator: ``python tests/bench_cluster.py``.

Every figure is of this machine, and stands beside one of the same minute: two lanes beside one process with two
addresses; a run of many rows beside one of few, so that its start does not count.
"""

import asyncio
import gc
import json
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from measuring import SEEDED, at, measured
from program import COMMAND, environment, free_port, write_devices

from bulkcert.cli import main as bulkcert
from bulkcert.commands import GARBAGE_AFTER
from bulkcert.emulator.process import running
from bulkcert.engine.session import uvloop_or_none
from bulkcert.fleet.lane import LaneAddress, serve
from bulkcert.fleet.network import Where
from bulkcert.service.client import Client, Response
from bulkcert.service.codes import Verdict
from bulkcert.service.credentials import FixedCredentials
from bulkcert.service.signing import Credentials

WITHOUT_NETWORK = (sys.executable, __file__, "bulkcert")
"""The command whose own lane is refused, and calls nothing: what a lane needs is none of what a coordinator needs."""

MOST_CPU_US, MOST_MB, LEAST_SHARE = 60, 100, 0.95


def run(url, directory, results, *more, command=COMMAND):
    """Runs a list; returns its summary, and the CPU seconds that it has used."""
    words = ("run", "inactivate-device", "d.csv", "-o", results, *at(url, "--json"), *more)
    ended = measured(*words, command=command, cwd=directory)
    assert not ended.status, ended.stdout.decode()
    return json.loads(ended.stdout), ended.cpu_s


@contextmanager
def lane_processes(url, keys, addresses, directory):
    with ExitStack() as open_:
        children = []
        for address in addresses:
            command = [*COMMAND, "lane", url, "--keys", keys, "--source-address", address]
            children.append(open_.enter_context(subprocess.Popen(command, env=environment(), cwd=directory)))
            open_.callback(children[-1].kill)
        yield children


def megabytes(child):
    status = Path(f"/proc/{child.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def two_lanes_beside_one_process(directory):
    """Two lane processes and the coordinator, beside one process with two addresses."""
    write_devices(directory / "d.csv", 6000)
    subprocess.run([*COMMAND, "cluster", "keys", "keys", "--lanes", "2"], cwd=directory, env=environment(), check=True)
    seed = (SEEDED, f"--seed-from={directory / 'd.csv'}", "--latency-ms=20", "120")
    own = ("--source-address", "127.0.0.2", "--source-address", "127.0.0.3")
    with running(*seed) as service:
        alone, alone_s = run(service.url, directory, "alone.csv", *own)
    url = f"tls://127.0.0.1:{free_port()}"
    with running(*seed) as service, lane_processes(url, "keys", ("127.0.0.2", "127.0.0.3"), directory) as lanes:
        cluster = ("--cluster", url, "--keys", "keys", "--lanes", "2", "--source-address", "127.0.0.4")
        together, together_s = run(service.url, directory, "together.csv", *cluster)
        memory = max(map(megabytes, lanes))
        seen = service.report()
    rates = [came["sessions"][0]["achieved_rate"] for came in (alone, together)]
    sent, by_address = together["sessions"][0]["peak_window"], [each.peak_window for each in seen.addresses.values()]
    print(f"one process, two addresses: {rates[0]:.0f}/s, {alone_s:.1f} s of CPU")
    print(f"two lanes and the coordinator: {rates[1]:.0f}/s ({rates[1] / rates[0]:.1%}), {together_s:.1f} s of CPU")
    print(f"peaks: sent {sent}, received {seen.peak_window} of 500; of each address", *by_address, "of 300")
    print(f"a lane needs {memory:.0f} MB")
    is_within = max(sent, seen.peak_window) <= 500 and max(by_address) <= 300
    return rates[1] >= LEAST_SHARE * rates[0] and is_within and memory <= MOST_MB


def many_lanes(directory, *, lanes, rate, least):
    """Lanes with a stand-in for HTTP, all in one process: what a row costs the coordinator, its store included.

    A limit is never reached (the room of the account, the bursts of the lanes, the share of the lane that is refused),
    so it is above the least rate that is asked for.
    """
    costs, came = [], None
    for rows in (rate // 2, 10 * rate):
        write_devices(directory / "d.csv", rows)
        url = f"tcp://127.0.0.1:{free_port()}"
        served = subprocess.Popen([sys.executable, __file__, "lanes", url, str(lanes)], env=environment())
        with running(SEEDED, f"--seed-from={directory / 'd.csv'}") as service, served:
            limits = ("--rate", rate, "--per-address-rate", 300, "--limits-raised", "--lanes", lanes)
            cluster = ("--cluster", url, *limits)
            came, cpu = run(service.url, directory, f"{rows}.csv", *cluster, command=WITHOUT_NETWORK)
            served.kill()
        costs.append(cpu)
    cost_us = (costs[1] - costs[0]) / (10 * rate - rate // 2) * 1e6
    made = came["sessions"][0]["achieved_rate"]
    shares = sum(lane["share"] for lane in came["sessions"][0]["lanes"])
    print(f"{lanes} lanes at {rate}/s: {made:.0f} rows/s, {cost_us:.0f} us of CPU a row at the coordinator; {shares=}")
    # Each share is a whole number.
    return cost_us <= MOST_CPU_US and made >= least and rate - lanes - 0.004 * rate <= shares <= rate


async def stand_in(client, operation, parameters):
    """Answers as the service does, without a network."""
    at = round(time.time() * 1000)
    await asyncio.sleep(0.06)
    return Response(
        verdict=Verdict.DONE,
        http_status=200,
        request_id="7A1F9C04-3E2B-4D6A-9B1C-000000000000",
        sent_at=at,
        finished_at=at + 60,
        latency_ms=60.0,
        credentials=client._provider.current,
    )


async def refusal(client, operation, parameters):
    """Answers as the service does whom it does not know: a lane that it is told gets no calls."""
    now, held = round(time.time() * 1000), client._provider.current
    said = {"code": "InvalidAccessKeyId.NotFound", "http_status": 404, "request_id": "7A1F9C04", "credentials": held}
    return Response(verdict=Verdict.STOP, sent_at=now, finished_at=now, latency_ms=1.0, **said)


async def serve_lanes(url, count):
    where = Where("tcp", "127.0.0.1", int(url.rsplit(":", 1)[1]))
    provider = FixedCredentials(Credentials("testAccessKeyId", "-"))
    lanes = [LaneAddress(f"lane-{n}", None, f"egress-{n}") for n in range(count)]
    never = {"show": lambda _: None, "ends": asyncio.Event()}
    await asyncio.gather(*[serve(where, None, lane, provider, **never) for lane in lanes])


def main():
    good = []
    with tempfile.TemporaryDirectory() as directory:
        good.append(two_lanes_beside_one_process(Path(directory)))
        good.append(many_lanes(Path(directory), lanes=7, rate=1800, least=1500))
        good.append(many_lanes(Path(directory), lanes=20, rate=4800, least=4000))
    return 0 if all(good) else 1


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(main())
    Client.prepare = lambda *_: None
    if sys.argv.pop(1) == "lanes":
        Client.call = stand_in
        # As ``bulkcert lane`` does.
        gc.freeze()
        gc.set_threshold(GARBAGE_AFTER)
        with asyncio.Runner(loop_factory=uvloop_or_none()) as runner:
            runner.run(serve_lanes(sys.argv[1], int(sys.argv[2])))
    else:
        Client.call = refusal
        bulkcert()
