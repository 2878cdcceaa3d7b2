"""Job files: options by their names, in TOML."""

import os
import re
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

from cyclopts.config import Toml

from bulkcert.errors import BulkcertError, ExitStatus

PATHS = frozenset({"input", "results", "state-dir", "protect", "output", "metrics-file"})
"""Keys whose values are paths."""

STARTED = datetime.now().astimezone()
"""What ``{date}`` and ``{time}`` mean: when the command was started, by this machine's clock."""

_PLACEHOLDER = re.compile(r"\$\$|\$\{(\w+)\}|\{(\w+)\}")


class JobFile(Toml):
    """A job file; its relative paths start where the file is, and carry ``{date}``, ``{time}`` and ``${VARIABLE}``.

    What is in its one table, ``[rehearsal]``, is for ``rehearse`` alone. Options of ``run`` that another command
    does not have are ignored by it.

    Args:
        path: The file.
        command: The command that is to be done.
        options: Names of its options, or None where there is no such command.
        options_of_run: Names of the options of ``run``.
    """

    def __init__(self, path: Path, command: str, options: set[str] | None, options_of_run: set[str]) -> None:
        super().__init__(path, use_commands_as_keys=False)
        self._command = command
        self._options = options
        self._options_of_run = options_of_run

    def _load_config(self, path: Path) -> dict[str, Any]:
        try:
            options = super()._load_config(path)
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BulkcertError(ExitStatus.USAGE, f"{path}: {error}", "Correct the job file.") from error
        rehearsal = options.pop("rehearsal", {})
        if isinstance(rehearsal, dict) and self._command == "rehearse":
            options |= rehearsal
        if tables := [name for name, value in options.items() if isinstance(value, dict)]:
            raise BulkcertError(
                ExitStatus.USAGE,
                f"{path}: [{tables[0]}]: a job file has no table but [rehearsal]",
                "Take the line with the brackets out; the options stand by themselves.",
            )
        return self._meant(options, path)

    def _meant(self, options: dict[str, Any], path: Path) -> dict[str, Any]:
        """Returns the options that are for this command, with their paths filled in.

        Raises:
            BulkcertError: A path cannot be filled in; for a plan, any path of the run that it shows.
        """
        wanted = {name: value for name, value in options.items() if self._is_meant(name)}
        for name, value in (options if self._command == "plan" else wanted).items():
            if name in PATHS and isinstance(value, str):
                options[name] = _filled_path(value, path, name)
            elif name == "input" and isinstance(value, list):
                options[name] = [_filled_path(each, path, name) if isinstance(each, str) else each for each in value]
        return {name: options[name] for name in wanted}

    def _is_meant(self, name: str) -> bool:
        """Returns whether a key is for this command; one that is for run alone is ignored by the others.

        Who lets a job run unasked has agreed to the run, not to what undoes it or calls again.
        """
        if self._options is None or self._command in ("run", "rehearse"):
            return True
        if name == "yes":
            return False
        return name in self._options or name not in self._options_of_run


def _filled_path(text: str, file: Path, key: str) -> str:
    """Returns a path that counts from where its job file is; standard input is none."""
    return text if text == "-" else str(file.parent / _filled_in(text, file, key))


def _filled_in(text: str, file: Path, key: str) -> str:
    """Returns a path with its placeholders replaced; ``$$`` is a dollar sign.

    Raises:
        BulkcertError: A variable is not set, or there is no such placeholder.
    """
    known = {"date": f"{STARTED:%Y-%m-%d}", "time": f"{STARTED:%H-%M-%S}"}

    def value(found: re.Match[str]) -> str:
        variable, placeholder = found.groups()
        if variable is None and placeholder is None:
            return "$"
        filled = known.get(placeholder) if placeholder else os.environ.get(variable)
        if filled is not None:
            return filled
        wrong = f"{found[0]} is neither {{date}} nor {{time}}" if placeholder else f"{variable} is not set"
        raise BulkcertError(
            ExitStatus.USAGE,
            f"{file}: {key} = {text!r}: {wrong}",
            "Correct the job file." if placeholder else f"Set {variable} in the environment of the command.",
        )

    return _PLACEHOLDER.sub(value, text)
