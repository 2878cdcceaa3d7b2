"""Kills sessions at random instants and proves that nothing was lost: kill_anywhere.py [KILLS] [ROWS] [SEED].

Each session is a process of its own, against an emulator in this one; SIGKILL ends it somewhere between its first
instruction and its last. What the store holds at that moment is known done: no call that arrives later may name it.
First a list of devices of which some are in the desired state already: run, until it ends by itself, or is left as it
is; then undo, after which every certificate must be as it was before; then all of it again by ``resume``. Then CAs
that are deleted. Each without faults and with them. Who goes on is the command of the start or ``resume``, at random,
and the list is deleted sooner or later.
"""

import csv
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from forked import Forked
from program import INSTANCE, UNHURRIED, emulator, read_results, start, summary_of, wait_for

from bulkcert.service.actions import ACTIONS
from bulkcert.store import queries
from bulkcert.store.database import reading
from bulkcert.store.outcome import Outcome
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import status_of

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
DEVICES_OF_A_CA = 3
FEWER_CAS = 5
"""A list of CAs is so many times shorter: each of its outcomes is synced by itself."""
ALREADY = 0.2
"""Share of the devices that are in the desired state before."""
PACE = ("--attempts", "12", "--max-in-flight", "96")
LANES = ("--source-address", "127.0.0.1", "--source-address", "127.0.0.2")

INSTANTS = {"any time from the start": 3, "a while after the first outcome": 5, "once results are being written": 2}
"""Kinds of instants, with their weights."""


class Violation(Exception):  # noqa: N818 - it is a finding
    """Something was lost, called again, or told wrong."""


def must(condition, finding):
    if not condition:
        raise Violation(finding)


@dataclass
class Figures:
    """What was seen over all runs of a case."""

    runs: int = 0
    sessions: int = 0
    rows: int = 0
    calls: int = 0
    repeated: int = 0
    """Rows that were called by more than one session of a stage: those whose outcome a kill kept from the store."""
    most: int = 0
    """Most calls that any row got, of all stages."""
    by_intent: int = 0
    """CAs found deleted by a call whose outcome a kill kept from the store."""
    kills: Counter = field(default_factory=Counter)


def serials_of(action, rows, mark):
    """Returns the serials of a list, set apart from those of others by a mark."""
    if ACTIONS[action].by_device:
        return [(f"{mark}ca{number % 7:06d}", f"{mark}{number:08d}") for number in range(1, rows + 1)]
    return [(f"{mark}ca{number:06d}", None) for number in range(1, rows + 1)]


