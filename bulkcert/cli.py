"""The command line: which commands there are, where their options come from, and how everything ends."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO, cast

import cyclopts
from cyclopts import App, Parameter
from cyclopts.config import Env

from bulkcert.errors import BulkcertError, ExitStatus, terminated
from bulkcert.job_file import JobFile
from bulkcert.log import bind, format_asked
from bulkcert.views import console as terminal
from bulkcert.views.option_errors import wrong_options

HELP = """Switch very many ApsaraMQ for MQTT device certificates off or on: fast, under the limits, losing nothing.

Try it, then find out what a run would do, do it, and verify it:

    bulkcert rehearse inactivate-device devices.csv
    bulkcert plan inactivate-device devices.csv --instance ID --region REGION
    bulkcert run inactivate-device devices.csv --instance ID --region REGION
    bulkcert verify devices.inactivate-device.results.csv

devices.csv has the columns DeviceSn and CaSn. Credentials are found where the vendor's own tools look for them."""

app = App(
    name="bulkcert",
    help=HELP,
    help_format="markdown",
    version_format="plaintext",
    default_parameter=Parameter(negative_iterable=()),
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False


def _options_of(command: str) -> set[str]:
    """Returns the names of a command's options, as they stand in a job file."""
    arguments = app[command].assemble_argument_collection()
    return {name.removeprefix("--") for argument in arguments for name in argument.names}


COMMANDS = {
    "inventory": "List the registered certificates of an instance into a file, as an input for run.",
    "plan": "Read, and show what a run would find and do, what it would cost, and what prevents it.",
    "run": "Call the service once for each row of a list, and write what became of every row.",
    "resume": "Resume what was interrupted, or call again the rows that --retry names; the list is not needed.",
    "status": "Show the status of a run from another terminal: how far, how fast, what it waits for, how it ended.",
    "verify": "Read back the status of every row of a run; while watched, call again what is not in the desired state.",
    "undo": "Undo what a run has changed.",
    "report": "Report what a run did, in one page for people who were not there; also as text, Markdown or JSON.",
    "export": "Write the results again, all rows or some, in any format; no calls are made.",
    "runs": "List the runs in a directory: when, what, how far, and the status of each.",
    "policy": "Print the minimal RAM policy for what a run calls.",
    "rehearse": "Do the same against an emulator on this machine: no account, no network.",
    "emulator": "Serve a local emulator of the service on this machine until stopped.",
}
"""Commands, in the order of the help, each with its line there."""

for position, (command, line) in enumerate(COMMANDS.items()):
    app.command(f"bulkcert.commands.{command}:{command}", name=command, help=line, sort_key=position)


@app.command(name="--install-completion", help="Let this shell complete commands and options.")
def install_completion() -> None:
    """Writes a completion script to where the user's shell looks for it, and says where.

    Raises:
        BulkcertError: It is a shell without completion, or the files cannot be written.
    """
    from cyclopts.completion.detect import ShellDetectionError  # noqa: PLC0415 - no other command needs it

    try:
        script = app.install_completion()
    except (OSError, ShellDetectionError) as error:
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE, f"completion was not installed: {error}", "It is for bash, zsh and fish."
        ) from error
    terminal.stdout.print(f"installed as {script}; a new shell completes bulkcert")


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    job: Annotated[Path | None, Parameter(env_var="BULKCERT_JOB", show_env_var=False)] = None,
) -> object:
    """Reads the job file, then does what the command says.

    Args:
        tokens: The command and its options.
        job: TOML file with the options of the command by their names; flags and BULKCERT_… win over it. Also
            BULKCERT_JOB.
    """
    # The parser takes a lone hyphen for an option; as a path it is standard input all the same.
    tokens = tuple("./-" if typed == "-" else typed for typed in tokens)
    bind(job=job.stem if job else None)
    layers: list[Any] = [Env("BULKCERT_", command=False)]
    if job is not None:
        if not os.path.isfile(job):  # Path raises where it may not look
            raise BulkcertError(ExitStatus.USAGE, f"--job {job}: no such file, or not a file", "Check the path.")
        command = tokens[0] if tokens else ""
        options = _options_of(command) if command in COMMANDS else None
        layers.append(layer := JobFile(job, command, options, _options_of("run")))
        if not format_asked(tokens, os.environ) and layer.config.get("log-format") == "json":
            terminal.begin_json()
    if tokens[:1] == ("resume",):
        from bulkcert.commands.resume import stored_options  # noqa: PLC0415 - loads what no other command needs

        layers.append(stored_options)
    app.config = tuple(layers)
    return app(tokens, exit_on_error=False, print_error=False, result_action="return_value")


def _open_closed_streams() -> None:
    """Puts the null device where a standard stream is closed, so that no file of ours gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - to the end


def _let_go(stream: TextIO) -> None:
    """Flushes a stream; where it takes nothing any more, what it still holds is dropped."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _unexpected() -> tuple[type[BaseException], ...]:
    """Returns what nobody has foreseen; what polars raises when it fails within is no Exception."""
    polars = sys.modules.get("polars.exceptions")
    return (Exception, polars.PanicException) if polars else (Exception,)


def main() -> NoReturn:
    """Runs a command; whatever happens becomes an exit status and, if need be, a message."""
    _open_closed_streams()
    stdout = sys.stdout
    sys.stdout = cast(TextIO, terminal.Product(stdout))
    signal.signal(signal.SIGTERM, terminated)
    status: object = ExitStatus.INTERNAL
    if format_asked(sys.argv[1:], os.environ) == "json":
        terminal.begin_json()
    try:
        status = app.meta(exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except cyclopts.CycloptsError as error:
        terminal.show_error(wrong_options(error, tuple(COMMANDS)))
        status = ExitStatus.USAGE
    except BulkcertError as error:
        error.advice = error.advice or terminal.way_on(error)
        terminal.show_error(error)
        status = error.status
    except KeyboardInterrupt as error:
        terminal.show_error(BulkcertError(ExitStatus.INTERRUPTED, "interrupted", terminal.way_on(error)))
        status = ExitStatus.INTERRUPTED
    except _unexpected() as error:  # the last resort: whatever it is, the user gets one clear message
        terminal.show_internal(error)
    _let_go(stdout)
    _let_go(sys.stderr)
    sys.exit(int(status) if isinstance(status, int) else ExitStatus.OK)
