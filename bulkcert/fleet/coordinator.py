"""The coordinator: calls to lanes wherever they are, outcomes to whoever waits for them, the limits shared out.

What makes calls asks ``FleetLanes.settle``, as it would ask lanes of this machine. The call waits in a pool until a
lane fetches it with its next report (``exchange``), and comes back with a later one. Lanes of this machine exchange
the same messages without a network between.
"""

import asyncio
import math
import time
from collections.abc import Mapping
from typing import cast

import anyio
import msgspec

from bulkcert import __version__
from bulkcert.engine.failures import Stop
from bulkcert.engine.lanes import Acquire, CallResult, Lane, Lanes
from bulkcert.engine.pacer import ACCOUNT_ROOM, ADDRESS_SHARE
from bulkcert.engine.progress import Progress
from bulkcert.engine.target import Target
from bulkcert.errors import ExitStatus
from bulkcert.fleet.member import Member, MergedWindow
from bulkcert.fleet.messages import Call, Grant, Hello, LaneReport, Orders
from bulkcert.fleet.pool import CallPool
from bulkcert.fleet.shares import Shares
from bulkcert.log import event
from bulkcert.service.actions import Operation
from bulkcert.service.credentials import CredentialProvider
from bulkcert.words import counted

AHEAD_S = 1.0
"""Calls that a lane has beyond those in flight, in seconds of its share: enough for the time between two exchanges."""

WATCH_EVERY_S = 0.1
"""How often it is seen whether lanes are silent."""

FROZEN_S = 1.0
"""Who was frozen for so long itself reads the reports that wait before it takes a lane for silent."""

ASIDE_S = 60.0
"""How long a lane that the service has refused gets no calls."""

WAIT_S = 60.0
"""How long lanes that are expected, or the last of all, are waited for."""

MOST_WAITING = 16_384
"""Calls that wait for lanes, or that these hold, at most."""

GOODBYE_S = 1.0
"""Longest time that lanes are waited for in the end: each hears of it with its next report."""

COORDINATOR = "coordinator"
"""Egress of the coordinator's own first lane, for lanes that share it."""


