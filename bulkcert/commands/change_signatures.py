"""What the commands take that change certificates: a start loads no other options."""

from typing import Annotated

from cyclopts import Parameter

from bulkcert.commands import do
from bulkcert.runs.options import SAFETY, CallOptions, Inputs, Results, ResumeOptions, RunOptions
from bulkcert.service.actions import ActionName


def run(action: ActionName, input_: Inputs, options: RunOptions = RunOptions()) -> int:
    """Make one call for each row of a list; write the outcomes.

    bulkcert run inactivate-device devices.csv --instance ID --region REGION
    bulkcert run inactivate-device devices.csv --job where.toml --limit-rows 100

    Args:
        action: What to do.
        input_: The list: CSV (.gz, .zst), Parquet or NDJSON files with DeviceSn and CaSn; - is standard input.
    """
    return do("run", action, input_, options)


def resume(results: Results, *, options: ResumeOptions = ResumeOptions()) -> int:
    """Resume what was interrupted, or retry failed rows.

    bulkcert resume devices.inactivate-device.results.csv
    bulkcert resume devices.inactivate-device.results.csv --retry failed,unknown

    The list is not needed. What the newest start of the run, undo or watch was
    given holds unless it is given again, but --limit-rows and --deadline do not.

    Args:
        results: The results of the run. With --job those of the job.
    """
    return do("resume", results, options)


def undo(
    results: Results,
    *,
    include_unknown: Annotated[bool | None, Parameter(group=SAFETY, negative="--no-include-unknown")] = None,
    options: CallOptions = CallOptions(),
) -> int:
    """Undo what a run has changed.

    bulkcert undo devices.inactivate-device.results.csv
    bulkcert undo devices.inactivate-device.results.csv --no-include-unknown

    Args:
        results: The results of the run, which show the rows as undone. With --job those of the job.
        include_unknown: Undo what was called though it is not known what it was before; --no-… leaves it.
    """
    return do("undo", results, options, include_unknown=include_unknown)
