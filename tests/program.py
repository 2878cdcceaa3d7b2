"""The whole program as its users meet it: the command in a process of its own, and the emulator it calls.

The emulator is a part of the test process, on a loop in a thread of its own: a process would take most of a second to
load and to stop, and what that adds is tested in ``test_emulator_process``.
"""

import atexit
import csv
import gc
import io
import json
import logging
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from forked import Forked

from bulkcert.cli import app, main
from bulkcert.emulator.faults import FaultPlan
from bulkcert.emulator.messages import Refusal
from bulkcert.emulator.registry import SeededCertificate
from bulkcert.emulator.server import listening
from bulkcert.emulator.settings import Settings
from bulkcert.emulator.verify import AccessKey
from bulkcert.views import console

INSTANCE = "post-cn-emulator"
KEY_ID, SECRET = "testAccessKeyId", "testAccessKeySecret"
NO_KEY = dict.fromkeys(("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"))
"""What takes the credentials out of an environment."""

STS = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "STS.temporary",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "temporarySecret",
    "ALIBABA_CLOUD_SECURITY_TOKEN": "temporaryToken",
}
STS_KEY = {"id": "STS.temporary", "secret": "temporarySecret", "token": "temporaryToken"}
"""Temporary credentials, and how an emulator is to know them."""

COMMAND = (sys.executable, "-m", "bulkcert")
PATIENCE_S = 120
"""How long to wait for what is sure to come: only a bound, which a busy machine must not reach."""

UNHURRIED = ("--rate", "100000", "--per-address-rate", "100000", "--limits-raised")
"""Caps out of the way, for tests that are not about pacing."""

_NO_CAPS = {"account_cap": 100_000, "address_cap": 100_000}
"""The same for the emulator."""

