"""``bulkcert doctor``: whether a run could start from here."""

from collections.abc import Iterator

import msgspec
from rich.text import Text

from bulkcert import __version__
from bulkcert.commands import calling, versions
from bulkcert.engine import session
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs.diagnosis import CheckResult, Diagnosis, diagnoses
from bulkcert.runs.doctor import resolve_examination
from bulkcert.runs.other_options import DoctorOptions
from bulkcert.service.credentials import ChainCredentials
from bulkcert.views import console as terminal
from bulkcert.views.layout import show
from bulkcert.views.live import reading, shown


class Examined(msgspec.Struct, frozen=True):
    """What ``doctor --json`` prints.

    Attributes:
        exit_status: What a run would end with at once; 0 if it could start.
        checks: What each check has found.
        permissions: Whether each RAM action that reads is granted; null where that is not known.
        clock_ahead_s: How far this machine's clock is ahead of the service's, in seconds; null likewise.
        versions: Of bulkcert, of Python, of the event loop, and of each library.
    """

    exit_status: int
    checks: list[Diagnosis]
    permissions: dict[str, bool | None]
    clock_ahead_s: float | None
    versions: dict[str, str]


def doctor(options: DoctorOptions) -> ExitStatus:
    """Checks what a run depends on, each thing by itself; calls read, and nothing is changed."""
    exam, provider = resolve_examination(options), ChainCredentials()
    try:
        calling.prepare(provider, calling.leave_reading)
        if exam.is_whole:
            watches = [] if options.quiet else [shown(reading)]
            calling.call(exam.make, provider, calling.leave_reading, *watches)
    except BulkcertError as error:
        if error.status is not ExitStatus.DENIED:
            raise
        exam.denied = error
    found = {"bulkcert": __version__, **versions()}
    is_fast = session.uvloop_or_none() is not None
    checks = [*diagnoses(exam, None if exam.denied else provider.current, found["loop"], is_fast=is_fast)]
    status = next((check.exit_status for check in checks if check.exit_status), 0)
    if options.json:
        terminal.print_json(Examined(status, checks, exam.permissions, exam.clock_ahead_s, found))
    else:
        show(_rows(checks, found, status))
    return ExitStatus(status)


_STYLES = {CheckResult.OK: "green", CheckResult.WARNING: "yellow", CheckResult.FAILED: "red", CheckResult.SKIPPED: ""}


def _rows(checks: list[Diagnosis], versions: dict[str, str], status: int) -> Iterator[tuple[str, str | Text]]:
    """Yields each check with what to do next below it, and the exit status that they come to."""
    last = ""
    for check in checks:
        yield check.check, Text.assemble((f"{check.result:<9}", _STYLES[check.result]), check.found)
        if check.next and check.next != last:
            yield "", f"→ {check.next}"
        last = check.next
    yield "versions", f"bulkcert {versions['bulkcert']}, Python {versions['python']}; all: bulkcert --version -v"
    skipped = any(check.result is CheckResult.SKIPPED for check in checks)
    ready = f"a run could start{', as far as was checked' * skipped}"
    yield "exit status", f"{status}: {'a run would end with this; see above' if status else ready}"
