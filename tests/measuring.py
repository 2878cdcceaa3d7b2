"""What a command costs in a process of its own, and lists as long as one likes: for the scripts that measure."""

import os
import subprocess
import time
from dataclasses import dataclass

from program import COMMAND, INSTANCE, environment

SEEDED = f"--instance={INSTANCE}"


@dataclass(frozen=True)
class Measured:
    """A command that has ended: CPU and wall time are in seconds, the peak of its memory is in MB."""

    stdout: bytes
    status: int
    cpu_s: float
    wall_s: float
    peak_mb: float


def measured(*words, command=COMMAND, cwd=None, env=None):
    """Runs a command to its end; what it says on standard error is shown."""
    began = time.perf_counter()
    line = [*command, *map(str, words)]
    child = subprocess.Popen(line, env=environment(env), cwd=cwd, stdout=subprocess.PIPE)
    stdout = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    times = used.ru_utime + used.ru_stime, time.perf_counter() - began
    return Measured(stdout, child.returncode, *times, used.ru_maxrss / 1024)


def write_long(path, rows):
    """Writes a list of so many rows, 36 bytes each."""
    with path.open("w") as file:
        file.write("DeviceSn,CaSn\n")
        for row in range(rows):
            file.write(f"{356217374433000000 + row * 7919:018d},00ca{row % 37:012d}\n")
    return path


def at(emulator, *more):
    """Returns options that lead a run to an emulator, unasked and without a preflight."""
    return ("--endpoint", emulator, "--instance", INSTANCE, "--yes", "-q", "--preflight", "never", *more)
