"""Runs against a service that answers as it likes: python tests/hostile_answers.py [ANSWERS] [SEED].

Its own service, on a real socket, knows every certificate and keeps what it did to each and what it answered. Trial by
trial it is asked for one of the five actions, by one of the two status tables, then for the undo; some calls it refuses
in a way that stops the session, and the run is resumed. In the end every outcome is compared with what was done.

Of a change it may say anything, done or not, whole or broken, early, late, twice, or nothing, but for what no client
could see through:

- a plain success (200, the serial, no code) for what is not so;
- a second answer that comes while the next call waits for its own, unless it bears one serial;
- a code that refuses the row, or throttles, for what it has just done;
- "not found" for what is there, as long as every answer to this row in this session was clear, or where it is to be
  deleted and the service does not let it be read from then on.

What it does it does when the call arrives, not later. Where it shows a certificate, that is the truth, and so is "not
found" to a reading call; everything else that it says to one is as above. Nothing else is assumed.

Three waits are shortened, so that a million answers take minutes: that between attempts, that in an outage, and the
longest that ``x-acs-retry-after`` can ask for. What they are is tested elsewhere.
"""

import asyncio
import gzip
import json
import multiprocessing
import random
import socket
import sqlite3
import struct
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from unittest.mock import patch
from urllib.parse import parse_qsl

import uvloop
from program import INSTANCE, UNHURRIED, here, read_results

from bulkcert.engine import lanes
from bulkcert.service import classification
from bulkcert.service.actions import ACTIONS
from bulkcert.service.codes import RULES, Verdict, rule_for

CODES = {verdict: [r.code.replace("*", "X") for r in RULES if r.verdict is verdict] for verdict in Verdict}
CODES[Verdict.UNRECOGNIZED] = ["Strange", "client.Timeout", "\x1b[31mRed", "x" * 5000, "成功", "succeeded"]
ENDINGS = {0, 1, 3, 69, 77, 78}
"""What a session may exit with here."""

DATES = [b"Thu, 01 Jan 1970 00:00:00 GMT", b"Fri, 31 Dec 9999 23:59:59 GMT", b"yesterday", b"\xff\xfe", b""]
WAITS = [b"0", b"-1", b"1", b"1500", b"9" * 400, b"1e9", b"soon", "٣".encode(), b""]


def written(status, body, *headers):
    """Returns an answer as it goes over the wire."""
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n%b" % (status, lines, len(body), body)


def said(chance, status, fields):
    """Returns a JSON answer, with headers of rubbish at times."""
    extra = [(b"date", chance.choice(DATES))] if chance.random() < 0.1 else []
    return written(status, json.dumps({"RequestId": "R", **fields}).encode(), *extra)


def coded(chance, table, verdict, **fields):
    """Returns an answer with a code of a verdict; its status is that of a table, or any."""
    code = chance.choice(CODES[verdict])
    status = rule_for(code).http_status(table)
    if not 200 <= status < 600 or chance.random() < 0.1:
        status = chance.choice([200, 201, 400, 403, 404, 417, 429, 500, 503])
    spelt = {"code": code, "message": "m", "requestId": "r"} if chance.random() < 0.2 else {"Code": code}
    return said(chance, status, spelt | fields)


# What leaves it open whether a change was made. Each is given its chance, the status table, the field and the serial.

OPEN = {
    "busy": lambda c, table, f, key: coded(c, table, Verdict.RETRY),
    "no code": lambda c, table, f, key: said(c, c.choice([400, 404, 429, 500, 503]), {}),
    "echo and code": lambda c, table, f, key: coded(c, table, c.choice([*_CODED]), **{f: key}),
    "no echo": lambda c, table, f, key: said(c, 200, {}),
    "other echo": lambda c, table, f, key: said(c, 200, {f: c.choice([key + "0", key[1:], "", key.upper() + " "])}),
    "odd echo": lambda c, table, f, key: said(c, 200, {f: c.choice([7, True, [key], {"x": key}, 1e300])}),
    "odd code": lambda c, table, f, key: said(c, 500, {"Code": c.choice([7, None, False, [], {}]), f: key}),
    "nonce": lambda c, table, f, key: coded(c, table, Verdict.SIGN_AGAIN),
    "page": lambda c, table, f, key: written(
        c.choice([200, 404, 429, 500, 502]), b"<html>?</html>", (b"content-type", b"text/html")
    ),
    "empty": lambda c, table, f, key: written(c.choice([200, 204, 302, 304, 429, 500]), b""),
    "wait": lambda c, table, f, key: written(
        c.choice([200, 500]), b'{"Code":"InternalError"}', (b"x-acs-retry-after", c.choice(WAITS))
    ),
    "deep": lambda c, table, f, key: written(200, b'{"DeviceSn":' + b"[" * 3000),
    "not UTF-8": lambda c, table, f, key: written(200, b'{"DeviceSn":"\xff","Sn":"\xff"}'),
}
_CODED = (Verdict.FAILED, Verdict.NOT_FOUND, Verdict.RETRY, Verdict.UNRECOGNIZED)

