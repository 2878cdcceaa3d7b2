"""The emulator on a real socket: faults on the wire, limits by source address, start, stop and restart."""

import asyncio
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import anyio
import httpx
import pytest
from forked import Forked
from program import PATIENCE_S, environment, wait_for
from test_emulator_calls import CA, DEVICE, Caller, InProcess, asked_of

from bulkcert.emulator.faults import FaultPlan
from bulkcert.emulator.process import COMMAND, running
from bulkcert.emulator.server import listening
from bulkcert.emulator.settings import Settings
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.actions import OPERATIONS


class OnSocket:
    """An emulator on a free port, and a caller of it."""

    def __init__(self, settings=None, *, seeded=True) -> None:
        self.context, self.seeded = listening(settings or Settings(port=0)), seeded

    async def __aenter__(self):
        self.served = await self.context.__aenter__()
        self.http = httpx.AsyncClient(base_url=self.served.url, timeout=PATIENCE_S)
        call = Caller(self.http, self.served.emulator)
        if self.seeded:
            call.seed((CA, DEVICE))
        return call

    async def __aexit__(self, *exception):
        await self.http.aclose()
        await self.context.__aexit__(*exception)


@pytest.mark.parametrize(("fault", "changed"), [("drop-before", "1"), ("drop-after", "0")])
async def test_dropped_connection(fault, changed, caplog):
    """A dropped connection looks the same before and after the work; only the state tells."""
    async with OnSocket(Settings(port=0, fault=(f"{fault}=1",))) as call:
        with pytest.raises(httpx.RemoteProtocolError):
            await call.inactivate()

        assert call.status() == changed
        report = call.emulator.report()
        assert (report.arrivals, report.changes, report.faults) == (1, int(changed == "0"), {fault: 1})
    assert not caplog.records


CALLS = [one for one in OPERATIONS.values() if one.reads or one.name == "InactivateDeviceCertificate"]


@pytest.mark.parametrize("operation", CALLS, ids=lambda one: one.name)
async def test_answers_that_go_wrong(operation):
    """An answer without the echo is 200 and names nothing; a dropped one was carried out; reads change nothing.

    A proxy's error page has no code, and nothing was done.
    """
    async with InProcess(Settings(fault=("html-502=1",))) as call:
        answer = await call(operation.name, **asked_of(operation))
        assert (answer.status_code, answer.headers["content-type"], answer.text[:6]) == (502, "text/html", "<html>")
        assert call.status() == "1"
        call.emulator.faults = FaultPlan({"no-echo": 1}, 0)
        answer = await call(operation.name, **asked_of(operation))
        assert (answer.status_code, list(answer.json())) == (200, ["RequestId"])
        call.emulator.faults = FaultPlan({"drop-after": 1}, 0)
        with pytest.raises(httpx.RemoteProtocolError):
            await call(operation.name, **asked_of(operation))

        assert (call.emulator.report().changes, call.status()) == ((0, "1") if operation.reads else (2, "0"))


async def test_slow_answer(caplog):
    """A slow call is carried out at once and answered late; an emulator that stops meanwhile does not wait for it."""
    with anyio.fail_after(PATIENCE_S):
        async with listening(Settings(port=0, fault=("slow=1",), slow_seconds=2 * PATIENCE_S)) as served:
            call = Caller(httpx.AsyncClient(base_url=served.url, timeout=None), served.emulator)
            call.seed((CA, DEVICE))
            waiting = asyncio.create_task(call.inactivate())
            while call.status() == "1":  # noqa: ASYNC110 - a database has no event
                await anyio.sleep(0.01)
            assert not waiting.done()
        with pytest.raises(httpx.RemoteProtocolError):
            await waiting
        await call.http.aclose()
    assert not caplog.records


async def test_latency_is_added():
    """Every answer waits as long as the drawn latency says, and is still right."""
    async with OnSocket(Settings(port=0, latency_ms=(100, 110))) as call:
        began = time.monotonic()
        assert (await call.inactivate()).status_code == 200
        assert time.monotonic() - began >= 0.1


async def test_account_cap_throttles():
    """Calls over the account's cap are throttled, with the time to wait, and not carried out."""
    async with InProcess(Settings(account_cap=3, retry_after_ms=700)) as call:
        answers = [await call.inactivate("unknown") for _ in range(3)] + [await call.inactivate() for _ in range(2)]

        codes = [answer.json()["Code"] for answer in answers]
        assert codes == ["FindDeviceBySnError"] * 3 + ["Throttling.User"] * 2
        assert answers[-1].headers["x-acs-retry-after"] == "700"
        assert call.status() == "1"
        assert (await call("GetDeviceCertificate", CaSn=CA, DeviceSn=DEVICE)).status_code == 200
        assert call.emulator.report().throttled == 2


