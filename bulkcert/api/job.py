"""What a function of the API is asked to do: its job, in the options of commands."""

from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import TypeVar

import msgspec

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs.options import (
    ApprovalOptions,
    BoundOptions,
    ListOptions,
    OverwriteOptions,
    StartOptions,
    StateOptions,
    StopOptions,
    TargetOptions,
    grouped,
)
from bulkcert.service.actions import ACTIONS, ActionName
from bulkcert.store.paths import RunFiles, default_results

Name = str | Path

Options = TypeVar("Options")


@grouped
class Job(
    StartOptions, StopOptions, BoundOptions, OverwriteOptions, ListOptions, ApprovalOptions, StateOptions, TargetOptions
):
    """What a run does: an action for each row of a list. Options have the names of those of ``bulkcert run``.

    Nothing is read or checked before it is given to one of the functions. Whoever makes it has decided: nobody is
    asked, and an action on CAs is refused where a command with ``--yes`` would be. ``deadline`` is a Unix time.

    Attributes:
        action: The action.
        inputs: The file of the list, or several.
    """

    action: ActionName = field(kw_only=False)
    inputs: Name | Sequence[Name] = field(kw_only=False)

    @property
    def source(self) -> tuple[Path, ...]:
        """The files of the list."""
        return tuple(map(Path, [self.inputs] if isinstance(self.inputs, Name) else self.inputs))

    @property
    def files(self) -> RunFiles:
        """The files of the run."""
        state_dir = None if self.state_dir is None else Path(self.state_dir)
        return RunFiles(Path(self.results or default_results(self.source[0], self.action)), state_dir)


Of = Job | Name
"""A run: the job that it does, or its results file."""


def files_of(of: Of) -> RunFiles:
    """Returns the files of a run."""
    return of.files if isinstance(of, Job) else RunFiles.named_by(Path(of))


def confirm_list(job: Job) -> None:
    """Confirms that there is such an action, and a list.

    Raises:
        BulkcertError: USAGE: there is none.
    """
    if job.action not in ACTIONS:
        raise BulkcertError(
            ExitStatus.USAGE, f"there is no action {job.action!r}", f"Choose from {', '.join(ACTIONS)}."
        )
    if not job.source:
        raise BulkcertError(ExitStatus.USAGE, "inputs is empty: name the file of the list, or several")


def options_of(kind: type[Options], of: Of, **own: object) -> Options:
    """Returns the options of a command that a job has, as the command would have them where nobody is asked."""
    given = {each.name: getattr(of, each.name) for each in fields(of)} if isinstance(of, Job) else {}
    return converted(kind, given | own | {"yes": True})


def converted(kind: type[Options], given: Mapping[str, object]) -> Options:
    """Returns options, checked; what is a path may be text.

    Raises:
        BulkcertError: USAGE: one has a wrong type.
    """
    try:
        return msgspec.convert(given, kind, dec_hook=lambda wanted, value: wanted(value))
    except msgspec.ValidationError as error:
        raise BulkcertError(ExitStatus.USAGE, f"an option is wrong: {error}") from error
