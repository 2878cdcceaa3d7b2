"""One call from its arrival to its answer, as values; the edge only waits, sends or drops (reference, section 1.4)."""

import contextlib
import random
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bulkcert.emulator.faults import REFUSALS, FaultPlan, InjectedFault
from bulkcert.emulator.limits import AccountCap, AddressCap, Arrivals
from bulkcert.emulator.log import ArrivalLog, Entry
from bulkcert.emulator.messages import BAD_GATEWAY, DROPPED, Answer, Refusal, Request, failure, success
from bulkcert.emulator.service import connect, perform
from bulkcert.emulator.settings import Settings
from bulkcert.emulator.state import AccessKey, Registry
from bulkcert.emulator.verify import Nonces, verify
from bulkcert.service.operations import OPERATIONS, VERSION, Operation

_SPOILT: Mapping[str, Answer] = {InjectedFault.HTML_502: BAD_GATEWAY, InjectedFault.DROP_BEFORE: DROPPED}
_READS = frozenset({"GET"})
_CHANGES = frozenset({"GET", "POST"})


@dataclass(slots=True)
class _Course:
    """What one call came to.

    Attributes:
        fault: InjectedFault that it met, or None.
        done: Whether the operation was carried out.
    """

    fault: str | None = None
    done: bool = False


class Gateway:
    """Answers calls, counts and logs them.

    Args:
        settings: How it behaves.
        state: What it knows.
        log: Where each call is noted, or None.
        clock: Unix time in seconds.

    Attributes:
        state: What it knows.
        arrivals: All calls.
        addresses: Calls by source address.
        faults: The plan in force.
        clock_offset_s: Seconds that its clock is ahead of ``clock``.
        operations: Calls by operation, as far as they were heard.
        codes: Answers by ``Code``.
        met: Calls by the fault that they met.
        throttled: Calls over the cap of an account.
        changes: Operations carried out that change state, answered or not.
        connecting: Devices (instance, CA and device serial) by the number of the call with which they connect.
        connected: How many of them were registered by that.
    """

    def __init__(
        self, settings: Settings, state: Registry, log: ArrivalLog | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self.state = state
        self._log = log
        self._clock = clock
        self._account_cap = AccountCap(settings.account_cap)
        self._nonces = Nonces()
        self._latencies = random.Random(settings.fault_seed)
        self.addresses = AddressCap(settings.address_cap, settings.block_seconds)
        self.arrivals = Arrivals()
        self.faults = FaultPlan(settings.faults, settings.fault_seed)
        self.clock_offset_s = settings.clock_offset_s
        self.operations: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.throttled = 0
        self.changes = 0
        self.connecting: defaultdict[int, list[tuple[str, str, str]]] = defaultdict(list)
        self.connected = 0
        # Arrivals are timed on the monotonic clock, and logged and reported as Unix time.
        self._epoch = clock() - time.monotonic()

    def service_time(self) -> float:
        """Returns what the emulator takes for the time, as Unix time in seconds."""
        return self._clock() + self.clock_offset_s

    def unix_time(self, at: float) -> float:
        """Returns a time of the monotonic clock as Unix time, both in seconds."""
        return self._epoch + at

    def answer(self, request: Request) -> tuple[Answer, float]:
        """Returns the answer to one request and the seconds to wait before it is sent."""
        parameters = request.parameters()
        course = _Course()
        self.arrivals.add(request.at)
        if self.connecting:
            self._connect()
        if self.addresses.acquire(request.address, request.at):
            answer = self._heard(request, parameters, course)
        else:
            answer = DROPPED
        self._note(request, parameters, course, answer)
        return answer, self._delay_s(course)

    def _connect(self) -> None:
        for instance, ca_sn, device_sn in self.connecting.pop(self.arrivals.count, ()):
            # Where the database cannot be written, the device is turned away, and the call is not to blame.
            with contextlib.suppress(sqlite3.Error):
                _, registered, _ = connect(self.state, instance, ca_sn, device_sn, None)
                self.connected += registered

    def _heard(self, request: Request, parameters: Mapping[str, str], course: _Course) -> Answer:
        try:
            operation = _operation(request)
            self.operations[operation.name] += 1
            key = verify(request, parameters, self.state, self._nonces, self.service_time())
            self._authorize(key, operation, request.at)
            course.fault = self.faults.draw(operation.name)
            return self._spoilt(course.fault) or self._performed(operation, key, parameters, course)
        except Refusal as refusal:
            throttled = refusal.code == "Throttling.User"
            retry_after_ms = self._settings.retry_after_ms if throttled else None
            self.codes[refusal.code] += 1
            return failure(refusal, request.headers.get("host", ""), self._settings.status_table, retry_after_ms)

    def _authorize(self, key: AccessKey, operation: Operation, at: float) -> None:
        if not self._account_cap.acquire(key.account, operation.name, at):
            self.throttled += 1
            raise Refusal("Throttling.User")

    def _spoilt(self, fault: str | None) -> Answer | None:
        """Returns the answer of a fault that comes before the work, or None."""
        if fault is None:
            return None
        self.met[fault] += 1
        if code := REFUSALS.get(fault):
            raise Refusal(code)
        return _SPOILT.get(fault)

    def _performed(
        self, operation: Operation, key: AccessKey, parameters: Mapping[str, str], course: _Course
    ) -> Answer:
        try:
            fields = perform(self.state, key, operation, parameters, self._settings.list_total)
        except sqlite3.Error as error:
            raise Refusal("InternalError") from error
        course.done = True
        if operation.method == "POST":
            self.changes += 1
        if course.fault == InjectedFault.DROP_AFTER:
            return DROPPED
        return success({} if course.fault == InjectedFault.NO_ECHO else fields)

    def _note(self, request: Request, parameters: Mapping[str, str], course: _Course, answer: Answer) -> None:
        if self._log is None:
            return
        entry = Entry(
            at=self.unix_time(request.at),
            address=request.address,
            operation=request.headers.get("x-acs-action", ""),
            ca_sn=parameters.get("CaSn", parameters.get("Sn")),
            device_sn=parameters.get("DeviceSn"),
            status=answer.status,
            code=answer.code,
            fault=course.fault,
            done=course.done,
        )
        self._log.add(entry)

    def _delay_s(self, course: _Course) -> float:
        slow = self._settings.slow_seconds if course.fault == InjectedFault.SLOW else 0.0
        return slow + self._latencies.uniform(*self._settings.latency_ms) / 1000


def _operation(request: Request) -> Operation:
    """Returns the operation that a request asks for.

    Raises:
        Refusal: There is none of this name, version, path or method.
    """
    if request.path != "/":
        raise Refusal("InvalidApi.NotFound")
    operation = OPERATIONS.get(request.headers.get("x-acs-action", ""))
    if operation is None:
        raise Refusal("InvalidAction.NotFound")
    if request.headers.get("x-acs-version") != VERSION:
        raise Refusal("InvalidVersion")
    if request.method not in (_READS if operation.method == "GET" else _CHANGES):
        raise Refusal("UnsupportedHTTPMethod")
    return operation
