"""The settings of an emulator."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.verdicts import StatusTable

ACCOUNT = "1000000000000001"
"""Account that owns the instances and the access key of the settings."""

DeviceStatus = Literal["0", "1"]
"""State of a certificate as the service spells it: ``"0"`` inactive, ``"1"`` active (reference, section 1.1)."""

ListTotal = Literal["documented", "results", "pages", "zero"]
"""What ``Total`` says in lists: what each operation documents, one of the two everywhere, or 0 (section 1.2)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one emulator.

    Attributes:
        host: Loopback address to listen on.
        port: TCP port; 0 takes any free one.
        database: SQLite file that keeps the state over restarts; None keeps it in memory.
        status_table: Column of the vendor's status notice to answer with (reference, section 1.3b).
        list_total: What ``Total`` says in lists.
        account_cap: Calls a second of one account and operation before it throttles (section 2).
        address_cap: Calls a second of one source address before it blocks the address (section 2).
        block_seconds: How long an address stays blocked; the service documents no figure.
        retry_after_ms: Value of ``x-acs-retry-after`` on throttles, in milliseconds (section 8.2).
        latency_ms: Bounds of the added latency of every answer, drawn evenly, in milliseconds.
        faults: Share of calls (0 to 1) that meet each fault, by name; see ``FaultPlan``.
        fault_seed: Seed of the draws of faults and latencies.
        slow_seconds: Added latency of a call that meets the fault ``slow``.
        log: NDJSON file that gets one line for each call.
        clock_offset_s: Seconds that the emulator's clock is ahead of this machine's.
        access_key_id: Access key that may call everything.
        access_key_secret: Its secret.
        instances: Instances that exist from the start, owned by the key's account.
        exit_on_eof: Whether to stop when standard input ends, so that no child outlives its parent.
    """

    host: str = "127.0.0.1"
    port: int = 0
    database: Path | None = None
    status_table: StatusTable = "old"
    list_total: ListTotal = "documented"
    account_cap: int = 500
    address_cap: int = 300
    block_seconds: float = 10.0
    retry_after_ms: int = 500
    latency_ms: tuple[float, float] = (0.0, 0.0)
    faults: Mapping[str, float] = field(default_factory=dict)
    fault_seed: int = 0
    slow_seconds: float = 3.0
    log: Path | None = None
    clock_offset_s: float = 0.0
    access_key_id: str = "testAccessKeyId"
    access_key_secret: str = field(default="testAccessKeySecret", repr=False)
    instances: tuple[str, ...] = ("post-cn-emulator",)
    exit_on_eof: bool = False

    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """Returns the address to listen on.

        Raises:
            BulkcertError: The host is not a loopback address: an emulator knows secrets and trusts its callers.
        """
        try:
            address = ipaddress.ip_address("127.0.0.1" if self.host == "localhost" else self.host)
        except ValueError:
            address = None
        if address is None or not address.is_loopback:
            raise BulkcertError(
                ExitStatus.USAGE,
                f"The emulator listens on loopback addresses only, not on {self.host}.",
                "Use --host 127.0.0.1 or ::1.",
            )
        return address


class SeededCertificate(NamedTuple):
    """One certificate of a seed.

    Attributes:
        ca_sn: Serial of the CA; that of a device is there, and active.
        device_sn: Serial of the device; empty for the CA certificate alone.
        status: State of the certificate; None if it is not registered.
        connects_at: Number of the call, from 1, with which the device connects for the first time; None for never.
    """

    ca_sn: str
    device_sn: str
    status: DeviceStatus | None = "1"
    connects_at: int | None = None


@dataclass(frozen=True, slots=True)
class Seed:
    """Certificates that exist before the first call, or come about while calls are coming.

    Attributes:
        instance: Instance that holds them.
        rows: The certificates.
    """

    instance: str
    rows: Iterable[SeededCertificate]
