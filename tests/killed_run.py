"""What a run that is killed has to prove: nothing was lost, called again though known done, or shown wrong.

What the store holds at the moment of a kill is known done: no call that arrives later may name it.
"""

import csv
import signal
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

from blows import ENDED
from program import INSTANCE, UNHURRIED, read_results, summary_of

from bulkcert.service.actions import ACTIONS
from bulkcert.store import queries
from bulkcert.store.database import reading
from bulkcert.store.outcome import Outcome
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import status_of

DEVICES_OF_A_CA = 3
ALREADY = 0.2
"""Share of the devices that are in the desired state before."""
PACE = ("--attempts", "12", "--max-in-flight", "96")
CODES = {"active": "1", "inactive": "0"}
"""States as the service shows them."""
READ_BACK = {"active": "active", "inactive": "inactive", "deleted": "not_registered"}
"""As results show them."""
LANES = ("--source-address", "127.0.0.1", "--source-address", "127.0.0.2")


class Violation(Exception):  # noqa: N818 - it is a finding
    """Something was lost, called again, or told wrong."""


def must(condition, finding):
    if not condition:
        raise Violation(finding)


def must_be_ended_by(child, blow, said, what):
    """Proves that a command which has not come to its end was ended by a blow, in order."""
    ends = child.returncode if child.returncode > 0 else -9 if blow else 0
    must(blow and (ends == -9 or ends in ENDED) and b"Traceback" not in said, what)


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
    again: int = 0
    """Calls of a session over lanes for a row that it had called."""
    kills: Counter = field(default_factory=Counter)
    blows: Counter = field(default_factory=Counter)

    def add(self, trial):
        """Adds what a trial came to, of all its stages."""
        self.runs += 1
        self.rows += len(trial.certificates)
        self.calls += trial.calls_of.total()
        self.repeated += sum(sessions > 1 for sessions in trial.sessions_of.values())
        self.most = max(self.most, *trial.calls_of.values())


@contextmanager
def showing(title, seen):
    """Shows what was seen, whether that comes to its end, SIGTERM or Ctrl-C ends it, or a promise was broken."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ends = ""
    try:
        yield
    except KeyboardInterrupt:
        ends = "stopped"
    except Violation as violation:
        ends = f"VIOLATION: {violation}"
    print(f"{title}: {seen.kills.total()} kills in {seen.runs} runs")
    for phase, count in sorted(seen.kills.items()):
        print(f"  {count:3} kills: {phase.replace(': ', ', ', 1)}")
    print(f"  by {', '.join(f'{blow} {count}' for blow, count in seen.blows.most_common())}")
    print(f"  {seen.rows} rows, each with one outcome, in order; {seen.calls} calls in {seen.sessions} sessions")
    print(f"  {seen.repeated} rows called by more than one session, none of them known done; most {seen.most} calls")
    if seen.by_intent:
        print(f"  {seen.by_intent} CAs found deleted by a call whose answer or outcome was lost")
    sys.stdout.flush()
    if ends:
        sys.exit(ends)


def serials_of(action, rows, mark):
    """Returns the serials of a list, set apart from those of others by a mark."""
    if ACTIONS[action].by_device:
        return [(f"{mark}ca{number % 7:06d}", f"{mark}{number:08d}") for number in range(1, rows + 1)]
    return [(f"{mark}ca{number:06d}", None) for number in range(1, rows + 1)]


class Trial:
    """One run, and its undo, however often they are killed.

    Attributes:
        pace: Options of what makes calls.

    Args:
        running: The emulator.
        directory: Where input and results are.
        action: What is done.
        certificates: The list: pairs of CA and device serial.
        chance: What happens.
    """

    pace = (*UNHURRIED, *PACE, *LANES)

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
        self.watches = False

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

    def meddle(self):
        """Lets somebody change some of what the run has changed, half of the times; a watch has to find that."""
        self.watches = self.action.repeatable and self.chance.random() < 0.5
        if self.watches:
            changed = [pair for pair in self.certificates if pair not in self.already and self.chance.random() < 0.1]
            self.running.tell("seed", instance=INSTANCE, rows=changed, status=CODES[self.action.before])

    # What is started.

    def command(self, stage):
        """Returns what starts a stage, or goes on with it."""
        begun, sure = self.session_of(stage), self.sure() if self.action.deletes else ()
        if stage == "run" and begun and self.input.exists() and self.chance.random() < 0.3:
            self.input.unlink()
        if stage == "verify":
            watch = ("--watch", "2s", "--every", "1s", "--yes") if self.watches else ()
            if not (begun and self.watches and self.chance.random() < 0.5):
                return ("verify", self.results, "-q", *self.pace, *watch)
        if begun and (stage == "verify" or not self.input.exists() or self.chance.random() < 0.5):
            return ("resume", self.results, "--yes", "-q", *sure)
        if stage == "run":
            where = ("--endpoint", self.running.url, "--instance", INSTANCE, "--yes")
            look = () if self.action.by_device else ("--preflight", "never")
            return ("run", self.action.name, self.input, "-o", self.results, *where, *look, *self.pace, "-q", *sure)
        if stage == "undo":
            return ("undo", self.results, "--yes", "-q", *self.pace)
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
        kinds = {"verify": True, "run": not undos, "undo": undos and sessions[-1].kind == "undo", "redo": undos}
        newest = {"redo": "run", "verify": "verify"}.get(stage)
        return sessions[-1] if sessions and kinds[stage] and newest in (None, sessions[-1].kind) else None

    def read(self, question, *about):
        """Asks the store, as a process that only reads does; None if there is no run yet."""
        try:
            with reading(self.files.store) as db:
                return question(db, *about)
        except FileNotFoundError:
            return None

    def is_late(self, stage):
        """Returns whether a session may find rows that it has no time left to call."""
        return stage == "verify" and self.watches

    def has_begun(self, child):
        """Returns whether a session is in the store."""
        newest = (self.read(queries.sessions) or [None])[-1]
        return newest is not None and newest.pid == child.pid

    def known(self, stage):
        """Returns the rows that must not be called (again) in a stage, as the store tells."""
        rows = len(self.certificates)
        every = set(range(1, rows + 1))
        if stage == "undo":
            return every - set(self.read(queries.changed, self.action.desired_status.value, 1, rows))
        if stage == "verify":
            states, other = self.running.all_states(), CODES[self.action.before]
            return {row for row in every if states.get(self.certificates[row - 1]) != other}
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
        if not self.has_begun(child):
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
            read_back, desired = row.get("verified_status"), READ_BACK[self.action.desired]
            must(stage != "verify" or read_back == desired, f"row {number} was read back as {read_back!r}")
        counted = Counter(row["outcome"] for row in rows)
        must(summary["outcomes"] == counted, f"the summary says {summary['outcomes']}, the results {counted}")
        ends = status_of(self.files).exit_status
        must(ends == (stage == "undo" and Outcome.UNDONE in counted), f"{stage}: status ends with {ends}")
        return sum("an attempt whose answer was lost" in row["message"] for row in rows)


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
        """Returns the calls that came since the last time, those included that a killed session has just sent."""
        self._running.hear_out()
        calls = self._running.calls()[self._seen :]
        self._seen += len(calls)
        return calls
