"""``bulkcert verify``: what a run has done, read back."""

import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from bulkcert import question, terminal
from bulkcert.actions import ActionName
from bulkcert.api.credentials import ChainKeyring, Keyring
from bulkcert.batch.finished import Finished, open_finished
from bulkcert.batch.job import Options
from bulkcert.batch.progress import Progress
from bulkcert.batch.service import LOOK, RUN, Service, ServiceOptions, refuse, resolve_service, seconds
from bulkcert.batch.snapshot_watch import of_verification
from bulkcert.batch.source import printable
from bulkcert.batch.summary import Verification, earlier_summary
from bulkcert.batch.verification import Verifying
from bulkcert.commands import calling
from bulkcert.commands.which_run import results_meant
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import bind
from bulkcert.telemetry.events import tell_verified
from bulkcert.verified import MESSAGE_WIDTH, UNREAD, label_of, meaning_read
from bulkcert.words import counted

LONGEST_WATCH_S, SHORTEST_PAUSE_S = 30 * 86400, 1.0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class VerifyOptions(ServiceOptions):
    """Options of ``verify``."""

    watch: Annotated[float, Parameter(group=LOOK, converter=seconds, metavar="DURATION")] = 0.0
    """Keep looking for so long (90s, 10m, 2h, 30d at most), and call again what is not in the wanted state."""
    every: Annotated[float, Parameter(group=LOOK, converter=seconds, metavar="DURATION")] = 30.0
    """Pause between two looks, 1s at least."""
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], group=RUN)] = False
    """Do not ask before --watch, which may change certificates."""


def verify(
    results: Annotated[Path | None, Parameter(name=["--results", "-o"])] = None,
    *,
    options: VerifyOptions = VerifyOptions(),
    action: Annotated[ActionName | None, Parameter(show=False)] = None,
    input_: Annotated[Path | None, Parameter(name="input", show=False)] = None,
) -> ExitStatus:
    """Reads back the status of every row of a run and adds it to the results; 0 only if all are as wanted.

    Args:
        results: The results of the run; its journal stands beside them. With --job those of the job.
        options: See below; the instance and the endpoint are those of the run unless given.
        action: Of the job file.
        input_: Of the job file.
    """
    known = (*Options.__dataclass_fields__, *VerifyOptions.__dataclass_fields__, "action", "input", "job")
    terminal.warn_of_unknown(os.environ, known)
    verification = read_back(results_meant(results, action, input_), ChainKeyring(), options, ask=not options.yes)
    if options.json:
        calling.print_json(verification)
    return ExitStatus(verification.exit_status)


def read_back(
    results: Path, keyring: Keyring, options: VerifyOptions, *, ask: bool, repeatable: bool = True
) -> Verification:
    """Verifies a run, as a person or a timer sees it; prints what came of it unless it is wanted as JSON.

    Args:
        results: The results of the run.
        keyring: What to sign with.
        options: As typed.
        ask: Whether somebody must agree before certificates may be changed.
        repeatable: Whether the same service can be asked again later; that of a rehearsal cannot.
    """
    started = time.monotonic()
    terminal.show_log(verbose=options.verbose, quiet=options.quiet)
    finished = open_finished(results, verifies=True)
    try:
        bind(run=finished.header.run, action=finished.header.action)
        earlier = earlier_summary(finished.summary)
        undone = earlier.standing_undo if earlier else None
        service = _service(finished, options)
        calling.prepare(keyring, calling.leave_reading)
        if options.watch and ask:
            rows = sum(frame.height for frame in finished.frames())
            question.confirm_watch(finished.action, rows, options.watch, undone)
        verifying = Verifying(finished, service, options.watch, options.every)
        verification = _verified(verifying, keyring, _command(results), quiet=options.quiet)
    finally:
        finished.journal.close()
    tell_verified(verification, started)
    _show(verifying, verification, as_json=options.json, quiet=options.quiet)
    if undone and not (options.quiet or options.json):
        terminal.stderr.print(Text(f"the run was {question.told_undo(undone)}", style="yellow"))
    changeable = repeatable and finished.action.inverse and not undone
    if changeable and not (options.watch or options.quiet or options.json) and verifying.would_call:
        terminal.stderr.print(Text(f"to call them again, and keep looking: {_command(results, '--watch', '10m')}"))
    return verification


