"""``bulkcert rehearse``: the main job against the emulator."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from bulkcert import terminal
from bulkcert.actions import ActionName
from bulkcert.api.credentials import Keyring
from bulkcert.batch.job import Job, Options, RunOptions
from bulkcert.batch.opening import check_input
from bulkcert.batch.service import ServiceOptions
from bulkcert.batch.summary import Summary, Verification
from bulkcert.commands.calling import print_json
from bulkcert.commands.run import execute
from bulkcert.commands.undo import NothingTakenBack, take_back
from bulkcert.commands.verify import VerifyOptions, read_back
from bulkcert.emulator.report import Report
from bulkcert.errors import ExitStatus
from bulkcert.rehearsal import Stage, staged


def rehearse(
    action: ActionName,
    input_: Annotated[Path, Parameter(name="input")],
    *,
    options: Options = Options(),  # noqa: B008 - frozen
    stage: Stage = Stage(),  # noqa: B008 - frozen
) -> ExitStatus:
    """Does the same as run, against an emulator on this machine; needs no account and reaches nothing else.

    Args:
        action: What to do with each row.
        input_: The list, as for run.
        options: See below; endpoint, region and source addresses are not used.
        stage: See below.
    """
    statuses: list[int] = []
    with staged(action, input_, options, stage, before=check_input) as rehearsal:
        if rehearsal.fault_seed is not None:
            terminal.stderr.print(f"faults with --fault-seed {rehearsal.fault_seed}")
        job, keyring = rehearsal.job, rehearsal.keyring()
        summary = execute(job, keyring, ask=False, resumable=False)
        told: dict[str, object] = {"summary": summary}
        statuses.append(summary.exit_status)
        if "verify" in stage.then:
            told["verification"] = verification = _verified(job, keyring)
            statuses.append(verification.exit_status)
        if "undo" in stage.then:
            told["undo"] = undone = _undone(job, keyring)
            statuses.append(undone.exit_status)
        told["emulator"] = report = rehearsal.emulator.report()
    if options.json:
        print_json(told)
    else:
        terminal.show(_seen(report))
    return ExitStatus(next(filter(None, statuses), ExitStatus.OK))


def _verified(job: Job, keyring: Keyring) -> Verification:
    return read_back(job.results, keyring, VerifyOptions(**_as_typed(job, VerifyOptions)), ask=False, repeatable=False)


def _undone(job: Job, keyring: Keyring) -> Summary | NothingTakenBack:
    typed = _as_typed(job, RunOptions) | {"results": None, "overwrite": True, "protect": None, "skip_protected": False}
    options = RunOptions(**typed)
    return take_back(job.results, keyring, options, include_unknown=False, ask=False, resumable=False)


def _as_typed(job: Job, kind: type[ServiceOptions]) -> dict[str, Any]:
    """Returns the options of a rehearsal that another command has as well."""
    kept = {field.name for field in fields(kind)} & {field.name for field in fields(job.options)}
    return {name: getattr(job.options, name) for name in kept} | {"yes": True}


def _seen(report: Report) -> Iterator[tuple[str, str]]:
    pace = f"{report.arrivals:,} calls at {report.rate:,.1f}/s; worst one-second window {report.worst_window:,}"
    yield "emulator saw", pace
    for address, seen in sorted(report.addresses.items()):
        yield f"  {address}", f"{seen.arrivals:,} calls; worst one-second window {seen.worst_window:,}"
    connected = f"; {report.connected:,} devices connected for the first time" if report.connected else ""
    yield "  changes", f"{report.changes:,} carried out{connected}"
    yield "  limits", f"{report.throttled:,} throttles, {report.blocks:,} blocks"
    if report.faults:
        yield "  faults", ", ".join(f"{count:,} {fault}" for fault, count in sorted(report.faults.items()))
