"""Kills lanes and the coordinator of a cluster at random instants: kill_cluster.py [KILLS] [ROWS] [SEED].

A run, its undo, and the run again, each over two lanes beside the coordinator's own. In each session one to three
blows fall: on a lane, which is started again, or on the coordinator, whose run is resumed while its lanes still have
what it gave them. Nothing that was in the store when a session began may be called in it; and what a session called
more than once is at most what it has said that it handed over, or what those held that were struck.
"""

import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from blows import PATIENCE_S, begin, strike, wait_at_most, wait_until_over
from forked import FLEET, Forked
from killed_run import Arrivals, Figures, Trial, must, must_be_ended_by, serials_of, showing
from program import emulator, free_port, start

from bulkcert.service.actions import ACTIONS
from bulkcert.store import queries
from bulkcert.store.status import status_of
from bulkcert.views.status import figures_of

RATE, PER_ADDRESS, IN_FLIGHT = 300, 150, 16
HELD = IN_FLIGHT + PER_ADDRESS + 1
"""Most calls that a lane has: those in flight, and a second of its share (``fleet.coordinator.AHEAD_S``)."""

CHANGES = {action.operation.name for action in ACTIONS.values()}
LANES = (1, 2)
SILENCE_S = 4.0
"""A lane that is stopped is so for so long at most: its rows are given to others after less."""


class ClusterTrial(Trial):
    """One run over lanes in other processes.

    Args:
        open_: Ends what was started.
        more: See ``Trial``.
    """

    def __init__(self, open_, *more):
        super().__init__(*more)
        self.url = f"tcp://127.0.0.1:{free_port()}"
        limits = ("--rate", RATE, "--per-address-rate", PER_ADDRESS, "--max-in-flight", IN_FLIGHT, "--attempts", "12")
        self.pace = (*limits, "--source-address", "127.0.0.1", "--cluster", self.url, "--lanes", len(LANES))
        self.is_left, self._lanes, self._open = False, {}, open_

    def lanes(self):
        """Returns the lanes by number; starts those that are not there."""
        for number in LANES:
            if number not in self._lanes or self._lanes[number].poll() is not None:
                where = ("--source-address", f"127.0.0.{number + 1}", "--name", f"lane-{number}")
                with self.said(number).open("ab") as said:
                    lane = start("lane", self.url, *where, cwd=self.input.parent, stdout=said, stderr=said)
                self._open.callback(lambda lane=lane: (lane.kill(), lane.wait()))
                self._lanes[number] = lane
        return self._lanes

    def said(self, number):
        """Returns the file with all that the lanes of a number have said."""
        return self.input.with_suffix(f".lane-{number}.txt")


def strike_lane(trial, figures):
    """Ends or stops a lane, after which another one takes its place soon."""
    chance, number = trial.chance, trial.chance.choice(LANES)
    lane = trial.lanes()[number]
    if chance.random() < 0.3:
        lane.send_signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0, SILENCE_S))
        lane.send_signal(signal.SIGCONT)
        blow = "SIGSTOP, SIGCONT"
    else:
        blow = strike(lane, chance)
        lane.wait(PATIENCE_S)
    figures.kills["lane"] += 1
    figures.blows[f"{blow} at a lane"] += 1
    trial.lanes()


def strike_some(trial, session, left, figures):
    """Strikes lanes, and mostly the coordinator in the end; returns the blow at that one, and how many at lanes."""
    chance, lanes = trial.chance, 0
    if chance.random() < 0.8:
        wait_until_over(session, lambda: trial.has_called(session))
    for _ in range(min(left - 1, chance.choice((0, 1, 1, 2)))):
        wait_at_most(session, chance.uniform(0, len(trial.certificates) / RATE / 2))
        if session.poll() is not None:
            return "", lanes
        strike_lane(trial, figures)
        lanes += 1
    if chance.random() < 0.85:
        wait_at_most(session, chance.uniform(0, len(trial.certificates) / RATE / 2))
        if session.poll() is None:
            return strike(session, chance), lanes
    return "", lanes


