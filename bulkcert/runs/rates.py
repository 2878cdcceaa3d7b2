"""Limits as they are given: which cannot be kept, and which are above those that the service documents."""

from collections.abc import Iterator

from bulkcert.engine.pacer import lane_cap
from bulkcert.language import later
from bulkcert.runs.options import ACCOUNT_LIMIT, ADDRESS_LIMIT


def wrong_limits(account: int, address: int, lanes: int) -> Iterator[str]:
    """Yields why limits of an account and of an address, in calls per second, cannot be kept by so many lanes."""
    rates = {"--rate": account, "--per-address-rate": address}
    low = [f"{name} must be at least 1, not {value}" for name, value in rates.items() if value < 1]
    yield from low
    if not low and lane_cap(account, address, lanes) < 1:
        yield f"--rate {account} leaves less than one call a second for each of {lanes} addresses"


def above_documented(account: int, address: int) -> Iterator[str]:
    """Yields which limits, in calls per second, are above the documented ones, and what that costs."""
    if account > ACCOUNT_LIMIT:
        yield f"--rate {account} is above the documented {ACCOUNT_LIMIT}/s of an account, {_THROTTLED}; {_RAISED}"
    if address > ADDRESS_LIMIT:
        above = f"--per-address-rate {address} is above the documented {ADDRESS_LIMIT}/s of an address"
        yield f"{above}. {BLOCKED} {_RAISED}"


BLOCKED = later(
    "The service does not slow such an address down, it blocks it: nothing that sends from there gets an answer any "
    "more, other programs behind the same NAT included, and for how long is not documented."
)
"""What it costs to send too fast from one address (reference, section 2)."""
THROTTLED = later("The service throttles all that call on an account that sends more.")
"""What it costs to send too fast on one account, from addresses that keep their limit."""
_THROTTLED = "above which the service throttles all that call on it"
_RAISED = "--limits-raised says that the service has raised yours"
