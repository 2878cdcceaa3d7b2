"""What a person meets: the plan, the question, the progress; and what goes where when nobody is there."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import sqlite3
import struct
import termios
import time
from contextlib import closing
from pathlib import Path

import pytest
from place import Place
from program import (
    INSTANCE,
    PATIENCE_S,
    UNHURRIED,
    Finished,
    bulkcert,
    emulator,
    here,
    outcomes,
    start,
    summary_of,
    wait_for,
    write_devices,
)

from bulkcert.store import read_states
from bulkcert.store.paths import RunFiles
from bulkcert.views import confirm, live

QUESTION = "Continue? [y/N] "
UNCHANGED = "  → No calls that change anything were made.\n"
ESCAPE = "\x1b["


@pytest.fixture(scope="module")
def service():
    with emulator(latency_ms=(1, 5)) as running:
        yield running


class Asked(Place):
    """A run that asks before it calls, unless ``--yes`` is given."""

    def __init__(self, directory, service, rows=3):
        super().__init__(directory, service, rows)

    def command(self, *more, pace=UNHURRIED, look="never", **options):
        where = ("--endpoint", self.service.url, "--instance", INSTANCE, *pace, "--preflight", look)
        return super().command(*more, where=where, **options)

    def contents(self):
        """Returns what is in each file here, but for who held the run last, and in the store's tables."""
        paths = [path for path in self.list.parent.rglob("*") if path.is_file() and path.name != "lock"]
        with closing(sqlite3.connect(RunFiles(self.results).store)) as db:
            tables = [*db.iterdump()]
        return {path: path.read_bytes() for path in paths if path.name != "store.sqlite"}, tables

    @property
    def files(self):
        return sorted(path.name for path in self.list.parent.iterdir())


@pytest.fixture
def place(tmp_path, service):
    return Asked(tmp_path, service)


@pytest.fixture
def alone(tmp_path):
    """Returns a place whose emulator knows nothing but its list."""
    with emulator() as running:
        yield Asked(tmp_path, running)


class Dialogue:
    """A command with a terminal for some of its streams: standard input and error, unless others are named."""

    def __init__(self, *arguments, columns=120, env=None, streams=("stdin", "stderr")):
        self._main, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        env = {"TERM": "xterm", "PYTHONIOENCODING": "utf-8:strict", **(env or {})}
        self.child = start(*arguments, env=env, **dict.fromkeys(streams, far))
        os.close(far)
        self.shown = b""

    def read_until(self, text):
        """Reads until a text is shown, or, without one, to the end."""
        until = time.monotonic() + PATIENCE_S
        while text is None or text.encode() not in self.shown:
            assert time.monotonic() < until, f"{text!r} never came:\n{self.shown.decode()}"
            if not select.select([self._main], [], [], 0.2)[0]:
                continue
            try:
                part = os.read(self._main, 65536)
            except OSError:  # the other side is closed
                part = b""
            if not part:
                assert text is None, f"it ended without {text!r}:\n{self.shown.decode()}"
                return
            self.shown += part

    def type(self, keys):
        os.write(self._main, keys)

    def end(self, *, plain=False):
        """Returns how it ended, as its stderr what the terminal has shown; plain: without what moves and colours."""
        self.read_until(None)
        piped = b"".join(filter(None, self.child.communicate(timeout=PATIENCE_S)))
        shown = self.shown.decode(errors="replace").replace("\r\n", "\n")
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown) if plain else shown
        return Finished(self.child.returncode, piped.decode(), shown)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._main)
        self.child.kill()
        self.child.communicate()


def answered(command, question, keys):
    """Returns how a command ended whose question was answered so."""
    with Dialogue(*command) as talk:
        talk.read_until(question)
        talk.type(keys)
        return talk.end(plain=True)


def asked(place, action, question, keys, *more):
    """Returns how a run ended whose question was answered so."""
    return answered(place.command(*more, action=action), question, keys)


