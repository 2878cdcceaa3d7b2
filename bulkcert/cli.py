"""The command line: which commands there are, where their options come from, and how everything ends."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO, cast

import cyclopts
from cyclopts import App, Parameter
from cyclopts.config import Env

from bulkcert.commands import COMMANDS
from bulkcert.errors import BulkcertError, ExitStatus, terminated
from bulkcert.job_file import JobFile
from bulkcert.log import bind, format_asked
from bulkcert.views import console as terminal
from bulkcert.views.option_errors import wrong_options

SHOWN = (str, int, float)
"""Types of defaults that a help shows, unless they are empty; a switch is off, and a file is not named, by itself."""

app = App(
    name="bulkcert",
    help="Switch very many device certificates of ApsaraMQ for MQTT off or on.",
    help_format="markdown",
    help_flags=("--help", "-h"),
    version_flags=("--version", "-V"),
    version_format="plaintext",
    default_parameter=Parameter(
        negative_iterable=(),
        negative_bool=(),
        show_default=lambda value: str(value) if value and type(value) in SHOWN else None,
    ),
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False


def _options_of(command: str) -> set[str]:
    """Returns the names of a command's options, as they stand in a job file."""
    arguments = app[command].assemble_argument_collection()
    return {name.removeprefix("--") for argument in arguments for name in argument.names}


for command, described in COMMANDS.items():
    app.command(
        f"bulkcert.commands.{command}:{'help_' if command == 'help' else command}",
        name=command,
        help=described.help,
        help_epilogue=described.epilogue,
        group=described.group,
        sort_key=list(COMMANDS).index(command),
    )


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


def _whatever() -> tuple[type[BaseException], ...]:
    """Returns what may end a command, foreseen or not; what polars raises when it fails within is no Exception."""
    polars = sys.modules.get("polars.exceptions")
    return (Exception, KeyboardInterrupt, *((polars.PanicException,) if polars else ()))


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
        # The help of a command is the command's own.
        is_of_command = sys.argv[1:2] == ["help"] and COMMANDS.keys() & set(sys.argv[2:3])
        typed = [sys.argv[2], "--help"] if is_of_command else sys.argv[1:]
        status = app.meta(typed, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except terminal.ReaderGoneError:  # as head goes: whoever reads has read enough
        status = ExitStatus.READER_GONE
    except cyclopts.CycloptsError as error:
        terminal.show_error(wrong_options(error, tuple(COMMANDS)))
        status = ExitStatus.USAGE
    except _whatever() as error:  # in one clear message
        status = terminal.show_failure(error)
    _let_go(stdout)
    _let_go(sys.stderr)
    sys.exit(int(status) if isinstance(status, int) else ExitStatus.OK)
