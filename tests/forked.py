"""Processes of the command that are forked from one which has loaded what every command loads.

A process is a process: it has streams, signals, an end and files of its own. But loading the libraries costs a second
of CPU, in which nothing happens that most tests are about. So a test process starts one that loads them once and then
forks itself for each command; how the command begins in an interpreter of its own is tested in ``test_start``.
"""

import atexit
import ctypes
import gc
import importlib
import inspect
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import bulkcert

LOADED = (
    *("alibabacloud_credentials.client", "anyio._backends._asyncio", "apscheduler", "cyclopts", "difflib", "httpx"),
    *("jinja2", "polars", "prometheus_client", "pythonjsonlogger.json", "rich", "tomllib", "uvicorn.lifespan.off"),
)
ROOMS = ("runs", "telemetry", "emulator")
"""What is loaded beforehand: libraries, and rooms with all beneath them, but not the console, which reads the
environment when it is loaded."""


def _prove(command, **_):
    import polars as pl  # noqa: PLC0415 - not before its allocator is set

    from bulkcert.input.parquet_child import frames  # noqa: PLC0415

    try:
        [*frames(Path(command[-1]))]
    except pl.exceptions.PolarsError as error:
        return SimpleNamespace(returncode=1, stdout=str(error).partition("\n")[0].encode())
    return SimpleNamespace(returncode=0)


PROVED_HERE = SimpleNamespace(run=_prove, DEVNULL=None, PIPE=None)
"""In place of the processes that prove Parquet files, which take as long to load as a command."""

FLEET = ("bulkcert.fleet.coordinator", "distributed")
"""What is loaded as well for commands that are several machines."""

_SUBREAPER = 36
"""prctl(2): orphans below this process become its children."""


class Forked(subprocess.Popen):
    """A command in a process of its own; what needs an interpreter of its own as well gets one.

    Args:
        arguments: The interpreter, ``-m``, the module, and what is typed behind the command.

    Attributes:
        environment: In which the libraries are loaded.
        is_wanted: Whether commands are forked at all.
        more: Modules that are loaded as well, whatever the command.
    """

    environment: ClassVar[dict[str, str]]
    is_wanted: ClassVar[bool] = True
    more: ClassVar[tuple[str, ...]] = ()

    def _execute_child(self, *given, **named):
        if not self.is_wanted:
            super()._execute_child(*given, **named)
            return
        bound = inspect.signature(super()._execute_child).bind(*given, **named).arguments
        program, more = bound["args"][1:3], self.more or (FLEET if {"lane", "--cluster"} & {*bound["args"]} else ())
        is_other = program != ["-m", "bulkcert"] or _interpreted(bound["env"] or os.environ) != _interpreted(
            self.environment
        )
        if is_other or bound["preexec_fn"] or bound["pass_fds"]:
            super()._execute_child(*given, **named)
            return
        loaded = _Loaded.get(self.environment, more)
        here = os.path.abspath(bound["cwd"] or ".")  # noqa: PTH100 - a link stays one
        streams = [bound[end] for end in ("p2cread", "c2pwrite", "errwrite")]
        asked = {"arguments": bound["args"][3:], "cwd": here, "env": dict(bound["env"] or os.environ)}
        asked |= {"process_group": bound["process_group"]}
        self.pid = loaded.fork(asked, [number if stream == -1 else stream for number, stream in enumerate(streams)])
        self._child_created = True
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(bound[end] for end in ends))


def _interpreted(env):
    """Returns what an interpreter, or a library, reads of an environment when it is loaded."""
    read = {name: env[name] for name in env if name.startswith(("PYTHON", "LC_", "LANG", "HOME"))}
    return {name: value for name, value in read.items() if name != "PYTHONIOENCODING"}