class Trial:
    """One run, and its undo, however often they are killed.

    Args:
        running: The emulator.
        directory: Where input and results are.
        action: What is done.
        certificates: The list: pairs of CA and device serial.
        chance: What happens.
    """

    def __init__(self, running, directory, action, certificates, chance):
        self.running, self.action, self.chance = running, ACTIONS[action], chance
        self.certificates, rows = certificates, len(certificates)
        self.input = directory / f"{certificates[0][0]}.csv"
        self.files = RunFiles(self.input.with_suffix(".results.csv"))
        self.results = self.files.results
        self.already = {pair for pair in certificates if self.action.by_device and chance.random() < ALREADY}
        self.notes = [f'nº {number}, "{"x" * (number % 5)}"\n' for number in range(1, rows + 1)]
        self.is_left = self.action.inverse is not None and chance.random() < 0.5
        self.sessions_of, self.calls_of = Counter(), Counter()

    def prepare(self):
        """Writes the list and registers its certificates, and beside them some that are none of the run's business."""
        with self.input.open("w", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(["note", "CaSn", "DeviceSn"][: 3 if self.action.by_device else 2])
            for note, (ca, device) in zip(self.notes, self.certificates, strict=True):
                lines.writerow([note, ca, device] if device else [note, ca])
        below = [str(number) for number in range(DEVICES_OF_A_CA)]
        pairs = [(ca, one) for ca, device in self.certificates for one in ([device] if device else below)]
        self.running.tell("seed", instance=INSTANCE, rows=[*pairs, ("bystander", "1"), ("bystander", "2")])
        self.running.tell("seed", instance=INSTANCE, rows=sorted(self.already), status="0")

    # What is started.

    def command(self, stage):
        """Returns what starts a stage, or goes on with it."""
        begun, sure = self.session_of(stage), self.sure() if self.action.deletes else ()
        if stage == "run" and begun and self.input.exists() and self.chance.random() < 0.3:
            self.input.unlink()
        if begun and (not self.input.exists() or self.chance.random() < 0.5):
            return ("resume", self.results, "--yes", "-q", *sure)
        if stage == "run":
            where = self.running.looking if self.action.by_device else self.running.where
            return ("run", self.action.name, self.input, "-o", self.results, *where, *PACE, *LANES, "-q", *sure)
        if stage == "undo":
            return ("undo", self.results, "--yes", "-q", *UNHURRIED, *PACE, *LANES)
        return ("resume", self.results, "--yes", "-q", "--retry", "undone")

    def sure(self):
        """Returns the option without which nothing is deleted: how many devices the CAs of the list have by now."""
        cas = {ca for ca, *_ in self.certificates}
        devices = sum(len(serials) > 1 and serials[0] in cas for serials in self.running.all_states())
        return "--confirm-devices", str(devices)

    # What the disk tells.

    def session_of(self, stage):
        """Returns the newest session if it belongs to a stage; else None."""
        sessions = self.read(queries.sessions) or []
        undos = [each.kind for each in sessions].count("undo")
        kinds = {"run": not undos, "undo": undos and sessions[-1].kind == "undo", "redo": undos}
        return sessions[-1] if sessions and kinds[stage] and (stage != "redo" or sessions[-1].kind == "run") else None

    def read(self, question, *about):
        """Asks the store, as a process that only reads does; None if there is no run yet."""
        try:
            with reading(self.files.store) as db:
                return question(db, *about)
        except FileNotFoundError:
            return None

    def known(self, stage):
        """Returns the rows that must not be called (again) in a stage, as the store tells."""
        rows = len(self.certificates)
        every = set(range(1, rows + 1))
        if stage == "undo":
            return every - set(self.read(queries.changed, self.action.desired_status.value, 1, rows))
        if self.read(queries.preflight_at) is None:
            return set()
        alone = set(self.read(queries.rows, queries.LEFT_ALONE, 1, rows))
        if stage == "redo" and not self.session_of("redo"):
            names = self.read(queries.window, 1, rows)
            alone -= {row for row, outcome, *_ in names if outcome == Outcome.UNDONE}
        return alone

    def has_called(self, child):
        """Returns whether a session has left outcomes already."""
        mine = "SELECT id FROM session WHERE pid = ? AND id = (SELECT MAX(id) FROM session)"
        statement = f"SELECT 1 FROM certificate WHERE session = ({mine}) LIMIT 1"
        return self.read(lambda db: db.execute(statement, (child.pid,)).fetchone())

    def phase(self, stage, began, child):
        """Returns how far a killed session had come, as the disk tells it."""
        if fresh(self.results, began):
            return f"{stage}: 6 after the results"
        if fresh(part_of(self.results), began):
            return f"{stage}: 5 writing results"
        newest = (self.read(queries.sessions) or [None])[-1]
        if newest is None or newest.pid != child.pid:
            return f"{stage}: 1 start-up and check"
        if self.has_called(child):
            over = len(self.known(stage)) == len(self.certificates)
            return f"{stage}: {'4 before the results' if over else '3 calling'}"
        return f"{stage}: 2 before an outcome"

    # What is proved.

    def take_stock(self, stage, calls, known):
        """Compares what arrived in a session with what was known before it."""
        inverse = ACTIONS[self.action.inverse] if self.action.inverse else None
        action, other = (inverse, self.action) if stage == "undo" else (self.action, inverse)
        called = Counter(
            (call["ca_sn"], call["device_sn"]) for call in calls if call["operation"] == action.operation.name
        )
        again = [row for row in known if self.certificates[row - 1] in called]
        must(not again, f"{stage}: rows {again[:5]} were called though their outcome was in the store")
        strangers = set(called) - set(self.certificates)
        must(not strangers, f"calls for {strangers} were made, which are not in the list")
        wrong = [call for call in calls if other is not None and call["operation"] == other.operation.name]
        must(not wrong, f"{stage}: {wrong[:1]} was called")
        self.calls_of.update(called)
        self.sessions_of.update((stage, each) for each in called)
        if self.read(queries.sessions):
            must(
                known <= self.known(stage),
                f"{stage}: what was known of {sorted(known - self.known(stage))[:5]} is gone",
            )
        if self.results.exists():
            rows = len(read_results(self.results))
            must(rows == len(self.certificates), f"results with {rows} of {len(self.certificates)} rows were visible")

    def prove(self, stage):
        """Checks the results, after a session that ended with 0."""
        rows, summary = read_results(self.results), summary_of(self.results)
        must(len(rows) == len(self.certificates), f"{len(self.certificates)} rows in, {len(rows)} out")
        for number, (row, note, (ca, device)) in enumerate(zip(rows, self.notes, self.certificates, strict=True), 1):
            own = (row["note"], row["CaSn"], row.get("DeviceSn"))
            must(own == (note, ca, device), f"row {number} holds {own}")
            must(row["row"] == str(number), f"row {number} is numbered {row['row']}")
            expected = {Outcome.UNDONE, Outcome.NOT_ATTEMPTED} if stage == "undo" else {Outcome.SUCCEEDED}
            if (ca, device) in self.already:
                expected = {Outcome.UNCHANGED, *({Outcome.NOT_ATTEMPTED} if stage == "undo" else set())}
            must(row["outcome"] in expected, f"{stage}: row {number} is {row['outcome']}: {row['message']}")
        counted = Counter(row["outcome"] for row in rows)
        must(summary["outcomes"] == counted, f"the summary says {summary['outcomes']}, the results {counted}")
        ends = status_of(self.files).exit_status
        must(ends == (stage == "undo" and Outcome.UNDONE in counted), f"{stage}: status ends with {ends}")
        return sum("an attempt whose answer was lost" in row["message"] for row in rows)


def states_of(service):
    """Returns every certificate there is, with its status."""
    return service.all_states()


def part_of(path):
    """Returns the name that a file has while it is written; its own if nobody writes it."""
    return next(path.parent.glob(f".{path.name}.*.part"), path)


def fresh(path, began):
    """Returns whether a file was written since a time."""
    try:
        return path.stat().st_mtime >= began
    except FileNotFoundError:
        return False


class Arrivals:
    """The calls of the emulator, as they come."""

    def __init__(self, running):
        self._running, self._seen = running, 0

    def new(self):
        """Returns the calls that came since the last time."""
        calls = self._running.calls()[self._seen :]
        self._seen += len(calls)
        return calls


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


def kill_until_through(trial, stage, arrivals, left, figures):
    """Starts sessions until one ends by itself; kills as many as are left to be killed; returns how many that were."""
    kills = 0
    while True:
        known, command = trial.known(stage) if trial.read(queries.sessions) else set(), trial.command(stage)
        # An undo that was killed after its end has nothing left to do; the run is undone, which is a 1.
        is_over = stage == "undo" and (newest := trial.session_of(stage)) and newest.ended_at
        began, child = time.time(), start(*command, cwd=trial.input.parent)
        if kills < left:
            let_go(trial, child, trial.chance, began)
            child.kill()
        _, said = child.communicate(timeout=300)
        figures.sessions += 1
        phase = trial.phase(stage, began, child)
        trial.take_stock(stage, arrivals.new(), known)
        if child.returncode == 0 or (is_over and child.returncode == 1):
            figures.by_intent += trial.prove(stage)
            return kills
        must(child.returncode == -9, f"{stage}: {command[0]} ended with {child.returncode}: {said.decode()}")
        kills += 1
        figures.kills[phase] += 1
        # Where nothing was called nothing is undone either, and no results are written.
        if stage == "run" and trial.is_left and kills == left and trial.calls_of:
            return kills


def attempt(trial, arrivals, left, figures):
    """Does a whole trial with so many kills at most; returns how many that were."""
    trial.prepare()
    before = states_of(trial.running)
    kills = kill_until_through(trial, "run", arrivals, min(3, left), figures)
    if trial.action.inverse is not None:
        kills += kill_until_through(trial, "undo", arrivals, min(3, left - kills), figures)
        must(states_of(trial.running) == before, "after the undo not every certificate is as it was")
        kills += kill_until_through(trial, "redo", arrivals, min(3, left - kills), figures)
    figures.runs += 1
    figures.rows += len(trial.certificates)
    figures.calls += trial.calls_of.total()
    figures.repeated += sum(sessions > 1 for sessions in trial.sessions_of.values())
    figures.most = max(figures.most, *trial.calls_of.values())
    return kills


def torment(action, kills, rows, seed, *, faults):
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
            killed += attempt(trial, arrivals, kills - killed, figures)
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
            seen = torment(action, share, rows, seed + number, faults=faults)
        except Violation as violation:
            sys.exit(f"{action}, faults {faults}: VIOLATION: {violation}")
        print(f"{action}, {'with' if faults else 'without'} faults: {seen.kills.total()} kills in {seen.runs} runs")
        for phase, count in sorted(seen.kills.items()):
            print(f"  {count:3} kills: {phase.replace(': ', ', ', 1)}")
        print(f"  {seen.rows} rows, each with one outcome, in order; {seen.calls} calls in {seen.sessions} sessions")
        print(
            f"  {seen.repeated} rows called by more than one session, none of them known done; most {seen.most} calls"
        )
        if seen.by_intent:
            print(f"  {seen.by_intent} CAs found deleted by a call whose answer or outcome was lost")


if __name__ == "__main__":
    main()