def test_the_plan_and_yes(place):
    """The plan says action, instance, rows, CAs, caps and time; after "y" the run shows a bar and does every row."""
    finished = asked(place, "inactivate-device", QUESTION, b"y\n").ended(0)

    plan = finished.stderr
    assert "inactivate-device: switch off device certificates" in plan
    assert f"{INSTANCE} at {place.service.url}" in plan
    assert "devices.csv: 3 rows" in plan
    assert "will change   at most 3 device certificates\n" in plan
    assert "not read      3 called, whatever they are now (--preflight never)\n" in plan
    assert "100000/s for the account" in plan
    assert "less than a second" in plan
    assert re.search(r"3/3\b.*3 succeeded", plan, re.DOTALL), "the bar at its end"
    assert "exit status   0" in finished.stdout
    assert ESCAPE not in finished.stdout
    assert place.arrivals == 3


@pytest.mark.parametrize("keys", [b"\x04", b"\xff\n"], ids=["ctrl-d", "junk"])
def test_anything_else_is_no(place, keys):
    """Any answer but yes, an end of input too: 2, nothing called, no trace left."""
    finished = asked(place, "inactivate-device", QUESTION, keys).ended(2)

    assert finished.stderr.endswith("not confirmed\n" + UNCHANGED)
    assert (place.arrivals, place.files) == (0, ["devices.csv"])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_at_the_question(place, number, status):
    """A signal at the question ends the command at once; no calls were made, no trace is left."""
    with Dialogue(*place.command()) as talk:
        talk.read_until(QUESTION)
        talk.child.send_signal(number)
        assert talk.end(plain=True).ended(status).stderr.endswith(UNCHANGED)

    assert (place.arrivals, place.files) == (0, ["devices.csv"])


def test_no_leaves_an_earlier_run_alone(place):
    """A "no" to resuming an earlier run, or to dropping it with --overwrite, leaves all its files as they were."""
    place.run("--limit-rows", "1", "--yes").ended(75)
    before = place.contents()
    asked(place, "inactivate-device", QUESTION, b"n\n", "--overwrite").ended(2)
    assert place.contents() == before
    asked(place, "inactivate-device", QUESTION, b"n\n").ended(2)
    assert place.contents() == before

    finished = asked(place, "inactivate-device", QUESTION, b"yes\n").ended(0)
    assert "1 already finished; resuming" in finished.stderr
    called = [call["operation"] for call in place.service.calls()[place.started :]]
    assert called.count("InactivateDeviceCertificate") == 3


def test_ca_actions_ask_for_the_number(alone):
    """A CA action asks for the number even for one row, and names the devices that it hits."""
    question = "Type the number of certificates that will change (1) to continue: "
    refused = asked(alone, "inactivate-ca", question, b"y\nyes\n").ended(2)

    assert "connections with 3 device certificates are refused from then on\n" in refused.stderr
    asked(alone, "inactivate-ca", question, b"1\n").ended(0)


def test_a_deletion_asks_for_the_serial(alone):
    """delete-ca says what it deletes, and wants the serial of the CA; of several the number of their devices."""
    question = "Type the serial of the CA (00ca000000) to delete it: "
    refused = asked(alone, "delete-ca", question, b"1\n3\n").ended(2)

    assert "delete-ca deletes 3 device certificates; nothing brings them back\n" in refused.stderr
    assert "every device certificate registered under it is deleted" in " ".join(refused.stderr.split())
    assert "3 rows (2 of a CA already named)" in " ".join(refused.stderr.split())
    assert alone.service.states(alone.devices[:1]) == ["1"]
    asked(alone, "delete-ca", question, b"00ca000000\n").ended(0)
    assert alone.service.states(alone.devices) == [None] * 3

    alone.devices = write_devices(alone.list, 5, cas=2)
    alone.service.seed(alone.devices)
    question = "Type the number of devices that will be deleted (5) to continue: "
    asked(alone, "delete-ca", question, b"5\n", "--overwrite").ended(0)
    assert alone.service.states(alone.devices) == [None] * 5


