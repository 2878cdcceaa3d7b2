"""Which service a session calls, from where and how fast."""

from dataclasses import dataclass

import httpx

from bulkcert.engine.pacer import bucket_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which service is called, from where and how fast, resolved and checked.

    Attributes:
        instance: ``MqttInstanceId``.
        endpoint: Where the service is.
        addresses: Source address of each lane; None is the system's choice.
        lane_cap: Cap of each lane, in calls per second.
        workers: Workers of each lane.
        attempts: Attempts that a call gets.
        timeout_s: Most seconds for one attempt.
    """

    instance: str
    endpoint: httpx.URL
    addresses: tuple[str | None, ...]
    lane_cap: int
    workers: int
    attempts: int
    timeout_s: float

    @property
    def rate(self) -> float:
        """Calls per second that all lanes make together, at most."""
        return bucket_rate(self.lane_cap) * len(self.addresses)
