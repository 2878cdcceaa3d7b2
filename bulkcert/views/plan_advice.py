"""What is to be said about a plan, and about the same findings before a run."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bulkcert.input import Check
from bulkcert.output.advice import on_unregistered
from bulkcert.runs.found import MANY_ROWS, MOST_SHARE, NEARLY_ALL, Found, on_swapped
from bulkcert.runs.job import WRONG_SIZE, wrong_size
from bulkcert.runs.plan import Inquiry
from bulkcert.runs.reading_list import named
from bulkcert.service.actions import Action, ca_key, of_ca_key
from bulkcert.words import counted, later, printable, tr, trn

if TYPE_CHECKING:  # a plan has the advice on it
    from bulkcert.views.plan import CaStates, Plan

CAS_SHOWN = 20
"""CAs that the table names, most rows first."""

CAS_NAMED = 3
"""CAs that advice or the plan of a list of devices names, most rows first."""


def advice_on(plan: "Plan", inquiry: Inquiry) -> Iterator[str]:
    """Yields what is to be said about a plan."""
    if text := wrong_size(inquiry.question.options, inquiry.question.list_name, plan.rows):
        yield f"{text}. {WRONG_SIZE}"
    yield from _on_left_out(plan, inquiry)
    action = inquiry.question.action
    if text := on_devices(action, inquiry.findings):
        yield text
    # What may be under any CA may be under this one.
    if action.by_ca and not inquiry.check.unplaced:
        worth = [ca for ca in plan.cas[:CAS_SHOWN] if _is_worth_a_call(inquiry, ca, plan.totals.rows)]
        yield from (_on_inactivating(ca, plan.totals.rows) for ca in worth[:CAS_NAMED])
    if inquiry.findings.are_swapped:
        swapped = on_swapped(inquiry.pinned)
        yield f"{swapped.message}{tr('; ')}{swapped.advice}"
    elif text := on_none(action, inquiry.findings):
        yield text
    if plan.totals.not_registered and not inquiry.findings.are_swapped:
        said = (
            later("{count:,} serial is not registered; {what}"),
            later("{count:,} serials are not registered; {what}"),
        )
        what = on_unregistered(action, protected=inquiry.check.spares_cas)
        yield trn(*said, plan.totals.not_registered, what=what)
    if plan.unread_because:
        unread = later("states cannot be read, so a run calls every row whose state was not read: {why}")
        yield tr(unread, why=plan.unread_because)


def on_devices(action: Action, found: Found) -> str:
    """Returns what an action on CAs does to the device certificates that are registered under them."""
    if action.by_device:
        return ""
    irrevocable = tr("; nothing brings them back") * action.deletes
    if (devices := found.devices) is None:
        because = f"{tr(': ')}{found.uncounted.message.removesuffix('.')}" if found.uncounted is not None else ""
        what = tr("device certificates that were not counted") + because
    else:
        what = counted(devices.devices, "device certificate")
        what = what if devices.whole else tr("at least {what}", what=what)
    return tr(_CASCADES[action.cascades], action=action.name, what=what) + irrevocable


_CASCADES = {
    "": later("registered under these CAs: {what}"),
    "deletes": later("{action} deletes {what}"),
    "refuses": later("connections with {what} are refused from then on"),
}
"""What an action on CAs does to the device certificates under them."""


def on_none(action: Action, found: Found) -> str:
    """Returns what to say where no device of a list is registered under its CA; empty where one is, or may be."""
    states = found.states(action)
    if not action.by_device or not states.rows or states.not_registered < states.rows:
        return ""
    return tr("none of these devices exists under these CAs; did you swap the columns, or is this another instance?")


def _is_worth_a_call(inquiry: Inquiry, ca: "CaStates", rows: int) -> bool:
    """Returns whether one inactivate-ca might do in place of many calls, and touch nothing that is protected."""
    if ca.rows <= MANY_ROWS or ca.already == ca.rows or ca_key(ca.ca_sn, ca.instance) in inquiry.check.protected_cas:
        return False
    nearly_all = ca.registered is not None and 0 < NEARLY_ALL * ca.registered <= ca.already + ca.to_change
    return nearly_all or ca.rows / rows >= MOST_SHARE


def _on_inactivating(ca: "CaStates", rows: int) -> str:
    # What was not looked at may be among the registered ones.
    others = max(0, (ca.registered_at_least or 0) - ca.already - ca.to_change - ca.not_read)
    whole = ca.registered is not None and not ca.not_read
    unlisted = "" if whole else tr("; devices that are not listed were not counted")
    if others:
        devices = counted(others, "registered device")
        devices = devices if whole else tr("at least {what}", what=devices)
        unlisted = tr("; devices that are not listed: {devices}", devices=devices)
    return tr(
        "{share} of the rows share CA {ca}: one inactivate-ca would refuse all of its devices at once, also those that "
        "are not registered yet{unlisted}",
        share=share_of(ca.rows, rows),
        ca=ca_named(ca_key(ca.ca_sn, ca.instance)),
        unlisted=unlisted,
    )


def _on_left_out(plan: "Plan", inquiry: Inquiry) -> Iterator[str]:
    options = inquiry.question.options
    if plan.invalid:
        how = tr("correct what is wrong, or give --skip-invalid")
        how = tr("skipped (--skip-invalid)") if options.skip_invalid else how
        said = trn("{count:,} row is invalid; {how}", "{count:,} rows are invalid; {how}", plan.invalid, how=how)
        yield f"{said}{named(inquiry.check.first_invalid, plan.invalid)}"
    if plan.protected:
        how = tr("take them out of the list, or give --skip-protected")
        how = tr("skipped (--skip-protected)") if options.skip_protected else how
        said = later("{count:,} row is protected by {file}; {how}")
        many = later("{count:,} rows are protected by {file}; {how}")
        yield trn(said, many, plan.protected, file=inquiry.check.protected_by, how=how)
    if text := mistake(inquiry.check):
        yield text


def mistake(check: Check) -> str:
    """Returns which protected serials were meant for rows that they do not protect; empty if none is likely to be.

    What is merely in no row is no mistake: a list that does not change is given to run after run.
    """
    if not (count := len(check.mistaken)):
        return ""
    one = later(
        "{file}: the serial {first} is in no row exactly, but rows differ from it only in letter case or leading "
        "zeros, and are NOT protected; write the list as the rows have it"
    )
    many = later(
        "{file}: the {count:,} serials, the first {first}, are in no row exactly, but rows differ from them only in "
        "letter case or leading zeros, and are NOT protected; write the list as the rows have it"
    )
    return trn(one, many, count, file=check.protected_by, first=f"'{printable(check.mistaken[0])}'")


def ca_named(key: str) -> str:
    """Returns a CA as people are shown it, by its key: with its instance where a list names several."""
    ca_sn, instance = of_ca_key(key)
    return tr("{ca} of {instance}", ca=printable(ca_sn), instance=instance) if instance else printable(ca_sn)


def share_of(part: int, whole: int) -> str:
    """Returns a share in percent, rounded down; empty where there is nothing."""
    return f"{int(100 * part / whole)} %" if whole else ""