class FleetLanes(Lanes):
    """Lanes on several machines.

    Args:
        provider: What the lanes of this machine sign with.
        progress: Kept up to date.
        service: Which is called; its limits are shared out.
        run: What lanes call the session.
    """

    def __init__(self, provider: CredentialProvider, progress: Progress, service: Target, run: str) -> None:
        self._window = progress.sends = MergedWindow()
        workers = min(MOST_WAITING, max(512, 2 * service.account_cap))
        super().__init__([], provider, progress, msgspec.structs.replace(service, workers=workers))
        # Every call goes through the pool: there is one way to all lanes.
        self.lanes = [cast(Lane, None)]
        self._orders = Orders(
            run,
            service.instance,
            str(service.endpoint),
            service.workers * len(service.addresses),
            service.attempts,
            service.timeout_s,
            {name: str(endpoint) for name, endpoint in service.instances.items()},
        )
        self._expected = service.lane_count
        self._pool = CallPool()
        self._shares = Shares(*usable(service))
        self._members: dict[str, Member] = {}
        self._window.members = self._members.values()
        self._began = self._last_seen = time.monotonic()
        self._judges_from = 0.0
        self._is_over = False

    # What the engine asks for.

    async def settle(
        self,
        lane: Lane,  # noqa: ARG002 - whichever is free
        operation: Operation,
        parameters: Mapping[str, str],
        *,
        acquire: Acquire | None = None,
        ahead: bool = False,
        unanswered: bool = False,
    ) -> CallResult | None:
        """Has a call made by some lane until it is settled; None if it was not sent at all."""
        assert acquire is None, operation.name  # noqa: S101 - ``runs.job`` refuses what must be on disk before each call
        if self.stopping.is_set():
            return None
        values = (parameters["MqttInstanceId"], *map(parameters.__getitem__, operation.parameters))
        return await self._pool.call(operation.name, values, ahead=ahead, unanswered=unanswered)

    async def change(self, service: Target) -> None:
        """Changes how fast all lanes may be together, and each address; they hear of it with their next grants."""
        self.service = service
        self._shares.account, self._shares.address = usable(service)

    def stop(self, stop: Stop) -> None:
        """Lets nothing more be sent; calls in flight finish; the first reason counts."""
        super().stop(stop)
        self._pool.drain()

    # What lanes ask for.

    def exchange(self, report: LaneReport, *, here: bool = False) -> Grant:
        """Takes what a lane reports, and returns what it may do next.

        Args:
            report: What it reports.
            here: Whether it is a lane of this process.
        """
        now = time.monotonic()
        if self._is_over and report.lane not in self._members:
            return Grant(0, report.stamp, is_over=True)
        if report.hello is not None and (refusal := self._join(report, report.hello, now, here=here)):
            return Grant(0, report.stamp, refusal=refusal)
        if (member := self._members.get(report.lane)) is None:
            return Grant(0, report.stamp, asks_hello=True)
        self._take(member, report, now)
        if report.leaves:
            member.lease.leave(now)
            self._gone(member, "has left")
            return Grant(report.number, report.stamp, is_over=True)
        return self._granted(member, report, now)

    def lose(self, name: str) -> None:
        """Takes note that the connection of a lane is lost."""
        if (member := self._members.get(name)) is not None:
            member.lease.lose()
            self._gone(member, "is gone")

    async def watch(self) -> None:
        """Takes their calls from lanes that fall silent, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            now = time.monotonic()
            if now - self._last_seen > FROZEN_S:
                self._judges_from = now + FROZEN_S
            self._last_seen = now
            for member in self._members.values():
                if not member.is_silent and now >= self._judges_from and member.lease.is_silent(now):
                    member.is_silent, member.doing, member.share = True, "silent", 0
                    self._give_back(member, "is silent")
            heard = [member.lease.heard_at for member in self._members.values() if not member.is_silent]
            self._window.settle(min(heard, default=now))
            self._wait_for_lanes(now)

    async def end(self) -> None:
        """Lets lanes know that the session is over; the sends that they have reported are all counted."""
        self._is_over = True
        self._window.settle(float("inf"))
        with anyio.CancelScope(shield=True), anyio.move_on_after(GOODBYE_S):
            while not all(member.is_here for member in self._members.values()):  # noqa: ASYNC110 - a second at most
                await anyio.sleep(0.05)

    def _join(self, report: LaneReport, hello: Hello, now: float, *, here: bool) -> str:
        if hello.version != __version__:
            return f"bulkcert {hello.version} here, {__version__} at the coordinator: install the same on both"
        if (known := self._members.get(report.lane)) is not None and known.is_here:
            return f"--name {report.lane} is that of a lane of the coordinator"
        self.lose(report.lane)
        if hello.egress == COORDINATOR:
            own = [member.hello.egress for member in self._members.values() if member.is_here]
            hello = msgspec.structs.replace(hello, egress=next(iter(own), COORDINATOR))
        lease = self._shares.join(hello.egress, now)
        self._members[report.lane] = member = Member(report.lane, lease, hello, here)
        self._show()
        said = f"lane {member.name} on {hello.host} has joined; egress {hello.egress}"
        event("lane_joined", f"{said}, access key {report.key[0]}", lane=member.name, egress=hello.egress)
        return ""

    def _take(self, member: Member, report: LaneReport, now: float) -> None:
        member.lease.confirm(report.number, now)
        if report.halt is not None and not member.resumes_at:
            self._halt(member, report.halt, now)
        elif not member.resumes_at:
            member.doing = "no answer from the service" if report.is_silent else "calling"
        self._window.merge(member.take(report, self.progress, now))
        member.calls.difference_update([number for number, _ in report.results])
        stopping = self.stopping.is_set()
        for number, result in report.results:
            if stopping or (result is not None and not result.again):
                self._pool.settle(number, result)
            elif result is not None:
                self._pool.again(number, attempts=result.attempts, unanswered=result.unanswered)
            else:
                self._pool.again(number)

    def _granted(self, member: Member, report: LaneReport, now: float) -> Grant:
        stops, slow_down = self.stopping.is_set(), self.progress.slow_down
        recalls, member.is_silent = member.is_silent, False
        begins = report.hello is not None
        if member.resumes_at and now >= member.resumes_at:
            member.resumes_at, member.doing, begins = 0.0, "calling", True
            member.counts = type(member.counts)()
            member.lease.wants = True
        member.number += 1
        # While others are waited for nobody is to call, and what nobody is granted need not be waited out.
        member.share = 0 if self.progress.waiting_for else self._shares.grant(member.lease, member.number, now)
        return Grant(
            member.number,
            report.stamp,
            member.share,
            [] if stops or member.resumes_at or report.halt is not None else self._more(member),
            recalls,
            slow_down.factor(now),
            max(0.0, slow_down.paused_until - now),
            bool(self.progress.paused_by),
            stops,
            self._orders if begins else None,
            is_over=self._is_over,
        )

    def _more(self, member: Member) -> list[Call]:
        if self.progress.waiting_for or not member.share:
            return []
        most = member.in_flight + round(AHEAD_S * member.share) + 1
        # What is left in the end is shared out, so that all are done with it at the same time.
        part = member.share / sum([each.share for each in self._members.values()])
        calls = self._pool.take(min(most, math.ceil(part * self._pool.open)) - len(member.calls))
        member.calls.update([call.number for call in calls])
        return calls

    def _halt(self, member: Member, stop: Stop, now: float) -> None:
        """Draws the consequences of an answer for which a lane has stopped: for it alone, or for all."""
        if self.stopping.is_set() or stop.status is ExitStatus.STOPPED_EARLY:
            return
        member.doing, member.resumes_at = f"refused: {stop.message}", now + ASIDE_S
        member.lease.wants = False
        words = f"lane {member.name} gets no calls for {ASIDE_S:.0f} s: {stop.message}"
        event("lane_refused", words, lane=member.name, code=stop.code, advice=stop.advice)
        alone = stop.status in (ExitStatus.DENIED, ExitStatus.UNAVAILABLE) or stop.code.startswith("InvalidTimeStamp")
        if not alone or all(each.resumes_at for each in self._members.values()):
            message = f"lane {member.name}: {stop.message}" if len(self._members) > 1 else stop.message
            self.stop(msgspec.structs.replace(stop, message=message))

    def _give_back(self, member: Member, reason: str) -> None:
        stopping = self.stopping.is_set()
        for number in sorted(member.calls, reverse=True):
            self.progress.handed_over += self._pool.lose(number, stopping=stopping)
        words = f"lane {member.name} {reason}: {counted(len(member.calls), 'call')} that it held"
        what = "may have been made" if stopping else "go to other lanes, and may be made twice"
        event("lane_lost", f"{words} {what}", lane=member.name, calls=len(member.calls))
        member.calls.clear()

    def _gone(self, member: Member, reason: str) -> None:
        del self._members[member.name]
        self.progress.in_flight -= member.in_flight
        member.in_flight = 0
        if not self._is_over:
            member.share = 0
            member.doing = member.doing if member.resumes_at else reason
            self._give_back(member, reason)
            self._show()

    def _show(self) -> None:
        """Shows every lane that has taken part, those that are gone as well."""
        shown: dict[str, Member] = {lane.name: lane for lane in self.progress.lanes if isinstance(lane, Member)}
        self.progress.lanes = [*(shown | self._members).values()]

    def _wait_for_lanes(self, now: float) -> None:
        """Lets calls begin once all lanes that are expected are there, and ends the session if they do not come."""
        present = len(self._members)
        if self._expected and present >= self._expected:
            self._expected = 0
        missing = max(self._expected, 1) - present
        if missing <= 0 or self.stopping.is_set():
            self.progress.waiting_for, self._began = "", now
            return
        self.progress.waiting_for = f"waiting for {counted(missing, 'lane')} to join"
        if now - self._began > WAIT_S:
            message = f"{counted(missing, 'lane')} did not join within {WAIT_S:.0f} s"
            self.stop(Stop(ExitStatus.UNAVAILABLE, message, "Start bulkcert lane there; see bulkcert help cluster."))


def usable(service: Target) -> tuple[float, float]:
    """Returns what all lanes may send together, and what those of one egress may, in calls per second."""
    return service.account_cap - round(ACCOUNT_ROOM * service.account_cap), ADDRESS_SHARE * service.address_cap