def confirm_repeated(session, calls, lanes, *, was_killed):
    """Confirms that a session has not called more rows again than it says, or than those held that were struck.

    Args:
        session: As the store has it; one that has ended says how many calls it has handed over.
        calls: Those that came while it went.
        lanes: How many blows fell on lanes meanwhile.
        was_killed: Whether the session before it was, whose lanes may have had calls still.
    """
    called = Counter((call["ca_sn"], call["device_sn"]) for call in calls if call["operation"] in CHANGES)
    again = called.total() - len(called)
    most = HELD * len(LANES) * was_killed
    if session.ended_at is not None:
        stats = figures_of(session)
        most += stats.handed_over if stats else 0
    else:
        most += HELD * lanes
    must(again <= most, f"{again} calls were made again in one session, and {most} at most may be")
    return again


def kill_until_through(trial, stage, arrivals, left, figures):
    """Starts sessions until one ends by itself; returns how many kills there were."""
    kills, was_killed = 0, False
    while True:
        known, command = trial.known(stage) if trial.read(queries.sessions) else set(), trial.command(stage)
        is_over = stage == "undo" and (newest := trial.session_of(stage)) and newest.ended_at
        began, blow, lanes = time.time(), "", 0
        trial.lanes()
        session, _ = begin(command, trial.chance, cwd=trial.input.parent)
        if kills < left:
            blow, lanes = strike_some(trial, session, left - kills, figures)
        said = b"".join(session.communicate(timeout=PATIENCE_S))
        figures.sessions += 1
        phase, calls = trial.phase(stage, began, session), arrivals.new()
        trial.take_stock(stage, calls, known)
        what = f"{stage}: {command[0]} ended with {session.returncode} by {blow or 'itself'}: {said.decode()}"
        if trial.has_begun(session):
            newest = status_of(trial.files).session
            figures.again += confirm_repeated(newest, calls, lanes, was_killed=was_killed)
        kills, was_killed = kills + lanes, bool(blow)
        if session.returncode == 0 or (is_over and session.returncode == 1):
            trial.prove(stage)
            return kills
        must_be_ended_by(session, blow, said, what)
        kills += 1
        figures.kills[f"coordinator, {phase}"] += 1
        figures.blows[f"{blow} at a coordinator"] += 1


def torment(kills, rows, seed, figures):
    """Runs over lanes until there were so many kills.

    Raises:
        Violation: A promise was broken.
    """
    chance, killed = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as place, emulator(latency_ms=(0, 60)) as running:
        arrivals = Arrivals(running)
        while killed < kills:
            with ExitStack() as open_:
                certificates = serials_of("inactivate-device", rows, f"{figures.runs:03d}")
                trial = ClusterTrial(open_, running, Path(place), "inactivate-device", certificates, chance)
                trial.prepare()
                before = running.all_states()
                for stage in ("run", "undo", "redo"):
                    if killed >= kills:
                        break
                    killed += kill_until_through(trial, stage, arrivals, min(6, kills - killed), figures)
                    is_undone = stage != "undo" or running.all_states() == before
                    must(is_undone, "after the undo not every certificate is as it was")
                said = "".join(trial.said(number).read_text() for number in LANES)
                must("Traceback" not in said, said)
            figures.add(trial)


def main():
    kills, rows, seed = [*map(int, sys.argv[1:]), *(50, 1000, random.randrange(2**31))[len(sys.argv) - 1 :]]
    print(f"{kills} kills, lists of {rows} rows, seed {seed}", flush=True)
    Forked.more = FLEET
    seen = Figures()
    with showing("cluster", seen):
        torment(kills, rows, seed, seen)
    print(f"  {seen.again} calls of one session for rows that it had called, each handed over")


if __name__ == "__main__":
    main()
