"""Kills runs at random instants and proves that nothing was lost: python tests/kill_anywhere.py [KILLS] [ROWS] [SEED].

Each session is the same command in a process of its own, against an emulator in this one; SIGKILL ends it somewhere
between its first instruction and its last. What its journal holds at that moment in whole lines is known done: no call
that arrives later may name it. Sessions follow until one ends by itself, runs until there were enough kills, first
with device certificates and then with CAs to be deleted, without faults and with them.
"""

import csv
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from program import INSTANCE, emulator, read_results, start, summary_of, wait_for

from bulkcert.actions import ACTIONS
from bulkcert.batch.lines import Session, decode_line
from bulkcert.batch.outcome import Outcome, Record

FAULTS = {
    "throttle": 0.01,
    "overflow": 0.01,
    "internal-error": 0.02,
    "html-502": 0.02,
    "drop-before": 0.02,
    "drop-after": 0.02,
    "slow": 0.0005,
    "no-echo": 0.02,
}
CASES = tuple((action, faults) for action in ("inactivate-device", "delete-ca") for faults in (False, True))
DEVICES_OF_A_CA = 3
FEWER_CAS = 5
"""A list of CAs is so many times shorter: each of its outcomes is synced by itself."""

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
    """Rows that were called by more than one session: those whose outcome a kill kept from the journal."""
    most: int = 0
    """Most calls that any row got."""
    by_intent: int = 0
    """CAs found deleted by a call whose outcome a kill kept from the journal."""
    kills: Counter = field(default_factory=Counter)