_HOME = tempfile.mkdtemp(prefix="empty-home-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def said(self):
        """What it said on stderr, on one line."""
        return " ".join(self.stderr.split())

    def ended(self, status):
        """Returns itself if it ended with a status and without a traceback; else the test fails, with all it said."""
        assert self.status == status, f"status {self.status}, not {status}\n{self.stdout}\n{self.stderr}"
        assert "Traceback" not in self.stdout + self.stderr
        return self


def environment(changes=None):
    """A clean environment with the emulator's credentials; a change to None takes a variable out."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH") if name in os.environ}
    clean = {
        "HOME": _HOME,
        "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
        "ALIBABA_CLOUD_CLI_PROFILE_DISABLED": "true",
        "ALIBABA_CLOUD_ACCESS_KEY_ID": KEY_ID,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET,
    }
    return {name: value for name, value in {**kept, **clean, **(changes or {})}.items() if value is not None}


Forked.environment = environment()


def bulkcert(*arguments, env=None, cwd=None, stdin=None, **options):
    """Runs the command to its end; ``stdin`` is a text, or nothing at all."""
    asked = subprocess.DEVNULL if stdin is None else subprocess.PIPE
    with start(*arguments, env=env, cwd=cwd, stdin=asked, **options) as child:
        stdout, stderr = child.communicate(None if stdin is None else stdin.encode(), timeout=2 * PATIENCE_S)
    return Finished(child.returncode, (stdout or b"").decode(), (stderr or b"").decode())


def here(*arguments, cwd=".", env=None, stdin=None):
    """Runs the command to its end in this process, which spares the second that a process takes to load the program.

    What is on its standard input, a text, must fit into a pipe.

    For what a command does and says; not for how a process starts, stops and gets along with others, nor for other
    credentials, which a process looks for but once.
    """
    # As the interpreter has them: standard error shows what cannot be encoded.
    ways = ("strict", "strict", "backslashreplace")
    asked, *said = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=way) for way in ways)
    if stdin is not None:
        read, write = os.pipe()
        os.write(write, stdin.encode())
        os.close(write)
        asked = os.fdopen(read)
    handlers, config = (
        {each: signal.getsignal(each) for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)},
        app.config,
    )
    loggers = [(each, [*each.handlers], each.level) for each in (logging.getLogger(), logging.getLogger("bulkcert"))]
    stream = console.stderr._file
    with (
        patch.object(sys, "argv", ["bulkcert", *map(str, arguments)]),
        patch.object(sys, "stdin", asked),
        patch.object(sys, "stdout", said[0]),
        patch.object(sys, "stderr", said[1]),
        patch.object(sys, "unraisablehook", sys.unraisablehook),
        patch.object(gc, "freeze"),  # what a command leaves would stay for ever in a process that does not end with it
        patch.dict(os.environ, environment(env), clear=True),
        chdir(cwd),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    asked.close()
    app.config = config
    for number, handler in handlers.items():
        signal.signal(number, handler)
    # A job file may have asked for JSON lines, which a process goes on with to its end.
    for logger, handlers_before, level in loggers:
        for handler in {*logger.handlers}.difference(handlers_before):
            handler.close()  # a process ends with its log file open
        logger.handlers[:] = handlers_before
        logger.setLevel(level)
    console.stderr._file = stream
    return Finished(int(ended.value.code), *(stream.buffer.getvalue().decode() for stream in said))


class Child(Forked):
    """A command in a process of its own, which does not outlive a test that fails."""

    def __exit__(self, kind, *error):
        if kind is not None:
            self.kill()
        super().__exit__(kind, *error)


def start(*arguments, env=None, cwd=None, by=(), **options):
    """Starts the command, by another one if need be, and returns its Popen, for signals; bytes in pipes by default."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return Child([*by, *COMMAND, *map(str, arguments)], env=environment(env), cwd=cwd, **{**streams, **options})


def wait_for(child, condition, *, pause_s=0.01):
    """Waits until something is so, and returns what the condition returned.

    Args:
        child: The command that brings it about and must not end before; None where that is no process.
        condition: Returns something true once it is so.
        pause_s: Between two looks, in seconds.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        ended = child is not None and child.poll() is not None
        if found := condition():
            return found
        assert not ended, f"it ended first, with {child.returncode}"
        assert time.monotonic() < until, f"it was not so within {PATIENCE_S} s"
        time.sleep(pause_s)


def signalled(child, number):
    """Sends a signal and waits until it was taken: two of a kind at once would come as one."""
    child.send_signal(number)

    def taken():
        if child.poll() is not None:  # none is taken after the end
            return True
        told = Path(f"/proc/{child.pid}/status").read_text()
        pending = re.findall(r"^S(?:ig|hd)Pnd:\s*(\w+)", told, re.MULTILINE)
        return not any(int(signals, 16) & 1 << number - 1 for signals in pending)

    wait_for(None, taken)


@contextmanager
def held(child):
    """Keeps a command that was started from going on, for as long as the context lasts."""
    child.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        child.send_signal(signal.SIGCONT)


def free_port():
    """Returns a port on which nobody listens; none of those that connections get, which would take it meanwhile."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port := random.randrange(10_000, 32_000)))
            return port


def _change_key(emulator, id, **changed):  # noqa: A002 - as the service names it
    emulator.keys[id] = replace(emulator.keys.get(id) or AccessKey(id, ""), **changed)


def _seed(emulator, instance, rows, status="1", *, valid_begin=0, valid_end=None):
    emulator.registry.fill(instance, [SeededCertificate(*row, status) for row in rows])
    if valid_end is not None:
        change = "UPDATE devices SET ValidBegin = ?, ValidEnd = ? WHERE Instance = ? AND CaSn = ? AND DeviceSn = ?"
        emulator.registry._db.executemany(change, ((str(valid_begin), str(valid_end), instance, *row) for row in rows))


def _refuse(emulator, address, code):
    vars(emulator).pop("_heard", None)
    heard = emulator._heard

    def refusing(request):
        if request.address == address:
            raise Refusal(code)
        return heard(request)

    if code:
        emulator._heard = refusing


_CHANGES = {
    "access-key": _change_key,
    "clock": lambda emulator, offset_s: setattr(emulator, "clock_offset_s", offset_s),
    "connect": lambda emulator, **device: emulator.registry.connect(**device),
    "delete": lambda emulator, **address: emulator.registry.delete(*filter(None, address.values())),
    "faults": lambda emulator, shares, seed=0: setattr(emulator, "faults", FaultPlan(shares, seed)),
    "instance": lambda emulator, id, **owner: emulator.registry.put_instance(id, **owner),  # noqa: A006
    "refuse": _refuse,
    "seed": _seed,
}
"""What a test may change in an emulator, beside its calls."""


def recorded(emulator):
    """Lets an emulator keep its calls; returns the list that grows with them."""
    calls, answer = [], emulator.answer

    def kept(request):
        changes, (given, delay_s) = emulator.changes, answer(request)
        parameters = request.parameters()
        calls.append(
            {
                "address": request.address,
                "operation": request.headers.get("x-acs-action", ""),
                "ca_sn": parameters.get("CaSn", parameters.get("Sn")),
                "device_sn": parameters.get("DeviceSn"),
                "done": given.status == 200 or emulator.changes > changes,
            }
        )
        return given, delay_s

    emulator.answer = kept
    return calls


class Emulator:
    """A running emulator, and what may be asked of it beside the calls."""

    def __init__(self, portal, served):
        self.url, self._portal, self._emulator = served.url, portal, served.emulator
        self._calls = recorded(served.emulator)

    @property
    def where(self):
        """Options that lead a run here, unasked, out of the way of the caps, and without a look at what is there."""
        return (*self.looking, "--preflight", "never")

    @property
    def looking(self):
        """The same, with a look at what is there."""
        return ("--endpoint", self.url, "--instance", INSTANCE, "--yes", *UNHURRIED)

    def tell(self, name, **body):
        """Changes something: access-key, clock, connect, delete, faults, instance, refuse (one address), seed."""
        return self._portal.call(lambda: _CHANGES[name](self._emulator, **body))

    @contextmanager
    def faulty(self, *, seed=0, **shares):
        """Lets calls go wrong, by share, for as long as the context lasts."""
        self.tell("faults", shares=shares, seed=seed)
        try:
            yield
        finally:
            self.tell("faults", shares={})

    def seed(self, devices, status="1", instance=INSTANCE):
        """Registers certificates: pairs of device and CA serial, as ``write_devices`` returns them."""
        self.tell("seed", instance=instance, rows=[(ca, device) for device, ca in devices], status=status)

    def all_states(self):
        """Returns the status of every certificate by its serials: that of a CA, or those of CA and device."""
        return self._portal.call(self._emulator.registry.states, INSTANCE)

    def ca(self, sn):
        """Returns a CA certificate as the service shows it, or None."""
        return self._portal.call(self._emulator.registry.certificate, INSTANCE, sn)

    def states(self, devices):
        """Returns the status of each device certificate: "0", "1", or None if it is not registered."""
        found = self.all_states()
        return [found.get((ca, device)) for device, ca in devices]

    def report(self):
        """Returns what it counted so far."""
        return self._portal.call(self._emulator.report)

    def counts(self):
        """Returns how many CA and device certificates are in each status."""
        counted = {"cas": Counter(), "devices": Counter()}
        for serials, status in self.all_states().items():
            counted["cas" if len(serials) == 1 else "devices"][status] += 1
        return counted

    def calls(self):
        """Returns the calls so far in order of arrival; see ``recorded``."""
        return [*self._calls]

    def hear_out(self):
        """Waits until all is read that clients have sent which are gone: on a busy machine that may be late."""
        mine, gone = f":{int(self.url.rpartition(':')[2]):04X}", "08"  # CLOSE_WAIT

        def is_unread():
            sockets = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
            return any(each[1].endswith(mine) and each[3] == gone for each in sockets)

        wait_for(None, lambda: not is_unread())
        self._portal.call(anyio.sleep, 0.01)  # what was read is answered


@contextmanager
def emulator(*, caps=_NO_CAPS, port=0, **settings):
    """Runs an emulator with more of its ``Settings``; empty ``caps`` are the service's."""
    serving = listening(Settings(port=port, **caps, **settings))
    with (
        start_blocking_portal("asyncio", {"use_uvloop": True}) as portal,
        portal.wrap_async_context_manager(serving) as served,
    ):
        yield Emulator(portal, served)


def write_list(path, devices):
    """Writes a list of these pairs of device and CA serial."""
    Path(path).write_text("DeviceSn,CaSn\n" + "".join(f"{device},{ca}\n" for device, ca in devices))


def write_devices(path, count, *, cas=1, name=""):
    """Writes a list of so many devices under so many CAs, with leading zeros; returns the pairs.

    Serials begin with the name, where they must be none of another test.
    """
    devices = [(f"{name}00{number:010d}", f"{name}00ca{number % cas:06d}") for number in range(1, count + 1)]
    write_list(path, devices)
    return devices


def read_results(path):
    """Returns the rows of a CSV results file, all text."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def outcomes(path):
    """Returns how many rows of a CSV results file have each outcome."""
    return dict(Counter(row["outcome"] for row in read_results(path)))


def summary_of(results):
    """Returns the summary of a run."""
    return json.loads(Path(f"{results}.run", "summary.json").read_bytes())