CLOSE, RESET, HANG = "close", "reset", "hang"

# What breaks an answer, so that it never arrives as a whole. Each is given its chance, and the answer.

BROKEN = {
    "nothing, closed": lambda c, text: [CLOSE],
    "nothing, reset": lambda c, text: [RESET],
    "nothing at all": lambda c, text: [HANG],
    "part, closed": lambda c, text: [text[: c.randrange(1, len(text))], CLOSE],
    "part, reset": lambda c, text: [text[: c.randrange(1, len(text))], RESET],
    "part, nothing": lambda c, text: [text[: c.randrange(1, len(text))], HANG],
    "too long a length": lambda c, text: [_relength(text, +9), CLOSE],
    "too short a length": lambda c, text: [_relength(text, -1)],
    "odd length": lambda c, text: [text.replace(b"content-length: ", c.choice([b"content-length: -", _NO_LENGTH]))],
    "chunks of rubbish": lambda c, text: [_chunked(text, c.choice([b"zz\r\n", b"-1\r\n", b"fffffffffffffffff\r\n"]))],
    "chunks without end": lambda c, text: [_chunked(text, b""), c.choice([CLOSE, RESET, HANG])],
    "compressed": lambda c, text: [_compressed(text)],
    "rubbish": lambda c, text: [c.randbytes(c.randrange(1, 300)), c.choice([CLOSE, HANG])],
    "other protocol": lambda c, text: [c.choice([b"PRI * HTTP/2.0\r\n\r\n", b"220 mail\r\n", b"\x16\x03\x01"]), CLOSE],
    "upgrade": lambda c, text: [b"HTTP/1.1 101 X\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n" + text],
    "endless head": lambda c, text: [b"HTTP/1.1 200 X\r\n" + b"x: y\r\n" * 12_000, HANG],
    "only interim": lambda c, text: [b"HTTP/1.1 100 Continue\r\n\r\n" * 3, c.choice([CLOSE, HANG])],
}
_NO_LENGTH = b"content-length: 1, "

# What carries a whole answer, oddly: only the truth goes so. The numbers are pauses, in seconds.

WHOLE = {
    "at once": lambda c, text: [text],
    "in pieces": lambda c, text: [text[:9], 0.001, text[9:40], 0.002, text[40:]],
    "slow": lambda c, text: [text[:1], c.choice([0.01, 0.05, 0.2]), text[1:]],
    "after interim answers": lambda c, text: [b"HTTP/1.1 103 X\r\nlink: x\r\n\r\n" * 2 + text],
    "to the end of the line": lambda c, text: [b"HTTP/1.0 200 X\r\n\r\n" + _body(text), CLOSE],
    "in chunks": lambda c, text: [_chunked(text, b"0\r\n\r\n")],
    "and closed": lambda c, text: [text.replace(b"\r\n", b"\r\nconnection: close\r\n", 1), CLOSE],
    "and reset": lambda c, text: [text, 0.001, RESET],
    "and rubbish": lambda c, text: [text + c.randbytes(20)],
    "and one to nobody": lambda c, text: [text + said(c, 200, {"DeviceSn": "1", "Sn": "1"})],
    "and one more, late": lambda c, text: [text, *([c.choice([0, 0.001, 0.01]), text] if _has_serial(text) else [])],
}


def _has_serial(text):
    return b'Sn": "' in text and b'"Total"' not in text


