"""A doctor: what a run from here depends on; no list is needed, and nothing is changed.

Calls read, through the lanes of a run; what they show ``diagnosis`` puts into words, check after check.
"""

import anyio
import msgspec

from bulkcert.engine.lanes import CallResult, Lane, Lanes
from bulkcert.engine.progress import Progress, StatsMaker
from bulkcert.engine.session import Supervision, calling
from bulkcert.engine.target import Target
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs.converters import carried
from bulkcert.runs.options import ServiceOptions
from bulkcert.runs.other_options import DoctorOptions
from bulkcert.runs.policy import may_read
from bulkcert.runs.target import refuse, resolve_target
from bulkcert.service.actions import OPERATIONS, Operation

FIRST = OPERATIONS["ListCaCertificate"]
"""What is called first, and from every source address: it needs no serial."""

READING = [FIRST, *(each for each in OPERATIONS.values() if each.reads and each is not FIRST)]
"""Operations whose permission shows without a change, in an order in which one gives the serials for the next."""

NO_SERIAL = "0"
"""What is asked for where an instance has no certificate: that there is none shows the permission as well."""

_NOWHERE = "nowhere"


def resolve_examination(options: DoctorOptions) -> "Examination":
    """Returns what is to be examined.

    Raises:
        BulkcertError: With all that is wrong with the options at once.
    """
    problems: list[str] = []
    has_place = bool(options.region or options.endpoint)
    endpoint = options.endpoint or f"https://{_NOWHERE}.invalid" * (not has_place)
    given = carried(ServiceOptions, options, instance=options.instance or _NOWHERE, endpoint=endpoint)
    # Each address of this machine is asked from for itself: lanes elsewhere are none of them.
    target = msgspec.structs.replace(resolve_target(given, problems), opener=None)
    refuse(problems, "doctor")
    return Examination(target, options, is_whole=has_place and bool(options.instance))


class Examination(msgspec.Struct):
    """What calls show of a service, and what is found without.

    Attributes:
        target: The service, from where and how fast it is called.
        options: As typed.
        is_whole: Whether a service is named; without one there are no calls.
        denied: Why there are no credentials.
        by_operation: What came of each operation, by its name.
        by_address: What came of the first one, by the address that it was sent from.
    """

    target: Target
    options: DoctorOptions
    is_whole: bool
    denied: BulkcertError | None = None
    progress: Progress = msgspec.field(default_factory=Progress)
    by_operation: dict[str, CallResult] = {}
    by_address: dict[str | None, CallResult] = {}

    async def make(self, supervision: Supervision) -> None:
        """Makes the calls.

        Raises:
            BulkcertError: A signal has ended it.
        """
        stats = StatsMaker(self.progress, "verifying", self.target)
        async with calling(self.target, supervision, stats) as lanes:
            async with anyio.create_task_group() as group:
                for address, lane in zip(self.target.addresses, lanes.lanes, strict=True):
                    group.start_soon(self._ask_from, lanes, lane, address)
            await self._ask_all(lanes)
        if (stop := self.progress.stop) is not None and stop.status >= ExitStatus.HUNG_UP:
            raise BulkcertError(stop.status, stop.message, again=True)

    async def _ask_from(self, lanes: Lanes, lane: Lane, address: str | None) -> None:
        result = await lanes.settle(lane, FIRST, self._parameters(FIRST, {}))
        if result is not None:
            self.by_address[address] = result
            if result.answer.is_from_service or FIRST.name not in self.by_operation:
                self.by_operation[FIRST.name] = result

    async def _ask_all(self, lanes: Lanes) -> None:
        """Calls each operation that reads, with the serials of a certificate that is there if there is one."""
        heard = [address for address, result in self.by_address.items() if result.answer.is_from_service]
        lane = lanes.lanes[self.target.addresses.index(heard[0])] if heard else lanes.lanes[0]
        serials = {"Sn": NO_SERIAL, "CaSn": NO_SERIAL, "DeviceSn": NO_SERIAL}
        for operation in READING:
            result = self.by_operation.get(operation.name)
            result = result or await lanes.settle(lane, operation, self._parameters(operation, serials))
            if result is None:
                return
            self.by_operation[operation.name] = result
            for certificate in result.answer.page.certificates if result.answer.page else ():
                found = {"DeviceSn": certificate.device_sn, "CaSn": certificate.ca_sn or certificate.sn}
                serials |= found | {"Sn": found["CaSn"]}

    def _parameters(self, operation: Operation, serials: dict[str, str]) -> dict[str, str]:
        given = serials | {"PageNo": "1", "PageSize": "1"}
        return {"MqttInstanceId": self.target.instance} | {name: given[name] for name in operation.parameters}

    @property
    def permissions(self) -> dict[str, bool | None]:
        """Whether each RAM action that reads is granted; None where no answer says so."""
        results = {each.ram_action: self.by_operation.get(each.name) for each in READING}
        return {action: None if result is None else may_read(result.answer) for action, result in results.items()}

    @property
    def clock_ahead_s(self) -> float | None:
        """How far this machine's clock is ahead of the service's, in seconds, to about a second; None if not known."""
        ahead = (result.answer.clock_ahead_s for result in self.by_operation.values())
        return next((seconds for seconds in ahead if seconds is not None), None)
