"""``bulkcert export``: results again, all or some, in any format; and the proof that files belong together."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.text import Text

from bulkcert.errors import BulkcertError, ExitStatus, temporary
from bulkcert.input import CA_SN
from bulkcert.output.files import is_stdout
from bulkcert.runs import exporting
from bulkcert.store.outcome import Outcome
from bulkcert.store.paths import RunFiles
from bulkcert.views.ending import warn_of_formulas
from bulkcert.views.layout import outcome_line, show
from bulkcert.words import counted


def export(
    results: Path,
    state_dir: Path | None,
    output: Path | None,
    only: tuple[Sequence[Outcome], Sequence[str], Sequence[str]],
    *,
    overwrite: bool,
    guards: bool,
    checks: tuple[bool, Path | None],
) -> ExitStatus:
    """Writes results again, all rows or some, also while a session is running, or checks them; makes no calls."""
    files, (is_check, report) = RunFiles.named_by(results, state_dir), checks
    if is_check or report is not None:
        _confirm_alone(is_check=is_check, is_export=bool(output or overwrite or any(only)))
        show(_proved(files, exporting.check(files, report)))
        return ExitStatus.OK
    wanted = dict(zip(("outcome", "code", CA_SN), only, strict=True))
    if is_stdout(output):
        with temporary(tempfile.TemporaryFile) as file:  # polars would hide that a reader has gone
            named = Path(tempfile.gettempdir(), "a temporary file.csv")
            written = exporting.export(files, named, wanted, overwrite=False, guards=guards, into=file)
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout.buffer)
        warn_of_formulas(Path("standard output"), written.formulas)
        return ExitStatus.OK
    if output is None or os.path.realpath(output) == os.path.realpath(files.results):
        output = files.results
        _confirm_all(files, is_part=any(only))
        written = exporting.rewrite(files, guards=guards)
    else:
        written = exporting.export(files, output, wanted, overwrite=overwrite, guards=guards)
    show(_shown(output, written.rows))
    warn_of_formulas(output, written.formulas)
    return ExitStatus.OK


def _confirm_alone(*, is_check: bool, is_export: bool) -> None:
    """Confirms that files are either checked or written.

    Raises:
        BulkcertError: USAGE: both is asked for.
    """
    if not is_check or is_export:
        message = "--check excludes all options but --report" if is_check else "--report is the report for --check"
        raise BulkcertError(ExitStatus.USAGE, message, "Nothing was written.")


def _proved(files: RunFiles, checked: exporting.Checked) -> Iterator[tuple[str, str]]:
    yield "store", f"{files.store}: {counted(checked.rows, 'row')}, each as it was written"
    yield "results", f"{files.results}: these rows, byte for byte"
    yield "summary", f"{files.summary}: of these rows and results"
    yield "report", f"{checked.report}: of these rows" if checked.report else "none"
    yield "digest", checked.digest


def _confirm_all(files: RunFiles, *, is_part: bool) -> None:
    """Confirms that the results of a run are replaced by all of its rows.

    Raises:
        BulkcertError: Only some are asked for.
    """
    if is_part:
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"{files.results} is the results of the run, and only some of its rows are asked for",
            "Name another file for them with -o. Nothing was written.",
        )


def _shown(output: Path, rows: dict[Outcome, int]) -> Iterator[tuple[str, str | Text]]:
    count = sum(rows.values())
    yield "written", f"{output}: {counted(count, 'row') if count else 'no row matches, so it has none'}"
    yield from (outcome_line(each, rows[each]) for each in Outcome if rows.get(each))