def _body(text):
    return text.partition(b"\r\n\r\n")[2]


def _relength(text, more):
    return b"HTTP/1.1 200 X\r\ncontent-length: %d\r\n\r\n%b" % (max(0, len(_body(text)) + more), _body(text))


def _chunked(text, end):
    return b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n%b" % (len(_body(text)), _body(text), end)


def _compressed(text):
    return written(200, gzip.compress(_body(text)), (b"content-encoding", b"gzip"))


class Service:
    """The service: what there is, what it did, and what it said.

    Attributes:
        states: The status of each certificate by its serial; None if there is none.
        history: What was done and said, by serial: operation, done or not, kind of answer.
        settled: Rows that were known done when the session began.
        breaches: Calls that were made for such rows.
        readable: What is to be deleted, is there, and was said not to be found: reading it shows the truth.
        answers: Answers of all trials.
        badness: How many answers in one are hostile, for changing and for reading calls.
    """

    def __init__(self):
        self.answers, self.kinds = 0, Counter()

    def begin(self, action, states, chance, table):
        """Begins a trial with an action on certificates."""
        self.by_device, self.states, self.chance, self.table = action.by_device, dict(states), chance, table
        self.is_shy = action.deletes
        self.history, self.breaches, self.readable = defaultdict(list), [], set()
        self.session((0.0, 0.0))

    def session(self, badness, stops=0.0, settled=frozenset()):
        """Begins a session: what was doubtful in another is no longer."""
        self.badness, self.stops, self.doubtful, self.settled = badness, stops, set(), settled
        self.has_changed = False

    @property
    def is_hostile(self):
        """Whether anything but the truth is said: before a deletion everything has to be read."""
        return self.badness[0] > 0 and (self.has_changed or not self.is_shy)

    def answer(self, name, query):
        """Returns how one call is answered: bytes, pauses in seconds, and ends."""
        self.answers += 1
        if name.startswith("List"):
            return self._read(self._page(name, query), query)
        key = query["DeviceSn" if self.by_device else "Sn"]
        if name.startswith("Get"):
            return self._read(self._shown(key, query), query)
        return self._change(name, key)

    # Reading calls.

    def _page(self, name, query):
        shown = name == "ListDeviceCertificateByCaSn"
        first = (int(query["PageNo"]) - 1) * int(query["PageSize"])
        there = [key for key, status in self.states.items() if status is not None] if shown == self.by_device else []
        if first == 0 or not hasattr(self, "_listed"):
            self._listed = there
        page = there[first : first + int(query["PageSize"])]
        names = {"DeviceSn": 0, "CaSn": query.get("CaSn", "")} if shown else {"Sn": 0}
        field = "DeviceCertificateVOS" if shown else "CaCertificateVOS"
        found = [names | {next(iter(names)): key, "Status": self.states[key]} for key in page]
        return said(self.chance, 200, {"Data": {"Total": len(there), field: found}})

    def _shown(self, key, query):
        if (status := self.states.get(key)) is None or query.get("CaSn", "ca") != "ca":
            return self._not_found()
        status = int(status) if self.chance.random() < 0.1 else status
        return said(self.chance, 200, {"Data": {"DeviceSn": key, "Sn": key, **query, "Status": status}})

    def _read(self, truth, query):
        c, key = self.chance, query.get("DeviceSn", query.get("Sn", "?"))
        if not self.is_hostile or not self.badness[1] or key in self.readable:
            return [truth]
        if c.random() >= self.badness[1]:
            return c.choice([*WHOLE.values()])(c, truth)
        if c.random() < 0.2:
            return c.choice([*BROKEN.values()])(c, truth)
        shown = {"DeviceSn": key, "Sn": key, "Status": c.choice(["2", 7, "", None, "active"])}
        verdicts = [Verdict.RETRY, Verdict.THROTTLED, Verdict.SIGN_AGAIN]
        told = [OPEN[kind](c, self.table, "Data", key) for kind in ("busy", "no code", "page", "empty", "wait", "deep")]
        if "PageNo" not in query:
            odd = [{**shown, "DeviceSn": "1", "Sn": "1"}, [], None, {}, *([shown] if b'"Data"' in truth else [])]
            told += [said(c, 200, {"Data": c.choice(odd)})] * 3
            verdicts += [Verdict.FAILED, Verdict.UNRECOGNIZED]
        return [c.choice([*told, *(coded(c, self.table, verdict) for verdict in verdicts)])]

    # Changing calls.

    def _change(self, name, key):
        c, status, self.has_changed = self.chance, self.states.get(key), True
        if key in self.settled:
            self.breaches.append((key, f"{name} though it was known done"))
        desired = {"A": "1", "I": "0", "D": None}[name[0]]
        kind = self._kind(key, status)
        done = status is not None and (kind == "truth" or (kind in ("open", "broken") and c.random() < 0.5))
        if done:
            self.states[key] = desired
        truth = self._truth(key, done=done)
        match kind:
            case "truth":
                kind = c.choice([*WHOLE]) if self.badness[0] else "at once"
                steps = WHOLE[kind](c, truth)
                self.doubtful.add(key)  # it need not arrive in time
            case "open":
                kind = c.choice([*OPEN])
                steps = [OPEN[kind](c, self.table, self._field(), key)]
                self.doubtful.add(key)
            case "broken":
                kind = c.choice([*BROKEN])
                steps = BROKEN[kind](c, self._truth(key, done=True))
                self.doubtful.add(key)
            case "not found":
                steps = [self._not_found()]
                if self.is_shy and status is not None:
                    self.readable.add(key)
            case _:
                steps = [coded(c, self.table, kind)]
        self.kinds[str(kind)] += 1
        self.history[key].append((name, done, str(kind)))
        return steps

    def _kind(self, key, status):
        c = self.chance
        if c.random() < self.stops:
            return Verdict.STOP
        if c.random() >= self.badness[0]:
            return "truth"
        kinds = ["open"] * 4 + ["broken"] * 4 + [Verdict.FAILED, Verdict.UNRECOGNIZED, Verdict.THROTTLED]
        if key in self.doubtful or status is None:
            kinds += ["not found"] * 4
        return c.choice(kinds)

    def _field(self):
        return "DeviceSn" if self.by_device else "Sn"

    def _not_found(self):
        code = "FindDeviceBySnError" if self.by_device else "FindCaBySnError"
        return said(self.chance, rule_for(code).http_status(self.table), {"Code": code, "Message": "m"})

    def _truth(self, key, *, done):
        return said(self.chance, 200, {self._field(): key}) if done else self._not_found()


