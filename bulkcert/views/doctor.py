"""What a doctor says, for people: each check with what to do next below it."""

from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text

from bulkcert.runs.diagnosis import CheckResult, Diagnosis
from bulkcert.views.layout import show

_STYLES = {CheckResult.OK: "green", CheckResult.WARNING: "yellow", CheckResult.FAILED: "red", CheckResult.SKIPPED: ""}


def show_diagnoses(checks: Sequence[Diagnosis], versions: Mapping[str, str], status: int) -> None:
    """Prints what was checked on stdout, with the exit status that it comes to."""
    show(_rows(checks, versions, status))


def _rows(checks: Sequence[Diagnosis], versions: Mapping[str, str], status: int) -> Iterator[tuple[str, str | Text]]:
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
