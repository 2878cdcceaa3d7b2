"""The options of ``bulkcert emulator``, and what they come to."""

import sys
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Group, Parameter

from bulkcert.emulator.faults import DEFAULT_FAULTS, InjectedFault
from bulkcert.emulator.settings import ListTotal, Seed, Settings
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.actions import ACTIONS, ActionName
from bulkcert.service.verdicts import StatusTable

FURTHEST_S = 10 * 366 * 86400
"""Seconds that its clock may be off, ten years."""

MOST_PORT = 65535
"""Highest port of TCP."""

_SERVING = Group.create_ordered("Serving")
_LIMITS = Group.create_ordered("Limits")
_FAULTS = Group.create_ordered("Faults")
_CONTENT = Group.create_ordered("Content")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorOptions:
    """Options of ``emulator`` as they were typed."""

    host: Annotated[str, Parameter(group=_SERVING)] = "127.0.0.1"
    """Loopback address to listen on."""
    port: Annotated[int, Parameter(group=_SERVING)] = 8080
    """Port; 0 takes any that is free."""
    json: Annotated[bool, Parameter(group=_SERVING)] = False
    """Print the URL as JSON."""
    exit_on_eof: Annotated[bool, Parameter(group=_SERVING)] = False
    """Stop when standard input ends, as it does when the parent process dies."""
    log: Annotated[Path | None, Parameter(group=_SERVING)] = None
    """NDJSON file that gets a line for each call."""
    status_table: Annotated[StatusTable, Parameter(group=_SERVING)] = "old"
    """HTTP statuses before (old) or after (new) the vendor's adjustment."""
    list_total: Annotated[ListTotal, Parameter(group=_SERVING)] = "documented"
    """What Total says in lists: what each documents, the number of results, that of pages, or 0."""
    clock_offset: Annotated[float, Parameter(group=_SERVING)] = 0.0
    """Seconds that its clock is ahead of this machine's."""
    latency_ms: Annotated[tuple[float, float], Parameter(group=_SERVING)] = (0.0, 0.0)
    """Answers take between so many milliseconds, drawn evenly."""

    rate: Annotated[int, Parameter(group=_LIMITS)] = 500
    """Calls per second of an account and operation above which it throttles."""
    per_address_rate: Annotated[int, Parameter(group=_LIMITS)] = 300
    """Calls per second of a source address above which it blocks the address."""
    block_seconds: Annotated[float, Parameter(group=_LIMITS)] = 10.0
    """How long a blocked address gets no answer."""

    fault: Annotated[tuple[str, ...], Parameter(group=_FAULTS, consume_multiple=False)] = ()
    """A fault and its share of the calls, as in drop-after=0.01: throttle, overflow, internal-error, html-502,
    drop-before, drop-after, slow, no-echo, or an error code of the service such as NoPermission. With an operation
    before it, share of the calls of that operation alone: ListDeviceCertificateByCaSn:NoPermission=1. Repeat it for
    more; "default" is the usual mix."""
    fault_seed: Annotated[int, Parameter(group=_FAULTS)] = 0
    """Seed of the faults and latencies."""

    database: Annotated[Path | None, Parameter(group=_CONTENT)] = None
    """SQLite file that keeps the certificates over restarts; without it they are in memory."""
    instance: Annotated[tuple[str, ...], Parameter(group=_CONTENT, consume_multiple=False)] = ("post-cn-emulator",)
    """Instance that exists from the start; repeat it for more."""
    seed_from: Annotated[Path | None, Parameter(group=_CONTENT)] = None
    """List whose certificates are registered in the first instance from the start."""
    seed_for: Annotated[ActionName, Parameter(group=_CONTENT)] = "inactivate-device"
    """Action that they are made ready for: they start in the state from which it changes something."""
    seed_device_column: Annotated[str, Parameter(group=_CONTENT)] = ""
    """Column of the list that holds the device serial, if it is not named DeviceSn."""
    seed_ca_column: Annotated[str, Parameter(group=_CONTENT)] = ""
    """Column of the list that holds the CA serial, if it is not named CaSn or Sn."""
    unregistered: Annotated[float, Parameter(group=_CONTENT)] = 0.0
    """Share of the list, from 0 to 1, that is left unregistered."""
    already: Annotated[float, Parameter(group=_CONTENT)] = 0.0
    """Share of the rest, from 0 to 1, that is already as the action of --seed-for wants it; for delete-ca: gone."""
    connecting: Annotated[float, Parameter(group=_CONTENT)] = 0.0
    """Share of the devices left unregistered, from 0 to 1, that connect for the first time while calls are coming."""

    def settings(self) -> Settings:
        """Returns the settings of the server.

        Raises:
            BulkcertError: A fault is not written as NAME=SHARE, or a number is out of range.
        """
        low, high = self.latency_ms
        if not 0 <= self.port <= MOST_PORT:
            raise BulkcertError(ExitStatus.USAGE, f"--port must be from 0 to {MOST_PORT}, not {self.port}")
        if not (0 <= low <= high and isfinite(high)):
            raise BulkcertError(ExitStatus.USAGE, f"--latency-ms must be two rising numbers, not {low:g} and {high:g}")
        if not abs(self.clock_offset) <= FURTHEST_S:
            message = f"--clock-offset must be {FURTHEST_S} seconds at most, not {self.clock_offset:g}"
            raise BulkcertError(ExitStatus.USAGE, message)
        if not 0 <= self.block_seconds < inf:
            message = f"--block-seconds must be a number of seconds from 0, not {self.block_seconds:g}"
            raise BulkcertError(ExitStatus.USAGE, message)
        return Settings(
            host=self.host,
            port=self.port,
            database=self.database,
            status_table=self.status_table,
            list_total=self.list_total,
            account_cap=self.rate,
            address_cap=self.per_address_rate,
            block_seconds=self.block_seconds,
            latency_ms=self.latency_ms,
            faults=self._shares(),
            fault_seed=self.fault_seed,
            log=self.log,
            clock_offset_s=self.clock_offset,
            instances=self.instance,
            exit_on_eof=self.exit_on_eof,
        )

    def _shares(self) -> dict[str, float]:
        shares: dict[str, float] = {}
        for text in self.fault:
            if text == "default":
                shares |= DEFAULT_FAULTS
                continue
            name, _, share = text.partition("=")
            try:
                shares[name] = float(share)
            except ValueError:
                raise BulkcertError(
                    ExitStatus.USAGE,
                    f"--fault takes NAME=SHARE, not {text!r}",
                    f"Names are {', '.join(InjectedFault)}, and the service's error codes.",
                ) from None
        return shares

    def seed(self) -> Seed | None:
        """Returns what exists from the start; None without a list.

        Raises:
            BulkcertError: The list cannot be used, or a share is out of range.
        """
        shares = {"unregistered": self.unregistered, "already": self.already, "connecting": self.connecting}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise BulkcertError(ExitStatus.USAGE, f"--{name} must be from 0 to 1, not {share:g}")
        if self.seed_from is None:
            return None
        from bulkcert.emulator.seeding import Shares, seed_for  # noqa: PLC0415 - loads tables, which no help needs

        return seed_for(
            ACTIONS[self.seed_for],
            self.seed_from,
            self.instance[0],
            device_column=self.seed_device_column,
            ca_column=self.seed_ca_column,
            shares=Shares(**shares),
            draw=self.fault_seed,
        )

    def announce(self, url: str) -> None:
        """Prints where it listens, once it does."""
        ready = msgspec.json.encode({"url": url}).decode() if self.json else f"listening on {url}; Ctrl-C stops it"
        sys.stdout.write(ready + "\n")
        sys.stdout.flush()