class Trial:
    """One run, however often it is killed.

    Args:
        running: The emulator.
        directory: Where input, journal and results are.
        action: What is done.
        rows: Length of the list.
        mark: Sets the serials of this run apart from those of others.
    """

    def __init__(self, running, directory, action, rows, mark):
        self.running, self.action = running, ACTIONS[action]
        self.input, self.results = directory / f"{mark}.csv", directory / f"{mark}.results.csv"
        self.journal = Path(f"{self.results}.journal")
        self.part = self.results.with_name(f".{self.results.name}.part")
        by_device = self.action.by_device
        self.certificates = [
            (f"{mark}ca{number % 7:06d}", f"{mark}{number:08d}") if by_device else (f"{mark}ca{number:06d}", None)
            for number in range(1, rows + 1)
        ]
        self.notes = [f'nº {number}, "{"x" * (number % 5)}"\n' for number in range(1, rows + 1)]
        self.done: set[int] = set()
        self.kept = b""
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

    def start(self):
        pace = ["--attempts", "12", "--max-in-flight", "96", "-q"]
        lanes = ["--source-address", "127.0.0.1", "--source-address", "127.0.0.2"]
        arguments = [self.action.name, self.input, "-o", self.results, *self.running.where, *pace, *lanes]
        return start("run", *arguments, cwd=self.input.parent)

    def phase(self, began, child):
        """Returns how far a killed session had come, as the disk tells it."""
        if fresh(self.results, began):
            return "6 after the results"
        if fresh(self.part, began):
            return "5 writing results"
        lines = [decode_line(text) for text in whole(self.journal).splitlines(keepends=True)]
        starts = [n for n, line in enumerate(lines) if isinstance(line, Session) and line.pid == child.pid]
        if not starts:
            return "1 start-up and check"
        if len(self.done) == len(self.certificates):
            return "4 before the results"
        return "3 calling" if any(isinstance(line, Record) for line in lines[starts[0] :]) else "2 before an outcome"

    def take_stock(self, calls):
        """Compares what arrived in a session with what was known before it, and learns what is known now."""
        called = Counter((call["ca_sn"], call["device_sn"]) for call in calls)
        again = [row for row in self.done if self.certificates[row - 1] in called]
        must(not again, f"rows {again[:5]} were called though their outcome was in the journal")
        strangers = set(called) - set(self.certificates)
        must(not strangers, f"calls for {strangers} were made, which are not in the list")
        self.calls_of.update(called)
        self.sessions_of.update(called.keys())
        kept = whole(self.journal)
        must(kept.startswith(self.kept), "whole lines of the journal are gone")
        self.kept = kept
        self.done |= rows_done(kept)
        if self.results.exists():
            rows = len(read_results(self.results))
            must(rows == len(self.certificates), f"results with {rows} of {len(self.certificates)} rows were visible")

    def prove(self):
        """Checks the results and the state of every certificate, after a session that ended with 0."""
        rows, summary = read_results(self.results), summary_of(self.results)
        must(len(rows) == len(self.certificates), f"{len(self.certificates)} rows in, {len(rows)} out")
        for number, (row, note, (ca, device)) in enumerate(zip(rows, self.notes, self.certificates, strict=True), 1):
            own = (row["note"], row["CaSn"], row.get("DeviceSn"))
            must(own == (note, ca, device), f"row {number} holds {own}")
            must(row["row"] == str(number), f"row {number} is numbered {row['row']}")
            must(row["outcome"] == Outcome.SUCCEEDED, f"row {number} ended as {row['outcome']}: {row['message']}")
        must(summary["outcomes"] == {"succeeded": len(rows)}, f"the summary says {summary['outcomes']}")
        must(set(self.calls_of) == set(self.certificates), "a row succeeded without a call")
        if self.action.by_device:
            states = set(
                self.running.states([(device, ca) for ca, device in self.certificates[:: len(rows) // 50 + 1]])
            )
            must(states == {"0"}, f"devices are left in states {states}")
        return sum("an attempt whose answer was lost" in row["message"] for row in rows)


def whole(path):
    """Returns the whole lines of a file."""
    text = path.read_bytes() if path.exists() else b""
    return text[: text.rfind(b"\n") + 1]


def rows_done(text):
    """Returns the rows whose outcome stands in a journal and is final."""
    lines = [decode_line(line) for line in text.splitlines(keepends=True)]
    return {line.row for line in lines if isinstance(line, Record) and not line.again}


def fresh(path, began):
    """Returns whether a file was written since a time."""
    try:
        return path.stat().st_mtime >= began
    except FileNotFoundError:
        return False


class Arrivals:
    """The emulator's log, read as it grows."""

    def __init__(self, running, file):
        self._running, self._lines, self._file = running, 0, file

    def new(self):
        """Returns the calls that came since the last time."""
        arrivals, calls = self._running.report().arrivals, []

        def read():
            place = self._file.tell()
            for line in self._file:
                if not line.endswith("\n"):
                    self._file.seek(place)
                    break
                place += len(line)
                calls.append(json.loads(line))
            return self._lines + len(calls) >= arrivals

        wait_for(None, read)
        self._lines += len(calls)
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
        before, most_s = len(trial.kept), len(trial.certificates) / 2000
        # The line of the session is shorter, a group of outcomes longer.
        wait_until_over(child, lambda: trial.journal.exists() and trial.journal.stat().st_size > before + 500)
    else:
        most_s = 0.02
        wait_until_over(child, lambda: fresh(trial.part, began))
    over = time.monotonic() + chance.uniform(0, most_s)
    wait_until_over(child, lambda: time.monotonic() >= over)


def kill_until_through(trial, arrivals, chance, left, figures):
    """Starts sessions until one ends by itself; kills as many as are left to be killed; returns how many that were."""
    trial.prepare()
    kills = 0
    while True:
        began, child = time.time(), trial.start()
        if kills < left:
            let_go(trial, child, chance, began)
            child.kill()
        _, said = child.communicate(timeout=300)
        figures.sessions += 1
        phase = trial.phase(began, child)
        trial.take_stock(arrivals.new())
        if child.returncode == 0:
            break
        must(child.returncode == -9, f"a session ended with {child.returncode}: {said.decode()}")
        kills += 1
        figures.kills[phase] += 1
    figures.by_intent += trial.prove()
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
    with tempfile.TemporaryDirectory() as place, emulator(place, **settings) as running, running.log.open() as log:
        arrivals, killed = Arrivals(running, log), 0
        while killed < kills:
            trial = Trial(running, Path(place), action, rows, f"{figures.runs:03d}")
            killed += kill_until_through(trial, arrivals, chance, kills - killed, figures)
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
    for number, (action, faults) in enumerate(CASES):
        share = kills // len(CASES) + (number < kills % len(CASES))
        try:
            seen = torment(action, share, rows, seed + number, faults=faults)
        except Violation as violation:
            sys.exit(f"{action}, faults {faults}: VIOLATION: {violation}")
        print(f"{action}, {'with' if faults else 'without'} faults: {seen.kills.total()} kills in {seen.runs} runs")
        for phase, count in sorted(seen.kills.items()):
            print(f"  {count:3} kills: {phase[2:]}")
        print(f"  {seen.rows} rows, each with one outcome, in order; {seen.calls} calls in {seen.sessions} sessions")
        print(
            f"  {seen.repeated} rows called by more than one session, none of them known done; most {seen.most} calls"
        )
        if seen.by_intent:
            print(f"  {seen.by_intent} CAs found deleted by a call whose answer or outcome was lost")


if __name__ == "__main__":
    main()
