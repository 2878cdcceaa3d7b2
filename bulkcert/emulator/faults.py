"""Faults on request: a seeded plan that decides for each call whether it goes wrong, and how."""

import random
from collections.abc import Mapping
from enum import StrEnum
from itertools import accumulate

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.actions import OPERATIONS
from bulkcert.service.codes import RULES


class InjectedFault(StrEnum):
    """What can go wrong with one call that the gateway let through."""

    THROTTLE = "throttle"
    """``Throttling.User`` with ``x-acs-retry-after``; nothing is done."""
    OVERFLOW = "overflow"
    """``SystemOverFlow``, the service's own throttle; nothing is done."""
    INTERNAL_ERROR = "internal-error"
    """``InternalError``; nothing is done."""
    HTML_502 = "html-502"
    """502 with an HTML page instead of the service's JSON; nothing is done."""
    DROP_BEFORE = "drop-before"
    """The connection is dropped; nothing is done."""
    DROP_AFTER = "drop-after"
    """The connection is dropped after the work was done."""
    SLOW = "slow"
    """The work is done, the answer comes late."""
    NO_ECHO = "no-echo"
    """The work is done, the answer is 200 without the serial."""


REFUSALS: Mapping[str, str] = {
    **{rule.code: rule.code for rule in RULES if not rule.code.endswith("*")},
    InjectedFault.THROTTLE: "Throttling.User",
    InjectedFault.OVERFLOW: "SystemOverFlow",
    InjectedFault.INTERNAL_ERROR: "InternalError",
}
"""``Code`` of the answer by name of the fault; every documented code is a fault, too, named by itself."""

DEFAULT_FAULTS: Mapping[str, float] = {
    InjectedFault.THROTTLE: 0.001,
    InjectedFault.OVERFLOW: 0.005,
    InjectedFault.INTERNAL_ERROR: 0.01,
    InjectedFault.HTML_502: 0.005,
    InjectedFault.DROP_BEFORE: 0.003,
    InjectedFault.DROP_AFTER: 0.003,
    InjectedFault.SLOW: 0.002,
    InjectedFault.NO_ECHO: 0.002,
}
"""Shares of the faults where faults are asked for without a mix of one's own: 3 % of the calls in all."""


class FaultPlan:
    """Draws at most one fault for each call; the same seed and shares give the same sequence.

    Args:
        shares: Share of calls (0 to 1) by fault: a name of ``InjectedFault``, or a documented code; with
            ``OPERATION:`` before it, share of the calls of that operation alone.
        seed: Seed of the draws.

    Raises:
        BulkcertError: A name is unknown, a share is out of range, or the shares that one operation meets add up to more
            than 1.
    """

    def __init__(self, shares: Mapping[str, float], seed: int) -> None:
        _refuse("fault", {name.rpartition(":")[2] for name in shares}, {**dict.fromkeys(InjectedFault), **REFUSALS})
        _refuse("operation", {name.rpartition(":")[0] for name in shares} - {""}, OPERATIONS)
        self._random = random.Random(seed)
        self._bounds = {operation: _bounds(shares, operation) for operation in OPERATIONS}
        most = max(bounds[-1][1] if bounds else 0 for bounds in self._bounds.values())
        if not (all(0 <= share <= 1 for share in shares.values()) and most <= 1 + 1e-9):
            raise BulkcertError(
                ExitStatus.USAGE, "The shares of faults must lie between 0 and 1 and add up to 1 at most."
            )

    def draw(self, operation: str) -> str | None:
        """Returns the fault that the next call meets, by the name of its operation, or None."""
        if not (bounds := self._bounds[operation]):
            return None
        drawn = self._random.random()
        return next((fault for fault, bound in bounds if drawn < bound), None)


def _refuse(kind: str, names: set[str], choices: Mapping[str, object]) -> None:
    """Refuses names that are not among the choices."""
    if unknown := sorted(names - choices.keys()):
        raise BulkcertError(
            ExitStatus.USAGE, f"There is no {kind} named {', '.join(unknown)}.", f"Choose from {', '.join(choices)}."
        )


def _bounds(shares: Mapping[str, float], operation: str) -> list[tuple[str, float]]:
    """Returns the faults that an operation can meet, each with the number below which a draw means it."""
    met = {name: share for name, share in shares.items() if name.rpartition(":")[0] in ("", operation)}
    return [(name.rpartition(":")[2], bound) for name, bound in zip(met, accumulate(met.values()), strict=True)]
