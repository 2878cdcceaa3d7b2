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


@dataclass(slots=True, eq=False)
class LaneShare:
    """What a lane has been granted.

    Attributes:
        egress: The address that the service sees its calls come from.
        heard_at: When its last report came.
        wants: Whether it gets a share when shares are made; what it was granted binds all the same.
        is_gone: Whether it is to be forgotten once it binds nothing.
        bindings: Grants that are not over for certain.
    """

    egress: str
    heard_at: float
    wants: bool = True
    is_gone: bool = False
    bindings: list[Binding] = field(default_factory=list)

    def held(self, now: float) -> float:
        """Returns what it may be sending, in calls per second."""
        self.bindings = [binding for binding in self.bindings if binding.until > now]
        return max([binding.cap for binding in self.bindings], default=0.0)

    def is_silent(self, now: float) -> bool:
        """Returns whether it has not reported for so long that its lease is over."""
        return now - self.heard_at > LEASE_S * (1 + DRIFT) + FLIGHT_S

    def confirm(self, number: int, now: float) -> None:
        """Takes note of a report that was made under a grant: the lane acts on no earlier one any more."""
        self.heard_at = now
        for binding in self.bindings:
            if binding.number < number:
                binding.until = min(binding.until, now + QUIET_S)

    def leave(self, now: float) -> None:
        """Takes note that the lane has said itself that it sends nothing any more."""
        for binding in self.bindings:
            binding.until = min(binding.until, now + QUIET_S)
        self.lose()

    def lose(self) -> None:
        """Takes note that nothing is known of the lane any more: its leases run out."""
        self.wants, self.is_gone = False, True


class Shares:
    """Who may send how much.

    Args:
        account: What all lanes together may send, in calls per second.
        address: What the lanes of one egress together may send.
    """

    def __init__(self, account: float, address: float) -> None:
        self.account, self.address = account, address
        self._lanes: list[LaneShare] = []

    def join(self, egress: str, now: float) -> LaneShare:
        """Takes in a lane; one that comes again is another one here, since its old grants may bind."""
        lane = LaneShare(egress, now)
        self._lanes.append(lane)
        return lane

    def grant(self, lane: LaneShare, number: int, now: float) -> int:
        """Returns what a lane may send for ``LEASE_S`` from the stamp on its last report, in calls per second.

        To be called just before the grant is sent.

        Args:
            lane: Whose.
            number: Of the grant; each is higher than the one before.
            now: The time.
        """
        self._lanes = [each for each in self._lanes if each.held(now) or not each.is_gone]
        others = [each for each in self._lanes if each is not lane]
        free = self.account - sum(each.held(now) for each in others)
        free_here = self.address - sum(each.held(now) for each in others if each.egress == lane.egress)
        cap = math.floor(max(0.0, min(self._target(lane, now), free, free_here)))
        if lane.bindings and lane.bindings[-1].cap == cap:  # what it binds for longer now
            lane.bindings.pop()
        lane.bindings.append(Binding(number, cap, now + LEASE_S * (1 + DRIFT) + QUIET_S))
        return cap

    def _target(self, lane: LaneShare, now: float) -> float:
        """Returns the share that is fair: the account's limit over the egresses, and each one's over its lanes."""
        if not lane.wants:
            return 0.0
        egresses = [each.egress for each in self._lanes if each.wants and (each is lane or not each.is_silent(now))]
        return min(self.account / len(set(egresses)), self.address) / egresses.count(lane.egress)
