"""Kills sessions at random instants and proves that nothing was lost: kill_anywhere.py [KILLS] [ROWS] [SEED].

Each session is a process of its own, against an emulator in this one. Mostly SIGKILL ends it, somewhere between its
first instruction and its last; or SIGTERM and another one, SIGHUP, a stop and a kill; or, where there is strace, a
kill, a full disk or an input/output error at one of its system calls.

First a list of devices of which some are in the desired state already: run, until it ends by itself, or is left as it
is; then undo, after which every certificate must be as it was before; then all of it again by ``resume``. Then CAs
that are deleted. Each without faults and with them. Who goes on is the command of the start or ``resume``, at random,
and the list is deleted sooner or later.
"""

import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from forked import Forked
from killed_run import Arrivals, Figures, Trial, Violation, fresh, must, part_of, serials_of, states_of
from program import emulator, start, wait_for

from bulkcert.errors import ExitStatus
from bulkcert.service.actions import ACTIONS
from bulkcert.store import queries

FAULTS = {
    "throttle": 0.01,
    "overflow": 0.01,
    "internal-error": 0.02,
    "html-502": 0.02,
    "drop-before": 0.02,
    "drop-after": 0.02,
    "slow": 0.0005,
    # Of what reads states, such an answer ends the reading of that CA: what was not seen is called.
    **{
        f"{action.operation.name}:no-echo": 0.02
        for action in map(ACTIONS.get, ("inactivate-device", "activate-device", "delete-ca"))
    },
}
CASES = tuple((action, faults) for action in ("inactivate-device", "delete-ca") for faults in (False, True))
FEWER_CAS = 5
"""A list of CAs is so many times shorter: each of its outcomes is synced by itself."""

INSTANTS = {"any time from the start": 3, "a while after the first outcome": 5, "once results are being written": 2}
"""Kinds of instants, with their weights."""

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


def injected(chance):
    """Returns what a command is started by so that one of its system calls fails, or is its last."""
    (what,) = chance.choices([*INJECTED], [*INJECTED.values()])
    # A loop that cannot write to itself is no disk that is full.
    calls = [each for each in SYSTEM_CALLS.items() if each[0] != "write" or "KILL" in what]
    call, most = chance.choice(calls)
    number = 1 + int(most * chance.random() ** 2)
    only = ("-e", f"trace={call}", "-e", f"inject={call}:{what}:when={number}")
    return f"{what} at {call}", ("strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", *only)


def strike(child, chance):
    """Sends the signals of one kind, a little apart; returns their names."""
    (signals,) = chance.choices([*SIGNALS], [*SIGNALS.values()])
    for number in signals:
        child.send_signal(number)
        time.sleep(chance.uniform(0, 0.1) if len(signals) > 1 else 0)
    return ", ".join(number.name for number in signals)


def wait_until_over(child, condition):
    """Waits until something is so, or a session has ended."""
    wait_for(None, lambda: child.poll() is not None or condition(), pause_s=0.001)


def let_go(trial, child, chance, began):
    """Waits for a random instant of a session."""
    (kind,) = chance.choices([*INSTANTS], [*INSTANTS.values()])
    if kind == "any time from the start":
        most_s = 1.5
    elif kind == "a while after the first outcome":
        most_s = len(trial.certificates) / 2000
        wait_until_over(child, lambda: trial.has_called(child))
    else:
        most_s = 0.02
        wait_until_over(child, lambda: fresh(part_of(trial.results), began))
    over = time.monotonic() + chance.uniform(0, most_s)
    wait_until_over(child, lambda: time.monotonic() >= over)