def test_a_deletion_without_a_question(alone):
    """--yes is refused without the number of devices, and with another than there is now; the true one is shown."""
    given = {(): "--confirm-devices is missing", ("--confirm-devices", 2): "--confirm-devices 2 is not the number"}
    for typed, said in given.items():
        refused = alone.run("--yes", *typed, action="delete-ca").ended(2)
        assert f"{said}: delete-ca deletes 3 device certificates; nothing brings them back\n" in refused.stderr
        assert "If that is meant, give --confirm-devices 3." in refused.stderr
        assert (alone.service.states(alone.devices), alone.files) == (["1"] * 3, ["devices.csv"])

    alone.run("--yes", "--confirm-devices", 3, action="delete-ca").ended(0)
    assert alone.service.states(alone.devices) == [None] * 3
    no = alone.run("--yes", "--confirm-devices", 3).ended(2)
    assert "--confirm-devices is for actions on CAs" in no.stderr


class Mixed(Asked):
    """1,010 devices that are active, 20 inactive ones, five that are not registered, and a duplicate; of two CAs."""

    def fill(self, rows, *, cas):
        self.devices = write_devices(self.list, 1035, cas=2)
        self.service.seed(self.devices[:1010])
        self.service.seed(self.devices[1010:1030], "0")
        with self.list.open("a") as file:
            file.write(",".join(self.devices[0]) + "\n")

    def command(self, *more, **options):
        return super().command(*more, look="auto", **options)


def test_an_undo_on_cas_says_what_it_hits(alone):
    """What an undo refuses is shown before it asks: here it switches a CA off again that was switched on."""
    alone.service.tell("seed", instance=INSTANCE, rows=[("00ca000000", "")], status="0")
    alone.run("--yes", action="activate-ca").ended(0)
    question = "Type the number of certificates that will change (1) to continue: "
    finished = answered(("undo", alone.results), question, b"1\n").ended(0)

    assert "connections with 3 device certificates are refused from then on\n" in finished.stderr
    assert alone.service.ca("00ca000000")["Status"] == "0"


@pytest.fixture
def mixed(tmp_path):
    with emulator() as running:
        yield Mixed(tmp_path, running)


def test_it_looks_then_shows_then_asks(mixed):
    """Above a thousand the number that will change must be typed; nothing is read twice, and nothing left by a no."""
    question = "Type the number of certificates that will change (1010) to continue: "
    refused = asked(mixed, "inactivate-device", question, b"1000\n1002\n").ended(2)
    assert "'1000' was typed, not 1010\n" in refused.stderr
    assert refused.stderr.endswith("not confirmed: '1002' was typed, not 1010\n" + UNCHANGED)
    shown = " ".join(refused.stderr.split())
    for fact in (
        "input devices.csv: 1,036 rows (1 duplicate)".replace("devices.csv", str(mixed.list)),
        "will change 1,010 device certificates",
        "unchanged 20 inactive already: no call is made",
        "unregistered 5 called all the same; NOT safe: such a certificate becomes active at its first connection",
        "calls 1,015 writes; 12 reads so far",
        "CA rows already not registered to change of rows devices",
        "00ca000001 518 10 3 505 50 % 515",
        "all CAs 1,035 20 5 1,010",
    ):
        assert fact in shown
    assert mixed.files == ["devices.csv"]
    assert set(mixed.service.report().operations) == {"ListDeviceCertificateByCaSn"}

    read = mixed.arrivals
    asked(mixed, "inactivate-device", question, b"101\n1,010\n", "--max-errors", "9").ended(1)
    assert outcomes(mixed.results) == {"succeeded": 1010, "unchanged": 20, "not_registered": 5, "duplicate": 1}
    assert mixed.arrivals == read + 12 + 1015
    summary = summary_of(mixed.results)
    assert summary["sessions"][0]["calls"] == 12 + 1015


