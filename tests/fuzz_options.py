"""Gives commands options at random: python tests/fuzz_options.py [SETS] [SEED].

A set is a command with options of its signature: typed, as variables, or as keys of a job file, which may be broken.
Values are valid, nearly so, or rubbish, and may contradict each other. Around it are a list, a run that has ended, a
plan, and an emulator on this machine, which is all that can be reached. Each ends with a documented status that is no
internal error, without a traceback; what says that nothing was changed has changed nothing; nothing is written outside
the directory of the trial. What runs until it is stopped is stopped after some seconds, and must end then.
"""

import faulthandler
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import get_args
from unittest.mock import patch

from fuzz_inputs import mutated
from program import INSTANCE, UNHURRIED, emulator, here, write_devices

from bulkcert.cli import app
from bulkcert.commands import COMMANDS
from bulkcert.errors import ExitStatus
from bulkcert.service.actions import ACTIONS
from bulkcert.service.transport import Transport

WEIGHTS = dict.fromkeys(COMMANDS, 4) | {"run": 16, "plan": 8, "rehearse": 1, "emulator": 1, "lane": 1, "cluster": 1}
UNCHANGED = {ExitStatus.USAGE, ExitStatus.INPUT_INVALID, ExitStatus.INPUT_UNREADABLE}
"""Statuses that say that nothing was changed."""
PATIENCE_S, HANG_S = 3.0, 120.0
"""When a command is stopped; how much later it hangs."""

FILES = ["d.csv", "r.csv", "r.csv.run", "d.parquet", "d.ndjson", "new.csv", "new.json", "p.plan.json", "keys"]
FILES += ["keep.txt", "../up.csv", "no/such/folder.csv", ".", "..", "-", "*.csv", "[", "~", "~root", "/dev/null"]
FILES += ["/proc/version", "\udcff.csv", "名.csv", "r.html", "r.csv.gz", "{date}.csv", "-x", "", "a b.csv"]
FILES += ["line\nfeed.csv", "x" * 300 + ".csv"]
TEXTS = ["x", "-", "--", "--yes", "0", "名", "\U0001f600", "a,b", ",", "%s", "{}", "=", "\udcff", "", " ", "x" * 5000]
TEXTS += ["\x1b[31m", "\n"]
NUMBERS = ["0", "1", "2", "3", "-1", "999999999999", "1.5", "1e9", "0x10", "nan", "inf", "-inf", "٣", "1_0", "50%"]
NUMBERS += [" 7", "1" * 400]
TIMES = ["1s", "90s", "2h", "06:00", "24:00", "1000000d", "-1s", "1w", "2026-12-01", "2026-13-01"]
TIMES += ["9999-12-31T23:59:59"]
LOCAL = {
    "source-address": ["127.0.0.2", "::1", "256.0.0.1", "localhost"],
    "cluster": ["tcp://127.0.0.1", "tls://", "tcp://127.0.0.1:99999", "http://127.0.0.1:1", "tls://127.0.0.1:1"],
    "where": ["tcp://127.0.0.1:1", "tls://127.0.0.1:1", "127.0.0.1:1"],
    "notify": ["json://127.0.0.1:1/x", "nosuch://x", "mailto://"],
    "metrics-url": ["http://127.0.0.1:1", "ftp://x"],
    "region": ["cn-hangzhou", "mq-internet-access", "cn-hangzou"],
    "instance": [INSTANCE, "post-cn-other", "x" * 300],
    "device-column": ["DeviceSn", "CaSn", "note"],
    "ca-column": ["CaSn", "Sn", "note"],
    "timezone": ["UTC", "Asia/Shanghai", "../x", "/etc/passwd"],
    "ca-sn": ["00ca000000"],
    "port": ["0", "1", "65536"],
    "host": ["127.0.0.1"],
    "max-errors": ["0", "1", "50%", "101%"],
    "latency-ms": ["0 0", "9 1"],
    "what": ["keys"],
}
"""Values that mean something for one option, besides those of its type."""


def options_of(command):
    """Returns the options of a command by name: whether they may be typed by position, and their types."""
    found = {}
    for argument in app[command].assemble_argument_collection():
        names = [name for name in argument.names if name.startswith("--")]
        if names:
            found[names[0].removeprefix("--")] = argument.hint
    return found


OPTIONS = {name: options_of(name) for name in COMMANDS}
BY_PLACE = ("action", "what", "where", "input", "results", "directory", "topic")


