"""What is wrong with the options, in plain words: the errors of the command line's library, retold from their parts."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import cyclopts
from cyclopts import Token
from cyclopts.exceptions import ArgumentOrderError

from bulkcert.errors import BulkcertError, ExitStatus

_LIKENESS = 0.75
"""How alike a typed name and an option must be for the option to be offered; below it the guess is far-fetched."""

_LIKENESS_OF_VALUES = 0.6
"""The same for values, of which there are few."""

_EXPECTED = {bool: "neither true nor false", int: "not a whole number", float: "not a number", Path: "not a path"}
"""What is said of a value that is not of a type."""


def wrong_options(error: cyclopts.CycloptsError, commands: Sequence[str]) -> BulkcertError:
    """Returns an error of the library in words that name the option, its place, and whose help to see.

    Args:
        error: What the library found.
        commands: Names of the commands.
    """
    if isinstance(error.__cause__, BulkcertError):
        return error.__cause__
    command = " ".join(["bulkcert", *(error.command_chain or ())])
    return BulkcertError(ExitStatus.USAGE, _text(error, commands), f"See {command} --help. No calls were made.")


def _text(error: cyclopts.CycloptsError, commands: Sequence[str]) -> str:
    text = str(error)
    match error:
        case cyclopts.UnknownOptionError():
            text = _unknown_option(error)
        case cyclopts.UnknownCommandError():
            text = _unknown_command((error.unused_tokens or [""])[0], commands)
        case cyclopts.UnusedCliTokensError():
            words = error.unused_tokens or []
            text = f"{', '.join(map(repr, words))}: unexpected argument{'s' * (len(words) > 1)}"
        case cyclopts.CoercionError():
            text = _wrong_value(error)
        case cyclopts.MissingArgumentError() if error.argument:
            text = _missing(error, error.argument)
        case cyclopts.RepeatArgumentError():
            text = f"{_place(error.token, '')} is given more than once"
        case ArgumentOrderError() if error.argument:
            before = error.prior_positional_or_keyword_supplied_as_keyword_arguments[0].name
            text = f"{error.token!r} has no option name, but {before} has: type {error.argument.name} {error.token}"
    return text


def _unknown_option(error: cyclopts.UnknownOptionError) -> str:
    typed = _place(error.token, error.token.value)
    if typed == "--dry-run":
        return "Unknown option: --dry-run; bulkcert plan, with the same options, says what a run would do"
    names = {name for argument in error.argument_collection if argument.parse for name in argument.names}
    key = typed.removeprefix("--")
    near = difflib.get_close_matches(key, [name.removeprefix("--") for name in names], n=1, cutoff=_LIKENESS)
    if error.token.source != "cli":
        return f"{error.token.source}: Unknown option: {typed}{f'; did you mean {near[0]}?' if near else ''}"
    return f"Unknown option: {typed}{f'; did you mean --{near[0]}?' if near else ''}"


def _unknown_command(typed: str, commands: Sequence[str]) -> str:
    if typed.startswith("-"):
        return f"Unknown option: {typed}; options of a command stand behind it"
    near = difflib.get_close_matches(typed, commands, n=1, cutoff=_LIKENESS)
    text = f"did you mean {near[0]}?" if near else f"there are {', '.join(commands)}"
    return f'Unknown command "{typed}"; {text}'


def _wrong_value(error: cyclopts.CoercionError) -> str:
    token, argument = error.token, error.argument
    name = argument.name if argument else ""
    if token is None:
        return f"{name}: {error.msg or 'the value cannot be read'}"
    # What is typed without the name of its option is named as the help shows it.
    place = _place(token, name.removeprefix("--").upper())
    if token.source not in ("", "cli", "env"):
        place = f"{token.source}: {place}"
    if error.msg is not None:
        return f"{place}: {error.msg}"
    kind: Any = error.target_type
    if isinstance(kind, UnionType) or get_origin(kind) is Union:
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if choices := get_args(kind):
        near = _near(token.value.replace("deactivate", "inactivate"), [str(choice) for choice in choices])
        meant = f"; did you mean {near}?" if near else ""
        return f"{place}: {token.value!r} is not valid; choose from {', '.join(map(str, choices))}{meant}"
    return f"{place}: {token.value!r} is {_EXPECTED.get(kind, 'not such a value')}"


def _near(typed: str, choices: Sequence[str]) -> str:
    """Returns the choice that was meant, if any: the first that begins so (devices before CAs), or the most alike."""
    begins = [choice for choice in choices if typed and choice.startswith(typed)]
    alike = difflib.get_close_matches(typed, choices, n=1, cutoff=_LIKENESS_OF_VALUES)
    return next(iter([*begins, *alike]), "")


def _missing(error: cyclopts.MissingArgumentError, argument: Any) -> str:
    if error.keyword is None:
        name = argument.name.removeprefix("--")
        return f"{name.upper()} is missing: type it after the command, or name a job file (--job) with {name} = …"
    wanted, _ = argument.token_count()
    if wanted > 1:
        return f"{error.keyword} takes {wanted} values, not {len(error.tokens_so_far) % wanted}"
    return f"{error.keyword} takes a value, and there is none"


def _place(token: Token, unnamed: str) -> str:
    """Returns what a value was given as: an option, a variable of the environment, or a key of a job file."""
    name = token.keyword or unnamed
    return name if token.source == "cli" else name.removeprefix("[").removesuffix("]")
