"""``bulkcert rehearse``: the main job against the emulator."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bulkcert import terminal
from bulkcert.actions import ActionName
from bulkcert.batch.job import Options
from bulkcert.batch.run import check_input
from bulkcert.commands.run import execute, print_json
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
    with staged(action, input_, options, stage, before=check_input) as rehearsal:
        if rehearsal.fault_seed is not None:
            terminal.stderr.print(f"faults with --fault-seed {rehearsal.fault_seed}")
        summary = execute(rehearsal.job, rehearsal.keyring(), ask=False, resumable=False)
        report = rehearsal.emulator.report()
    if options.json:
        print_json({"summary": summary, "emulator": report})
    else:
        terminal.show_report(report)
    return ExitStatus(summary.exit_status)
