"""Job files: options by their names, in TOML."""

import os
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from pathlib import Path
from typing import Any

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.store.paths import default_results
from bulkcert.words import nearest

PATHS = frozenset(
    {"input", "results", "state-dir", "protect", "output", "metrics-file", "log-file", "plan", "approver-key", "keys"}
    | {"database", "directory", "report", "seed-from"}
)
"""Keys whose values are paths."""

STARTED = datetime.now().astimezone()
"""What ``{date}`` and ``{time}`` mean: when the command was started, by this machine's clock."""

_NOT_REHEARSED = ("deadline", "require", "plan", "approver-key")
"""Keys that a rehearsal is not held to: the deadline of a night is a time of day, and nobody has to approve it."""

_PLACEHOLDER = re.compile(r"\$\$|\$\{(\w+)\}|\{(\w+)\}")

_SECRET = re.compile(
    r"(?i)(?:secret|passw|passphrase|token|credential|cookie|api_?key|(?:^|_)key$)(?!.*_(?:file|path|dir|id|name)$)"
)
"""Names of variables that hold a secret; not of those that say where one is, or whose."""

_MOST = 1_000_000
"""Characters of a job file: a device without end is none."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def options_of_job(path: Path, command: str, own: AbstractSet[str], of_run: AbstractSet[str]) -> dict[str, Any]:
    """Returns the options of a job file that are for a command, by their names.

    Relative paths start where the file is, and carry ``{date}``, ``{time}`` and ``${VARIABLE}``. What is in its one
    table, ``[rehearsal]``, is for ``rehearse`` alone. Options of ``run`` that another command has not are left out. A
    command about a run gets the results that ``run`` writes by default where the file names none.

    Args:
        path: The file.
        command: The command that is to be done.
        own: Names of its options; none where there is no such command.
        of_run: Names of the options of ``run``.

    Raises:
        BulkcertError: The file cannot be read, or a path cannot be filled in; for a plan, any path of the run that it
            shows.
    """
    options = _read(path, command)
    wanted = {name for name in options if _is_meant(name, command, own, of_run)}
    if own:
        unknown = [name for name in options if name in wanted and name.replace("_", "-") not in own]
        _confirm_options(path, unknown, own | of_run)
    is_about_run = "results" in own and "input" not in own
    shown = options.keys() if command == "plan" or is_about_run else wanted
    options |= {name: _filled(options[name], path, name) for name in PATHS & shown}
    if is_about_run and "results" not in options:
        first, action = options.get("input"), options.get("action")
        first = first[0] if isinstance(first, list) and first else first
        if isinstance(first, str) and isinstance(action, str):
            options["results"] = str(default_results(Path(first), action))
            wanted.add("results")
    return {name: options[name] for name in options if name in wanted}


def _read(path: Path, command: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - where there is no job file nobody waits for it

    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST + 1)
        if len(text) > _MOST:
            raise ValueError(f"it has more than {_MOST:,} characters")  # noqa: TRY301 - as what is no TOML
        options = tomllib.loads(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        advice = "Correct the job file, or its path."
        if isinstance(error, tomllib.TOMLDecodeError):
            advice = 'Correct the job file; text wants quotes: action = "inactivate-device".'
        raise BulkcertError(ExitStatus.USAGE, f"--job {path}: {reason}", advice) from error
    rehearsal = options.pop("rehearsal", {})
    if command == "rehearse":
        for name in _NOT_REHEARSED:
            options.pop(name, None)
        options |= rehearsal if isinstance(rehearsal, dict) else {}
    if tables := [name for name, value in options.items() if isinstance(value, dict)]:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"{path}: [{tables[0]}]: a job file has no table but [rehearsal]",
            "Take the line with the brackets out; the options stand by themselves.",
        )
    return options


def _confirm_options(path: Path, unknown: Sequence[str], options: AbstractSet[str]) -> None:
    """Refuses keys that are no options, all at once.

    Raises:
        BulkcertError: There are some.
    """
    if unknown:
        near = {name: nearest(name, options) for name in unknown}
        said = ", ".join(name + "".join(f" (did you mean {each}?)" for each in found) for name, found in near.items())
        what = "unknown option" if len(unknown) == 1 else "unknown options"
        raise BulkcertError(ExitStatus.USAGE, f"{path}: {what}: {said}", "Correct the job file. No calls were made.")


def _is_meant(name: str, command: str, own: AbstractSet[str], of_run: AbstractSet[str]) -> bool:
    """Returns whether a key is for this command; one that is for run alone is ignored by the others.

    Who lets a job run unasked has agreed to the run, not to what undoes it or calls again.
    """
    if command == "control":  # what is asked of a session is typed
        return name in ("results", "state-dir")
    if not own or command in ("run", "rehearse"):
        return True
    return name != "yes" and (name in own or name not in of_run)


def _filled(value: object, file: Path, key: str) -> object:
    """Returns a path, or each of several, that counts from where its job file is; standard input is none."""
    if isinstance(value, list):
        return [_filled(each, file, key) for each in value]
    if not isinstance(value, str) or value == "-":
        return value
    filled = _PLACEHOLDER.sub(lambda found: _meaning(found, value, file, key), value)
    if _CONTROL.search(filled):
        raise BulkcertError(
            ExitStatus.USAGE,
            f"{file}: {key} = {value!r}: the path holds a control character: {filled!r}",
            "Correct the job file, or the variable.",
        )
    directory = file.absolute().parent
    # As short as it can be said without another meaning: a link stays as it is named, but for one that is left by "..".
    return str((directory.resolve() if ".." in directory.parts else directory) / filled)


def _meaning(found: re.Match[str], text: str, file: Path, key: str) -> str:
    """Returns what stands for a placeholder; ``$$`` is a dollar sign.

    Raises:
        BulkcertError: A variable is not set, or holds a secret by its name; or there is no such placeholder.
    """
    variable, placeholder = found.groups()
    if found[0] == "$$":
        return "$"
    if variable and _SECRET.search(variable):
        raise BulkcertError(
            ExitStatus.USAGE,
            f"{file}: {key} = {text!r}: {variable} is a secret by its name, and paths are shown and kept",
            "Put another variable into the path.",
        )
    times = {"date": f"{STARTED:%Y-%m-%d}", "time": f"{STARTED:%H-%M-%S}"}
    filled = times.get(placeholder) if placeholder else os.environ.get(variable)
    if filled is not None:
        return filled
    wrong = f"{found[0]} is neither {{date}} nor {{time}}" if placeholder else f"{variable} is not set"
    raise BulkcertError(
        ExitStatus.USAGE,
        f"{file}: {key} = {text!r}: {wrong}",
        "Correct the job file." if placeholder else f"Set {variable} in the environment of the command.",
    )
