"""``bulkcert export``: results anew, all or some, in any format."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token
from rich.text import Text

from bulkcert.commands.which_run import results_meant
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.results import RowFilter
from bulkcert.runs import exporting
from bulkcert.service.actions import ActionName
from bulkcert.store.outcome import DESIRED, Outcome
from bulkcert.store.paths import RunFiles
from bulkcert.views.layout import show
from bulkcert.words import counted


def outcomes_named(_type: object, tokens: Sequence[Token]) -> tuple[Outcome, ...]:
    """Reads names of outcomes with commas between them.

    Raises:
        ValueError: One is not the name of an outcome.
    """
    names = [name.strip() for token in tokens for name in token.value.split(",") if name.strip()]
    for name in names:
        if name not in set(Outcome):
            raise ValueError(f"{name!r} is none of {', '.join(Outcome)}")
    return tuple(dict.fromkeys(map(Outcome, names)))


def export(
    results: Annotated[Path | None, Parameter(name="--results")] = None,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    outcome: Annotated[
        tuple[Outcome, ...], Parameter(converter=outcomes_named, consume_multiple=False, metavar="OUTCOME,…")
    ] = (),
    code: list[str] | None = None,
    ca_sn: list[str] | None = None,
    overwrite: bool = False,
    state_dir: Path | None = None,
    action: Annotated[ActionName | None, Parameter(show=False)] = None,
    input_: Annotated[list[Path] | None, Parameter(name="input", show=False)] = None,
) -> ExitStatus:
    """Writes results anew, all rows or some, also while a session is running; makes no calls.

    What it writes is valid as an input for run.

    Args:
        results: The results of the run. With --job those of the job.
        output: The file: .csv, .parquet or .ndjson. Without it the results themselves are written anew.
        outcome: Only rows with one of these outcomes.
        code: Only rows with this code; may be given more than once.
        ca_sn: Only rows under this CA; may be given more than once.
        overwrite: Replace a file that is there.
        state_dir: Directory of the folder RESULTS.run, if the run was started with --state-dir.
        action: Of the job file.
        input_: Of the job file.
    """
    files = RunFiles(results_meant(results, action, input_), state_dir)
    wanted = RowFilter(outcome, code or (), ca_sn or ())
    if output is None or exporting.is_same(output, files.results):
        output = files.results
        _confirm_all(files, wanted)
        rows = exporting.rewrite(files)
    else:
        rows = exporting.export(files, output, wanted, overwrite=overwrite)
    show(_shown(output, rows))
    return ExitStatus.OK


def _confirm_all(files: RunFiles, wanted: RowFilter) -> None:
    """Confirms that the results of a run are replaced by all of its rows.

    Raises:
        BulkcertError: Only some are wanted.
    """
    if wanted != RowFilter():
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"{files.results} is the results of the run, and only some of its rows are wanted",
            "Name another file for them with -o. Nothing was written.",
        )


def _shown(output: Path, rows: dict[Outcome, int]) -> Iterator[tuple[str, str | Text]]:
    count = sum(rows.values())
    yield "written", f"{output}: {counted(count, 'row') if count else 'no row matches, so it has none'}"
    for each in Outcome:
        if rows.get(each):
            style = "green" if each in DESIRED else "yellow" if each is Outcome.DUPLICATE else "red"
            yield "", Text(f"{rows[each]:>9,} {each}", style=style)
