"""Opens the lanes of a session: those of other machines when they connect, and those of this one."""

import asyncio
import os
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from bulkcert.engine.lanes import Lanes
from bulkcert.engine.limits import Target
from bulkcert.engine.progress import Progress
from bulkcert.fleet.coordinator import COORDINATOR, FleetLanes
from bulkcert.fleet.keys import Keys
from bulkcert.fleet.lane import LaneAddress, Participant, default_egress
from bulkcert.fleet.messages import Grant, LaneReport, decode_report, encode
from bulkcert.fleet.network import Where, listening
from bulkcert.log import event
from bulkcert.service.credentials import CredentialProvider

GOODBYE_S = 1.0
"""Longest time that lanes are waited for in the end: each hears of it with its next report."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Lanes on several machines, as a session opens them.

    Attributes:
        where: Where the coordinator listens.
        keys: What it shows to lanes; None without TLS.
    """

    where: Where
    keys: Keys | None

    @asynccontextmanager
    async def open(self, service: Target, provider: CredentialProvider, progress: Progress) -> AsyncIterator[Lanes]:
        """Opens the lanes; see ``engine.limits.Opener``.

        Raises:
            BulkcertError: It is not possible to listen there.
        """
        run = f"{service.on}, process {os.getpid()} on {platform.node()}"
        lanes = FleetLanes(provider, progress, service, run)

        def answer(said: bytes) -> bytes:
            return encode(lanes.exchange(decode_report(said)))

        async def exchange(report: LaneReport) -> Grant:
            return lanes.exchange(report, here=True)

        async with listening(self.where, self.keys, answer, lanes.lose), anyio.create_task_group() as group:
            group.start_soon(lanes.watch)
            for address in service.addresses:
                name = COORDINATOR if len(service.addresses) == 1 else f"{COORDINATOR} {address}"
                lane = LaneAddress(name, address, default_egress(address))
                group.start_soon(Participant(lane, provider, _log).run, exchange)
            try:
                yield lanes
            finally:
                lanes.end()
                with anyio.CancelScope(shield=True), anyio.move_on_after(GOODBYE_S):
                    while lanes.remote_members:  # noqa: ASYNC110 - a second at most
                        await asyncio.sleep(0.05)
                group.cancel_scope.cancel()


def _log(words: str) -> None:
    event("lane", words, lane=COORDINATOR)