def test_on_resume_it_asks_for_what_is_left(mixed):
    """What was read and done counts: the number is the number left, and no state is read again."""
    limited = asked(mixed, "inactivate-device", QUESTION, b"y\n", "--limit-rows", "100").ended(75)
    assert "will change   at most 100 device certificates" in limited.stderr
    assert "of 1,010: no more than 100 are called (--limit-rows)" in limited.stderr
    reads = mixed.service.report().operations["ListDeviceCertificateByCaSn"]

    finished = answered(("resume", mixed.results), QUESTION, b"y\n").ended(1)
    assert "will change   910 device certificates\n" in finished.stderr
    assert mixed.service.report().operations["ListDeviceCertificateByCaSn"] == reads


def test_a_late_answer_reads_again(mixed, monkeypatch):
    """States that were read too long before the answer are not believed: they are read again, and it asks again."""
    questions = []

    def answered(question):
        questions.append(question)
        if len(questions) == 1:
            mixed.service.seed(mixed.devices[:8], "0")
            monkeypatch.setattr(read_states, "BELIEVED_S", 0.0)
            time.sleep(0.01)
            return "1010"
        monkeypatch.setattr(read_states, "BELIEVED_S", 900.0)
        return "1002"

    monkeypatch.setattr(confirm, "is_somebody_there", lambda: True)
    monkeypatch.setattr(confirm, "_answer", answered)
    finished = mixed.run().ended(1)

    assert [re.sub(r"\D", "", question) for question in questions] == ["1010", "1002"]
    assert "the answer came too late to believe the states that were read: they are read again" in finished.stderr
    assert outcomes(mixed.results)["unchanged"] == 28


def test_nothing_is_asked_where_nothing_changes(mixed):
    """Where all is in the desired state already there is no question."""
    mixed.service.seed(write_devices(mixed.list, 300), "0")
    with Dialogue(*mixed.command()) as talk:
        finished = talk.end(plain=True).ended(0)
    assert "will change   0 device certificates\n" in finished.stderr
    assert outcomes(mixed.results) == {"unchanged": 300}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_while_it_looks(tmp_path, number, status):
    """A signal before the question ends the command in order; nothing was changed, and no trace is left."""
    with emulator(latency_ms=(300, 400)) as service:
        place = Mixed(tmp_path, service)
        with Dialogue(*place.command("--max-in-flight", "1")) as talk:
            talk.read_until("reading: 1 page")
            talk.child.send_signal(number)
            finished = talk.end(plain=True).ended(status)
        assert "States were read; no calls that change anything were made." in finished.stderr
        assert place.files == ["devices.csv"]


def test_an_undo_asks_for_what_it_calls(mixed):
    """It shows where and how much, and asks for the number that it calls."""
    mixed.run("--yes").ended(1)
    question = "Type the number of certificates that will change (1010) to continue: "
    finished = answered(("undo", mixed.results), question, b"1\n1010\n").ended(0)
    assert "will change   at most 1,010 device certificates" in finished.stderr


def test_nobody_to_ask(place):
    """Without a terminal and without --yes: 2, the plan and what to add; nothing called, nothing left."""
    refused = place.run().ended(2)

    assert "there is no terminal to ask" in refused.stderr
    assert "Add --yes" in refused.stderr
    assert (place.arrivals, place.files, refused.stdout) == (0, ["devices.csv"], "")


def test_no_colour_no_bar(alone):
    """NO_COLOR takes the colours out on a terminal, and without a terminal there are neither colours nor a bar."""
    command = alone.command("--yes", "--confirm-devices", 3, "--limit-rows", "9", action="delete-ca")
    with Dialogue(*command, env={"NO_COLOR": "1"}) as talk:
        coloured = re.findall(r"\x1b\[[0-9;]*m", talk.end().ended(0).stderr)
    assert not [code for code in coloured if re.search(r"3\d|9\d|4\d", code)]

    plain = alone.run("--yes", "--confirm-devices", 0, "--overwrite", action="delete-ca").ended(1)
    assert ESCAPE not in plain.stdout + plain.stderr


