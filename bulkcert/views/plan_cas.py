"""The CAs of a plan: the states of their rows, and what one call for a CA would do to all of its devices, or does."""

from collections.abc import Iterator, Sequence

import msgspec

from bulkcert.input import printable
from bulkcert.runs.plan import MANY_ROWS, MOST_SHARE, NEARLY_ALL, Inquiry
from bulkcert.words import counted

CAS_SHOWN, CAS_NAMED = 20, 3
"""CAs that the table and one piece of advice name, most rows first."""


class States(msgspec.Struct, frozen=True):
    """How many rows that may be called are in each state; ``rows`` is their sum."""

    rows: int
    already: int
    not_registered: int
    to_change: int
    not_read: int


class CaStates(States, frozen=True, kw_only=True):
    """The same for the rows of one CA.

    Attributes:
        ca_sn: The CA.
        registered: Its device certificates; None where not all of them were counted.
        registered_at_least: Those that were counted, though there may be more; None where none were.
    """

    ca_sn: str
    registered: int | None
    registered_at_least: int | None


def advice_on_cas(inquiry: Inquiry, cas: Sequence[CaStates], rows: int) -> Iterator[str]:
    """Yields what to know of the CAs before the run.

    Args:
        inquiry: What the plan comes from.
        cas: The CAs with most rows.
        rows: Rows that may be called.
    """
    shown = cas[:CAS_SHOWN]
    if inquiry.question.action.cascades:
        yield from _on_cascading(inquiry, shown)
    # What may be under any CA may be under this one.
    if inquiry.question.action.name == "inactivate-device" and not inquiry.check.unplaced:
        worth = [ca for ca in shown if _is_worth_a_call(inquiry, ca, rows)]
        # The one that has most of the rows comes first, and is shown by itself.
        most = sum(ca.rows / rows >= MOST_SHARE for ca in worth) == 1
        for group in filter(None, (worth[:most], worth[most:])):
            yield _on_inactivating(group, rows)


def _on_cascading(inquiry: Inquiry, cas: Sequence[CaStates]) -> Iterator[str]:
    """Yields what an action on CAs does to the device certificates registered under them."""
    action, found = inquiry.question.action, inquiry.findings.registered
    if uncounted := [ca for ca in cas if ca.ca_sn not in found]:
        each = "its" if len(uncounted) == 1 else "their"
        does = f"{action.name} of {_named(uncounted)} {action.cascades}"
        yield f"{does} {each} device certificates; how many was not counted"
    with_devices = [ca for ca in cas if ca.ca_sn in found and found[ca.ca_sn].devices]
    if not with_devices:
        return
    parts = []
    for place, ca in enumerate(with_devices[:CAS_NAMED]):
        registered = found[ca.ca_sn]
        count = counted(registered.devices, "device certificate") if not place else f"{registered.devices:,}"
        does, least = f"{action.cascades} " * (not place), "at least " * (not registered.whole)
        parts.append(f"of {printable(ca.ca_sn)} {does}{least}{count}")
    if more := with_devices[CAS_NAMED:]:
        others = [found[ca.ca_sn] for ca in more]
        least = "at least " * (not all(registered.whole for registered in others))
        parts.append(f"of {len(more):,} more {least}{sum(registered.devices for registered in others):,}")
    for_ever = "; nothing brings them back" * action.deletes
    yield f"{action.name} {', '.join(parts)}{for_ever}"


def _is_worth_a_call(inquiry: Inquiry, ca: CaStates, rows: int) -> bool:
    """Returns whether one inactivate-ca might do in place of many calls, and touch nothing that is protected."""
    if ca.rows <= MANY_ROWS or ca.already == ca.rows or ca.ca_sn in inquiry.check.protected_cas:
        return False
    nearly_all = ca.registered is not None and 0 < NEARLY_ALL * ca.registered <= ca.already + ca.to_change
    return nearly_all or ca.rows / rows >= MOST_SHARE


def _on_inactivating(cas: Sequence[CaStates], rows: int) -> str:
    one = len(cas) == 1
    return (
        f"{int(100 * sum(ca.rows for ca in cas) / rows)} % of the rows share {'CA' if one else 'the CAs'} "
        f"{_named(cas)}: one inactivate-ca {'' if one else 'for each '}would refuse all of {'its' if one else 'their'} "
        f"devices at once, those that are not registered yet included; "
        f"{_others(cas)}"
    )


def _others(cas: Sequence[CaStates]) -> str:
    """Says how many registered devices of some CAs are not in the list, as far as that is known."""
    # What was not read may be among the registered ones.
    counts = [(ca.registered_at_least or 0) - ca.already - ca.to_change - ca.not_read for ca in cas]
    others = sum(max(0, count) for count in counts)
    whole = all(ca.registered is not None and not ca.not_read for ca in cas)
    if not others and not whole:
        return "how many devices there are besides those listed was not counted"
    devices = f"{others:,} registered device{'s' * (others != 1)}" if others else "no registered devices"
    return f"besides those listed {'it has' if len(cas) == 1 else 'they have'} {'at least ' * (not whole)}{devices}"


def _named(cas: Sequence[CaStates]) -> str:
    names = [printable(ca.ca_sn) for ca in cas[:CAS_NAMED]]
    more = len(cas) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")
