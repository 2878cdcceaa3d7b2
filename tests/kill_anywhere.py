"""Kills sessions at random instants and proves that nothing was lost: kill_anywhere.py [KILLS] [ROWS] [SEED].

Each session is a process of its own, against an emulator in this one. Mostly SIGKILL ends it, somewhere between its
first instruction and its last; or SIGTERM and another one, SIGHUP, a stop and a kill; or, where there is strace, a
kill, a full disk or an input/output error at one of its system calls.

First a list of devices of which some are in the desired state already: run, until it ends by itself, or is left as it
is; verify, once or while others activate some of them again; then undo, after which every certificate must be as it
was before; then all of it again by ``resume``. Then CAs that are deleted. Each without faults and with them. Who goes
on is the command of the start or ``resume``, at random, and the list is deleted sooner or later. Commands that only
read the run are killed as well, in between and next to a session (``kill_readers``).
"""

import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from blows import PATIENCE_S, begin, strike, wait_at_most, wait_until_over
from kill_readers import kill_at_rest, kill_next_to
from killed_run import Arrivals, Figures, Trial, Violation, fresh, must, must_be_ended_by, part_of, serials_of, showing
from program import emulator

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

LOADING = 0.15
"""Share of sessions that load their libraries: in the others these are there already, which spares a second."""


def let_go(trial, stage, child, began):
    """Waits for a random instant of a session."""
    chance = trial.chance
    (kind,) = chance.choices([*INSTANTS], [*INSTANTS.values()])
    if kind == "any time from the start":
        most_s = 1.5
    elif kind == "a while after the first outcome":
        most_s = len(trial.certificates) / 2000
        wait_until_over(child, lambda: trial.has_begun(child) if stage == "verify" else trial.has_called(child))
    else:
        most_s = 0.02
        wait_until_over(child, lambda: fresh(part_of(trial.results), began))
    wait_at_most(child, chance.uniform(0, most_s))


def kill_until_through(trial, stage, arrivals, left, figures, *, traced, loading):
    """Starts sessions until one ends by itself; kills as many as are left to be killed; returns how many that were."""
    kills, chance = 0, trial.chance
    while True:
        known, command = trial.known(stage) if trial.read(queries.sessions) else set(), trial.command(stage)
        # An undo that was killed after its end has nothing left to do; the run is undone, which is a 1.
        is_over = stage == "undo" and (newest := trial.session_of(stage)) and newest.ended_at
        began, is_traced = time.time(), traced and kills < left and chance.random() < 0.5
        child, blow = begin(command, chance, cwd=trial.input.parent, traced=is_traced, loading=loading)
        if kills < left and not blow:
            if kills + 1 < left and trial.calls_of and chance.random() < 0.2:
                kills += kill_next_to(trial, child, figures)
            let_go(trial, stage, child, began)
            blow = strike(child, chance)
        said = b"".join(child.communicate(timeout=PATIENCE_S))
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
        if child.returncode == 1 and trial.is_late(stage):
            continue
        must_be_ended_by(child, blow, said, what)
        kills += 1
        figures.kills[phase] += 1
        figures.blows[blow] += 1
        # Where nothing was called nothing is undone either, and no results are written.
        if stage == "run" and trial.is_left and kills >= left and trial.calls_of:
            return kills


def attempt(trial, arrivals, left, figures, **how):
    """Does a whole trial with so many kills at most; returns how many that were."""
    trial.prepare()
    before = trial.running.all_states()
    kills = kill_until_through(trial, "run", arrivals, min(3, left), figures, **how)
    if not trial.is_left and kills < left:
        kills += kill_at_rest(trial, min(2, left - kills), figures, **how)
        trial.meddle()
        kills += kill_until_through(trial, "verify", arrivals, min(2, left - kills), figures, **how)
    if trial.action.inverse is not None:
        kills += kill_until_through(trial, "undo", arrivals, min(3, left - kills), figures, **how)
        must(trial.running.all_states() == before, "after the undo not every certificate is as it was")
        kills += kill_at_rest(trial, min(2, left - kills), figures, **how)
        kills += kill_until_through(trial, "redo", arrivals, min(3, left - kills), figures, **how)
    figures.add(trial)
    return kills


def torment(action, kills, rows, seed, *, faults, traced=False, loading=0.0, figures=None):
    """Runs one action until there were so many kills; returns the figures.

    Raises:
        Violation: A promise was broken.
    """
    chance, figures = random.Random(seed), Figures() if figures is None else figures
    shares = tuple(f"{name}={share}" for name, share in FAULTS.items()) if faults else ()
    settings = {"latency_ms": (0, 60), "fault_seed": seed % 2**31, "fault": shares}
    rows = rows if ACTIONS[action].by_device else max(10, rows // FEWER_CAS)
    with tempfile.TemporaryDirectory() as place, emulator(**settings) as running:
        arrivals, killed = Arrivals(running), 0
        while killed < kills:
            serials = serials_of(action, rows, f"{figures.runs:03d}")
            trial = Trial(running, Path(place), action, serials, chance)
            killed += attempt(trial, arrivals, kills - killed, figures, traced=traced, loading=loading)
        counts = running.counts()
        must(running.states([("1", "bystander"), ("2", "bystander")]) == ["1", "1"], "a bystander was touched")
    by_device = ACTIONS[action].by_device
    wanted = {"0": figures.rows, "1": 2} if by_device else {"1": 2}
    must(counts["devices"] == wanted, f"the devices are {counts['devices']}, not {wanted}")
    must(by_device or sum(counts["cas"].values()) == 1, f"CAs are left: {counts['cas']}")
    return figures


def main():
    kills, rows, seed = [*map(int, sys.argv[1:]), *(50, 4000, random.randrange(2**31))[len(sys.argv) - 1 :]]
    print(f"{kills} kills, lists of {rows} rows, seed {seed}", flush=True)
    how = {"traced": shutil.which("strace") is not None, "loading": LOADING}
    for number, (action, faults) in enumerate(CASES):
        share, seen = kills // len(CASES) + (number < kills % len(CASES)), Figures()
        with showing(f"{action}, {'with' if faults else 'without'} faults", seen):
            torment(action, share, rows, seed + number, faults=faults, figures=seen, **how)


if __name__ == "__main__":
    main()
