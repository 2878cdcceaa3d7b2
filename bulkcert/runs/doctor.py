"""A doctor: what a run from here depends on, one check after another; no list is needed, and nothing is changed.

Calls read, through the lanes of a run: what a run would end with is what the check that fails ends with.
"""

import shutil
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import anyio
import msgspec

from bulkcert.engine.lanes import CallResult, Lane, Lanes
from bulkcert.engine.limits import Target
from bulkcert.engine.progress import Progress, Stop
from bulkcert.engine.session import Interruption, Observer, calling
from bulkcert.engine.stats import StatsMaker
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.advice import Remedy
from bulkcert.output.files import cannot_write, reason_of
from bulkcert.runs.options import DoctorOptions, ServiceOptions, carried
from bulkcert.runs.rates import above_documented
from bulkcert.runs.target import refuse, resolve_target
from bulkcert.service.client import Response
from bulkcert.service.codes import CERTIFICATE_REFUSED, CLOCK_REFUSED, INSTANCE_REFUSED, READING_REFUSED, rule_for
from bulkcert.service.credentials import CredentialProvider
from bulkcert.service.operations import OPERATIONS, Operation
from bulkcert.service.signing import Credentials
from bulkcert.service.verdicts import Verdict
from bulkcert.store.database import is_on_network
from bulkcert.store.paths import RunFiles
from bulkcert.words import counted

FIRST = OPERATIONS["ListCaCertificate"]
"""What is called first, and from every source address: it needs no serial."""

READING = [FIRST, *(each for each in OPERATIONS.values() if each.reads and each is not FIRST)]
"""Operations whose permission shows without a change, in an order in which one gives the serials for the next."""

NO_SERIAL = "0"
"""What is asked for where an instance has no certificate: that there is none shows the permission as well."""

CLOCK_WARNS_S = 60.0
"""A clock that is off by more is about to be wrong: the service refuses calls from 15 minutes on."""

LEAST_FREE = 10**9
"""Bytes that a run over a million rows fits into with ease."""

_NOWHERE = "nowhere"


