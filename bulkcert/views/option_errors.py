"""What is wrong with the options: the messages of the command line's library, with the place, and our own advice."""

import shlex
from collections.abc import Collection

import cyclopts

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs.planned import SUFFIX
from bulkcert.service.actions import ACTIONS


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
        case cyclopts.CoercionError() if error.token and error.token.value == "deactivate":
            text = f"{text.partition(' Did you mean')[0]} Did you mean inactivate-device?"  # never activate-…
    return _placed(text, getattr(error, "token", None))


def _placed(text: str, token: object) -> str:
    """Returns a message with where the option stands that it is about."""
    if not isinstance(token, cyclopts.Token):
        return text
    if token.keyword:  # a key of a job file comes in brackets
        text = text.replace(token.keyword, token.keyword.strip("[]"))
    if token.source in ("", "cli", "env") or token.source in text:
        return text
    return f"{token.source}: {text}"


def _misplaced(error: cyclopts.CoercionError) -> str:
    """Returns the action that stands behind a list in its place; empty where that is not what is wrong."""
    is_action = error.argument is not None and error.argument.name.strip("-").upper() == "ACTION"
    return next((each for each in error.root_input_tokens or () if is_action and each in ACTIONS), "")
