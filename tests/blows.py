"""What ends a command before its time: signals at random instants, and faults at its system calls (``strace``)."""

import signal
import time

from forked import Forked
from program import start

from bulkcert.errors import ExitStatus

PATIENCE_S = 900
"""How long a command may take at most, beside all that others do."""

SIGNALS = {
    (signal.SIGKILL,): 12,
    (signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL): 2,
    (signal.SIGTERM, signal.SIGKILL): 2,
    (signal.SIGTERM, signal.SIGTERM): 2,
    (signal.SIGHUP,): 1,
    (signal.SIGINT,): 1,
}
"""What is sent, with weights."""

INJECTED = {"signal=KILL": 4, "error=ENOSPC": 2, "error=EIO": 2}
"""What happens at a system call, with weights."""

SYSTEM_CALLS = {"pwrite64": 500, "fdatasync": 60, "fsync": 12, "/^rename": 6, "write": 400, "ftruncate": 4}
"""At which, and at the how manieth at most."""

ENDED = {*ExitStatus} - {ExitStatus.OK, ExitStatus.INTERNAL, ExitStatus.USAGE}
"""What a session may end with that was not killed, beside the signal that was sent."""


def _injected(chance):
    """Returns what happens at one system call, in words and as options of ``strace``."""
    (what,) = chance.choices([*INJECTED], [*INJECTED.values()])
    # A loop that cannot write to itself is no disk that is full.
    calls = [each for each in SYSTEM_CALLS.items() if each[0] != "write" or "KILL" in what]
    call, most = chance.choice(calls)
    number = 1 + int(most * chance.random() ** 2)
    return f"{what} at {call}", ("-e", f"trace={call}", "-e", f"inject={call}:{what}:when={number}")


def begin(command, chance, *, cwd, traced=False, loading=0.0):
    """Starts a command; returns it, and what happens at one of its system calls: nothing unless it is traced.

    Args:
        command: What is typed.
        chance: What happens.
        cwd: Where it is typed.
        traced: Whether something happens at a system call.
        loading: Share of commands that load their libraries, in which they may be killed as well.
    """
    Forked.is_wanted = chance.random() >= loading
    blow, options = _injected(chance) if traced else ("", ())
    if not traced:
        return start(*command, cwd=cwd), blow
    if Forked.is_wanted:
        return start(*command, cwd=cwd, env={"BEGINS_WITH": "attached", "STRACED": " ".join(options)}), blow
    by = ("strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", *options)
    return start(*command, cwd=cwd, by=by), blow


def strike(child, chance, most_s=0.1):
    """Sends the signals of one kind, a little apart; returns their names."""
    (signals,) = chance.choices([*SIGNALS], [*SIGNALS.values()])
    for number in signals:
        child.send_signal(number)
        time.sleep(chance.uniform(0, most_s) if len(signals) > 1 else 0)
    return ", ".join(number.name for number in signals)


def wait_until_over(child, condition):
    """Waits until something is so, or a command has ended, however busy the machine is."""
    until = time.monotonic() + PATIENCE_S
    while child.poll() is None and not condition():
        assert time.monotonic() < until, f"{child.args} has not ended within {PATIENCE_S} s"
        time.sleep(0.001)


def wait_at_most(child, seconds):
    """Waits for a while, or until a command has ended."""
    over = time.monotonic() + seconds
    wait_until_over(child, lambda: time.monotonic() >= over)
