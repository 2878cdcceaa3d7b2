"""``bulkcert plan``: what a run would find, do and cost; reads only."""

from contextlib import ExitStack
from pathlib import Path

from bulkcert.commands import calling
from bulkcert.errors import ExitStatus
from bulkcert.runs.options import PlanOptions
from bulkcert.runs.plan import inquiry, resolve_question
from bulkcert.service.actions import ActionName
from bulkcert.service.credentials import ChainCredentials
from bulkcert.views import confirm as confirming
from bulkcert.views import console as terminal
from bulkcert.views.live import reading, reading_list, shown
from bulkcert.views.plan import make_plan
from bulkcert.views.plan_shown import show_plan


def plan(action: ActionName, inputs: tuple[Path, ...], options: PlanOptions) -> ExitStatus:
    """Says what a run over a list would find, do and cost, and what prevents it; changes and writes nothing."""
    question = resolve_question(action, inputs, options)
    terminal.show_log(verbose=options.verbose, quiet=options.quiet)
    with ExitStack() as held:
        with reading_list(question.list_name, quiet=options.quiet) as on_progress:
            asked = held.enter_context(inquiry(question, on_progress))
        confirming.warn_of_limits(options)
        provider = ChainCredentials()
        calling.prepare(provider, calling.leave_reading)
        calling.call(asked.make, provider, calling.leave_reading, *([] if options.quiet else [shown(reading)]))
        made = make_plan(asked, provider.current)
    if options.json:
        terminal.print_json(made)
    else:
        show_plan(made)
    return ExitStatus(made.exit_status)
