"""Shares under lease: whatever lanes and network do, no second holds more sends than the limits.

The whole model, 2,000 histories and both controls: ``python tests/test_shares.py 2000``.
"""

import heapq
import random
import sys
from itertools import count
from types import SimpleNamespace

import pytest

from bulkcert.fleet import shares
from bulkcert.fleet.shares import DRIFT, LEASE_S, QUIET_S, LaneShare, Shares

ACCOUNT, ADDRESS = 498, 270
LASTS_S = 20.0


class History:
    """Lanes that join, report late, get grants late, and vanish while they may be sending."""

    def __init__(self, seed, lease_from):
        self.chance, self.lease_from = random.Random(seed), lease_from
        self.shares, self.sendings = Shares(ACCOUNT, ADDRESS), []
        self.events, self.order = [], count()
        for _ in range(self.chance.randint(1, 4)):
            self._later(0.0, self._join)
        for _ in range(self.chance.randint(0, 4)):
            self._later(self.chance.random() * LASTS_S, self._join)

    def run(self):
        while self.events and self.events[0][0] < LASTS_S:
            at, _, what = heapq.heappop(self.events)
            what(at)
        return self

    def _later(self, at, what):
        heapq.heappush(self.events, (at, next(self.order), what))

    def _join(self, now):
        name = f"lane-{next(self.order)}"
        egress = f"egress-{self.chance.randrange(4)}"
        lane = self.shares.join(egress, now)
        self._exchange(lane, name, 0, now, None)(now)

    def _exchange(self, lane, name, number, stamped, before):
        """The report that was stamped arrives, and the grant that answers it is on its way."""

        def arrives(now):
            if number:
                lane.confirm(number, now)
            if self.chance.random() < 0.004:
                lane.lose()
                return
            cap = self.shares.grant(lane, number + 1, now)
            flight = self.chance.random() * (0.1 if self.chance.random() > 0.02 else 8.0)
            begins = now + flight
            leased_from = stamped if self.lease_from == "report" else begins
            ends = max(begins, leased_from + LEASE_S * (1 + DRIFT * self.chance.random()))
            # By the true time: from its reception to the end of its lease.
            sending = SimpleNamespace(lane=name, egress=lane.egress, begins=begins, ends=ends, cap=cap)
            if before is not None:
                before.ends = min(before.ends, max(before.begins, begins))
            self.sendings.append(sending)
            reports = begins + 0.1 + self.chance.random() * 0.2
            back = self.chance.random() * (0.1 if self.chance.random() > 0.02 else 8.0)
            self._later(reports + back, self._exchange(lane, name, number + 1, reports, sending))

        return arrives

    def worst(self):
        """The most that any second can hold: in all, and from one egress."""
        account = address = 0.0
        begins = [sending.begins for sending in self.sendings]
        for start in begins:
            caps = {}
            for sending in self.sendings:
                if (
                    sending.begins < start + 1
                    and max(sending.ends, sending.begins) > start
                    and sending.ends > sending.begins
                ):
                    key = sending.lane, sending.egress
                    caps[key] = max(caps.get(key, 0), sending.cap)
            account = max(account, sum(caps.values()))
            for egress in {key[1] for key in caps}:
                address = max(address, sum(cap for key, cap in caps.items() if key[1] == egress))
        return account, address


def model(histories, lease_from="report"):
    worst = [History(seed, lease_from).run().worst() for seed in range(histories)]
    return max(account for account, _ in worst), max(address for _, address in worst)


def test_no_second_holds_more_than_the_limits():
    """Late reports, late grants, lanes that join and that vanish: never above, and the limits are reached."""
    assert model(40) == (ACCOUNT, ADDRESS)


def test_a_lease_that_counts_from_the_reception_of_its_grant_breaks_the_limit():
    """The model would notice: a grant that was on its way for long lets its lane send when others do."""
    assert model(40, "reception")[0] > ACCOUNT


def test_a_share_that_is_given_again_at_once_breaks_the_limit(monkeypatch):
    """The model would notice: the second after a lease may hold what was sent under it."""
    monkeypatch.setattr(shares, "QUIET_S", 0.0)

    assert model(40)[0] > ACCOUNT


def test_lanes_of_one_egress_share_one_limit():
    """Fair shares: over the egresses first, then over the lanes of each."""
    made = Shares(ACCOUNT, ADDRESS)
    lanes = [made.join(egress, 0.0) for egress in ("one", "two", "two")]

    assert settled(made, lanes) == [249, 124, 124]


def test_the_share_of_a_lane_that_has_vanished_is_given_again():
    """Within 3.5 s of its last grant, not before; one that says that it leaves frees its own a quiet time later."""
    made = Shares(ACCOUNT, ADDRESS)
    a, b = lanes = [made.join(egress, 0.0) for egress in ("one", "two")]
    settled(made, lanes)
    b.lose()
    least, most = LEASE_S + QUIET_S, 3.5
    a.confirm(41, 10.0 + least - 0.1)
    assert made.grant(a, 42, 10.0 + least - 0.1) == 249
    assert made.grant(a, 43, 10.0 + most) == 270


def test_limits_that_change_hold_for_the_grants_to_come():
    """A lower limit is kept once what was granted before is over."""
    made = Shares(ACCOUNT, ADDRESS)
    lanes = [made.join(egress, 0.0) for egress in ("one", "two")]
    settled(made, lanes)
    made.account = 100

    assert made.grant(lanes[0], 41, 10.1) == 0
    assert settled(made, lanes, first=50, at=20.0) == [50, 50]


def settled(made, lanes, *, first=1, at=0.0):
    """Shares after ten seconds of exchanges, four a second."""
    for number in range(first, first + 41):
        now, given = at + (number - first) / 4, []
        for lane in lanes:
            lane.confirm(number - 1, now)
            given.append(made.grant(lane, number, now))
    return given


@pytest.mark.parametrize("gone", [LaneShare.lose, lambda lane: lane.leave(0.0)], ids=["lost", "left"])
def test_a_lane_that_has_gone_is_forgotten_once_it_binds_nothing(gone):
    """Lanes do not pile up over a night in which they come and go."""
    made = Shares(ACCOUNT, ADDRESS)
    lane, other = made.join("one", 0.0), made.join("two", 0.0)
    made.grant(lane, 1, 0.0)
    gone(lane)
    kept = []
    for number, now in ((1, 1.0), (2, 4.0)):
        made.grant(other, number, now)
        kept.append(len(made._lanes))
    assert kept == [2, 1]


if __name__ == "__main__":
    histories = int(sys.argv[1])
    print(histories, "histories:", model(histories), "of", (ACCOUNT, ADDRESS))
    print("lease from reception:", model(histories // 10, "reception"))
    shares.QUIET_S = 0.0
    print("no quiet time:", model(histories // 10))