def sure(command, url, chance):
    """Returns values with which a command does something."""
    here_ = {"instance": INSTANCE, "endpoint": url, "action": chance.choice([*ACTIONS]), "input": "d.csv"}
    here_ |= {"results": "r.csv", "yes": "true", "what": "keys", "directory": "new", "port": "0"}
    here_["where"] = "tcp://127.0.0.1:1"
    if command in ("run", "rehearse", "plan"):
        here_["results"] = chance.choice(["new.csv", "r.csv"])
    if command in ("emulator", "lane", "inventory", "plan"):
        here_["output"] = "out.csv"
    return {name: text for name, text in here_.items() if name in OPTIONS[command]}


def values(chance, name, kind):
    """Returns a value for an option as text."""
    choices = [str(each) for part in (kind, *get_args(kind)) for each in _choices(part)]
    pool = chance.choice([LOCAL.get(name, ()), LOCAL.get(name, ()), choices, _pool(name, kind), TEXTS])
    return chance.choice(pool or _pool(name, kind))


def _choices(kind):
    if isinstance(kind, type) and issubclass(kind, str) and hasattr(kind, "__members__"):
        return [*kind]
    return [each for each in get_args(kind) if isinstance(each, str)]


def _pool(name, kind):
    text = str(kind)
    if "bool" in text:
        return ["true", "false", "1", "", "yes", "2"]
    if "Path" in text:
        return FILES
    return NUMBERS + TIMES if "int" in text or "float" in text else TIMES + TEXTS


def typed(name, value, chance):
    """Returns an option as it is typed."""
    if name in BY_PLACE and chance.random() < 0.9:
        return [value]
    if value == "true" and chance.random() < 0.9:
        return [f"--{name}"]
    return [f"--{name}={value}"] if chance.random() < 0.7 else [f"--{name}", *value.split(" ")]


def toml(value, chance):
    """Returns a value as it stands in a job file."""
    plain = value in ("true", "false") or (value.isascii() and value.isdigit())
    text = value if plain and chance.random() < 0.8 else json.dumps(value)
    return f"[{text}]" if chance.random() < 0.1 else text


def made(chance, url):
    """Returns what is typed, the variables, and the job file as bytes or None."""
    (command,) = chance.choices([*WEIGHTS], [*WEIGHTS.values()])
    options = OPTIONS[command]
    given = sure(command, url, chance)
    for name in [name for name in given if chance.random() < 0.05]:
        del given[name]
    for name in chance.sample([*options], min(len(options), chance.choice([0, 1, 2, 3, 6, 12]))):
        given[name] = values(chance, name, options[name])
    if chance.random() < 0.05:
        given[chance.choice(["nosuch", "resutls", "rate", "Yes", "", "help", "job"])] = chance.choice(TEXTS)
    line, env, job = [command], {}, []
    with_job = chance.random() < 0.4
    for name in sorted(given, key=lambda name: BY_PLACE.index(name) if name in BY_PLACE else 9):
        value = given[name]
        way = chance.random()
        if with_job and way < 0.6:
            job.append(f"{name} = {toml(value, chance)}")
        elif way < 0.75 or name == "":
            line += typed(name, value, chance)
        else:
            env[f"BULKCERT_{name.upper().replace('-', '_')}"] = value
    if chance.random() < 0.03:
        chance.shuffle(line)
    if not with_job:
        return line, env, None
    if chance.random() < 0.1:
        job += [chance.choice(["[rehearsal]", "[x]", "faults = true", "rate = 1", "x.y = 1", "protect = ['a']", "= 1"])]
    text = "\n".join(job).encode("utf-8", "surrogateescape")
    return ["--job", "job.toml", *line], env, mutated(chance, text) if chance.random() < 0.1 else text


class Watch(threading.Thread):
    """Stops the command that runs too long, and ends all if it does not stop."""

    def __init__(self):
        super().__init__(daemon=True)
        self.began, self.was_stopped, self.is_over = None, False, threading.Event()

    def run(self):
        while not self.is_over.wait(0.2):
            passed = time.monotonic() - (self.began or float("inf"))
            if passed > PATIENCE_S and not self.was_stopped:
                self.was_stopped = True
                os.kill(os.getpid(), signal.SIGTERM)
            if passed > PATIENCE_S + HANG_S:
                faulthandler.dump_traceback()
                os._exit(1)

    @contextmanager
    def limited(self):
        """Watches what is done in the context."""
        self.was_stopped, self.began = False, time.monotonic()
        try:
            yield
        finally:
            self.began = None