class Line(asyncio.Protocol):
    """One connection to the service."""

    def __init__(self, service):
        self.service, self.heard, self.is_deaf = service, b"", False

    def connection_made(self, transport):
        self.transport, self.loop = transport, asyncio.get_running_loop()
        if self.service.is_hostile and self.service.chance.random() < 0.01:
            c = self.service.chance
            self._go(c.choice([[CLOSE], [RESET], [said(c, 200, {"DeviceSn": "1", "Sn": "1"})], [0.002, RESET]]))

    def data_received(self, data):
        self.heard += data
        while b"\r\n\r\n" in self.heard and not self.is_deaf:
            head, _, self.heard = self.heard.partition(b"\r\n\r\n")
            target, *lines = head.decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            query = dict(parse_qsl(target.split(" ")[1].partition("?")[2], keep_blank_values=True))
            self._go(self.service.answer(headers["x-acs-action"], query))

    def _go(self, steps):
        for number, step in enumerate(steps):
            if self.transport.is_closing():
                return
            match step:
                case bytes():
                    self.transport.write(step)
                case "close":
                    self.transport.close()
                case "reset":
                    raw = self.transport.get_extra_info("socket")
                    with suppress(OSError):
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.transport.abort()
                case "hang":
                    self.is_deaf = True
                case _:
                    self.loop.call_later(step, self._go, steps[number + 1 :])
                    return


@contextmanager
def serving(service):
    """Serves on a port of this machine, from a thread of its own; yields the URL."""
    loop = uvloop.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: Line(service), "127.0.0.1", 0, backlog=1000))
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()


@contextmanager
def hurried():
    """Shortens three waits."""
    with ExitStack() as stack:
        wait = lanes.backoff_s
        stack.enter_context(patch.object(lanes, "backoff_s", lambda *given: wait(*given) / 50))
        stack.enter_context(patch.object(lanes, "PAUSE_S", 0.02))
        stack.enter_context(patch.object(classification, "MOST_RETRY_AFTER_S", 0.02))
        yield


