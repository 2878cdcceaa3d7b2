"""Shares of the account's limit, leased to lanes. Pure arithmetic: times are the coordinator's seconds, passed in.

A lane sends only while *its* clock is before ``a + LEASE_S``, where ``a`` is the stamp on its last report, which the
grant echoes. So a grant that was sent at ``g`` is over at ``g + LEASE_S * (1 + DRIFT)`` at the latest, as ``a`` was
before ``g``; or at ``r``, when a report came that was made under a later grant. What it binds, it binds for ``QUIET_S``
longer: no second may hold sends under it and under a grant made of its share. A lost connection shortens nothing: it
may be the network that is in two parts, and the lane sends.

Why no second ever holds more than the limit: a new grant gets at most what the others do not bind.
"""

import math
from dataclasses import dataclass, field

LEASE_S = 2.0
DRIFT = 0.01
"""How much faster or slower than the coordinator's a lane's clock may be."""

FLIGHT_S = 0.25
"""Most that a request may be on its way longer than another."""

QUIET_S = 1.0 + FLIGHT_S


@dataclass(slots=True)
class Binding:
    """What a grant binds, in calls per second, and until when."""

    number: int
    cap: float
    until: float


@dataclass(slots=True)
class LaneShare:
    """What a lane has been granted.

    Attributes:
        egress: The address that the service sees its calls come from.
        wants: Whether it gets a share when shares are made; a lane that is gone or pauses does not.
        heard_at: When its last report came.
        bindings: Grants that are not over for certain.
    """

    egress: str
    heard_at: float
    wants: bool = True
    bindings: list[Binding] = field(default_factory=list)


class Shares:
    """Who may send how much.

    Args:
        account: What all lanes together may send, in calls per second.
        address: What the lanes of one egress together may send.
    """

    def __init__(self, account: float, address: float) -> None:
        self.account, self.address = account, address
        self._lanes: dict[str, LaneShare] = {}

    def join(self, lane: str, egress: str, now: float) -> None:
        """Takes in a lane; one that comes again must have another name, since its old grants may bind."""
        self._lanes[lane] = LaneShare(egress, now)

    def held(self, lane: str, now: float) -> float:
        """Returns what a lane may be sending, in calls per second."""
        share = self._lanes[lane]
        share.bindings = [binding for binding in share.bindings if binding.until > now]
        return max([binding.cap for binding in share.bindings], default=0.0)

    def is_silent(self, lane: str, now: float) -> bool:
        """Returns whether a lane has not reported for so long that its lease is over."""
        return now - self._lanes[lane].heard_at > LEASE_S * (1 + DRIFT) + FLIGHT_S

    def grant(self, lane: str, number: int, now: float) -> int:
        """Returns what a lane may send for ``LEASE_S`` from the stamp on its last report, in calls per second.

        To be called just before the grant is sent.

        Args:
            lane: Whose.
            number: Of the grant; each is higher than the one before.
            now: The time.
        """
        share = self._lanes[lane]
        held = {name: self.held(name, now) for name in self._lanes if name != lane}
        free = self.account - sum(held.values())
        free_here = self.address - sum(cap for name, cap in held.items() if self._lanes[name].egress == share.egress)
        cap = math.floor(max(0.0, min(self._target(lane, now), free, free_here)))
        if share.bindings and share.bindings[-1].cap == cap:  # what it binds for longer now
            share.bindings.pop()
        share.bindings.append(Binding(number, cap, now + LEASE_S * (1 + DRIFT) + QUIET_S))
        return cap

    def _target(self, lane: str, now: float) -> float:
        """Returns the share that is fair: the account's limit over the egresses, and each one's over its lanes."""
        if not self._lanes[lane].wants:
            return 0.0
        egresses = [
            share.egress
            for name, share in self._lanes.items()
            if share.wants and (name == lane or not self.is_silent(name, now))
        ]
        here = egresses.count(self._lanes[lane].egress)
        return min(self.account / len(set(egresses)), self.address) / here

    def confirm(self, lane: str, number: int, now: float) -> None:
        """Takes note of a report that was made under a grant: the lane acts on no earlier one any more."""
        share = self._lanes[lane]
        share.heard_at = now
        for binding in share.bindings:
            if binding.number < number:
                binding.until = min(binding.until, now + QUIET_S)

    def rest(self, lane: str, *, wants: bool) -> None:
        """Leaves a lane out when shares are made, or takes it in again; what it was granted binds all the same."""
        self._lanes[lane].wants = wants

    def leave(self, lane: str, now: float) -> None:
        """Takes note that a lane has said itself that it sends nothing any more."""
        self.rest(lane, wants=False)
        for binding in self._lanes[lane].bindings:
            binding.until = min(binding.until, now + QUIET_S)

    def forget(self, lane: str, now: float) -> bool:
        """Forgets a lane that has gone, once it binds nothing; returns whether it is forgotten."""
        if self._lanes[lane].wants or self.held(lane, now):
            return False
        del self._lanes[lane]
        return True
