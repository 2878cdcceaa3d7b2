"""``bulkcert resume``: continue whatever session of a run was interrupted, from its store alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bulkcert.commands import undo, verify
from bulkcert.commands.run import execute
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.summary import Summary
from bulkcert.runs import resuming
from bulkcert.runs.job import ResolvedJob
from bulkcert.runs.options import ResumeOptions
from bulkcert.runs.other_options import VerifyOptions
from bulkcert.runs.undo import UndoResult
from bulkcert.service.credentials import ChainCredentials
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Verification
from bulkcert.store.status import status_of
from bulkcert.views import console as terminal


def resume(results: Path, options: ResumeOptions) -> ExitStatus:
    """Continues the run, the undo or the watch that was interrupted; its list is not needed.

    What was typed at its start holds unless it is given again, or is of one start. On a run that has ended it calls
    what --retry names.
    """
    files, provider = RunFiles.named_by(results, options.state_dir), ChainCredentials()
    came: Summary | UndoResult | Verification
    match resuming.left_of(files, options):
        case ResolvedJob() as job:
            came = execute(job, provider)
        case VerifyOptions() as own:
            came = verify.execute(files, provider, own)
        case own, unknown:
            came = undo.execute(files, provider, own, include_unknown=unknown)
    if options.json:
        terminal.print_json(came)
    return ExitStatus(came.exit_status)


def stored_options(typed: Mapping[str, str]) -> dict[str, Any]:
    """Returns what an earlier session of the run that is meant was given; ``typed`` is what was given now."""
    state_dir = Path(typed["--state-dir"]) if "--state-dir" in typed else None
    try:
        status = status_of(RunFiles.named_by(Path(typed["--results"]), state_dir), brief=True)
        return resuming.stored_options(status, retries="--retry" in typed)
    except BulkcertError:  # what is wrong with the run is said by the command itself
        return {}
