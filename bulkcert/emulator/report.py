"""What an emulator counted, as one record."""

import msgspec

from bulkcert.emulator.gateway import Gateway
from bulkcert.emulator.limits import Source


class AddressReport(msgspec.Struct, frozen=True):
    """One source address.

    Attributes:
        arrivals: Its calls, those dropped while it was blocked included.
        peak_window: Most calls in any half-open second.
        blocks: How often it was blocked.
    """

    arrivals: int
    peak_window: int
    blocks: int


class Report(msgspec.Struct, frozen=True):
    """What happened since the emulator started; admin calls do not count.

    Attributes:
        arrivals: Calls.
        first_at: Unix time in seconds of the first call, or None.
        last_at: Unix time in seconds of the last call, or None.
        rate: Mean calls per second between the two.
        peak_window: Most calls in any half-open second.
        addresses: Calls by source address.
        throttled: Calls throttled for being over the cap of an account and operation; those of the fault not.
        blocks: How often any address was blocked.
        codes: Answers by ``Code``.
        changes: Operations carried out that change state, whether or not the answer came through.
        operations: Calls by operation, without those of blocked addresses.
        faults: Calls by the fault that they met.
        connected: Device certificates of the seed that were registered by a first connection while calls were coming.
    """

    arrivals: int
    first_at: float | None
    last_at: float | None
    rate: float
    peak_window: int
    addresses: dict[str, AddressReport]
    throttled: int
    blocks: int
    codes: dict[str, int]
    changes: int
    operations: dict[str, int]
    faults: dict[str, int]
    connected: int = 0


def _address(source: Source) -> AddressReport:
    return AddressReport(source.arrivals.count, source.arrivals.peak_window, source.blocks)


def report(gateway: Gateway) -> Report:
    """Returns what a gateway counted so far."""
    arrivals = gateway.arrivals
    addresses = {name: _address(source) for name, source in gateway.addresses.sources.items()}
    return Report(
        arrivals=arrivals.count,
        first_at=None if arrivals.first_at is None else gateway.unix_time(arrivals.first_at),
        last_at=None if arrivals.last_at is None else gateway.unix_time(arrivals.last_at),
        rate=arrivals.rate(),
        peak_window=arrivals.peak_window,
        addresses=addresses,
        throttled=gateway.throttled,
        blocks=sum(address.blocks for address in addresses.values()),
        codes=dict(gateway.codes),
        changes=gateway.changes,
        operations=dict(gateway.operations),
        faults=dict(gateway.met),
        connected=gateway.connected,
    )
