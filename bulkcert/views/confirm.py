"""What somebody is asked before anything is changed, and whether they agree."""

import select
import sys
from collections.abc import Iterator

from rich.text import Text

from bulkcert.errors import BulkcertError, ExitStatus, status_by
from bulkcert.log import is_json
from bulkcert.runs.options import ServiceOptions
from bulkcert.runs.run import Run
from bulkcert.runs.target import BLOCKED, THROTTLED, above_documented
from bulkcert.runs.undo import Undo
from bulkcert.service.actions import Action, of_ca_key
from bulkcert.service.limits import ADDRESS_LIMIT
from bulkcert.store.sessions import ChangeRecord
from bulkcert.telemetry.notify import waiting
from bulkcert.views.console import say, stderr, warn
from bulkcert.views.layout import change_rows, rehearsal_line, show
from bulkcert.views.plan_advice import on_devices
from bulkcert.words import about, counted, later, printable, tr

ASK_FOR_COUNT = 1000
"""Above so many rows, and for every CA action, the number of those that change must be typed."""

SIGNAL_CHECK_S = 0.5
"""How long a question may take to hear of a signal."""

_NO = ("n", "no", "q", "quit")
"""Answers after which nobody is asked once more."""


def warn_of_limits(options: ServiceOptions) -> None:
    """Says what it costs if limits above the documented ones were not raised; nothing where it is quiet."""
    if not options.quiet and (text := raised_limits(options)):
        warn(text)


def raised_limits(options: ServiceOptions) -> str:
    """Returns what it costs if limits above the documented ones were not raised; empty where none is above."""
    if not [*above_documented(options.rate, options.per_address_rate)]:
        return ""
    why = tr(BLOCKED if options.per_address_rate > ADDRESS_LIMIT else THROTTLED)
    return tr("above the documented limits, which must have been raised. {why}", why=why)


def is_somebody_there() -> bool:
    """Returns whether somebody can be asked."""
    return not is_json() and sys.stdin.isatty() and sys.stderr.isatty()


def confirm_somebody_is_there() -> None:
    """Confirms that somebody can be asked.

    Raises:
        BulkcertError: USAGE: there is no terminal.
    """
    if not is_somebody_there():
        why = "with --log-format json nothing is asked" if is_json() else "there is no terminal to ask for confirmation"
        raise BulkcertError(ExitStatus.USAGE, f"{why}; no calls were made", "Add --yes to run without being asked.")


def confirm(rows: int, *, by_device: bool, what: str = later("certificates that will change")) -> None:
    """Asks whether to continue; of many rows, and for every action on CAs, the number must be typed.

    Args:
        rows: That are changed.
        by_device: Whether each is a device.
        what: What they are, in the question.

    Raises:
        BulkcertError: The answer was no, or there is no terminal to ask.
    """
    if rows > ASK_FOR_COUNT or not by_device:
        _agree(tr("Type the number of {what} ({rows}) to continue: ", what=tr(what), rows=rows), str(rows))
    else:
        _agree(tr("Continue? [y/N] "), "y", "yes")


def confirm_run(run: Run) -> None:
    """Asks whether a run is to do what was shown; a deletion wants the serial of its CA, or the number of devices.

    Raises:
        BulkcertError: The answer was no, or there is no terminal to ask.
    """
    found = run.found
    if found is None or not run.job.action.deletes:
        confirm(run.changing, by_device=run.job.action.by_device)
    elif run.left == 1 and len(found.by_ca) == 1:
        (key,) = found.by_ca
        ca, _ = of_ca_key(key or "")
        _agree(tr("Type the serial of the CA ({ca}) to delete it: ", ca=printable(ca)), ca)
    elif found.devices is not None:
        count = str(found.devices.devices)
        devices = count if found.devices.whole else tr("at least {what}", what=count)
        said = later("Type the number of devices that will be deleted ({devices}) to continue: ")
        _agree(tr(said, devices=devices), count)
    else:
        confirm(run.left, by_device=False)


