"""``bulkcert control``: asks something of a session that is running, from another terminal."""

import time
from collections.abc import Iterator
from pathlib import Path

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs.converters import LARGEST_NUMBER
from bulkcert.runs.target import above_documented, wrong_limits
from bulkcert.store.control import ask
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Control, Limits, Request, Session
from bulkcert.store.status import RunStatus, State, status_of
from bulkcert.views import console as terminal
from bulkcert.views.status import figures_of, is_running, steps_of
from bulkcert.words import duration

WAITS_S = 5.0
"""How long a session may take; it reads what is asked of it twice a second."""

POLL_EVERY_S = 0.1

_DONE = {
    "rate": "done: {words}",
    "pause": "done: paused; no more calls are sent, and a deadline still holds",
    "continue": "done: continued",
    "stop": "done: stopping; calls in flight are waited for, then results are written (75)",
}


def control(
    results: Path,
    state_dir: Path | None,
    requests: list[Request],
    rates: tuple[int | None, int | None],
    *,
    limits_raised: bool,
) -> ExitStatus:
    """Asks something of the session of a run that is running, and waits until that has done it.

    Args:
        results: Of the run.
        state_dir: Where its folder is.
        requests: What is asked; exactly one.
        rates: Calls per second of the account and of each address that are to hold; None as it is now.
        limits_raised: Whether they may be above those that held at the start of the session.

    Raises:
        BulkcertError: USAGE: it is not one request, or a limit is wrong; INPUT_UNREADABLE, STOPPED_EARLY: no session
            is running, or it did not do it in time.
    """
    files = RunFiles.named_by(results, state_dir)
    if len(requests) != 1:
        names = ", ".join(f"--{name}" for name in requests)
        wrong = f"{names} exclude each other" if requests else "what is asked is missing"
        raise BulkcertError(ExitStatus.USAGE, wrong, "Give --rate, --pause, --continue or --stop.")
    if limits_raised and requests != ["rate"]:
        raise BulkcertError(ExitStatus.USAGE, "--limits-raised is for --rate and --per-address-rate")
    account, address = (limit if limit is not None else LARGEST_NUMBER for limit in rates)
    if low := [*wrong_limits(account, address, 1)]:
        raise BulkcertError(ExitStatus.USAGE, "\n  ".join(low), "Nothing was changed.")  # whatever is running
    status = status_of(files, brief=True)
    session = _running(status)
    limits = _limits(status, session, rates, limits_raised=limits_raised) if requests == ["rate"] else None
    asked = ask(files, session.id, requests[0], limits)
    _await(files, asked)
    terminal.say(_DONE[asked.request].format(words=asked.words), terminal.stdout)
    is_over = asked.request == "stop" and status.asked is not None and status.asked.rehearsal
    if asked.request in ("pause", "stop") and not is_over:
        after = {"pause": ("to continue", ("control", "--continue")), "stop": ("to resume", ("resume",))}
        purpose, command = after[asked.request]
        terminal.say_step(purpose, files.command(*command), terminal.stdout)
    return ExitStatus.OK


def _running(status: RunStatus) -> Session:
    """Returns the session that is running.

    Raises:
        BulkcertError: STOPPED_EARLY: there is none yet, or none any more, and the run is not at its end;
            INPUT_UNREADABLE: the run has ended.
    """
    results, session = status.files.results, status.session
    if session is not None and is_running(status):
        stats = figures_of(session)
        if stats is not None and stats.phase == "stopping":
            raise BulkcertError(ExitStatus.STOPPED_EARLY, f"{results}: its session stops already: {stats.stop}")
        return session
    if status.state is State.STARTING:
        message = f"{results}: no calls yet: it reads its list, or waits for a confirmation"
        by = f", or kill {status.holder.pid} on {status.holder.host}" if status.holder and status.holder.pid else ""
        raise BulkcertError(ExitStatus.STOPPED_EARLY, message, f"Ctrl-C there ends it{by}.", again=True)
    step = next(iter(steps_of(status)), None)
    advice = f"{step.purpose[0].upper()}{step.purpose[1:]}: {step.command}" if step and step.command else ""
    if status.state is State.INTERRUPTED:
        raise BulkcertError(ExitStatus.STOPPED_EARLY, f"{results}: no session is running, it was interrupted", advice)
    message = f"{results}: no session is running, it ended with {status.exit_status}"
    open_ = status.to_call and status.came_to not in (ExitStatus.OK, ExitStatus.INCOMPLETE)
    raise BulkcertError(ExitStatus.STOPPED_EARLY if open_ else ExitStatus.INPUT_UNREADABLE, message, advice)


def _limits(
    status: RunStatus, session: Session, rates: tuple[int | None, int | None], *, limits_raised: bool
) -> Limits:
    """Returns the limits that are to hold from now on.

    Raises:
        BulkcertError: USAGE: they cannot be kept, or are above those of the start.
    """
    start = session.limits
    changes = [each for each in status.controls if each.session == session.id and each.request == "rate"]
    now = (changes[-1].rate, changes[-1].per_address_rate) if changes else (start.rate, start.per_address_rate)
    account, address = (new if new is not None else old for new, old in zip(rates, now, strict=True))
    assert account is not None and address is not None  # noqa: S101, PT018 - a change of rates has both
    problems = [*wrong_limits(account, address, max(1, len(start.source_address)))]
    asked = rates[0] or 0, rates[1] or 0  # a limit that stays as it is has been allowed
    if not limits_raised:
        problems += _above(start, *asked)
    if problems:
        raise BulkcertError(ExitStatus.USAGE, "\n  ".join(problems), "Nothing was changed.")
    if above := [*above_documented(*asked)]:
        terminal.warn("; ".join(above))
    return Limits(account, address, start.source_address)


def _above(start: Limits, account: int, address: int) -> Iterator[str]:
    """Yields which limits are above what the session was allowed at its start."""
    documented = [*above_documented(account, address)]
    pairs = (("--rate", account, start.rate), ("--per-address-rate", address, start.per_address_rate))
    for name, wanted, allowed in pairs:
        if wanted > allowed:
            yield next(
                (text for text in documented if text.startswith(f"{name} ")),
                f"{name} {wanted} is above {allowed}/s, which it was allowed at its start; --limits-raised allows more",
            )


def _await(files: RunFiles, asked: Control) -> None:
    """Waits until a session has done what was asked.

    Raises:
        BulkcertError: STOPPED_EARLY: it has not, in time.
    """
    until = time.monotonic() + WAITS_S
    while time.monotonic() < until:
        status = status_of(files, brief=True)
        if any(each.id == asked.id and each.taken_at for each in status.controls):
            return
        if not is_running(status):
            message = f"{files.results}: the session ended before it did that"
            raise BulkcertError(ExitStatus.STOPPED_EARLY, message, f"See {files.command('status')}")
        time.sleep(POLL_EVERY_S)
    raise BulkcertError(
        ExitStatus.STOPPED_EARLY,
        f"{files.results}: the session has not done it within {duration(WAITS_S)}: it hangs, is stopped, or writes "
        "its results",
        f"It does it as soon as it can. See {files.command('status')}",
    )
