"""``bulkcert verify``: what a run has done, read back."""

import time
from contextlib import ExitStack, nullcontext
from pathlib import Path

from bulkcert.commands import calling
from bulkcert.engine.figures import Stats
from bulkcert.errors import ExitStatus
from bulkcert.runs.opened import confirm_real
from bulkcert.runs.opening import open_existing
from bulkcert.runs.other_options import VerifyOptions
from bulkcert.runs.target import sending
from bulkcert.runs.verify import Verifier, resolve_reading
from bulkcert.service.credentials import ChainCredentials, CredentialProvider
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Verification
from bulkcert.telemetry.events import log_verified
from bulkcert.telemetry.notify import Notifier
from bulkcert.views import confirm as question
from bulkcert.views import console as terminal
from bulkcert.views.ending import show_verified
from bulkcert.views.live import shown
from bulkcert.views.status import figures
from bulkcert.words import counted, duration, later, speaking


def verify(results: Path, options: VerifyOptions) -> ExitStatus:
    """Reads back the status of every row of a run and adds it to the results; 0 if all are in the desired state."""
    files = RunFiles.named_by(results, options.state_dir)
    came = execute(files, ChainCredentials(), options)
    if options.json:
        terminal.print_json(came)
    return ExitStatus(came.exit_status)


def execute(
    files: RunFiles, provider: CredentialProvider, options: VerifyOptions, *, rehearsal: bool = False
) -> Verification:
    """Verifies a run, as a person or a timer sees it; prints what came of it unless JSON is asked for.

    Args:
        files: Of the run.
        provider: What to sign with.
        options: As typed.
        rehearsal: Whether the emulator of a rehearsal still answers.
    """
    with Notifier(options.notify, "verify", files, terminal.warn) if options.notify else nullcontext() as notifier:
        verification = _executed(files, provider, options, rehearsal=rehearsal)
        if notifier:
            notifier.exit_status = verification.exit_status
    return verification


def _executed(
    files: RunFiles, provider: CredentialProvider, options: VerifyOptions, *, rehearsal: bool
) -> Verification:
    started = time.monotonic()
    opened = open_existing(files)
    with ExitStack() as last:
        last.callback(opened.close)
        if not rehearsal:
            confirm_real(files, opened.asked, "verify")
        service = resolve_reading(opened, options)
        last.enter_context(sending(service, terminal.warn))
        question.warn_of_limits(options)
        calling.prepare(provider, calling.leave_reading)
        if options.watch and not options.yes:
            rows = sum(frame.height for frame in opened.frames())
            how = f"{opened.action.name} is called again where one is not {opened.action.desired}"
            terminal.say(f"to watch for {duration(options.watch)}: {counted(rows, 'row')}; {how}")
            question.confirm(rows, by_device=opened.action.by_device, what=later("certificates to watch"))
        verifier = Verifier(opened, service, options)
        watches = [] if options.quiet else [shown(_read)]
        calling.call(verifier.read, provider, calling.leave_reading, *watches)
        verification = verifier.finish()
        log_verified(verification, started)
        status = opened.status(brief=False)
        with speaking(options.language):
            show_verified(verifier, verification, status, as_json=options.json, quiet=options.quiet)
    return verification


def _read(stats: Stats) -> str:
    return f"{figures(stats)}; {stats.done:,} called again" if stats.done else figures(stats)
