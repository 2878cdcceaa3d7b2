"""An emulator starts and stops: where it listens, what it needs, and what is said when it cannot."""

import asyncio
import socket
import sqlite3
import time
from pathlib import Path

import anyio
import httpx
import pytest
from program import PATIENCE_S
from test_emulator_calls import Caller
from test_emulator_server import SEED, OnSocket, status

from bulkcert.emulator.server import listening, serve
from bulkcert.emulator.settings import Settings
from bulkcert.errors import BulkcertError, ExitStatus


async def test_stop_drops_what_is_waiting(caplog):
    """An emulator that stops does not wait for slow answers, and leaves no traceback."""
    with anyio.fail_after(PATIENCE_S):
        async with listening(Settings(faults={"slow": 1}, slow_seconds=2 * PATIENCE_S), seed=SEED) as served:
            http = httpx.AsyncClient(base_url=served.url, timeout=None)
            call = Caller(http, served.emulator, time.time)
            waiting = asyncio.create_task(call.inactivate())
            while status(call) == "1":  # noqa: ASYNC110 - a database has no event
                await anyio.sleep(0.01)
        with pytest.raises(httpx.RemoteProtocolError):
            await waiting
        await http.aclose()
    assert not caplog.records


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "::", ""])
def test_only_loopback(host):
    """An emulator trusts its callers, so it listens on loopback addresses only."""
    with pytest.raises(BulkcertError) as refused:
        serve(Settings(host=host), on_ready=print)

    assert refused.value.status is ExitStatus.USAGE


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
    settings = Settings(database=tmp_path / "used")
    async with OnSocket(settings):
        for name in ("missing/state", "text", "other", "used"):
            with pytest.raises(BulkcertError, match=name) as refused:
                await OnSocket(Settings(database=tmp_path / name)).__aenter__()
            assert refused.value.status is ExitStatus.CANNOT_WRITE


async def test_unwritable_log(tmp_path):
    """A log that cannot be written is an error that names it."""
    with pytest.raises(BulkcertError, match="missing/log") as refused:
        await OnSocket(Settings(log=tmp_path / "missing" / "log")).__aenter__()

    assert refused.value.status is ExitStatus.CANNOT_WRITE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
async def test_full_disk():
    """A log that cannot be written any more ends the serving with an error that names it."""
    emulator = OnSocket(Settings(log=Path("/dev/full")))
    call = await emulator.__aenter__()
    await call.inactivate()
    with anyio.fail_after(PATIENCE_S):
        await asyncio.wait([emulator.served.flushing])
    with pytest.raises(BulkcertError, match="/dev/full") as ended:
        await emulator.__aexit__(None, None, None)

    assert ended.value.status is ExitStatus.CANNOT_WRITE


async def test_ipv6():
    """The loopback address of IPv6 will do, too."""
    async with listening(Settings(host="::1"), seed=SEED) as served, httpx.AsyncClient(base_url=served.url) as http:
        assert served.url.startswith("http://[::1]:")
        assert (await Caller(http, served.emulator, time.time).inactivate()).status_code == 200