def _service(finished: Finished, options: VerifyOptions) -> Service:
    """Returns where to read.

    Raises:
        BulkcertError: An option cannot be.
    """
    problems: list[str] = []
    service = resolve_service(finished.where(options), problems)
    if options.watch > LONGEST_WATCH_S:
        problems.append(f"--watch must be 30d at most, not {options.watch / 86400:g}d; start it anew after that")
    if options.every < SHORTEST_PAUSE_S:
        problems.append(f"--every must be 1s at least, not {options.every:g}s")
    refuse(problems, "verify")
    if options.watch and finished.action.inverse is None:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"--watch would {finished.action.verb} again, whoever has registered them since",
            "Leave --watch out; to delete them again, run delete-ca anew.",
        )
    return service


def _verified(verifying: Verifying, keyring: Keyring, command: str, *, quiet: bool) -> Verification:
    """Reads, while ``bulkcert status`` can tell how that gets on."""
    snapshots = of_verification(verifying.finished, verifying.service, command)
    watches = [snapshots.watch] if quiet else [snapshots.watch, calling.shown(_read)]
    try:
        calling.call(verifying.read, keyring, calling.leave_reading, *watches)
        return verifying.finish()
    finally:
        snapshots.remove()


def _command(results: Path, *options: str) -> str:
    return shlex.join(["bulkcert", "verify", str(results), *options])


def _show(verifying: Verifying, verification: Verification, *, as_json: bool, quiet: bool) -> None:
    if not as_json:
        terminal.show(_told(verifying, verification))
    if (stop := verifying.stop) is not None:
        terminal.show_error(BulkcertError(stop.status, f"stopped: {stop.message}", stop.advice))
    elif quiet and verification.exit_status:
        amiss = {"not in the wanted state": verification.not_wanted, "not read": verification.unread}
        told = ", ".join(f"{counted(count, 'row')} {what}" for what, count in amiss.items() if count)
        terminal.warn(f"{told}; see {verifying.finished.results}")
    if verification.not_attempted:
        told = f"not attempted: {counted(verification.not_attempted, 'row')}, which verify does not call"
        terminal.stderr.print(Text(f"{told}; to go on with the run, give its command again", style="yellow"))
    if refused := verifying.refused.bit_count():
        told = f"not called again: {counted(refused, 'row')} whose call was refused or given up"
        terminal.stderr.print(Text(f"{told}; the command of the run goes on with them", style="yellow"))


def _told(verifying: Verifying, verification: Verification) -> Iterator[tuple[str, str | Text]]:
    finished, progress = verifying.finished, verifying.progress
    wanted = str(finished.action.wanted_status)
    yield (
        label_of(verification),
        f"{finished.results}: {counted(finished.check.rows, 'row')}, wanted {finished.action.wanted}",
    )
    for status, count in verification.statuses.items():
        yield "", Text(f"{count:>9,} {status}", style="green" if status == wanted else "red")
    for reason, count in verification.unread_because.items():
        last = f"; last {printable(verification.refusal, MESSAGE_WIDTH)}" if reason == "refused" else ""
        yield "", Text(f"{count:>9,} not read: {UNREAD[reason]}{last}", style="red")
    if duplicates := finished.check.rows - verifying.rows:
        yield "", f"{duplicates:>9,} duplicate, as the row that it repeats"
    if verification.called_again:
        yield "called again", counted(verification.called_again, "certificate")
    pages = f"{counted(progress.pages, 'page')}, {counted(progress.reads, 'certificate')} one by one"
    yield "calls", f"{verification.calls:,}: {pages}"
    kept = "with verified_status and verified_at" if verifying.has_read else "left as they were: nothing was read"
    yield "results", f"{finished.results}, {kept}"
    yield "exit status", f"{verification.exit_status}: {meaning_read(verification)}"


def _read(progress: Progress) -> str:
    read = f"read {counted(progress.pages, 'page')}, {counted(progress.reads, 'certificate')} one by one"
    return f"{read}; {progress.outcomes.total():,} called again" if progress.outcomes else read
