"""A lane in a session: on the coordinator's own machine, or on another, where it waits for one after another."""

import asyncio
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

from bulkcert import __version__
from bulkcert.fleet.caller import Caller
from bulkcert.fleet.keys import Keys
from bulkcert.fleet.lease import clock
from bulkcert.fleet.messages import Grant, Hello, LaneReport, decode_grant, encode
from bulkcert.fleet.network import LostError, Where, connected, reach
from bulkcert.service.credentials import CredentialProvider
from bulkcert.words import counted

RETRY_S = 1.0
"""Time between two attempts to reach a coordinator."""

REFUSED_S = 30.0
"""The same after one has refused this lane."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class LaneAddress:
    """Where a lane calls from.

    Attributes:
        name: Of the lane.
        address: Its source address; None is the system's choice.
        egress: What the service sees its calls come from.
    """

    name: str
    address: str | None
    egress: str

    @property
    def hello(self) -> Hello:
        """Who it is, for its coordinator."""
        return Hello(__version__, platform.node(), self.address or "any", self.egress)


def default_egress(address: str | None) -> str:
    """Returns a name for what calls come from: this machine and the address.

    The machine is known by the start of its kernel: containers on it, whose names differ, may share its address.
    """
    try:
        machine = BOOT_ID.read_text().split("-")[0]
    except OSError:
        machine = platform.node()
    return f"{machine}/{address or 'any'}"


Say = Callable[[str], None]
"""Shows what happens, in words."""


class Participant:
    """A lane in one session.

    Args:
        lane: Where calls go out.
        provider: What to sign with; has credentials.
        say: Shows what it does.
    """

    def __init__(self, lane: LaneAddress, provider: CredentialProvider, say: Say) -> None:
        self._lane, self._provider, self._say = lane, provider, say
        self._caller: Caller | None = None
        self._ends = False

    def stop(self) -> None:
        """Ends its part: calls in flight finish and are reported."""
        self._ends = True
        if self._caller is not None:
            self._caller.stop("the lane ends")

    async def run(self, exchange: Callable[[LaneReport], Awaitable[Grant]]) -> str:
        """Calls until the session is over, or it is stopped; returns why it was refused, or an empty text.

        Args:
            exchange: Gives a report to the coordinator, and returns what that answers.
        """
        calls = 0
        try:
            while not (grant := await exchange(self._report())).is_over and not grant.refusal:
                if grant.orders is not None:
                    calls += await self._close()
                    self._caller = Caller(self._lane.name, grant.orders, self._lane.address, self._provider)
                    self._say(f"calling for {grant.orders.run}")
                elif grant.asks_hello:
                    calls += await self._close()
                if self._caller is not None:
                    await self._caller.take(grant)
                    if self._ends:
                        self._caller.stop("the lane ends")
                    await self._caller.wait()
            return grant.refusal
        finally:
            with anyio.CancelScope(shield=True):
                calls += await self._close()
            self._say(f"{counted(calls, 'call')} made; the session is over for this lane")

    def _report(self) -> LaneReport:
        if self._caller is not None:
            return self._caller.report(leaves=self._ends and self._caller.is_idle)
        key = self._provider.current
        return LaneReport(self._lane.name, 0, clock(), self._lane.hello, key=(key.access_key_id, key.source))

    async def _close(self) -> int:
        """Gives up the calls it has; returns how many it has made."""
        caller, self._caller = self._caller, None
        if caller is None:
            return 0
        await caller.aclose()
        return caller.progress.sends.sends


class LaneServer:
    """A lane of a machine of its own, which takes part in one session after another.

    Args:
        where: Where coordinators listen.
        keys: What to show them; None without TLS.
        lane: Where calls go out.
        provider: What to sign with; has credentials.
        say: Shows what it does; never the same twice in a row.
    """

    def __init__(
        self, where: Where, keys: Keys | None, lane: LaneAddress, provider: CredentialProvider, say: Say
    ) -> None:
        self._where, self._keys, self._lane, self._provider, self._show = where, keys, lane, provider, say
        self._participant: Participant | None = None
        self._ends = asyncio.Event()
        self._said = ""

    def stop(self) -> None:
        """Ends it: calls in flight finish and are reported."""
        self._ends.set()
        if self._participant is not None:
            self._participant.stop()

    async def serve(self) -> None:
        """Waits for coordinators and calls for them, until stopped."""
        while not self._ends.is_set():
            if reason := await reach(self._where, self._keys):
                self._say(f"waiting for a run at {self._where}: {reason}")
                await self._pause(RETRY_S)
            elif refusal := await self._take_part():
                self._say(f"{self._where} refuses this lane: {refusal}")
                await self._pause(REFUSED_S)
            else:
                await self._pause(RETRY_S)

    async def _take_part(self) -> str:
        self._participant = Participant(self._lane, self._provider, self._say)
        try:
            async with connected(self._where, self._keys, self._lane.name) as transmit:

                async def exchange(report: LaneReport) -> Grant:
                    return decode_grant(await transmit(encode(report)))

                return await self._participant.run(exchange)
        except LostError as error:
            self._say(f"lost {self._where}: {error}")
            return ""
        finally:
            self._participant = None

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._ends.wait()

    def _say(self, words: str) -> None:
        if words != self._said:
            self._show(words)
            self._said = words