def test_json_alone_on_stdout(place):
    """With --json stdout is one JSON object, the same as the summary file; -q leaves nothing on stderr."""
    finished = place.run("--yes", "--json", "-q").ended(0)

    assert finished.stderr == ""
    assert json.loads(finished.stdout) == summary_of(place.results)
    with Dialogue(*place.command("--yes", "--json", "--overwrite")) as talk:
        assert json.loads(talk.end().ended(0).stdout)["outcomes"] == {"succeeded": 3}


def test_plain_lines_without_a_terminal(tmp_path, monkeypatch):
    """Without a terminal a line every few seconds says how far it is, how fast, what came of it, what it waits for."""
    monkeypatch.setattr(live, "LINE_EVERY_S", 1.0)
    with emulator(latency_ms=(10, 20)) as service:
        place = Asked(tmp_path, service, rows=30)
        finished = place.run("--yes", pace=("--rate", "18")).ended(0)

    line = re.search(r"^\d+ of 30 \(\d+%\); .*", finished.stderr, re.MULTILINE)
    assert line, finished.stderr
    assert re.search(r"\d+/s; \d+ succeeded; \d+ s left; limited to 1\d/s", line[0]), line[0]


def test_a_terminal_that_closes(place):
    """A connection that is lost stops a session in order, though nothing can be shown any more."""
    place.fill(300)
    main, far = pty.openpty()
    command = place.command("--yes", pace=("--rate", "50"))
    with start(*command, env={"TERM": "xterm"}, preexec_fn=lambda: os.login_tty(far)) as child:
        os.close(far)
        shown = b""
        while b"succeeded" not in shown:
            shown += os.read(main, 65536)
        os.close(main)
        child.communicate(timeout=PATIENCE_S)

    assert child.returncode == 129
    assert set(outcomes(place.results)) == {"succeeded", "not_attempted"}
    assert summary_of(place.results)["exit_status"] == 129
    here("resume", place.results, "--yes", "-q", *UNHURRIED).ended(0)


def test_nohup(place):
    """Who ignores SIGHUP is not stopped by it."""
    place.fill(60)
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    with start(*place.command("--yes", "-q", pace=("--rate", "60")), **ignoring) as child:
        wait_for(child, lambda: place.arrivals)
        child.send_signal(signal.SIGHUP)
        child.communicate(timeout=PATIENCE_S)

    assert child.returncode == 0
    assert outcomes(place.results) == {"succeeded": 60}


def test_full_stdout(place):
    """Standard output that takes nothing: 73 and the reason, nothing from the interpreter; the results are written."""
    with Path("/dev/full").open("wb") as full:
        refused = bulkcert(*place.command("--yes", "-q"), stdout=full).ended(73)

    assert refused.stderr.startswith("error: cannot write to standard output: No space left on device")
    assert "Exception ignored" not in refused.stderr
    assert outcomes(place.results) == {"succeeded": 3}


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [(("report", "--format", "text"), ""), (("--help",), "1"), (("--version",), ""), (("version", "-v"), "1")],
)
def test_stdout_that_takes_nothing(place, command, unbuffered):
    """Whoever writes to standard output, and however: 73 and why on a full disk, silence (141) if nobody reads."""
    name, *options = command
    env = {"PYTHONUNBUFFERED": unbuffered}
    if name == "report":
        place.run("--yes", "-q").ended(0)
        options = [place.results, *options]
    with Path("/dev/full").open("wb") as full:
        refused = bulkcert(name, *options, stdout=full, env=env).ended(73)
    gone, nobody = os.pipe()
    os.close(gone)
    unread = bulkcert(name, *options, stdout=nobody, env=env).ended(141)
    os.close(nobody)

    assert refused.stderr.startswith("error: cannot write to standard output: No space left on device\n")
    assert unread.stderr == ""
    assert "Exception ignored" not in refused.stderr + unread.stderr


def test_full_stderr(place):
    """A full disk under the log does not end a run."""
    with Path("/dev/full").open("wb") as full:
        bulkcert(*place.command("--yes"), stderr=full).ended(0)
