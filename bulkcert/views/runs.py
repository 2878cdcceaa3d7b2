"""The runs of a directory, for people, a line each, and for programs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bulkcert.errors import BulkcertError
from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.store.paths import SUFFIX, RunFiles
from bulkcert.store.status import NoRunError, RunStatus, State, status_of
from bulkcert.views.layout import columns
from bulkcert.views.shown import Shown, shown
from bulkcert.words import REHEARSAL, folded, instances_in_words, printable

_LONGEST_NAME, _LONGEST_REASON = 255, 400

_HEADER = ["started", "results", "action", "instance", "done", "state"]


class Listed(msgspec.Struct, frozen=True):
    """One run, for programs: its results and its folder, as ``status`` shows it, and what is wrong, in words.

    ``status`` is null where it cannot be read; ``wrong`` is empty where nothing is.
    """

    results: str
    folder: str
    status: Shown | None = None
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
    return sorted(found, key=_age)


def _age(run: Listed) -> tuple[float, str]:
    sessions = run.status.sessions if run.status else ()
    return sessions[0].started.timestamp() if sessions else 0.0, run.folder


def _listed(folder: Path, *, with_results: bool) -> Listed:
    results = folder.with_name(folder.name.removesuffix(SUFFIX))
    try:
        # Its folder is the one that is asked about, wherever its results are.
        status = status_of(RunFiles(results, None if with_results else folder.parent), brief=True)
    except NoRunError:
        return Listed(_text(results), _text(folder), wrong="no run in it")
    except BulkcertError as error:
        return Listed(_text(results), _text(folder), wrong=_text(error.message))
    if status.asked is not None and not with_results:
        results = Path(status.asked.directory) / status.asked.results
    return Listed(_text(results), _text(folder), shown(status), ", ".join(_wrong(status)))


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
    """Yields a line for each run, in columns; on a terminal below a header.

    Where that is too wide the instance is left out; where it still is, each run has its name and, below it, the rest.

    Args:
        runs: The runs.
        width: Characters of a line of a terminal; None elsewhere.
    """
    for run in runs:
        if run.status is None:
            line = f"{_name(run)}  {printable(run.wrong, _LONGEST_REASON)}"
            yield from [line] if width is None else folded(line, width, "", "  ")
    cells = [_cells(run, run.status) for run in runs if run.status is not None]
    if width is None or not cells:
        yield from columns(cells) if cells else ()
        return
    table = [_HEADER, *cells]
    for places in ([0, 1, 2, 3, 4, 5], [0, 1, 2, 4, 5]):
        lines = list(columns([[row[place] for place in places] for row in table]))
        if max(map(len, lines)) <= width:
            yield from lines
            return
    for started, name, action, _, done, state in cells:
        yield name
        yield from folded(f"started {started}  {action}  {done}  {state}", width, "  ", "    ")


def _name(run: Listed) -> str:
    return printable(Path(run.results).name, _LONGEST_NAME)


def _cells(run: Listed, status: Shown) -> list[str]:
    state = f"{status.state} {status.exit_status}"
    if status.state in (State.RUNNING, State.STALLED):
        paused = " PAUSED" * (status.session is not None and status.session.phase == "paused")
        state = f"{status.state}, {status.kind}{paused}"
    elif status.state is State.STARTING:
        state = str(status.state)
    if run.wrong:
        state += f": {run.wrong}"
    state = f"{REHEARSAL}, {state}" if status.rehearsal else state
    started = f"{status.sessions[0].started:%Y-%m-%d %H:%MZ}" if status.sessions else ""
    rows = "" if status.rows is None else f"{status.done:,}/{status.rows:,}"
    instance = "" if status.instance is None else instances_in_words(status.instance, status.instances)
    return [started, _name(run), status.action or "", instance, rows, state]