@contextmanager
def shut_in(place):
    """Keeps this process on this machine; yields the files that were opened to be written outside a directory."""
    connected, resolved, elsewhere = Transport._connected, socket.getaddrinfo, []
    inside = [place, "/dev/", "/proc/"]

    async def connect(self, *limits):
        if self._host != "127.0.0.1":
            raise OSError("out of reach")
        return await connected(self, *limits)

    def resolve(host, *more, **named):
        if host not in ("127.0.0.1", "localhost", "::1", None):
            raise socket.gaierror(socket.EAI_NONAME, "out of reach")
        return resolved(host, *more, **named)

    def opened(event, about):
        if (
            event == "open"
            and isinstance(about[0], str)
            and isinstance(about[2], int)
            and about[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            path = os.path.realpath(about[0])
            if not path.startswith(tuple(inside)) and "__pycache__" not in path:
                elsewhere.append(path)

    sys.addaudithook(opened)  # for good
    with patch.object(Transport, "_connected", connect), patch.object(socket, "getaddrinfo", resolve):
        yield elsewhere
    inside.append("/")


def template(place, service):
    """Makes the directory in which each set begins."""
    place.mkdir()
    service.seed(write_devices(place / "d.csv", 3))
    where = ("--endpoint", service.url, "--instance", INSTANCE)
    here("inventory", *where, "-o", "d.parquet", cwd=place).ended(0)
    here("inventory", *where, "-o", "d.ndjson", cwd=place).ended(0)
    here("plan", "inactivate-device", "d.csv", *where, "-o", "p.plan.json", cwd=place).ended(0)
    here("run", "inactivate-device", "d.csv", *where, "--yes", *UNHURRIED, "-o", "r.csv", cwd=place).ended(0)
    here("cluster", "keys", "keys", cwd=place).ended(0)
    (place / "keep.txt").write_text("DeviceSn\n9\n")


def try_one(chance, service, watch, folder):
    """Does one set; returns the command and the status that it ended with."""
    line, env, job = made(chance, service.url)
    place = folder / "up" / "place"
    shutil.rmtree(place.parent, ignore_errors=True)
    shutil.copytree(folder / "template", place)
    if job is not None:
        (place / "job.toml").write_bytes(job)
    # What cannot be typed or set is not.
    line = [each.replace("\0", "") for each in line]
    before = service.report().changes
    with watch.limited():
        ended = here(*line, env=env, cwd=place)
    about = f"{line} {env} {job!r}: {ended.status}\n{ended.stdout[-500:]}\n{ended.stderr[-1500:]}"
    assert ended.status in {*ExitStatus}, about
    assert ended.status != ExitStatus.INTERNAL, about
    if ended.status in (ExitStatus.INTERRUPTED, ExitStatus.TERMINATED) and not watch.was_stopped:
        raise KeyboardInterrupt  # it was meant for this script
    assert "Traceback" not in ended.stderr + ended.stdout, about
    assert ended.status not in UNCHANGED or service.report().changes == before, f"changed: {about}"
    return next((each for each in line if each in COMMANDS), "?"), ended.status


def fuzz(count, seed=0):
    """Does so many sets; returns how often each command ended with each status, and prints what is wrong."""
    ends, wrong, began, watch = Counter(), 0, time.perf_counter(), Watch()
    watch.start()
    with tempfile.TemporaryDirectory() as made_for_it, emulator() as service:
        folder = os.path.realpath(made_for_it)
        tempfile.tempdir = f"{folder}/temporary"
        Path(tempfile.tempdir).mkdir()
        template(Path(folder, "template"), service)
        with shut_in(folder) as elsewhere:
            for number in range(count):
                try:
                    ends[try_one(random.Random(seed * 1_000_003 + number), service, watch, Path(folder))] += 1
                    assert not elsewhere, f"written: {elsewhere}"
                except Exception as error:  # noqa: BLE001 - all of them are to be found
                    wrong += 1
                    elsewhere.clear()
                    print(f"WRONG: set {number} of seed {seed}: {type(error).__name__}: {error}", flush=True)
                if (number + 1) % 1000 == 0:
                    print(f"{number + 1:,} sets, {wrong} wrong, {time.perf_counter() - began:.0f} s", flush=True)
        tempfile.tempdir = None
    watch.is_over.set()
    return ends, wrong


if __name__ == "__main__":
    count, seed = (*map(int, sys.argv[1:]), *(20_000, random.randrange(2**20))[len(sys.argv) - 1 :])
    print(f"{count:,} sets, seed {seed}", flush=True)
    ends, wrong = fuzz(count, seed)
    for (command, status), times in sorted(ends.items()):
        print(f"{times:9,} {command}: {status}")
    print(f"{count:,} sets, {wrong} wrong")
    sys.exit(bool(wrong))
