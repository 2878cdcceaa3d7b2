"""The emulator on a real socket: faults on the wire, limits by source address, log and restart."""

import asyncio
import json
import time
from types import SimpleNamespace

import anyio
import httpx
import pytest
from program import PATIENCE_S
from test_emulator_calls import CA, DEVICE, INSTANCE, Caller

from bulkcert.emulator import server
from bulkcert.emulator.server import listening
from bulkcert.emulator.settings import Seed, SeededCertificate, Settings

SEED = Seed(INSTANCE, [SeededCertificate(CA, DEVICE)])


class OnSocket:
    """An emulator on a free port, and a caller of it from a given source address."""

    def __init__(self, settings=None, *, seed=SEED, address="127.0.0.1") -> None:
        self.context = listening(settings or Settings(), seed=seed)
        self.address = address
        self.clients = []

    async def __aenter__(self):
        self.served = await self.context.__aenter__()
        return self.caller(self.address)

    def caller(self, address):
        transport = httpx.AsyncHTTPTransport(local_address=address)
        self.clients.append(httpx.AsyncClient(transport=transport, base_url=self.served.url, timeout=PATIENCE_S))
        return Caller(self.clients[-1], self.served.emulator, time.time)

    async def __aexit__(self, *exception):
        for client in self.clients:
            await client.aclose()
        await self.context.__aexit__(*exception)


def status(call):
    return call.state.device(INSTANCE, CA, DEVICE)["Status"]


@pytest.mark.parametrize(("fault", "changed"), [("drop-before", "1"), ("drop-after", "0")])
async def test_dropped_connection(fault, changed, caplog):
    """A dropped connection looks the same before and after the work; only the state tells."""
    async with OnSocket(Settings(faults={fault: 1})) as call:
        with pytest.raises(httpx.RemoteProtocolError):
            await call.inactivate()

        assert status(call) == changed
        report = await call.admin("report")
        assert (report["arrivals"], report["changes"], report["faults"]) == (1, int(changed == "0"), {fault: 1})
    assert not caplog.records


async def test_html_502():
    """A proxy's error page has no code, and nothing was done."""
    async with OnSocket(Settings(faults={"html-502": 1})) as call:
        answer = await call.inactivate()

        assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
        assert answer.text.startswith("<html>")
        assert status(call) == "1"


async def test_no_echo():
    """An answer without the echo is 200 and names no serial, though the work was done."""
    async with OnSocket(Settings(faults={"no-echo": 1})) as call:
        answer = await call.inactivate()

        assert (answer.status_code, list(answer.json())) == (200, ["RequestId"])
        assert status(call) == "0"


READS = {
    "GetRegisterCode": {},
    "ListCaCertificate": {"PageNo": "1", "PageSize": "1"},
    "GetCaCertificate": {"Sn": CA},
    "ListDeviceCertificate": {"PageNo": "1", "PageSize": "1"},
    "ListDeviceCertificateByCaSn": {"CaSn": CA, "PageNo": "1", "PageSize": "1"},
    "GetDeviceCertificate": {"CaSn": CA, "DeviceSn": DEVICE},
}


@pytest.mark.parametrize(("action", "parameters"), READS.items(), ids=READS)
async def test_reads_that_go_wrong(tmp_path, action, parameters):
    """A read without the echo is 200 with nothing to read; a dropped one was carried out and has changed nothing."""
    log = tmp_path / "arrivals.ndjson"
    async with OnSocket(Settings(faults={"no-echo": 1}, log=log)) as call:
        answer = await call(action, **parameters)
        assert (answer.status_code, list(answer.json())) == (200, ["RequestId"])

        for fault in ("drop-before", "drop-after"):
            await call.admin("faults", shares={fault: 1})
            with pytest.raises(httpx.RemoteProtocolError):
                await call(action, **parameters)
        await call.admin("faults", shares={})
        assert await call.ok(action, **parameters)
        assert (await call.admin("report"))["changes"] == 0

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    noted = [(line["fault"], line["status"], line["done"]) for line in lines]
    assert noted == [("no-echo", 200, True), ("drop-before", 0, False), ("drop-after", 0, True), (None, 200, True)]


async def test_slow_answer():
    """A slow call is carried out at once and answered late: a client that gives up meanwhile cannot know."""
    async with OnSocket(Settings(faults={"slow": 1}, slow_seconds=2 * PATIENCE_S)) as call:
        with anyio.fail_after(PATIENCE_S):
            waiting = asyncio.create_task(call.inactivate())
            while status(call) == "1":  # noqa: ASYNC110 - a database has no event
                await anyio.sleep(0.01)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


@pytest.fixture
def at_once(monkeypatch):
    """Lets all calls arrive at the same time."""
    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=lambda: 1000.0))


async def test_account_cap_throttles(at_once):
    """Calls over the account's cap are throttled, told how long to wait, and not carried out."""
    async with OnSocket(Settings(account_cap=3, retry_after_ms=700)) as call:
        answers = [await call.inactivate("unknown") for _ in range(3)] + [await call.inactivate() for _ in range(2)]

        codes = [answer.json()["Code"] for answer in answers]
        assert codes == ["FindDeviceBySnError"] * 3 + ["Throttling.User"] * 2
        assert answers[-1].headers["x-acs-retry-after"] == "700"
        assert status(call) == "1"
        assert (await call("GetDeviceCertificate", CaSn=CA, DeviceSn=DEVICE)).status_code == 200
        assert (await call.admin("report"))["throttled"] == 2


