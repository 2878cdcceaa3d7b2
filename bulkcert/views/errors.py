"""What people read of errors: what happened, where, and what to do next; of wrong options in words of our own."""

import logging
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Collection, Iterator
from typing import NoReturn

import cyclopts
from rich.text import Text

from bulkcert import log
from bulkcert.errors import BulkcertError, ExitStatus, own_error
from bulkcert.runs.planned import SUFFIX
from bulkcert.service.actions import ACTIONS
from bulkcert.views.console import say, say_step, stderr
from bulkcert.words import tr

_NEVER_THE_NEAREST = ("deactivate", "delete-d", "disable")
"""How actions begin that there are not, and whose nearest name would do the opposite, or delete a CA."""


class WayOn(str):
    """A note of an error that has ended a run: the command that resumes it; empty where no calls were made."""

    __slots__ = ()


def show_error(error: BulkcertError, resume: str | None = None) -> None:
    """Prints what happened and what to do next: advice, and the command where one does it.

    Args:
        error: What happened.
        resume: What resumes the run; None where there is nothing to resume.
    """
    advice = error.advice or ("No calls were made." if resume == "" else "")
    purpose, command = "to resume", resume
    if not resume and error.again:
        purpose, command = "to try again", shlex.join(["bulkcert", *typed()])
    about = {"exit_status": int(error.status), "advice": advice} | ({"next": command} if command else {})
    log.event("error", error.message, logging.ERROR, **about)
    if log.is_json():
        return
    say(Text.assemble((tr("error: "), "bold red"), error.message))
    if advice:
        say(f"  → {advice}", indent=4)
    if command:
        say_step(f"  → {purpose}", command)


def typed() -> Iterator[str]:
    """Yields what was typed, without the URLs of messages, which are secrets."""
    words = iter(sys.argv[1:])
    for word in words:
        name, equals, _ = word.partition("=")
        if name != "--notify":
            yield word
        elif not equals:
            next(words, None)


def show_failure(error: BaseException) -> ExitStatus:
    """Prints what has ended the command, whatever it is; returns the exit status."""
    frames, notes = traceback.extract_tb(error.__traceback__), getattr(error, "__notes__", ())
    resume = next((note for note in notes if isinstance(note, WayOn)), None)
    error = own_error(error)
    if isinstance(error, KeyboardInterrupt):
        error = BulkcertError(ExitStatus.INTERRUPTED, "interrupted")
    if isinstance(error, BulkcertError):
        show_error(error, resume)
        return error.status
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"
    inner = error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    message = f"internal error: {type(inner).__name__}: {inner} (at {place})"
    show_error(BulkcertError(ExitStatus.INTERNAL, message, "Please report this; -v shows the traceback."), resume)
    if logging.getLogger("bulkcert").isEnabledFor(logging.DEBUG) or {"-v", "--verbose"} & set(sys.argv):
        stderr.print("".join(traceback.format_exception(inner)))
    return ExitStatus.INTERNAL


def leave(number: int, message: str, advice: str = "", *, resume: str | None = None, again: bool = False) -> NoReturn:
    """Ends the process at once, on a signal; not even clean-up may run any more: what hangs is what it is to end.

    Args:
        number: Of the signal.
        message: What becomes of what was running, to be read behind the signal's name.
        advice: What to do next.
        resume: See ``show_error``.
        again: Whether the same command, given again, does it.
    """
    status, name = ExitStatus(128 + number), signal.Signals(number).name
    if stderr.live is not None:
        stderr.live.stop()  # or it would be drawn once more, below the error
    show_error(BulkcertError(status, f"{name}: {message}", advice, again=again), resume)
    sys.stderr.flush()
    os._exit(128 + number)


def wrong_options(error: cyclopts.CycloptsError, topics: Collection[str]) -> BulkcertError:
    """Returns an error of the library as one of ours that says where it is, and whose help to see.

    Args:
        error: What the library found.
        topics: Those of the documentation.
    """
    if isinstance(error.__cause__, BulkcertError):
        return error.__cause__
    command = " ".join(["bulkcert", *(error.command_chain or ())])
    see = f"{command} --help"
    if isinstance(error, cyclopts.UnknownCommandError) and (typed := (error.unused_tokens or [""])[0]) in topics:
        see = f"bulkcert help {typed}"
    return BulkcertError(ExitStatus.USAGE, _text(error), f"See {see}. No calls were made.")


def _text(error: cyclopts.CycloptsError) -> str:
    text = str(error)
    match error:
        case cyclopts.ArgumentOrderError() if error.argument:
            earlier = error.prior_positional_or_keyword_supplied_as_keyword_arguments[0].name
            text = f"after {earlier} what follows it is named, too: {error.argument.name} {shlex.quote(error.token)}"
        case cyclopts.UnknownCommandError() if (typed := error.unused_tokens or [""])[0] in ACTIONS:
            text = f"{typed[0]} is an action, no command; did you mean {shlex.join(['bulkcert', 'run', *typed])}?"
        case cyclopts.CoercionError() if action := _misplaced(error):
            text = f"the action comes before the list: bulkcert {' '.join(error.command_chain or ())} {action} LIST"
        case cyclopts.UnusedCliTokensError():
            text = f"{', '.join(map(repr, error.unused_tokens or ()))}: unexpected argument"
        case cyclopts.MissingArgumentError() if error.argument and error.keyword is None:
            name = error.argument.name.removeprefix("--")
            text = f"{name.upper()} is missing: type it after the command, or name a job file (--job) with {name} = …"
        case cyclopts.UnknownOptionError() if error.token.value == "--dry-run":
            text = "Unknown option: --dry-run; bulkcert plan, with the same options, says what a run would do"
        case cyclopts.CoercionError() if error.token and error.token.value.endswith(SUFFIX):
            text = f"a plan is given by its option: bulkcert run --plan {shlex.quote(error.token.value)}"
        case cyclopts.CoercionError() if (
            error.token and error.token.value.startswith(_NEVER_THE_NEAREST) and _is_action(error)
        ):
            what = "ca" if error.token.value.endswith("-ca") else "device"
            text = f"{text.partition(' Did you mean')[0]} Did you mean inactivate-{what}?"
    return _placed(text, getattr(error, "token", None))


def _placed(text: str, token: object) -> str:
    if not isinstance(token, cyclopts.Token):
        return text
    if token.keyword:  # a key of a job file comes in brackets
        text = text.replace(token.keyword, token.keyword.strip("[]"))
    if token.source in ("", "cli", "env") or token.source in text:
        return text
    return f"{token.source}: {text}"


def _is_action(error: cyclopts.CoercionError) -> bool:
    return error.argument is not None and error.argument.name.strip("-").upper() == "ACTION"


def _misplaced(error: cyclopts.CoercionError) -> str:
    """Returns the action that stands behind a list in its place; empty where that is not what is wrong."""
    return next((each for each in error.root_input_tokens or () if _is_action(error) and each in ACTIONS), "")
