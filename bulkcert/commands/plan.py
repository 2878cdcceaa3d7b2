"""``bulkcert plan``: what a run would find, do and cost; reads only."""

import shlex
from contextlib import ExitStack, nullcontext
from pathlib import Path

import msgspec

from bulkcert.commands import calling
from bulkcert.errors import ExitStatus
from bulkcert.output.files import cannot_write, refuse_taken, write_whole
from bulkcert.runs.options import PlanOptions
from bulkcert.runs.plan import inquiry, resolve_question
from bulkcert.service.actions import ActionName
from bulkcert.service.credentials import ChainCredentials
from bulkcert.views import confirm as confirming
from bulkcert.views import console as terminal
from bulkcert.views.live import reading, reading_list, shown
from bulkcert.views.plan import Plan, make_plan
from bulkcert.views.plan_shown import show_plan
from bulkcert.words import speaking


def plan(action: ActionName, inputs: tuple[Path, ...], options: PlanOptions) -> ExitStatus:
    """Says what a run over a list would find, do and cost, and what prevents it; changes nothing."""
    question = resolve_question(action, inputs, options)
    if options.output is not None:
        refuse_taken(options.output, overwrite=options.overwrite)
    with ExitStack() as held:
        with nullcontext() if options.quiet else reading_list(question.list_name):
            asked = held.enter_context(inquiry(question))
        confirming.warn_of_limits(options)
        provider = ChainCredentials()
        calling.prepare(provider, calling.leave_reading)
        calling.call(asked.make, provider, calling.leave_reading, *([] if options.quiet else [shown(reading)]))
        with speaking(options.language):
            made = make_plan(asked, provider.current)
    with speaking(options.language):
        if options.json:
            terminal.print_json(made)
        else:
            show_plan(made)
    if options.output is not None:
        _keep(made, options.output, quiet=options.quiet)
    return ExitStatus(made.exit_status)


def _keep(plan: Plan, output: Path, *, quiet: bool) -> None:
    """Writes a plan for ``run --plan``, unless the run would not start."""
    if plan.exit_status:
        terminal.warn(f"{output} is not written: the run would not start")
        return
    try:
        write_whole(output, msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n")
    except OSError as error:
        raise cannot_write(output, error) from error
    if not quiet:
        terminal.say_step("to run it", shlex.join(["bulkcert", "run", "--plan", str(output)]))
