"""Which service is called, and when a run gives up."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import httpx
import msgspec

from bulkcert.engine.pacer import bucket_rate, lane_cap
from bulkcert.service.credentials import CredentialProvider

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
        instance: ``MqttInstanceId``.
        endpoint: Where the service is.
        addresses: Source address of each lane; None is the system's choice.
        account_cap: Calls per second of the account.
        address_cap: Calls per second of each address.
        workers: Workers of each lane.
        attempts: Attempts that a call gets.
        timeout_s: Most seconds for one attempt.
        remote_lanes: Lanes on other machines that share the account's limit, as far as they are expected.
        opener: Opens its lanes where some are on other machines; those of this machine open otherwise.
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
