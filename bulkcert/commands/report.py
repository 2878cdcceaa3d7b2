"""``bulkcert report``: what a run did, as one file for people who were not there."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from bulkcert import terminal
from bulkcert.actions import ActionName
from bulkcert.batch.beside import journal_of, report_of, summary_of
from bulkcert.batch.durable import replace_file
from bulkcert.batch.output import cannot_write
from bulkcert.commands.which_run import results_meant
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.report.counting import count
from bulkcert.report.figures import Figures
from bulkcert.report.rendering import Format, render

_FORMATS: dict[str, Format] = {".html": "html", ".md": "md", ".json": "json", ".txt": "text"}
"""What a file of a name with this end is."""

REPORT = Group.create_ordered("Report")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of ``report`` as they were typed."""

    output: Annotated[Path | None, Parameter(name=["--output", "-o"], group=REPORT)] = None
    """The file; without --format its name says which: .html, .txt, .md or .json. Default: RESULTS.report.html for html,
    standard output for the others."""
    format: Annotated[Format | None, Parameter(group=REPORT)] = None
    """html, the default, is one page that needs nothing else; text and md are for mail and tickets, json for
    programs."""


def report(
    results: Path | None = None,
    *,
    options: ReportOptions = ReportOptions(),
    action: Annotated[ActionName | None, Parameter(show=False)] = None,
    input_: Annotated[Path | None, Parameter(name="input", show=False)] = None,
) -> ExitStatus:
    """Tells what a run did, from its results and what stands beside them; needs no credentials and calls nothing.

    Args:
        results: The results of the run; its journal and its summary stand beside them. With --job those
            of the job.
        options: See below.
        action: Of the job file.
        input_: Of the job file.
    """
    results = results_meant(results, action, input_)
    if not results.name:
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE, f"{results}: a directory, not the results of a run", "Name the results file."
        )
    output = options.output
    if output is None and options.format in (None, "html"):
        output = report_of(results)
    if output is not None:
        _confirm_own(output, results)
    format_ = _format(options.format, output)
    figures = count(results)
    content = render(figures, format_)
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        _confirm_other(output, figures)
        _write(output, content)
        terminal.show([("report", str(output)), ("verdict", figures.verdict.line)])
    return ExitStatus.OK


def _format(asked: Format | None, output: Path | None) -> Format:
    """Returns the format that is asked for, by itself or by the name of the file.

    Raises:
        BulkcertError: They differ, or neither says which.
    """
    named = _FORMATS.get(output.suffix.lower()) if output else None
    if asked and named and asked != named:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"--output {output} is the name of {named}, and --format is {asked}",
            "Leave --format out, or name another file with -o. Nothing was written.",
        )
    if (format_ := asked or named) is None:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"--output {output}: no format of a report has this name",
            f"Let it end in {', '.join(_FORMATS)}, or say which with --format. Nothing was written.",
        )
    return format_


def _write(output: Path, content: bytes) -> None:
    try:
        replace_file(output, content, output.with_name(f".{output.name}.part"))
    except OSError as error:
        raise cannot_write(output, error) from error


def _confirm_own(output: Path, results: Path) -> None:
    """Refuses a report in place of what it is made from, or of what a run goes on from."""
    for kept in (results, journal_of(results), summary_of(results)):
        if _same(output, kept):
            raise _refusal(output, kept)


def _confirm_other(output: Path, figures: Figures) -> None:
    for kept in _listed(figures):
        if _same(output, kept):
            raise _refusal(output, kept)


def _listed(figures: Figures) -> Iterator[Path]:
    if figures.asked.input:
        yield Path(figures.asked.input)


def _same(one: Path, other: Path) -> bool:
    # Not only files that are there: a report must not take the name of a journal that is still to come.
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def _refusal(output: Path, kept: Path) -> BulkcertError:
    return BulkcertError(
        ExitStatus.USAGE, f"--output {output} would overwrite {kept}", "Name another file with -o. Nothing was written."
    )
