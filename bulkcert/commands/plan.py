"""``bulkcert plan``: what a run would find, do and cost; reads only."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.text import Text

from bulkcert.commands import calling
from bulkcert.engine.figures import Stats
from bulkcert.errors import ExitStatus
from bulkcert.runs.options import PlanOptions
from bulkcert.runs.plan import Inquiry, Question, inquiry, resolve_question
from bulkcert.service.actions import ActionName
from bulkcert.service.credentials import ChainCredentials
from bulkcert.views import console as terminal
from bulkcert.views.live import shown
from bulkcert.views.plan import make_plan
from bulkcert.views.plan_shown import show_plan
from bulkcert.words import counted


def plan(action: ActionName, inputs: tuple[Path, ...], options: PlanOptions) -> ExitStatus:
    """Says what a run over a list would find, do and cost, and what prevents it; changes and writes nothing."""
    question = resolve_question(action, inputs, options)
    terminal.show_log(verbose=options.verbose, quiet=options.quiet)
    with _opened(question, quiet=options.quiet) as asked:
        provider = ChainCredentials()
        calling.prepare(provider, calling.leave_reading)
        calling.call(asked.make, provider, calling.leave_reading, *([] if options.quiet else [shown(_read)]))
        made = make_plan(asked, provider.current)
    if options.json:
        terminal.print_json(made)
    else:
        show_plan(made)
    return ExitStatus(made.exit_status)


@contextmanager
def _opened(question: Question, *, quiet: bool) -> Iterator[Inquiry]:
    """Reads the list with a word on stderr where that takes long."""
    with ExitStack() as held:
        if quiet:
            yield held.enter_context(inquiry(question))
            return
        with terminal.stderr.status(Text(f"reading {question.list_name}")) as status:
            opened = inquiry(question, lambda rows: status.update(Text(f"reading {question.list_name}: {rows:,} rows")))
            asked = held.enter_context(opened)
        yield asked


def _read(stats: Stats) -> str:
    last = f"; last error {stats.last_error}" if stats.last_error else ""
    return f"reading: {counted(stats.pages, 'page')}, {counted(stats.reads, 'certificate')} one by one{last}"
