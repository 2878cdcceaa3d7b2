"""The emulator as a child process: it starts, stops, and never outlives its parent."""

import os
import signal
import subprocess
import sys
import time

import httpx
import msgspec
import pytest
from program import PATIENCE_S, wait_for
from test_emulator_calls import CA, DEVICE, INSTANCE, Caller

from bulkcert.emulator import process
from bulkcert.emulator.process import running
from bulkcert.errors import BulkcertError, ExitStatus

SERVE = f"""
import json, sys
from pathlib import Path
from bulkcert.emulator.server import serve
from bulkcert.emulator.settings import SeededCertificate, Seed, Settings
serve(
    Settings(exit_on_eof=True, database=Path(sys.argv[1]) if len(sys.argv) > 1 else None),
    seed=Seed({INSTANCE!r}, [SeededCertificate({CA!r}, {DEVICE!r})]),
    on_ready=lambda url: print(json.dumps({{"url": url}}), flush=True),
)
"""
COMMAND = (sys.executable, "-c", SERVE)


def started(*arguments):
    """A child without the care of ``running``, and its URL."""
    child = subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return child, msgspec.json.decode(child.stdout.readline())["url"]


async def test_running_serves_and_stops():
    """The child takes calls and tells what it counted; afterwards it is gone."""
    with running(command=COMMAND) as child:
        async with httpx.AsyncClient(base_url=child.url) as http:
            assert (await Caller(http, None, time.time).inactivate()).status_code == 200
        assert (child.report().arrivals, child.report().changes) == (1, 1)

    assert not alive(child.url)
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_it(number):
    """SIGINT and SIGTERM end it in order: status 0 and not a word."""
    child, _ = started()
    child.send_signal(number)

    assert child.communicate(timeout=PATIENCE_S) == (b"", b"")
    assert child.returncode == 0


def test_end_of_input_stops_it():
    """When standard input ends, so does the emulator, in order."""
    child, _ = started()

    assert child.communicate(timeout=PATIENCE_S) == (b"", b"")
    assert child.returncode == 0


def test_dies_with_its_parent():
    """A parent that is killed takes the emulator with it."""
    parent = f"""
from bulkcert.emulator.process import running
with running(command={COMMAND!r}) as child:
    print(child.url, flush=True)
    input()
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    url = process.stdout.readline().decode().strip()
    assert httpx.get(f"{url}/-/report").status_code == 200
    process.kill()
    process.communicate()

    wait_for(None, lambda: not alive(url))


def alive(url):
    try:
        httpx.get(f"{url}/-/report")
    except httpx.TransportError:
        return False
    return True


async def test_what_was_answered_survives_a_kill(tmp_path):
    """With a database file, what was answered is there after the emulator was killed."""
    path = tmp_path / "state.sqlite"
    child, url = started(path)
    async with httpx.AsyncClient(base_url=url) as http:
        call = Caller(http, None, time.time)
        for number in range(20):
            await call.admin("connect", instance=INSTANCE, ca_sn=CA, device_sn=f"{number}")
            assert (await call.inactivate(f"{number}")).status_code == 200
        child.kill()
        child.communicate()

    with running(str(path), command=COMMAND) as again:
        async with httpx.AsyncClient(base_url=again.url) as http:
            counts = await Caller(http, None).admin(f"counts?instance={INSTANCE}")
    assert counts["devices"] == {"0": 20, "1": 1}


def test_child_that_fails_is_quoted():
    """If the child does not start, its own words are the error."""
    failing = (sys.executable, "-c", "import sys; sys.exit('port 80 is taken')")
    with pytest.raises(BulkcertError, match="port 80 is taken") as failed, running(command=failing):
        pass

    assert failed.value.status is ExitStatus.UNAVAILABLE


def test_silent_child_is_not_waited_for():
    """A child that never says where it listens is killed."""
    silent = (sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(BulkcertError, match="status -9"), running(command=silent, start_timeout_s=0.3):
        pass


def test_deaf_child_is_killed(monkeypatch):
    """A child that ignores SIGTERM is killed."""
    monkeypatch.setattr(process, "_STOP_S", 0.3)
    deaf = 'import signal, time; signal.signal(15, signal.SIG_IGN); print(\'{"url": "x"}\', flush=True); time.sleep(60)'
    with running(command=(sys.executable, "-c", deaf)) as child:
        assert child.url == "x"

    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_command_of_the_program():
    """By itself, ``running`` starts the command ``bulkcert emulator``, with further options as given."""
    with running("--clock-offset", "3600") as child:
        assert child.report().arrivals == 0
