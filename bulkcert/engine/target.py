"""Which service is called, and when a run gives up."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import httpx
import msgspec

from bulkcert.engine.pacer import bucket_rate, lane_cap
from bulkcert.service.actions import Action, of_ca_key
from bulkcert.service.credentials import CredentialProvider
from bulkcert.store.outcome import Row
from bulkcert.words import endpoints_in_words, instances_in_words

if TYPE_CHECKING:
    from bulkcert.engine.lanes import Lanes
    from bulkcert.engine.progress import Progress

SAMPLE = 100
"""Rows that must be finished before a percentage in ``--max-errors`` counts."""


class Limit(msgspec.Struct, frozen=True):
    """When there are too many errors.

    Attributes:
        rows: Number of rows that may fail, or None.
        share: Share of the finished rows that may fail, from 0 to 1, or None.
    """

    rows: int | None = None
    share: float | None = None

    def exceeded(self, errors: int, finished: int) -> bool:
        """Returns whether so many errors among so many finished rows are too many."""
        if self.rows is not None and errors > self.rows:
            return True
        return self.share is not None and finished >= SAMPLE and errors > self.share * finished


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Which service is called, from where and how fast, resolved and checked.

    Attributes:
        instance: ``MqttInstanceId``; empty where rows name it.
        endpoint: Where the service is; empty where that follows from the rows' regions.
        addresses: Source address of each lane; None is the system's choice.
        account_cap: Calls per second of the account.
        address_cap: Calls per second of each address.
        workers: Workers of each lane.
        attempts: Attempts that a call gets.
        timeout_s: Most seconds for one attempt.
        remote_lanes: Lanes on other machines that share the account's limit, as far as they are expected.
        opener: Opens its lanes where some are on other machines; those of this machine open otherwise.
        instances: The instances that rows name, if they are several, each with where it is; the limits hold for all of
            them together.
    """

    instance: str
    endpoint: httpx.URL
    addresses: tuple[str | None, ...]
    account_cap: int
    address_cap: int
    workers: int
    attempts: int
    timeout_s: float
    remote_lanes: int = 0
    opener: "Opener | None" = None
    instances: Mapping[str, httpx.URL] = msgspec.field(default_factory=dict)

    @property
    def on(self) -> str:
        """The instance, or how many there are, in words."""
        return instances_in_words(self.instance, self.instances)

    @property
    def at(self) -> str:
        """Where it is, in words."""
        return endpoints_in_words(str(self.endpoint), self.instances)

    @property
    def endpoints(self) -> tuple[httpx.URL, ...]:
        """Where it is called."""
        return tuple(dict.fromkeys(self.instances.values())) or (self.endpoint,)

    def parameters(self, action: Action, row: Row) -> dict[str, str]:
        """Returns the query of an action, or of reading what it is about, for a row."""
        return action.parameters(row.instance or self.instance, row.device_sn, row.ca_sn)

    def listed(self, ca: str) -> dict[str, str]:
        """Returns the query about the devices of a CA by its key, or about all CAs where that has no serial."""
        ca_sn, instance = of_ca_key(ca)
        return {"MqttInstanceId": instance or self.instance} | ({"CaSn": ca_sn} if ca_sn else {})

    @property
    def lane_count(self) -> int:
        """How many lanes share the account's limit."""
        return len(self.addresses) + self.remote_lanes

    @property
    def lane_cap(self) -> int:
        """Cap of each lane, in calls per second."""
        return lane_cap(self.account_cap, self.address_cap, self.lane_count)

    @property
    def rate(self) -> float:
        """Calls per second that all lanes make together, at most."""
        return bucket_rate(self.lane_cap) * self.lane_count


Opener = Callable[[Target, CredentialProvider, "Progress"], AbstractAsyncContextManager["Lanes"]]
"""Opens the lanes of a session."""
