"""``bulkcert report``: what a run did, as one file for people who were not there."""

import difflib
import os
import sys
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.files import cannot_write, write_whole
from bulkcert.report import Format
from bulkcert.report.counting import count
from bulkcert.report.rendering import render
from bulkcert.store.paths import RunFiles, results_of
from bulkcert.views import console as terminal
from bulkcert.views.layout import show
from bulkcert.words import zone

_FORMATS: dict[str, Format] = {".html": "html", ".md": "md", ".json": "json", ".txt": "text"}
"""What a file of a name with this end is."""


def report(
    results: Path, state_dir: Path | None, output: Path | None, asked: Format | None, timezone: str
) -> ExitStatus:
    """Reports what a run did, from its store; needs no credentials, calls nothing, disturbs no session that runs."""
    files = RunFiles(results_of(results), state_dir)
    if not files.results.name:
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE,
            f"{files.results}: a directory, not the results of a run",
            "Name the results file.",
        )
    if output is None and asked in (None, "html"):
        output = files.report
    format_ = _format(asked, output)
    zone.set(_zone(timezone))
    figures = count(files)
    if output is None:
        width = terminal.stdout.width if terminal.stdout.is_terminal else None
        sys.stdout.buffer.write(render(figures, format_, width))
    else:
        _confirm_other(output, [*files.kept, *(Path(figures.asked.directory, each) for each in figures.asked.inputs)])
        try:
            write_whole(output, render(figures, format_))
        except OSError as error:
            raise cannot_write(output, error) from error
        show([("report", str(output)), ("verdict", figures.verdict.line)])
    return ExitStatus.OK


def _format(asked: Format | None, output: Path | None) -> Format:
    """Returns the format that is asked for, by itself or else by the name of the file.

    Raises:
        BulkcertError: USAGE: neither says which.
    """
    if (format_ := asked or _FORMATS.get(output.suffix.lower() if output else "")) is None:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"--output {output}: no format of a report has this name",
            f"Let it end in {', '.join(_FORMATS)}, or say which with --format. Nothing was written.",
        )
    return format_


def _zone(name: str) -> tzinfo:
    """Returns a time zone.

    Raises:
        BulkcertError: USAGE: this machine knows none of that name.
    """
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        near = difflib.get_close_matches(name, available_timezones(), n=1)
        hint = f"Did you mean {near[0]}?" if near else "Names are like Asia/Shanghai or Europe/Berlin."
        raise BulkcertError(ExitStatus.USAGE, f"--timezone {name!r}: this machine knows no such zone", hint) from error


def _confirm_other(output: Path, kept: list[Path]) -> None:
    """Refuses a report in the place of what the run is made of, or among it.

    Raises:
        BulkcertError: USAGE.
    """
    for path in kept:
        if _is_in(output, path):
            raise BulkcertError(
                ExitStatus.USAGE,
                f"--output {output} would overwrite {path}",
                "Name another file with -o. Nothing was written.",
            )


def _is_in(output: Path, kept: Path) -> bool:
    """Returns whether a file is another one, whether that is there or is still to come, or lies in it."""
    real, other = Path(os.path.realpath(output)), Path(os.path.realpath(kept))
    same = os.path.exists(real) and os.path.exists(other) and os.path.samefile(real, other)
    return same or real.is_relative_to(other)