class CheckResult(StrEnum):
    """What a check came to; after a failed one a run would not start, or not get far."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Diagnosis(msgspec.Struct, frozen=True):
    """What one check has found.

    Attributes:
        check: Its name, which stays.
        result: What it came to.
        found: The same in words.
        next: What to do; empty where there is nothing to do.
        exit_status: What a run would end with; 0 unless the check failed.
    """

    check: str
    result: CheckResult
    found: str
    next: str = ""
    exit_status: int = 0


def _warned(check: str, found: str, step: str) -> Diagnosis:
    return Diagnosis(check, CheckResult.WARNING, found, step)


def _failed(check: str, found: str, step: str, status: ExitStatus) -> Diagnosis:
    return Diagnosis(check, CheckResult.FAILED, found, step, int(status))


def _concern(stop: Stop) -> str:
    """Returns the check that what stops every call belongs to."""
    if stop.code in CLOCK_REFUSED:
        return "clock"
    if stop.code in INSTANCE_REFUSED:
        return "instance"
    if stop.status is ExitStatus.DENIED:
        return "credentials"
    return "tls" if stop.code == CERTIFICATE_REFUSED else "endpoint"


def _may(answer: Response) -> bool | None:
    """Returns whether an answer shows that reading is permitted; None where it shows neither."""
    if answer.page is not None or answer.verdict is Verdict.NOT_FOUND:
        return True
    return False if answer.code in READING_REFUSED else None


def _credentials(held: Credentials) -> Diagnosis:
    found = f"access key {held.access_key_id}, from {held.source or 'the default chain'}"
    if held.security_token is None:
        return Diagnosis("credentials", CheckResult.OK, f"{found}; they do not expire")
    if held.is_renewed:
        return Diagnosis("credentials", CheckResult.OK, f"{found}; temporary, renewed before they expire")
    return _warned("credentials", f"{found}; temporary, and nobody knows until when", Remedy.NOT_RENEWED)


def resolve_examination(options: DoctorOptions) -> "Examination":
    """Returns what is to be examined.

    Raises:
        BulkcertError: With all that is wrong with the options at once.
    """
    problems: list[str] = []
    has_place = bool(options.region or options.endpoint)
    endpoint = options.endpoint or f"https://{_NOWHERE}.invalid" * (not has_place)
    given = carried(ServiceOptions, options, instance=options.instance or _NOWHERE, endpoint=endpoint)
    target = resolve_target(given, problems)
    refuse(problems, "doctor")
    return Examination(target, options, is_whole=has_place and bool(options.instance))


class Examination:
    """What calls show of a service, and what is found without.

    Args:
        target: The service, from where and how fast it is called.
        options: As typed.
        is_whole: Whether a service is named; without one there are no calls.
    """

    def __init__(self, target: Target, options: DoctorOptions, *, is_whole: bool) -> None:
        self.target, self.options, self.is_whole = target, options, is_whole
        self.denied: BulkcertError | None = None
        """Why there are no credentials."""
        self.progress = Progress()
        self._by_operation: dict[str, CallResult] = {}
        self._by_address: dict[str | None, CallResult] = {}

    async def make(self, provider: CredentialProvider, watch: Observer, interruption: Interruption) -> None:
        """Makes the calls.

        Args:
            provider: What to sign with; has credentials.
            watch: Shows the progress.
            interruption: Stops the calls from outside.

        Raises:
            BulkcertError: A signal has ended it.
        """
        stats = StatsMaker(self.progress, "verifying", self.target)
        async with calling(self.target, provider, stats, watch, interruption) as lanes:
            async with anyio.create_task_group() as group:
                for address, lane in zip(self.target.addresses, lanes.lanes, strict=True):
                    group.start_soon(self._ask_from, lanes, lane, address)
            await self._ask_all(lanes)
        if (stop := self.progress.stop) is not None and stop.status >= ExitStatus.HUNG_UP:
            raise BulkcertError(stop.status, stop.message, again=True)

    async def _ask_from(self, lanes: Lanes, lane: Lane, address: str | None) -> None:
        result = await lanes.settle(lane, FIRST, self._parameters(FIRST, {}))
        if result is not None:
            self._by_address[address] = result
            if result.answer.is_from_service or FIRST.name not in self._by_operation:
                self._by_operation[FIRST.name] = result

    async def _ask_all(self, lanes: Lanes) -> None:
        """Calls each operation that reads, with the serials of a certificate that is there if there is one."""
        by_address = dict(zip(self.target.addresses, lanes.lanes, strict=True))
        heard = (address for address, result in self._by_address.items() if result.answer.is_from_service)
        lane = by_address[next(heard, self.target.addresses[0])]
        serials = {"Sn": NO_SERIAL, "CaSn": NO_SERIAL, "DeviceSn": NO_SERIAL}
        for operation in READING:
            result = self._by_operation.get(operation.name)
            result = result or await lanes.settle(lane, operation, self._parameters(operation, serials))
            if result is None:
                return
            self._by_operation[operation.name] = result
            for certificate in result.answer.page.certificates if result.answer.page else ():
                found = {"DeviceSn": certificate.device_sn, "CaSn": certificate.ca_sn or certificate.sn}
                serials |= found | {"Sn": found["CaSn"]}

    def _parameters(self, operation: Operation, serials: dict[str, str]) -> dict[str, str]:
        given = serials | {"PageNo": "1", "PageSize": "1"}
        return {"MqttInstanceId": self.target.instance} | {name: given[name] for name in operation.parameters}

    @property
    def permissions(self) -> dict[str, bool | None]:
        """Whether each RAM action that reads is granted; None where no answer says so."""
        results = {each.ram_action: self._by_operation.get(each.name) for each in READING}
        return {action: None if result is None else _may(result.answer) for action, result in results.items()}

    @property
    def clock_ahead_s(self) -> float | None:
        """How far this machine's clock is ahead of the service's, in seconds, to about a second; None if not known."""
        ahead = (result.answer.clock_ahead_s for result in self._by_operation.values())
        return next((seconds for seconds in ahead if seconds is not None), None)

    def diagnoses(self, credentials: Credentials | None, loop: str, *, is_fast: bool) -> Iterator[Diagnosis]:
        """Yields what each check has found; the first that failed is what a run would end with.

        Args:
            credentials: What was signed with; None where there are none.
            loop: What makes the calls.
            is_fast: Whether that is the loop that is meant.
        """
        failure, reached = self._failure(), self._reached()
        if credentials is None:
            denied = self.denied or BulkcertError(ExitStatus.DENIED, "no credentials")
            yield _failed("credentials", denied.message, denied.advice, denied.status)
        else:
            yield failure if failure and failure.check == "credentials" else _credentials(credentials)
        for check, found in (("endpoint", self._endpoint()), ("tls", self._tls()), ("instance", self.target.instance)):
            if failure and failure.check == check:
                yield failure
            elif check in reached and (check != "instance" or True in self.permissions.values()):
                yield Diagnosis(check, CheckResult.OK, found)
            else:
                yield self._skipped(check)
        yield failure if failure and failure.check == "clock" else self._clock()
        yield self._permissions()
        yield self._addresses()
        yield self._limits()
        yield self._disk()
        yield Diagnosis("loop", CheckResult.OK, loop) if is_fast else _warned("loop", loop, Remedy.LOOP_SLOW)

    def _failure(self) -> Diagnosis | None:
        """Returns the check that fails every call; None where calls were answered."""
        if (stop := self.progress.stop) is not None:
            return _failed(_concern(stop), stop.message, stop.advice, stop.status)
        for result in self._by_operation.values():
            if not result.final:
                said = f"{result.answer.code}: {result.answer.message}"
                return _failed("endpoint", said, Remedy.UNANSWERED, ExitStatus.UNAVAILABLE)
        return None

    def _reached(self) -> tuple[str, ...]:
        """Returns which checks the calls have passed, of those that a call meets one after the other."""
        if not self._by_operation:
            return ()
        met = ("endpoint", "tls", "credentials", "clock", "instance")
        failure = self._failure()
        return met[: met.index(failure.check)] if failure else met

    def _skipped(self, check: str) -> Diagnosis:
        if not self.is_whole:
            return Diagnosis(check, CheckResult.SKIPPED, "no instance or no region is given", Remedy.NO_SERVICE)
        return Diagnosis(check, CheckResult.SKIPPED, "no call came so far")

    def _endpoint(self) -> str:
        times = [result.answer.latency_ms for result in self._by_operation.values()]
        return f"{self.target.endpoint} answers{f' in {min(times):.0f} ms' if times else ''}"

    def _tls(self) -> str:
        is_used = self.target.endpoint.scheme == "https"
        return "the certificate is trusted" if is_used else "not used: the endpoint is this machine"

    def _clock(self) -> Diagnosis:
        if (ahead := self.clock_ahead_s) is None:
            return self._skipped("clock")
        if abs(ahead) <= CLOCK_WARNS_S:
            return Diagnosis("clock", CheckResult.OK, f"within {max(2, round(abs(ahead)))} s of the service's")
        found = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the service's"
        return _warned("clock", found, Remedy.CLOCK_OFF)

    def _permissions(self) -> Diagnosis:
        may = self.permissions
        granted, refused = ([action for action in may if may[action] is each] for each in (True, False))
        if not granted and not refused:
            return self._skipped("permissions")
        readable = f"to read: {', '.join(granted)}"
        if not refused:
            return Diagnosis("permissions", CheckResult.OK, readable)
        results = self._by_operation.values()
        code = next(result.answer.code for result in results if result.answer.code in READING_REFUSED)
        rule = rule_for(code)
        step = f"{rule.advice.format(ram=' and '.join(refused))} {Remedy.READING_REFUSED}"
        if granted:
            return _warned("permissions", f"{readable}; refused: {', '.join(refused)}", step)
        return _failed("permissions", f"all reading is refused: {code}", step, rule.exit_status or ExitStatus.DENIED)

    def _addresses(self) -> Diagnosis:
        names = ", ".join(address or "the system's choice" for address in self.target.addresses)
        results = {address or "": result.answer for address, result in self._by_address.items()}
        if not any(answer.is_from_service for answer in results.values()):
            return self._skipped("addresses")
        if silent := {address: answer for address, answer in results.items() if not answer.is_from_service}:
            found = "; ".join(f"{address}: {answer.message}" for address, answer in silent.items())
            return _failed("addresses", found, Remedy.ADDRESS_SILENT, ExitStatus.UNAVAILABLE)
        return Diagnosis("addresses", CheckResult.OK, names)

    def _limits(self) -> Diagnosis:
        options, addresses = self.options, counted(len(self.target.addresses), "address")
        found = f"{options.rate}/s for the account, {options.per_address_rate}/s for an address"
        found = f"{found}: {self.target.rate:.0f}/s from {addresses}"
        if any(above_documented(options.rate, options.per_address_rate)):
            return _warned("limits", found, Remedy.LIMITS_RAISED)
        return Diagnosis("limits", CheckResult.OK, found)

    def _disk(self) -> Diagnosis:
        """Returns whether results and store can be written where a run would write them."""
        files = RunFiles((self.options.results or Path("results.csv")).absolute(), self.options.state_dir)
        store = files.folder.absolute().parent
        free = []
        for folder in (files.results.parent, store):
            try:
                with tempfile.TemporaryFile(dir=folder) as file:  # without a name: nothing is left of it
                    file.write(b"0")
                free.append(shutil.disk_usage(folder).free)
            except OSError as error:
                advice = cannot_write(folder, error).advice
                found = f"{folder} cannot be written: {reason_of(error)}"
                return _failed("disk", found, advice, ExitStatus.CANNOT_WRITE)
        found = f"{store}: {min(free) / 1e9:,.1f} GB free"
        if min(free) < LEAST_FREE:
            return _warned("disk", found, Remedy.DISK_SMALL)
        if is_on_network(store):
            return _warned("disk", f"{found}, on another machine", Remedy.DISK_REMOTE)
        return Diagnosis("disk", CheckResult.OK, found)