async def test_address_cap_blocks_one_address(at_once):
    """The address that goes over its cap is not answered any more, on no connection; another address is."""
    emulator = OnSocket(Settings(address_cap=5, block_seconds=60), address="127.0.0.2")
    async with emulator as fast:
        calm = emulator.caller("127.0.0.3")
        for _ in range(5):
            assert (await fast.inactivate()).status_code == 200
        for call in (fast, emulator.caller("127.0.0.2")):
            with pytest.raises(httpx.RemoteProtocolError):
                await call.inactivate()
        assert (await calm.inactivate()).status_code == 200

        report = await fast.admin("report")
        assert report["addresses"] == {
            "127.0.0.2": {"arrivals": 7, "peak_window": 7, "blocks": 1},
            "127.0.0.3": {"arrivals": 1, "peak_window": 1, "blocks": 0},
        }
        assert (report["arrivals"], report["peak_window"], report["blocks"]) == (8, 8, 1)
        assert report["operations"] == {"InactivateDeviceCertificate": 6}


async def test_report_of_nothing():
    """Before the first call there are no times and no rate."""
    async with OnSocket() as call:
        report = await call.admin("report")

        assert (report["arrivals"], report["rate"], report["peak_window"], report["blocks"]) == (0, 0, 0, 0)
        assert report["first_at"] is report["last_at"] is None


async def test_report_times_are_unix_times():
    """First and last arrival are told on this machine's clock."""
    async with OnSocket() as call:
        before = time.time()
        for _ in range(2):
            await call.inactivate()
        report = await call.admin("report")

        assert before - 1 <= report["first_at"] < report["last_at"] <= time.time() + 1
        assert report["rate"] == pytest.approx(1 / (report["last_at"] - report["first_at"]), rel=0.01)


async def test_log(tmp_path):
    """Each certificate call has one line that says what came, what was answered and whether it was done."""
    log = tmp_path / "arrivals.ndjson"
    async with OnSocket(Settings(log=log), address="127.0.0.2") as call:
        await call.inactivate()
        await call("GetCaCertificate", Sn="unknown")
        await call.admin("faults", shares={"drop-after": 1})
        with pytest.raises(httpx.RemoteProtocolError):
            await call("ActiveDeviceCertificate", CaSn=CA, DeviceSn=DEVICE)

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line.pop("at") > 1.6e9 for line in lines] == [True] * 3
    common = {"address": "127.0.0.2", "code": None, "fault": None, "done": True}
    off = {"operation": "InactivateDeviceCertificate", "ca_sn": CA, "device_sn": DEVICE, "status": 200}
    get = {"operation": "GetCaCertificate", "ca_sn": "unknown", "device_sn": None, "status": 500}
    on = {"operation": "ActiveDeviceCertificate", "ca_sn": CA, "device_sn": DEVICE, "status": 0}
    assert lines == [
        common | off,
        common | get | {"code": "FindCaBySnError", "done": False},
        common | on | {"fault": "drop-after"},
    ]


async def test_log_is_written_while_serving(tmp_path):
    """The log can be followed: lines appear without waiting for the end."""
    log = tmp_path / "arrivals.ndjson"
    async with OnSocket(Settings(log=log)) as call:
        await call.inactivate()
        with anyio.fail_after(PATIENCE_S):
            while not log.read_text().endswith("}\n"):  # noqa: ASYNC110 - a file has no event
                await anyio.sleep(0.02)


async def test_no_secret_in_the_log(tmp_path):
    """Neither secrets nor tokens nor signatures are logged or shown."""
    log = tmp_path / "arrivals.ndjson"
    async with OnSocket(Settings(log=log)) as call:
        await call.inactivate()
        report = await call.admin("report")
        key = call.state.access_key("testAccessKeyId")

    shown = log.read_text() + json.dumps(report) + repr(Settings()) + repr(key)
    assert "testAccessKeySecret" not in shown
    assert "Signature" not in shown


async def test_file_survives_restart(tmp_path):
    """With a database file, certificates, instances and access keys are as they were."""
    settings = Settings(database=tmp_path / "state.sqlite")
    async with OnSocket(settings) as call:
        await call.inactivate()
        await call.admin("access-key", id="second", secret="s", denied=["mq:RegisterCa"], token="t", expires_at=1.5)
        await call.admin("instance", id="another", account="2000000000000002")
        code = await call.ok("GetRegisterCode")
    async with OnSocket(settings, seed=None) as call:
        assert status(call) == "0"
        assert await call.ok("GetRegisterCode") == code
        key = call.state.access_key("second")
        assert (key.secret, key.token, key.expires_at, key.enabled) == ("s", "t", 1.5, True)
        assert key.denied == {"mq:RegisterCa"}
        assert call.state.owner("another") == "2000000000000002"