def kill_until_through(trial, stage, arrivals, left, figures, *, traced):
    """Starts sessions until one ends by itself; kills as many as are left to be killed; returns how many that were."""
    kills = 0
    while True:
        known, command = trial.known(stage) if trial.read(queries.sessions) else set(), trial.command(stage)
        # An undo that was killed after its end has nothing left to do; the run is undone, which is a 1.
        is_over = stage == "undo" and (newest := trial.session_of(stage)) and newest.ended_at
        blow, by = injected(trial.chance) if traced and kills < left and trial.chance.random() < 0.5 else ("", ())
        began, child = time.time(), start(*command, cwd=trial.input.parent, by=by)
        if kills < left and not by:
            let_go(trial, child, trial.chance, began)
            blow = strike(child, trial.chance)
        _, said = child.communicate(timeout=300)
        figures.sessions += 1
        phase = trial.phase(stage, began, child)
        trial.take_stock(stage, arrivals.new(), known)
        what = f"{stage}: {command[0]} ended with {child.returncode} by {blow or 'itself'}: {said.decode()}"
        if child.returncode == 0 or (is_over and child.returncode == 1):
            try:
                figures.by_intent += trial.prove(stage)
            except Violation as violation:
                raise Violation(f"{violation}\n{what}") from violation
            return kills
        ends = child.returncode if child.returncode > 0 else -9 if blow else 0
        must(blow and (ends == -9 or ends in ENDED) and b"Traceback" not in said, what)
        kills += 1
        figures.kills[phase] += 1
        figures.blows[blow] += 1
        # Where nothing was called nothing is undone either, and no results are written.
        if stage == "run" and trial.is_left and kills == left and trial.calls_of:
            return kills


def attempt(trial, arrivals, left, figures, **how):
    """Does a whole trial with so many kills at most; returns how many that were."""
    trial.prepare()
    before = states_of(trial.running)
    kills = kill_until_through(trial, "run", arrivals, min(3, left), figures, **how)
    if trial.action.inverse is not None:
        kills += kill_until_through(trial, "undo", arrivals, min(3, left - kills), figures, **how)
        must(states_of(trial.running) == before, "after the undo not every certificate is as it was")
        kills += kill_until_through(trial, "redo", arrivals, min(3, left - kills), figures, **how)
    figures.runs += 1
    figures.rows += len(trial.certificates)
    figures.calls += trial.calls_of.total()
    figures.repeated += sum(sessions > 1 for sessions in trial.sessions_of.values())
    figures.most = max(figures.most, *trial.calls_of.values())
    return kills


def torment(action, kills, rows, seed, *, faults, traced=False):
    """Runs one action until there were so many kills; returns the figures.

    Raises:
        Violation: A promise was broken.
    """
    chance, figures = random.Random(seed), Figures()
    settings = {"latency_ms": (0, 60), "fault_seed": seed % 2**31, "faults": FAULTS if faults else {}}
    rows = rows if ACTIONS[action].by_device else max(10, rows // FEWER_CAS)
    with tempfile.TemporaryDirectory() as place, emulator(**settings) as running:
        arrivals, killed = Arrivals(running), 0
        while killed < kills:
            serials = serials_of(action, rows, f"{figures.runs:03d}")
            trial = Trial(running, Path(place), action, serials, chance)
            killed += attempt(trial, arrivals, kills - killed, figures, traced=traced)
        counts = running.counts()
        must(running.states([("1", "bystander"), ("2", "bystander")]) == ["1", "1"], "a bystander was touched")
    by_device = ACTIONS[action].by_device
    wanted = {"0": figures.rows, "1": 2} if by_device else {"1": 2}
    must(counts["devices"] == wanted, f"the devices are {counts['devices']}, not {wanted}")
    must(by_device or sum(counts["cas"].values()) == 1, f"CAs are left: {counts['cas']}")
    return figures


def main():
    kills, rows, seed = [*map(int, sys.argv[1:]), *(50, 4000, random.randrange(2**31))[len(sys.argv) - 1 :]]
    print(f"{kills} kills, lists of {rows} rows, seed {seed}")
    Forked.is_wanted = False  # a session may be killed while it loads as well
    for number, (action, faults) in enumerate(CASES):
        share = kills // len(CASES) + (number < kills % len(CASES))
        try:
            seen = torment(action, share, rows, seed + number, faults=faults, traced=shutil.which("strace"))
        except Violation as violation:
            sys.exit(f"{action}, faults {faults}: VIOLATION: {violation}")
        print(f"{action}, {'with' if faults else 'without'} faults: {seen.kills.total()} kills in {seen.runs} runs")
        for phase, count in sorted(seen.kills.items()):
            print(f"  {count:3} kills: {phase.replace(': ', ', ', 1)}")
        print(f"  by {', '.join(f'{blow} {count}' for blow, count in seen.blows.most_common())}")
        print(f"  {seen.rows} rows, each with one outcome, in order; {seen.calls} calls in {seen.sessions} sessions")
        print(
            f"  {seen.repeated} rows called by more than one session, none of them known done; most {seen.most} calls"
        )
        if seen.by_intent:
            print(f"  {seen.by_intent} CAs found deleted by a call whose answer or outcome was lost")


if __name__ == "__main__":
    main()