class _Loaded:
    """A process that has loaded libraries, for one that asks, until that one ends."""

    _all: ClassVar[dict[tuple[str, ...], "_Loaded"]] = {}
    _lock = threading.Lock()

    def __init__(self, env, more):
        self._asking, served = socket.socketpair()
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        command = [sys.executable, __file__, str(served.fileno()), *more]
        streams = {"stdin": subprocess.DEVNULL, "pass_fds": [served.fileno()]}
        self._process = subprocess.Popen(command, env=dict(env), **streams)
        served.close()
        atexit.register(self._end)

    def _end(self):
        self._asking.close()
        self._process.wait()

    @classmethod
    def get(cls, env, more):
        """Returns the one that has loaded more modules than every command does; none has by name."""
        with cls._lock:
            if more not in cls._all:
                cls._all[more] = cls(env, more)
            return cls._all[more]

    def fork(self, asked, files):
        """Returns the number of a process that runs a command; as this one's child, since its own parent has ended."""
        sent = json.dumps(asked).encode()
        with self._lock:
            socket.send_fds(self._asking, [len(sent).to_bytes(4, "big")], files)
            self._asking.sendall(sent)
            return int.from_bytes(_received(self._asking, 4), "big")


def _received(stream, size):
    parts = b""
    while len(parts) < size:
        part = stream.recv(size - len(parts))
        if not part:
            raise SystemExit  # whoever asks has ended
        parts += part
    return parts


def serve(asked):
    """Forks for each command that is asked for; returns in the new process, with what is asked of it."""
    while True:
        length, files, _, _ = socket.recv_fds(asked, 4, 3)
        if not length:
            raise SystemExit
        command = json.loads(_received(asked, int.from_bytes(length, "big")))
        told, tell = os.pipe()
        if not (between := os.fork()):
            if child := os.fork():
                os.write(tell, child.to_bytes(4, "big"))
                os._exit(0)
            for pipe in (told, tell):
                os.close(pipe)
            asked.close()
            return command, files
        os.waitpid(between, 0)
        asked.sendall(os.read(told, 4))
        for number in (told, tell, *files):
            os.close(number)


def become(command, files):
    """Makes of this process what the interpreter makes of one that starts with ``-m bulkcert``."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    coded = command["env"].get("PYTHONIOENCODING", "").split(":")
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        was = getattr(sys, name)
        encoding, errors = coded if all(coded) else (was.encoding, was.errors)
        errors = "backslashreplace" if name == "stderr" else errors
        stream = open(number, mode, encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.stderr.reconfigure(line_buffering=True)
    if command["process_group"] != -1:
        os.setpgid(0, command["process_group"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["env"])
    if module := command["env"].get("BEGINS_WITH"):
        importlib.import_module(module)
    sys.path[0], sys.argv = command["cwd"], ["bulkcert", *command["arguments"]]
    from alibabacloud_credentials.utils import auth_util  # noqa: PLC0415 - only the process that forks has loaded it

    importlib.reload(auth_util)  # it reads the environment when it is loaded
    try:
        runpy.run_module("bulkcert", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        # What an interpreter clears away in its end is shared with the process that has loaded it: it would be copied.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code)


def main():
    """Loads, then forks until nobody asks any more."""
    os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:20,muzzy_decay_ms:0")  # as ``bulkcert.__main__`` does
    # Not by walking the package: that would load each of its rooms, and with one of them the console.
    paths = [(f"{bulkcert.__path__[0]}/{room}", f"bulkcert.{room}.") for room in ROOMS]
    rooms = [room for path, prefix in paths for room in pkgutil.iter_modules([path], prefix)]
    for module in (*LOADED, *(room.name for room in rooms), *sys.argv[2:]):
        importlib.import_module(module)
    importlib.import_module("bulkcert.input.readers").subprocess = PROVED_HERE
    gc.collect()
    gc.freeze()
    try:
        become(*serve(socket.socket(fileno=int(sys.argv[1]))))
    except KeyboardInterrupt:  # before the command is there that would say so
        raise SystemExit(128 + signal.SIGINT) from None


if __name__ == "__main__":
    main()