@contextmanager
def caller():
    """Yields what runs a command, as ``here`` does, in a process of its own, so that the service has one, too."""
    context, patched = multiprocessing.get_context("fork"), ExitStack()
    with ProcessPoolExecutor(1, context, patched.enter_context, (hurried(),)) as pool:
        pool.submit(int).result()  # it is forked before any thread is there
        yield lambda *arguments, cwd: pool.submit(here, *arguments, cwd=cwd).result()


class Trial:
    """One list, one action, and all that is asked of the service for it."""

    def __init__(self, service, url, call, directory, *, number, seed, rows, timeout_s):
        self.service, self.url, self.call, self.directory = service, url, call, directory
        self.timeout_s, self.chance = timeout_s, (chance := random.Random(seed))
        self.action = [*ACTIONS.values()][number % len(ACTIONS)]
        self.table = ["old", "new"][number // len(ACTIONS) % 2]
        self.keys = [f"{number:07d}a" for number in range(rows)]
        before = "1" if self.action.deletes else str(int(self.action.before == "active"))
        missing = 0.0 if self.action.deletes and chance.random() < 0.5 else 0.03
        self.before = {key: None if chance.random() < missing else before for key in self.keys}
        self.badness = chance.choice([(0.1, 0.1), (0.4, 0.3), (0.4, 0.05), (0.8, 0.5), (0.8, 0.02)])
        self.outcomes, self.contradictions, self.notes = Counter(), [], []
        service.begin(self.action, self.before, chance, self.table)
        ca = ",ca" if self.action.by_device else ""
        header = "DeviceSn,CaSn" if ca else "CaSn"
        (directory / "d.csv").write_text("\n".join([header, *(f"{key}{ca}" for key in self.keys), ""]))

    def go(self):
        """Does all of it."""
        chance, patient = self.chance, (*UNHURRIED, "--max-errors", "100%", "--quiet", "--timeout", "30")
        fast = ("--max-in-flight", str(chance.choice([8, 64, 256])), "--attempts", str(chance.choice([1, 2, 4])))
        fast += ("--timeout", str(self.timeout_s), "--quiet", *UNHURRIED)
        limits = (*fast, "--max-errors", "100%")
        where = ("--endpoint", self.url, "--instance", INSTANCE, "--yes", "-o", "r.csv")
        reading = "never" if self.action.by_device and chance.random() < 0.7 else "auto"
        run = ("run", self.action.name, "d.csv", *where, *limits, "--preflight", reading)
        resume = ("resume", "r.csv", "--yes", *limits)
        if self.action.deletes:
            run, resume = (*run, "--confirm-devices", "0"), (*resume, "--confirm-devices", "0")
        for _ in range(9):
            # What nobody answers does not begin.
            if not self._rows():
                self._session("run", *run, stops=chance.choice([0, 0, 3 / len(self.keys)]))
            elif not {"not_attempted"} & set(self._rows().values()):
                break
            else:
                self._session("resume", *resume)
        if not self._rows():
            return
        self._session("retry", *resume, "--retry", "failed,unknown,not_registered")
        self._session("verify", "verify", "r.csv", *fast)
        if self.action.inverse:
            self._session("undo", "undo", "r.csv", "--include-unknown", "--yes", *limits)
            self._session("honest undo", "undo", "r.csv", "--include-unknown", "--yes", *patient, honest=True)

    def _rows(self, column="outcome"):
        if not (self.directory / "r.csv").exists():
            return {}
        rows = read_results(self.directory / "r.csv")
        return {row["CaSn"] if not self.action.by_device else row["DeviceSn"]: row.get(column, "") for row in rows}

    def _session(self, stage, *command, stops=0.0, honest=False):
        known = {"undone"} if stage.endswith("undo") else {"succeeded", "unchanged"}
        settled = {key for key, outcome in self._rows().items() if outcome in known}
        self.service.session((0.0, 0.0) if honest else self.badness, stops, settled)
        ended = self.call(*command, cwd=self.directory)
        if ended.status not in ENDINGS or "Traceback" in ended.stderr:
            self.contradictions.append((stage, f"exit status {ended.status}: {ended.stderr[-600:]}"))
        if ended.status == 0 and any(self.service.states[key] != self._wanted(stage, key) for key in self.keys):
            self.contradictions.append((stage, "exit status 0"))
        if ended.status not in (0, 1):
            self.notes.append(f"{stage} {ended.status} {ended.stderr.strip().splitlines()[-2:]}")
        self._judge(stage)
        if stage == "verify":
            names = {"0": "inactive", "1": "active", None: "not_registered"}
            for key, read in self._rows("verified_status").items():
                if read not in ("", names[self.service.states[key]]):
                    self.contradictions.append((stage, key, f"read back {read}, but is {self.service.states[key]}"))

    def _wanted(self, stage, key):
        """Returns the state of a row that goes with an exit status of 0."""
        return self.before[key] if stage.endswith("undo") else self._desired

    def _judge(self, stage):
        """Compares every outcome with what was done."""
        rows, service, desired = self._rows(), self.service, self._desired
        self.contradictions += [(stage, *breach) for breach in service.breaches]
        service.breaches.clear()
        if not rows:
            return
        with sqlite3.connect(self.directory / "r.csv.run" / "store.sqlite") as db:
            claimed = {row for (row,) in db.execute("SELECT row FROM claim")}
            maybe = claimed | {row for (row,) in db.execute("SELECT row FROM certificate WHERE changed")}
        is_undo = stage.endswith("undo")
        for number, key in enumerate(self.keys, 1):
            outcome, state, before = rows[key], service.states[key], self.before[key]
            is_right = {
                "succeeded": state == desired or (is_undo and number in claimed),  # shown as maybe undone
                "unchanged": state == desired and key not in service.history,
                "failed": state == before,
                "not_registered": state is None and not (self.action.deletes and before is not None),
                "unknown": True,
                "not_attempted": state == before,
                "undone": state == before,
            }[outcome]
            is_kept = state == before or number in maybe or is_undo
            is_restored = stage != "honest undo" or state == before
            if not (is_right and is_kept and is_restored):
                about = f"{outcome}, but {before} became {state}, in store {number in maybe}; {service.history[key]}"
                self.contradictions.append((stage, key, about))
            if stage == "undo" or not is_undo:
                self.outcomes[self.action.name, stage, outcome] += 1

    @property
    def _desired(self):
        return {"active": "1", "inactive": "0", "deleted": None}[self.action.desired]


def torment(seed, rows, call=here, numbers=None, timeout_s=0.4):
    """Does trials with these numbers; yields after each the service, all outcomes and contradictions, and the trial."""
    service, outcomes, found = Service(), Counter(), []
    with serving(service) as url:
        for number in numbers or count():
            with tempfile.TemporaryDirectory() as directory:
                how = {"number": number, "seed": seed * 1_000_003 + number, "rows": rows, "timeout_s": timeout_s}
                trial = Trial(service, url, call, Path(directory), **how)
                trial.go()
            outcomes += trial.outcomes
            found += [(seed, number, trial.action.name, trial.table, *each) for each in trial.contradictions]
            for each in trial.contradictions[:5]:
                print("CONTRADICTION", seed, number, trial.action.name, trial.table, *each, flush=True)
            yield service, outcomes, found, trial


def main():
    answers, seed = (*map(int, sys.argv[1:]), *(1_000_000, random.randrange(2**20))[len(sys.argv) - 1 :])
    print(f"{answers:,} answers, seed {seed}", flush=True)
    began = time.monotonic()
    with caller() as call:
        for each in torment(seed, 2000, call):
            service, outcomes, found, trial = each
            about = f"{trial.action.name}, {trial.table} table, hostile {trial.badness}"
            print(f"{time.monotonic() - began:6.0f} s {service.answers:9,} {about} {trial.notes}", flush=True)
            if service.answers >= answers:
                break
    print(f"{service.answers:,} answers, {len(found)} contradictions, {time.monotonic() - began:.0f} s")
    for key, rows in sorted(outcomes.items()):
        print(f"{rows:9,} {', '.join(key)}")
    for kind, given in sorted(service.kinds.items()):
        print(f"{given:9,} answers: {kind}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
