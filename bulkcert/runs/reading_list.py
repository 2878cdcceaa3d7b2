"""Reading the list of a run or of a plan: checked, and pinned in a file of ours."""

from collections.abc import Sequence
from pathlib import Path

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import Check, PinnedList, load, open_protection
from bulkcert.runs.job import WRONG_SIZE, ResolvedJob, wrong_size
from bulkcert.runs.options import Options, PlanOptions
from bulkcert.runs.target import instance_source
from bulkcert.service.actions import Action


def read_list(
    source: tuple[Path, ...],
    pinned: Path,
    action: Action,
    options: Options | PlanOptions,
    *,
    may_be_empty: bool = False,
    optional: bool = False,
) -> tuple[PinnedList, Check]:
    """Reads, checks and pins a list.

    Args:
        source: Its files.
        pinned: The file to write.
        action: What is asked for each row.
        options: How it is read, and what is protected.
        may_be_empty: Whether the list of what is protected may be: so it lifts what an earlier one has protected.
        optional: Whether neither options nor the list need to say which instance the rows are of.

    Raises:
        BulkcertError: It cannot be read.
    """
    how = {"by_device": action.by_device, "trust_serials": options.trust_serials}
    protection = None
    if options.protect is not None:
        protection = open_protection(options.protect, **how, may_be_empty=may_be_empty)
    return load(
        source,
        pinned,
        **how,
        device_column=options.device_column,
        ca_column=options.ca_column,
        protection=protection,
        instances=instance_source(options, optional=optional),
    )


def pin(
    job: ResolvedJob,
    pinned: Path,
    *,
    may_be_empty: bool = False,
) -> tuple[PinnedList, Check]:
    """Reads the list of a job; see ``read_list``.

    Raises:
        BulkcertError: It cannot be used, or has rows that were not to be skipped.
    """
    options, how = job.options, {"may_be_empty": may_be_empty, "optional": job.rehearsal}
    pinned_list, check = read_list(job.source, pinned, job.action, options, **how)
    if problem := wrong_size(options, job.list_name, check.rows):
        raise BulkcertError(ExitStatus.INPUT_INVALID, f"{problem}; no calls were made", WRONG_SIZE)
    if check.invalid and not options.skip_invalid:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{check.invalid:,} of {check.rows:,} rows are invalid; no calls were made"
            + named(check.first_invalid, check.invalid),
            "Correct them, or leave them out with --skip-invalid (they get the outcome invalid).",
        )
    if check.protected and not options.skip_protected:
        raise BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{check.protected:,} of {check.rows:,} rows are protected by {options.protect}; no calls were made"
            + named(check.first_protected, check.protected),
            "Take them out of the list, or leave them out with --skip-protected (they get the outcome protected).",
        )
    return pinned_list, check


def named(rows: Sequence[str], count: int) -> str:
    """Returns the first of some rows, a line each, and how many more there are."""
    return "".join(f"\n  {row}" for row in rows) + f"\n  and {count - len(rows):,} more" * (count > len(rows))
