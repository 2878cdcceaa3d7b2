"""``bulkcert report``: what a run did, as one file for people who were not there."""

import os
import sys
import time
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bulkcert.commands.status import POLL_EVERY_S, found, stopped_following, until_ended
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.files import cannot_write, is_stdout, refuse_taken, write_whole
from bulkcert.report import Format
from bulkcert.report.counting import count
from bulkcert.report.figures import Figures, Headings
from bulkcert.report.rendering import render
from bulkcert.runs.other_options import ReportOptions
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import RunStatus, State, status_of
from bulkcert.views import console as terminal
from bulkcert.views.layout import show
from bulkcert.views.status import figures_of
from bulkcert.words import clock, printable, speaking, tr

_FORMATS: dict[str, Format] = {".html": "html", ".md": "md", ".json": "json", ".txt": "text"}
"""What a file of a name with this end is."""

RELOAD_S = 5
"""How often a live page is written, and loads itself again, in seconds."""

STOPS_WITHIN_S = 1.5
"""A session that is stopped at the same time has said so by then, in seconds."""

SHARE = 4
"""A live page is not written for so many times as long as it took."""


def report(results: Path, output: Path | None, asked: Format | None, options: ReportOptions) -> ExitStatus:
    """Reports what a run did, from its store; needs no credentials, calls nothing, disturbs no session that runs."""
    files = RunFiles.named_by(results, options.state_dir)
    if not files.results.name:
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE,
            f"{files.results}: a directory, not the results of a run",
            "Name the results file.",
        )
    zone = _zone(options.timezone)
    headings = Headings(options.title, options.executor, _leaked(options.exposed_since, zone))
    with speaking(options.language, zone):
        return _report(files, output, asked, headings, is_live=options.live)


def _report(
    files: RunFiles, output: Path | None, asked: Format | None, headings: Headings, *, is_live: bool
) -> ExitStatus:
    if is_stdout(output):
        output, asked = None, asked or "text"
    elif output is None and asked in (None, "html"):
        output = files.report
    format_ = _format(asked, output)
    if is_live and (output is None or format_ != "html"):
        raise BulkcertError(
            ExitStatus.USAGE, "--live is for a page in a file", "Name one that ends in .html with -o, or none."
        )
    if output is None:
        width = terminal.stdout.width if terminal.stdout.is_terminal else None
        sys.stdout.buffer.write(render(_counted(files, headings), format_, width))
        return ExitStatus.OK
    status = _kept_live(files, headings, output) if is_live else ExitStatus.OK
    figures = _counted(files, headings)
    _write(figures, files, output, format_)
    show([(tr("report"), str(output)), (tr("verdict"), figures.verdict.line)])
    return status


def _counted(files: RunFiles, headings: Headings) -> Figures:
    figures = count(files, headings)
    _confirm_exposed(figures)
    return figures


def _write(figures: Figures, files: RunFiles, output: Path, format_: Format, reload_s: int = 0) -> None:
    """Writes a report into a file, whole.

    Raises:
        BulkcertError: USAGE: it is a file of the run; CANNOT_WRITE.
    """
    _confirm_other(output, [*files.kept, *(Path(figures.asked.directory, each) for each in figures.asked.inputs)])
    refuse_taken(output, overwrite=True)
    try:
        write_whole(output, render(figures, format_, reload_s=reload_s))
    except OSError as error:
        raise cannot_write(output, error) from error


def _kept_live(files: RunFiles, headings: Headings, output: Path) -> ExitStatus:
    """Writes the page of a run again and again while a session runs; returns why that has ended."""

    def write(now: RunStatus) -> None:
        if now.asked is None:
            return  # its first session has not begun
        started = time.monotonic()
        _write(_counted(files, headings), files, output, "html", RELOAD_S)
        # Counting a million rows takes seconds of a processor, which the run needs more.
        time.sleep(SHARE * (time.monotonic() - started))

    try:
        said = tr("{file} is written every {s} s until the session ends; Ctrl-C stops that", file=output, s=RELOAD_S)
        terminal.say(said)
        until_ended(files, found(files), write, RELOAD_S)
    except KeyboardInterrupt as error:
        stopped = stopped_following(error)
        _await_end(files)
        return stopped
    return ExitStatus.OK


def _await_end(files: RunFiles) -> None:
    """Waits for a session that the same Ctrl-C may be about to stop, so that the page that stays has its end."""
    until = time.monotonic() + STOPS_WITHIN_S
    while (now := status_of(files, brief=True)).is_held:
        stats = figures_of(now.session) if now.state is State.RUNNING else None
        if time.monotonic() >= until and (stats is None or stats.phase != "stopping"):
            return
        time.sleep(POLL_EVERY_S)


def _zone(name: str) -> tzinfo:
    """Returns a time zone by its name.

    Raises:
        BulkcertError: USAGE: there is none.
    """
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"--timezone {printable(name)!r}: this machine has no such time zone",
            "Name one as in Asia/Shanghai; a machine that has none at all lacks the package tzdata.",
        ) from error


def _leaked(text: str, zone: tzinfo) -> int | None:
    """Returns a time as Unix time in milliseconds, of the zone unless it names one; None for an empty text.

    Raises:
        BulkcertError: USAGE: it is no time.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"--exposed-since {printable(text)!r} is not a time such as 2026-12-01T06:00 or 2026-12-01T06:00+08:00",
            "Without an offset it counts in --timezone.",
        ) from error


def _confirm_exposed(figures: Figures) -> None:
    """Confirms that a key can have leaked then.

    Raises:
        BulkcertError: USAGE: the run switches nothing off, or began before.
    """
    if (exposure := figures.exposure) is None:
        return
    if figures.action.desired == "active":
        raise BulkcertError(
            ExitStatus.USAGE,
            f"--exposed-since: this run is {figures.asked.action}, which ends no exposure",
            "Leave it out.",
        )
    if exposure.since > figures.containment.since:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"--exposed-since {clock(exposure.since)} is after the run began, {clock(figures.containment.since)}",
            "Without an offset it counts in --timezone.",
        )


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


def _confirm_other(output: Path, kept: list[Path]) -> None:
    """Refuses a report in the place of what the run is made of, or among it.

    Raises:
        BulkcertError: USAGE.
    """
    real = Path(os.path.realpath(output))
    for path in kept:  # whether it is there or is still to come
        other = Path(os.path.realpath(path))
        same = os.path.exists(real) and os.path.exists(other) and os.path.samefile(real, other)
        if same or real.is_relative_to(other):
            raise BulkcertError(
                ExitStatus.USAGE,
                f"--output {output} would overwrite {path}",
                "Name another file with -o. Nothing was written.",
            )