async def test_address_cap_blocks_one_address():
    """The address that goes over its cap is not answered any more; another address is."""
    place = InProcess(Settings(address_cap=5, block_seconds=60), address="127.0.0.2")
    async with place as call:
        for _ in range(5):
            assert (await call.inactivate()).status_code == 200
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                await call.inactivate()
        place.address = "127.0.0.3"
        assert (await call.inactivate()).status_code == 200

        report = call.emulator.report()
        seen = {name: (of.arrivals, of.peak_window, of.blocks) for name, of in report.addresses.items()}
        assert seen == {"127.0.0.2": (7, 7, 1), "127.0.0.3": (1, 1, 0)}
        assert (report.arrivals, report.peak_window, report.blocks) == (8, 8, 1)
        assert report.operations == {"InactivateDeviceCertificate": 6}


async def test_addresses_and_times_of_the_socket():
    """Calls are counted by the address that they came from, and timed on this machine's clock."""
    async with OnSocket() as call:
        report = call.emulator.report()
        assert (report.arrivals, report.rate, report.peak_window, report.first_at) == (0, 0, 0, None)
        before = time.time()
        transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx.AsyncClient(transport=transport, base_url=call.http.base_url) as http:
            for _ in range(2):
                assert (await Caller(http).inactivate()).status_code == 200

        report = call.emulator.report()
        assert list(report.addresses) == ["127.0.0.2"]
        assert before - 1 <= report.first_at < report.last_at <= time.time() + 1
        assert report.rate == pytest.approx(1 / (report.last_at - report.first_at), rel=0.01)


async def test_file_survives_restart(tmp_path):
    """With a database file, certificates, instances and register codes are as they were."""
    settings = Settings(port=0, database=tmp_path / "state.sqlite")
    async with OnSocket(settings) as call:
        await call.inactivate()
        call.registry.put_instance("another", "2000000000000002")
        code = await call.ok("GetRegisterCode")
    async with OnSocket(settings, seeded=False) as call:
        assert call.status() == "0"
        assert await call.ok("GetRegisterCode") == code
        assert call.registry.owner("another") == "2000000000000002"


async def test_port_in_use():
    """A port that is taken is an error that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BulkcertError, match=str(port)) as refused:
            await OnSocket(Settings(port=port)).__aenter__()

    assert refused.value.status is ExitStatus.UNAVAILABLE


async def test_unusable_database(tmp_path):
    """A database that cannot be opened, is no database, is of another version or in use is an error that names it."""
    (tmp_path / "text").write_text("no database at all, but some text\n" * 100)
    other = sqlite3.connect(tmp_path / "other")
    other.execute("PRAGMA user_version = 99")
    other.close()
    async with OnSocket(Settings(port=0, database=tmp_path / "used")):
        for name in ("missing/state", "text", "other", "used"):
            with pytest.raises(BulkcertError, match=name) as refused:
                await OnSocket(Settings(port=0, database=tmp_path / name)).__aenter__()
            assert refused.value.status is ExitStatus.CANNOT_WRITE


def alive(url):
    try:
        httpx.get(f"{url}/-/report")
    except httpx.TransportError:
        return False
    return True


async def test_a_process_serves_and_keeps_what_it_answered(tmp_path):
    """A child takes calls, tells what it counted, and is gone afterwards; what was answered is in its database."""
    (tmp_path / "d.csv").write_text(f"DeviceSn,CaSn\n{DEVICE},{CA}\n")
    options = [f"--database={tmp_path / 'state.sqlite'}"]
    for number in range(2):
        with running(*options, *([f"--seed-from={tmp_path / 'd.csv'}"] if number == 0 else [])) as child:
            async with httpx.AsyncClient(base_url=child.url) as http:
                shown = await Caller(http).ok("GetDeviceCertificate", CaSn=CA, DeviceSn=DEVICE)
                assert (await Caller(http).inactivate()).status_code == 200
            assert (child.report().arrivals, child.report().changes) == (2, 1)
            assert shown["Status"] == "10"[number]
        assert not alive(child.url)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, None])
def test_signals_and_the_end_of_input_stop_it(number):
    """SIGINT, SIGTERM and the end of standard input end it in order: status 0 and not a word."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = Forked(COMMAND, env=environment(), **streams)
    child.stdout.readline()
    if number:
        child.send_signal(number)

    assert child.communicate(timeout=PATIENCE_S) == (b"", b"")
    assert child.returncode == 0


def test_dies_with_its_parent():
    """A parent that is killed takes the emulator with it."""
    parent = """
from bulkcert.emulator.process import running
with running() as child:
    print(child.url, flush=True)
    input()
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    url = process.stdout.readline().decode().strip()
    assert alive(url)
    process.kill()
    process.communicate()

    wait_for(None, lambda: not alive(url))


def test_child_that_fails_is_quoted():
    """If the child does not start, its own words are the error."""
    with pytest.raises(BulkcertError, match="no fault named nosuch") as failed, running("--fault", "nosuch=1"):
        pass

    assert failed.value.status is ExitStatus.UNAVAILABLE
