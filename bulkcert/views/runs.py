"""The runs of a directory, for people, a line each, and for programs."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bulkcert.errors import BulkcertError
from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.store.paths import SUFFIX, RunFiles
from bulkcert.store.schema import SessionKind
from bulkcert.store.status import NoRunError, RunStatus, State, status_of
from bulkcert.views.layout import columns, fit
from bulkcert.words import printable

_LONGEST_NAME, _LONGEST_REASON = 255, 400

_LEAST = {3: 8, 1: 12, 2: 10}
"""Characters that are left of instance, results and action where a line is too long."""


class Listed(msgspec.Struct, frozen=True):
    """One run, for programs.

    Attributes:
        results: The results file.
        folder: The folder of the run.
        state: Its state; null where it cannot be read.
        kind: What its newest session does, or did.
        exit_status: That of ``bulkcert status``; null where it cannot be read.
        started: UTC, when its first session began; null before.
        action: What was asked; null like what follows before the first session.
        instance: ``MqttInstanceId``.
        rehearsal: Whether it is a run against an emulator.
        rows: Rows of the list.
        done: Rows that have an outcome.
        outcomes: All rows by outcome.
        wrong: What is wrong, in words; empty where nothing is.
    """

    results: str
    folder: str
    state: State | None = None
    kind: SessionKind | None = None
    exit_status: int | None = None
    started: datetime | None = None
    action: str | None = None
    instance: str | None = None
    rehearsal: bool = False
    rows: int | None = None
    done: int = 0
    outcomes: dict[str, int] = {}
    wrong: str = ""


def runs_in(directory: Path, *, with_results: bool = True) -> list[Listed]:
    """Returns the runs whose folders are in a directory, the newest last; those that cannot be read are the first.

    Args:
        directory: Where the folders are.
        with_results: Whether their results are there as well.

    Raises:
        OSError: The directory cannot be read.
    """
    folders = [each for each in directory.iterdir() if each.suffix == SUFFIX and each.is_dir()]
    found = [_listed(folder, with_results=with_results) for folder in folders]
    return sorted(found, key=lambda run: (run.started.timestamp() if run.started else 0.0, run.folder))


def _listed(folder: Path, *, with_results: bool) -> Listed:
    results = folder.with_name(folder.name.removesuffix(SUFFIX))
    try:
        # Its folder is the one that is asked about, wherever its results are.
        status = status_of(RunFiles(results, folder.parent), brief=True)
    except NoRunError:
        return Listed(_text(results), _text(folder), wrong="no run in it")
    except BulkcertError as error:
        return Listed(_text(results), _text(folder), wrong=_text(error.message))
    asked = status.asked
    if asked is None:
        return Listed(_text(results), _text(folder), status.state, exit_status=int(status.exit_status))
    return Listed(
        results=_text(results if with_results else Path(asked.directory) / asked.results),
        folder=_text(folder),
        state=status.state,
        kind=status.session.kind if status.session else None,
        exit_status=int(status.exit_status),
        started=datetime.fromtimestamp(status.sessions[0].started_at / 1000, UTC) if status.sessions else None,
        action=asked.action,
        instance=asked.instance,
        rehearsal=asked.rehearsal,
        rows=asked.rows,
        done=status.done,
        outcomes={outcome.value: count for outcome, count in status.outcomes.items()},
        wrong=", ".join(_wrong(status)),
    )


def _text(name: Path | str) -> str:
    """Returns a name as text, whatever bytes it is made of."""
    return str(name).encode(errors="replace").decode()


def _wrong(status: RunStatus) -> Iterator[str]:
    if status.undone:
        yield f"{status.undone:,} UNDONE"
    if status.maybe_undone:
        yield f"{status.maybe_undone:,} perhaps undone"
    for outcome, count in status.outcomes.items():
        if outcome not in (*DESIRED, Outcome.DUPLICATE, Outcome.UNDONE) and not status.is_held:
            yield f"{count:,} {outcome}"
    if status.in_doubt and not status.is_held:
        yield f"{status.in_doubt:,} in doubt"
    if status.drifted and not status.is_undone:
        yield f"{status.drifted:,} drifted"


def lines_of(runs: Sequence[Listed], width: int | None = None) -> Iterator[str]:
    """Yields a line for each run, in columns.

    Args:
        runs: The runs.
        width: Characters of a line at most; None for no limit.
    """
    readable = [run for run in runs if run.state is not None]
    for run in runs:
        if run.state is None:
            line = f"{printable(Path(run.results).name, _LONGEST_NAME)}  {printable(run.wrong, _LONGEST_REASON)}"
            yield fit(line, width or len(line)).rstrip()
    if readable:
        yield from columns([_cells(run) for run in readable], width, _LEAST)


def _cells(run: Listed) -> list[str]:
    state = f"{run.state} {run.exit_status}"
    if run.state in (State.RUNNING, State.STALLED):
        state = f"{run.state}, {run.kind}"
    elif run.state is State.STARTING:
        state = str(run.state)
    if run.wrong:
        state += f": {run.wrong}"
    started = f"{run.started:%Y-%m-%d %H:%MZ}" if run.started else ""
    rows = "" if run.rows is None else f"{run.done:,}/{run.rows:,}"
    name = printable(Path(run.results).name, _LONGEST_NAME)
    return [started, name, run.action or "", run.instance or "", rows, state]
