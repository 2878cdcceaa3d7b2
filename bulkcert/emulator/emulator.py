"""The service's double: one call from its arrival to its answer, as values (reference, section 1.4)."""

import random
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from bulkcert.emulator.faults import REFUSALS, FaultPlan, InjectedFault
from bulkcert.emulator.limits import AccountCap, AddressCap, AddressReport, Arrivals, Report
from bulkcert.emulator.messages import BAD_GATEWAY, DROPPED, Answer, Refusal, Request, failure, success
from bulkcert.emulator.operations import perform
from bulkcert.emulator.registry import Registry, SeededCertificate
from bulkcert.emulator.settings import CREDENTIALS, Settings
from bulkcert.emulator.verify import AccessKey, Nonces, verify
from bulkcert.service.actions import OPERATIONS, VERSION, Operation

_INSTEAD: Mapping[str | None, Answer] = {InjectedFault.HTML_502: BAD_GATEWAY, InjectedFault.DROP_BEFORE: DROPPED}


class Emulator:
    """Answers calls and counts them.

    Args:
        settings: How it behaves.
        clock: Unix time in seconds.

    Attributes:
        registry: What it knows of certificates.
        keys: The access keys that it accepts, by id.
        faults: The plan in force.
        clock_offset_s: Seconds that its clock is ahead of ``clock``.
        changes: Operations carried out that change state, answered or not.

    Raises:
        BulkcertError: The database cannot be used, or a setting is wrong.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        settings.check()
        self.faults = FaultPlan(settings.shares(), settings.fault_seed)
        self.registry = Registry(settings.database)
        for instance in settings.instances:
            self.registry.put_instance(instance)
        key = AccessKey(CREDENTIALS.access_key_id, CREDENTIALS.access_key_secret)
        self.keys = {key.id: key}
        self.clock_offset_s = 0.0
        self.changes = 0
        self._settings, self._clock = settings, clock
        # Arrivals are timed on the monotonic clock, and reported as Unix time.
        self._epoch = clock() - time.monotonic()
        self._latencies = random.Random(settings.fault_seed)
        self._nonces = Nonces()
        self._arrivals = Arrivals()
        self._account_cap = AccountCap(settings.account_cap)
        self._addresses: defaultdict[str, AddressCap] = defaultdict(
            lambda: AddressCap(settings.address_cap, settings.block_seconds)
        )
        # Devices (instance, CA and device serial) by the number of the call with which they connect.
        self._connecting: defaultdict[int, list[tuple[str, str, str]]] = defaultdict(list)
        self._connected = self._throttled = 0
        self._codes, self._operations, self._met = Counter[str](), Counter[str](), Counter[str]()

    def seed(self, instance: str, rows: Iterable[SeededCertificate]) -> None:
        """Adds certificates, and remembers those that connect later."""

        def registered() -> Iterator[SeededCertificate]:
            for row in rows:
                if row.connects_at is not None:
                    at = row.instance or instance
                    self._connecting[row.connects_at].append((at, row.ca_sn, row.device_sn))
                yield row

        self.registry.fill(instance, registered())

    def now(self) -> float:
        """Returns what it takes for the time, as Unix time in seconds."""
        return self._clock() + self.clock_offset_s

    def answer(self, request: Request) -> tuple[Answer, float]:
        """Returns the answer to one request and the seconds to wait before it is sent."""
        delay_s = self._latencies.uniform(*self._settings.latency_ms) / 1000
        self._arrivals.add(request.at)
        if not self._addresses[request.address].acquire(request.at):
            return DROPPED, delay_s
        try:
            for device in self._connecting.pop(self._arrivals.total, ()):
                self._connected += self.registry.connect(*device)
            answer, fault = self._heard(request)
            return answer, delay_s + (self._settings.slow_seconds if fault == InjectedFault.SLOW else 0)
        except Refusal as error:
            refusal = error
        except sqlite3.Error:
            refusal = Refusal("InternalError")
        self._codes[refusal.code] += 1
        table, retry_after_ms = self._settings.status_table, self._settings.retry_after_ms
        return failure(refusal, request.headers.get("host", ""), table, retry_after_ms), delay_s

    def _heard(self, request: Request) -> tuple[Answer, str | None]:
        """Returns the answer to a call that is not blocked, and the fault that it met."""
        operation, parameters = _operation(request), request.parameters()
        self._operations[operation.name] += 1
        key = verify(request, parameters, self.keys, self._nonces, self.now())
        if not self._account_cap.acquire(key.account, operation.name, request.at):
            self._throttled += 1
            raise Refusal("Throttling.User")
        fault = self.faults.draw(operation.name)
        if fault is not None:
            self._met[fault] += 1
            if code := REFUSALS.get(fault):
                raise Refusal(code)
            if fault in _INSTEAD:
                return _INSTEAD[fault], fault
        fields = perform(self.registry, key, operation, parameters, self._settings.list_total)
        self.changes += operation.method == "POST"
        if fault == InjectedFault.DROP_AFTER:
            return DROPPED, fault
        return success({} if fault == InjectedFault.NO_ECHO else fields), fault

    def report(self) -> Report:
        """Returns what was counted so far."""
        arrivals = self._arrivals
        addresses = {
            name: AddressReport(cap.total, cap.peak_window, cap.blocks) for name, cap in self._addresses.items()
        }
        first_at, last_at = (None if at is None else self._epoch + at for at in (arrivals.first_at, arrivals.last_at))
        return Report(
            arrivals=arrivals.total,
            first_at=first_at,
            last_at=last_at,
            rate=arrivals.rate(),
            peak_window=arrivals.peak_window,
            addresses=addresses,
            throttled=self._throttled,
            blocks=sum(address.blocks for address in addresses.values()),
            codes=dict(self._codes),
            changes=self.changes,
            operations=dict(self._operations),
            faults=dict(self._met),
            connected=self._connected,
        )


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
    if request.method not in ("GET", operation.method):
        raise Refusal("UnsupportedHTTPMethod")
    return operation
