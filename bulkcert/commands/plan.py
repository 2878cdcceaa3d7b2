"""``bulkcert plan``: what a run would find, do and cost; reads only."""

import os
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import Parameter
from rich.text import Text

from bulkcert import terminal
from bulkcert.actions import ActionName
from bulkcert.api.credentials import ChainKeyring
from bulkcert.batch.planning import Inquiry, PlanOptions, resolve_question
from bulkcert.batch.progress import Progress
from bulkcert.commands import calling
from bulkcert.errors import ExitStatus
from bulkcert.plan_view import make_plan, show


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
    calling.prepare(keyring, _leave)
    calling.call(inquiry.make, keyring, _leave, *([] if options.quiet else [calling.shown(_read)]))
    made = make_plan(inquiry, keyring.current)
    if options.json:
        calling.print_json(made)
    else:
        show(made)
    return ExitStatus(made.exit_status)


def _read(progress: Progress) -> str:
    last = f"; last error {progress.last_error}" if progress.last_error else ""
    return f"reading: {progress.pages:,} pages, {progress.reads:,} certificates one by one{last}"


def _leave(number: int) -> NoReturn:
    """Ends the process at once, on the signal of this number."""
    terminal.leave(number, "left; nothing was changed")
