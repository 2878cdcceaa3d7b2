"""``bulkcert plan``: what a run would find, do and cost; reads only."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import anyio
from cyclopts import Parameter
from rich.text import Text

from bulkcert import terminal
from bulkcert.actions import ActionName
from bulkcert.api.credentials import ChainKeyring
from bulkcert.batch.planning import Inquiry, PlanOptions, resolve_question
from bulkcert.batch.progress import Progress
from bulkcert.batch.session import fetch_credentials
from bulkcert.commands.run import print_json
from bulkcert.errors import BulkcertError, ExitStatus, terminated
from bulkcert.plan_view import make_plan, show

SAID_EVERY_S = 0.25
LINE_EVERY_S = 5.0


def plan(
    action: ActionName,
    input_: Annotated[Path, Parameter(name="input")],
    *,
    options: PlanOptions = PlanOptions(),  # noqa: B008 - frozen
) -> ExitStatus:
    """Says what a run over a list would find, do and cost, and what stands in its way; changes and writes nothing.

    Args:
        action: What would be done with each row.
        input_: The list, as for run.
        options: See below; as for run.
    """
    terminal.warn_of_unknown(os.environ, (*PlanOptions.__dataclass_fields__, "action", "input", "job"))
    question = resolve_question(action, input_, options)
    terminal.show_log(verbose=options.verbose, quiet=options.quiet)
    if options.quiet:
        inquiry = Inquiry(question)
    else:
        with terminal.stderr.status(Text(f"checking {input_}")) as status:
            inquiry = Inquiry(question, lambda rows: status.update(Text(f"checking {input_}: {rows:,} rows")))
    keyring = ChainKeyring()
    anyio.run(fetch_credentials, keyring, _leave)
    signal.signal(signal.SIGTERM, terminated)
    anyio.run(inquiry.make, keyring, _unseen if options.quiet else _watch, _leave)
    signal.signal(signal.SIGTERM, terminated)
    made = make_plan(inquiry, keyring.current)
    if options.json:
        print_json(made)
    else:
        show(made)
    return ExitStatus(made.exit_status)


async def _unseen(_progress: Progress) -> None:
    await anyio.sleep_forever()


async def _watch(progress: Progress) -> None:
    """Shows how much was read: in place on a terminal, else a line every few seconds."""
    if not terminal.stderr.is_terminal:
        while True:
            await anyio.sleep(LINE_EVERY_S)
            terminal.stderr.print(Text(_read(progress)))
    with terminal.stderr.status(Text(_read(progress))) as status:
        while True:
            await anyio.sleep(SAID_EVERY_S)
            status.update(Text(_read(progress)))


def _read(progress: Progress) -> str:
    last = f"; last error {progress.last_error}" if progress.last_error else ""
    return f"reading: {progress.pages:,} pages, {progress.reads:,} certificates one by one{last}"


def _leave(number: int) -> NoReturn:
    """Ends the process at once, on the signal of this number."""
    message = f"{signal.Signals(number).name}: left; nothing was changed"
    terminal.show_error(BulkcertError(ExitStatus(128 + number), message))
    sys.stderr.flush()
    os._exit(128 + number)