def confirm_devices(run: Run) -> None:
    """Confirms that what ``--confirm-devices`` says is true now; nobody is asked before a deletion without it.

    Raises:
        BulkcertError: USAGE: it is not, or is missing; with the number. Or why it cannot be known.
    """
    job, found, typed = run.job, run.found, run.job.options.confirm_devices
    if found is None or job.rehearsal or (typed is None and not (job.action.deletes and job.options.yes)):
        return
    devices = found.devices
    if devices is not None and devices.whole and typed == devices.devices:
        return
    if typed is None and run.plan is not None and run.plan.devices is not None:
        return  # it was planned, and is no more now
    if found.uncounted is not None:
        raise BulkcertError(found.uncounted.status, on_devices(job.action, found), found.uncounted.advice)
    says = "--confirm-devices is missing" if typed is None else f"--confirm-devices {typed} is not the number"
    advice = "Run it on a terminal without --yes, which asks."
    if devices is not None and devices.whole:
        advice = f"If that is meant, give --confirm-devices {devices.devices}."
    message = f"{says}: {on_devices(job.action, found)}"
    raise BulkcertError(ExitStatus.USAGE, message, f"No calls that change anything were made. {advice}")


def _agree(question: str, *accepted: str) -> None:
    """Asks until what is accepted was typed, once more after a typo.

    Raises:
        BulkcertError: USAGE: it was not, or there is no terminal to ask.
    """
    confirm_somebody_is_there()
    for tries_left in (1, 0):
        typed = _answer(question)
        if typed and (typed.lower() in accepted or typed.replace(",", "") in accepted):
            return
        if not typed or typed.lower() in _NO:
            break
        if tries_left:
            say(tr("'{typed}' was typed, not {wanted}", typed=printable(typed), wanted=accepted[0]))
    text = f"not confirmed: '{printable(typed)}' was typed, not {' or '.join(accepted)}" if typed else "not confirmed"
    raise BulkcertError(ExitStatus.USAGE, text, "No calls that change anything were made.")


def show_undo(undo: Undo) -> None:
    """Prints what an undo is about to do, on stderr."""
    results = undo.opened.files.results
    unknown = tr("{rows} whose state before is not known", rows=counted(undo.unknown, "row"))
    if undo.rows:
        rows = counted(undo.rows, "row")
        if undo.calls < undo.rows:
            rows = tr("{count:,} of {rows} (--limit-rows)", count=undo.calls, rows=rows)
        action = f"{undo.action.name} ({tr(undo.action.verb)})"
        what = tr("{rows} of {results}, {action}", rows=rows, results=results, action=action)
        say(f"{tr('to undo')}{tr(': ')}{what}{tr('; ')}{about(undo.calls / undo.service.rate)}")
        show(_undo(undo), stderr)
        if undo.unknown:
            said = later("included: {rows}") if undo.include_unknown else later("not undone: {rows}")
            say(tr(said, rows=unknown), style="yellow")
    elif undo.unknown:
        said = later("nothing to undo: all that {results} has changed are {rows}, so they are not undone")
        say(tr(said, results=results, rows=unknown), style="yellow")
    elif undone := undo.opened.status().undone:
        said = later("nothing to undo: all that {results} has changed, {rows}, is undone already")
        say(tr(said, results=results, rows=counted(undone, "row")))
    else:
        say(tr("nothing to undo: {results} has no row that its run has changed", results=results))


def _undo(undo: Undo) -> Iterator[tuple[str, str | Text]]:
    asked, service = undo.opened.asked, undo.service
    yield from rehearsal_line() if asked.rehearsal else ()
    yield tr("instance"), tr("{instance} at {endpoint}", instance=asked.on, endpoint=service.at)
    certificates = counted(undo.calls, kind_of(undo.action))
    yield tr("will change"), tr("at most {what}: what they are now is not read first", what=certificates)
    addresses = counted(service.lane_count, "address")
    yield tr("limits"), tr("{rate:.0f}/s from {addresses}", rate=service.rate, addresses=addresses)
    yield from change_rows(ChangeRecord(undo.options.ticket, undo.options.reason, undo.options.approved_by))


def kind_of(action: Action) -> str:
    """Returns what a row of an action is."""
    return later("device certificate") if action.by_device else later("CA certificate")


def _answer(question: str) -> str:
    try:
        stderr.print(Text(question), end="")
        with waiting():
            while not select.select([sys.stdin], [], [], SIGNAL_CHECK_S)[0]:
                pass  # a signal that comes just before a read would not be heard until its end
            line = sys.stdin.readline()
    except KeyboardInterrupt as error:
        stderr.print()
        raise BulkcertError(
            status_by(error), str(error) or "interrupted", "No calls that change anything were made."
        ) from None
    except UnicodeDecodeError:
        line = ""
    if not line:
        stderr.print()
    return line.strip()
