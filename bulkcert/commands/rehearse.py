"""``bulkcert rehearse``: the main job against the emulator."""

from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from bulkcert.commands import undo, verify
from bulkcert.commands.run import execute
from bulkcert.emulator.limits import Report
from bulkcert.emulator.settings import CREDENTIALS
from bulkcert.errors import ExitStatus
from bulkcert.log import bind
from bulkcert.runs.converters import carried
from bulkcert.runs.options import CallOptions, Options
from bulkcert.runs.other_options import Stage, VerifyOptions
from bulkcert.runs.rehearsal import staged
from bulkcert.service.actions import ActionName
from bulkcert.service.credentials import FixedCredentials
from bulkcert.views import console as terminal
from bulkcert.views.layout import show
from bulkcert.words import REHEARSAL, counted


def rehearse(action: ActionName, inputs: tuple[Path, ...], options: Options, stage: Stage) -> ExitStatus:
    """Does the same as run, against an emulator on this machine; needs no account and reaches nothing else."""
    bind(rehearsal=True)
    statuses: list[int] = []
    with staged(action, inputs, options, stage) as (job, emulator, fault_seed):
        if fault_seed is not None:
            terminal.stderr.print(f"faults with --fault-seed {fault_seed}")
        provider = FixedCredentials(CREDENTIALS)
        _head("run", options)
        summary = execute(job, provider)
        result: dict[str, object] = {"summary": summary}
        statuses.append(summary.exit_status)
        if "verify" in stage.and_then and not _is_signalled(statuses):
            _head("verify", options)
            result["verification"] = verification = verify.execute(
                job.files, provider, carried(VerifyOptions, job.options), rehearsal=True
            )
            statuses.append(verification.exit_status)
        if "undo" in stage.and_then and not _is_signalled(statuses):
            _head("undo", options)
            result["undo"] = undone = undo.execute(
                job.files, provider, carried(CallOptions, job.options), include_unknown=False, rehearsal=True
            )
            statuses.append(undone.exit_status)
        result["emulator"] = report = emulator.report()
    if options.json:
        terminal.print_json(result)
    else:
        _head("emulator", options)
        show(_seen(report))
    return ExitStatus(max(statuses, key=lambda status: _RANKS.get(ExitStatus(status), len(_RANKS))))


_RANKS = {ExitStatus.OK: 0, ExitStatus.INCOMPLETE: 1, ExitStatus.STOPPED_EARLY: 2}
"""How bad a step ended, of those that did what they were to do; any other end is worse, and of several the first is."""


def _is_signalled(statuses: list[int]) -> bool:
    """Returns whether somebody has stopped the newest step, and so wants none after it."""
    return statuses[-1] >= ExitStatus.HUNG_UP


def _head(name: str, options: Options) -> None:
    """Prints what comes next, so that nobody takes the figures of one part for those of another."""
    if not options.json:
        terminal.stdout.print(Text(f"\n== {REHEARSAL}: {name} ==", style="bold"))


def _seen(report: Report) -> Iterator[tuple[str, str]]:
    peak = "peak of arrivals (1 s window)"  # which bunch on the way; the peak of the run is one of sends
    yield "emulator saw", f"{counted(report.arrivals, 'call')} at {report.rate:,.1f}/s; {peak} {report.peak_window:,}"
    for address, seen in sorted(report.addresses.items()):
        yield f"  {address}", f"{counted(seen.arrivals, 'call')}; {peak} {seen.peak_window:,}"
    connected = f"; {counted(report.connected, 'device')} connected for the first time" if report.connected else ""
    yield "  changes", f"{report.changes:,} carried out{connected}"
    yield "  limits", f"{counted(report.throttled, 'throttle')}, {counted(report.blocks, 'block')}"
    if report.faults:
        yield "  faults", ", ".join(f"{count:,} {fault}" for fault, count in sorted(report.faults.items()))
