"""A plan as it is read: one JSON object, the same as a table."""

from typing import Any

import msgspec

from bulkcert.engine.figures import LaneState
from bulkcert.language import tr
from bulkcert.runs.found import States
from bulkcert.runs.planned import Made
from bulkcert.service.certificates import of_ca_key
from bulkcert.words import endpoints_in_words, instances_in_words, printable

CLOCK_GRAIN_S = 2.0
"""The service gives its time in whole seconds, and an answer takes a while."""


CAS_SHOWN = 20
"""CAs that the table names, most rows first."""


class CaStates(States, frozen=True, kw_only=True):
    """The same for the rows of one CA.

    Attributes:
        ca_sn: The CA.
        instance: Its instance, where a list names several; else empty.
        registered: Its device certificates; None where not all of them were counted.
        registered_at_least: Those that were counted, though there may be more; None where none were.
    """

    ca_sn: str
    registered: int | None
    registered_at_least: int | None
    instance: str = ""


class InstanceStates(States, frozen=True, kw_only=True):
    """The same for the rows of one instance.

    Attributes:
        instance: The instance.
        endpoint: Where it is.
        instance_ok: Whether the service knows it as this account's; None where it may not be read.
    """

    instance: str
    endpoint: str
    instance_ok: bool | None


class PlannedCalls(msgspec.Struct, frozen=True):
    """What the run would call."""

    changing: int
    reading: int
    total: int


class Pace(msgspec.Struct, frozen=True):
    """How long the calls take from so many source addresses at the caps."""

    source_addresses: int
    rate: float
    seconds: float


class Key(msgspec.Struct, frozen=True):
    """What calls are signed with."""

    access_key_id: str
    source: str
    temporary: bool


class Permissions(msgspec.Struct, frozen=True):
    """What may be read; ``needed`` are the RAM actions of the run. Null is not known."""

    read_one: bool | None
    read_pages: bool | None
    needed: list[str]


class Plan(msgspec.Struct, frozen=True):
    """What a run would find and do; every figure of the tables is here too.

    ``instance`` is empty, and ``endpoint`` where they are at several, if the list names several ``instances``. The two
    columns are those that say instance and region; null where options do.
    """

    action: str
    instance: str
    endpoint: str
    input: str
    inputs: list[str]
    input_sha256: str
    keys_sha256: str
    preflight: str
    rows: int
    invalid: int
    duplicates: int
    protected: int
    protection: str
    totals: States
    devices: int | None
    cas_total: int
    cas: list[CaStates]
    calls: PlannedCalls
    time: Pace
    credentials: Key
    permissions: Permissions
    instance_ok: bool | None
    clock_ahead_s: float | None
    unread_because: str
    advice: list[str]
    exit_status: int
    options: dict[str, Any]
    made: Made
    lanes: list[LaneState] = []
    instances: list[InstanceStates] = []
    instance_column: str | None = None
    region_column: str | None = None

    @property
    def on(self) -> str:
        """The instance, or how many there are, in words."""
        return instances_in_words(self.instance, self._endpoints)

    @property
    def at(self) -> str:
        """Where it is, in words."""
        return endpoints_in_words(self.endpoint, self._endpoints)

    @property
    def _endpoints(self) -> dict[str, str]:
        return {each.instance: each.endpoint for each in self.instances}


def ca_named(key: str) -> str:
    """Returns a CA as people are shown it, by its key: with its instance where a list names several."""
    ca_sn, instance = of_ca_key(key)
    return tr("{ca} of {instance}", ca=printable(ca_sn), instance=instance) if instance else printable(ca_sn)


def share_of(part: int, whole: int) -> str:
    """Returns a share in percent, rounded down; empty where there is nothing."""
    return f"{int(100 * part / whole)} %" if whole else ""
