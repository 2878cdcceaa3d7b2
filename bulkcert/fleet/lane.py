"""A lane in a session: on the coordinator's own machine, or on another, where it waits for one after another."""

import asyncio
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

from bulkcert import __version__
from bulkcert.fleet.caller import Caller, clock
from bulkcert.fleet.messages import Hello, LaneReport
from bulkcert.fleet.network import Exchange, LostError, Where, connected, reach
from bulkcert.service.credentials import CredentialProvider
from bulkcert.words import counted

RETRY_S = 1.0
"""Time between two attempts to reach a coordinator."""

REFUSED_S = 30.0
"""The same after one has refused this lane."""


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


def default_egress(address: str | None) -> str:
    """Returns a name for what calls come from: this machine and the address.

    The machine is known by the start of its kernel: containers on it, whose names differ, may share its address.
    """
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().split("-")[0]
    except OSError:
        machine = platform.node()
    return f"{machine}/{address or 'any'}"


Say = Callable[[str], None]
"""Shows what happens, in words."""


async def take_part(
    lane: LaneAddress, provider: CredentialProvider, say: Say, exchange: Exchange, ends: asyncio.Event
) -> str:
    """Calls until the session is over, or the lane ends; returns why it was refused, or an empty text.

    Args:
        lane: Where calls go out.
        provider: What to sign with; has credentials.
        say: Shows what it does.
        exchange: Gives a report to the coordinator, and returns what that answers.
        ends: Set for the lane to end: calls in flight finish and are reported.
    """
    hello, caller, calls = Hello(__version__, platform.node(), lane.address or "any", lane.egress), None, 0
    try:
        while True:
            if caller is None:
                key = (provider.current.access_key_id, provider.current.source)
                grant = await exchange(LaneReport(lane.name, 0, clock(), hello, key=key))
            else:
                grant = await exchange(caller.report())
            if grant.is_over or grant.refusal:
                return grant.refusal
            if caller is not None and (grant.orders is not None or grant.asks_hello):
                calls, caller = calls + await caller.aclose(), None
            if grant.orders is not None:
                caller = Caller(lane.name, grant.orders, lane.address, provider, ends)
                say(f"calling for {grant.orders.run}")
            if caller is not None:
                await caller.take(grant)
                await caller.wait()
    finally:
        if caller is not None:
            with anyio.CancelScope(shield=True):
                calls += await caller.aclose()
        say(f"{counted(calls, 'call')} made; the session is over for this lane")


async def serve(
    where: Where, keys: Path | None, lane: LaneAddress, provider: CredentialProvider, *, show: Say, ends: asyncio.Event
) -> None:
    """Waits for coordinators and calls for them, one after another: a lane of a machine of its own.

    Args:
        where: Where coordinators listen.
        keys: What to show them; None without TLS.
        lane: Where calls go out.
        provider: What to sign with; has credentials.
        show: Shows what it does; never the same twice in a row.
        ends: Set for it to end: calls in flight finish and are reported.

    Raises:
        BulkcertError: There is no directory for temporary files.
    """
    said = ""

    def say(words: str) -> None:
        nonlocal said
        if words != said:
            show(words)
            said = words

    while not ends.is_set():
        pause_s = RETRY_S
        if reason := await reach(where, keys):
            say(f"waiting for a run at {where}: {reason}")
        else:
            try:
                async with connected(where, keys, lane.name) as exchange:
                    if refusal := await take_part(lane, provider, say, exchange, ends):
                        say(f"{where} refuses this lane: {refusal}")
                        pause_s = REFUSED_S
            except LostError as error:
                say(f"lost {where}: {error}")
        with anyio.move_on_after(pause_s):
            await ends.wait()
