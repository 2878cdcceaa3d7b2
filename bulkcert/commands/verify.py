"""``bulkcert verify``: what a run has done, read back."""

import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import anyio
import msgspec
from cyclopts import Parameter
from rich.text import Text

from bulkcert import question, terminal
from bulkcert.api.credentials import ChainKeyring, Keyring
from bulkcert.batch.finished import Finished, open_finished
from bulkcert.batch.progress import Progress
from bulkcert.batch.service import LOOK, RUN, ServiceOptions, refuse, resolve_service, seconds
from bulkcert.batch.session import fetch_credentials, together
from bulkcert.batch.snapshot_watch import SnapshotWatch, of_verification
from bulkcert.batch.summary import Verification
from bulkcert.batch.verification import Verifying
from bulkcert.errors import BulkcertError, ExitStatus, terminated

LINE_EVERY_S = 5.0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class VerifyOptions(ServiceOptions):
    """Options of ``verify``."""

    watch: Annotated[float, Parameter(group=LOOK, converter=seconds)] = 0.0
    """Keep looking for so long (90s, 10m, 2h), and call again what is not in the wanted state but could be."""
    every: Annotated[float, Parameter(group=LOOK, converter=seconds)] = 30.0
    """Pause between two looks."""
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], group=RUN)] = False
    """Do not ask before --watch, which may change certificates."""


def verify(
    results: Path,
    /,
    *,
    options: VerifyOptions = VerifyOptions(),
) -> ExitStatus:
    """Reads back the status of every row of a run and adds it to the results; 0 only if all are as wanted.

    Args:
        results: The results of the run; its journal stands beside them.
        options: See below; the instance and the endpoint are those of the run unless given.
    """
    verification = read_back(results, ChainKeyring(), options, ask=not options.yes)
    return ExitStatus(verification.exit_status)


def read_back(results: Path, keyring: Keyring, options: VerifyOptions, *, ask: bool) -> Verification:
    """Verifies a run, as a person or a timer sees it; prints what came of it.

    Args:
        results: The results of the run.
        keyring: What to sign with.
        options: As typed.
        ask: Whether somebody must agree before certificates may be changed.
    """
    if options.verbose:
        terminal.show_log()
    snapshots: SnapshotWatch | None = None
    finished = open_finished(results)
    try:
        problems: list[str] = []
        service = resolve_service(finished.where(options), problems)
        refuse(problems, "verify")
        if options.watch and finished.action.inverse is None:
            raise BulkcertError(
                ExitStatus.USAGE,
                f"--watch would {finished.action.verb} again, whoever has registered them since",
                "Leave --watch out; to delete them again, run delete-ca anew.",
            )
        anyio.run(fetch_credentials, keyring, _leave)
        signal.signal(signal.SIGTERM, terminated)
        if options.watch and ask:
            question.confirm_watch(finished.action, finished.check.callable, options.watch)
        verifying = Verifying(finished, service, options.watch, options.every)
        snapshots = of_verification(finished, service, shlex.join(["bulkcert", "verify", str(results)]))
        watch = together(_silent if options.quiet else _watch, snapshots.watch)
        anyio.run(verifying.read, keyring, watch, _leave)
        signal.signal(signal.SIGTERM, terminated)
        verification = verifying.finish()
    finally:
        if snapshots is not None:
            snapshots.remove()
        finished.journal.close()
    _show(finished, verification, verifying.progress, as_json=options.json)
    return verification


def _show(finished: Finished, verification: Verification, progress: Progress, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(verification) + b"\n")
    else:
        terminal.show(_told(finished, verification, progress))
    if verification.stopped:
        stop = progress.stop
        advice = stop.advice if stop else ""
        terminal.show_error(BulkcertError(ExitStatus(verification.exit_status), verification.stopped, advice))


def _told(finished: Finished, verification: Verification, progress: Progress) -> Iterator[tuple[str, str | Text]]:
    wanted = str(finished.action.wanted_status)
    yield "verified", f"{finished.results}: {finished.check.rows:,} rows, wanted {finished.action.wanted}"
    for status, count in verification.statuses.items():
        yield "", Text(f"{count:>9,} {status}", style="green" if status == wanted else "red")
    if unread := verification.not_wanted + verification.wanted - sum(verification.statuses.values()):
        yield "", Text(f"{unread:>9,} not read: invalid, protected, or not come to", style="red")
    if finished.check.duplicates:
        yield "", f"{finished.check.duplicates:>9,} duplicates, as the rows that they repeat"
    if verification.called_again:
        yield "called again", f"{verification.called_again:,} certificates"
    pages = f"{progress.pages:,} pages, {progress.reads:,} certificates one by one"
    yield "calls", f"{verification.calls:,}: {pages}"
    yield "results", f"{finished.results}, with verified_status and verified_at"
    yield "exit status", f"{verification.exit_status}: {terminal.meaning(verification.exit_status)}"


async def _silent(_progress: Progress) -> None:
    await anyio.sleep_forever()


async def _watch(progress: Progress) -> None:
    while True:
        await anyio.sleep(LINE_EVERY_S)
        read = f"{progress.pages:,} pages and {progress.reads:,} single certificates read"
        changed = f"; {progress.outcomes.total():,} called again" if progress.outcomes else ""
        terminal.stderr.print(Text(f"{read}{changed}"))


def _leave(number: int) -> NoReturn:
    terminal.leave_reading(number)
