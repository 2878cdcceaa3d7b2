"""The settings of an emulator, which are the options of ``bulkcert emulator``."""

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from bulkcert.emulator.faults import DEFAULT_FAULTS, InjectedFault
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.actions import ActionName
from bulkcert.service.codes import StatusTable
from bulkcert.service.limits import ACCOUNT_LIMIT, ADDRESS_LIMIT
from bulkcert.service.signing import Credentials

CREDENTIALS = Credentials("testAccessKeyId", "testAccessKeySecret", source="the emulator")
"""The access key that every emulator accepts."""

ListTotal = Literal["documented", "results", "pages", "zero"]
"""What ``Total`` says in lists: what each operation documents, one of the two everywhere, or 0 (section 1.2)."""

_SERVING = Group.create_ordered("Serving")
_LIMITS = Group.create_ordered("Limits")
_FAULTS = Group.create_ordered("Faults")
_CONTENT = Group.create_ordered("Content")
_HIDDEN = Parameter(parse=False)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one emulator; those without an option of their own are for tests.

    Attributes:
        list_total: What ``Total`` says in lists.
        retry_after_ms: Value of ``x-acs-retry-after`` on throttles, in milliseconds (section 8.2).
        slow_seconds: Added latency of a call that meets the fault ``slow``.
    """

    port: Annotated[int, Parameter(group=_SERVING, metavar="PORT")] = 8080
    """Port on 127.0.0.1; 0 takes any that is free."""
    json: Annotated[bool, Parameter(group=_SERVING)] = False
    """Print the URL as JSON."""
    exit_on_eof: Annotated[bool, Parameter(group=_SERVING)] = False
    """Stop when standard input ends, as it does when the parent process dies."""
    status_table: Annotated[StatusTable, Parameter(group=_SERVING)] = "old"
    """HTTP statuses before (old) or after (new) the vendor's adjustment."""
    latency_ms: Annotated[tuple[float, float], Parameter(group=_SERVING, metavar="LOW HIGH")] = (0.0, 0.0)
    """Answers take between so many milliseconds, drawn evenly."""

    account_cap: Annotated[int, Parameter(group=_LIMITS, name="--rate", metavar="N")] = ACCOUNT_LIMIT
    """Calls per second of an account and operation above which it throttles."""
    address_cap: Annotated[int, Parameter(group=_LIMITS, name="--per-address-rate", metavar="N")] = ADDRESS_LIMIT
    """Calls per second of a source address above which it blocks the address."""
    block_seconds: Annotated[float, Parameter(group=_LIMITS, metavar="SECONDS")] = 10.0
    """How long a blocked address gets no answer."""

    fault: Annotated[tuple[str, ...], Parameter(group=_FAULTS, consume_multiple=False, metavar="NAME=SHARE")] = ()
    """A fault and its share of the calls, as in drop-after=0.01: throttle, overflow, internal-error, html-502,
    drop-before, drop-after, slow, no-echo, or an error code of the service; of one operation alone as in
    ListDeviceCertificateByCaSn:NoPermission=1. Repeat it for more; "default" is the usual mix."""
    fault_seed: Annotated[int, Parameter(group=_FAULTS, metavar="N")] = 0
    """Seed of the faults and latencies."""

    database: Annotated[Path | None, Parameter(group=_CONTENT, metavar="FILE")] = None
    """SQLite file that keeps the certificates over restarts; without it they are in memory."""
    instances: Annotated[
        tuple[str, ...], Parameter(group=_CONTENT, name="--instance", consume_multiple=False, metavar="ID")
    ] = ("post-cn-emulator",)
    """Instance that exists from the start; repeat it for more."""
    seed_from: Annotated[Path | None, Parameter(group=_CONTENT, metavar="FILE")] = None
    """List whose certificates are registered from the start, in the first instance unless its rows name others."""
    seed_for: Annotated[ActionName, Parameter(group=_CONTENT)] = "inactivate-device"
    """Action that they are made ready for: they start in the state from which it changes something."""
    seed_device_column: Annotated[str, Parameter(group=_CONTENT, metavar="NAME")] = ""
    """Column of the list that holds the device serial, if it is not named DeviceSn."""
    seed_ca_column: Annotated[str, Parameter(group=_CONTENT, metavar="NAME")] = ""
    """Column of the list that holds the CA serial, if it is not named CaSn or Sn."""
    seed_instance_column: Annotated[str, Parameter(group=_CONTENT, metavar="NAME")] = ""
    """Column of the list that names the instance in which a row is registered."""
    unregistered: Annotated[float, Parameter(group=_CONTENT, metavar="SHARE")] = 0.0
    """Share of the list, from 0 to 1, that is left unregistered."""
    already: Annotated[float, Parameter(group=_CONTENT, metavar="SHARE")] = 0.0
    """Share of the rest, from 0 to 1, that is already as the action of --seed-for wants it; for delete-ca: gone."""
    connecting: Annotated[float, Parameter(group=_CONTENT, metavar="SHARE")] = 0.0
    """Share of the devices left unregistered, from 0 to 1, that connect for the first time while calls are coming."""

    list_total: Annotated[ListTotal, _HIDDEN] = "documented"
    retry_after_ms: Annotated[int, _HIDDEN] = 500
    slow_seconds: Annotated[float, _HIDDEN] = 3.0

    def shares(self) -> dict[str, float]:
        """Returns the share of the calls that meet each fault.

        Raises:
            BulkcertError: One is not written as NAME=SHARE.
        """
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

    def check(self) -> None:
        """Raises a BulkcertError (USAGE) that names each number that is out of range."""
        low, high = self.latency_ms
        shares = {"unregistered": self.unregistered, "already": self.already, "connecting": self.connecting}
        right = {
            f"--port must be from 0 to 65535, not {self.port}": 0 <= self.port <= 65535,  # noqa: PLR2004 - of TCP
            f"--latency-ms must be two rising numbers, not {low:g} and {high:g}": 0 <= low <= high < inf,
            f"--block-seconds must be a number of seconds from 0, not {self.block_seconds:g}": (
                0 <= self.block_seconds < inf
            ),
            **{f"--{name} must be from 0 to 1, not {share:g}": 0 <= share <= 1 for name, share in shares.items()},
        }
        if wrong := [message for message, holds in right.items() if not holds]:
            raise BulkcertError(ExitStatus.USAGE, "; ".join(wrong))
