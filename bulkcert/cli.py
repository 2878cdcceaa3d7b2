"""The command line: where the options of a command come from, and how everything ends."""

import gc
import os
import resource
import signal
import sys
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO, cast

import cyclopts
from cyclopts import App, Parameter
from cyclopts.config import Dict, Env
from rich.console import Console

from bulkcert.commands import COMMANDS, shown_at_once
from bulkcert.commands.help import PLAIN_WIDTH, show_panel, topics
from bulkcert.errors import BulkcertError, DroppedSignals, ExitStatus, end_on_signals, own_error
from bulkcert.job_file import options_of_job
from bulkcert.log import bind, format_asked
from bulkcert.runs.converters import short
from bulkcert.runs.options import MAIN
from bulkcert.runs.planned import planned_options
from bulkcert.views import console as terminal
from bulkcert.views.console import Product, ReaderGoneError
from bulkcert.views.errors import show_failure, wrong_options
from bulkcert.views.layout import over_echo
from bulkcert.words import nearest

SHOWN = (str, int, float)
"""Types of defaults that a help shows, unless they are empty; a switch is off, and a file is not named, by itself."""


USAGES = {"runs": "bulkcert runs [OPTIONS] [DIRECTORY]", "help": "bulkcert help [OPTIONS] [TOPIC]"}
"""How commands are written whose only argument may be left out; the library does not name it."""


app = App(
    name="bulkcert",
    help_format="plaintext",
    help_formatter=show_panel,
    help_flags=("--help", "-h"),
    version_flags=(),
    group_parameters=MAIN,
    default_parameter=Parameter(
        negative_iterable=(),
        negative_bool=(),
        show_default=lambda value: str(value) if value and type(value) in SHOWN else None,
    ),
    suppress_keyboard_interrupt=False,
)
app.meta.group_parameters = MAIN

for name, command in COMMANDS.items():
    function = f"bulkcert.commands.{command.signature}:{'help_' if name == 'help' else name}"
    app.command(function, name=name, help_epilogue=f"Exit status: {command.statuses}", usage=USAGES.get(name))


@cache
def _options_of(command: str) -> frozenset[str]:
    """Returns the names of a command's options, as they stand in a job file; none where there is no such command."""
    arguments = app[command].assemble_argument_collection() if command in COMMANDS else ()
    return frozenset(name.removeprefix("--") for argument in arguments for name in argument.names)


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


def _job_of(typed: list[str]) -> tuple[Path | None, list[str]]:
    """Returns the job file that is typed or set, and what else is typed.

    The library would look for it among all options of the command, which it puts together twice for that.

    Raises:
        BulkcertError: None is named, or two are.
    """
    end = typed.index("--") if "--" in typed else len(typed)
    named, others, words = [], [], iter(typed[:end])
    for word in words:
        option, sign, name = word.partition("=")
        if option == "--job":
            named.append(name if sign else next(words, ""))
        else:
            others.append(word)
    if "" in named or len(named) > 1:
        message = f"--job is given {len(named)} times" if len(named) > 1 else "--job is without a file"
        see = " ".join(["bulkcert", *(word for word in others[:1] if word in COMMANDS), "--help"])
        raise BulkcertError(ExitStatus.USAGE, message, f"See {see}. No calls were made.")
    job = named[0] if named else os.environ.get("BULKCERT_JOB")
    return Path(job) if job else None, others + typed[end:]


@app.meta.default
def bulkcert(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    job: Annotated[Path | None, Parameter(env_var="BULKCERT_JOB", show_env_var=False, metavar="FILE")] = None,
) -> object:
    """Reads the job file, then does what the command says; usage lines begin with the name of this.

    Args:
        tokens: The command and its options.
        job: TOML file with options by their names (BULKCERT_JOB).
    """
    # The parser takes a lone hyphen for an option; as a path it is standard input all the same.
    tokens = tuple("./-" if typed == "-" else typed for typed in tokens)
    command = tokens[0] if tokens else ""
    bind(job=job.stem if job else None)
    layers: list[Any] = [_of_a_run_alone if command == "control" else _ENVIRONMENT]
    if job is not None:
        options = options_of_job(job, command, _options_of(command), _options_of("run"))
        layers.append(partial(_demand, options.get("require", [])))
        # Below the command: at the top the library ignores a key that has the name of a command, as plan has.
        layers.append(Dict({command: options}, source=str(job)))
        if not format_asked(tokens, os.environ) and options.get("log-format") == "json":
            terminal.begin_json()
    if command in ("run", "resume"):
        layers.append(_fill_in_kept)
    if set_ := {name for name in os.environ if name.startswith("BULKCERT_")} - {"BULKCERT_JOB"}:
        _warn_of_unknown(command, set_)
    app.config = tuple(layers)
    return app(tokens, exit_on_error=False, print_error=False, result_action="return_value")


def _confirm_text(tokens: list[str]) -> None:
    """Refuses what is typed or set in another encoding: it can be neither kept nor shown.

    Raises:
        BulkcertError: Something is.
    """
    set_ = [f"{name}={text}" for name, text in os.environ.items() if name.startswith("BULKCERT_")]
    for text in (*tokens, *set_):
        try:
            text.encode()
        except UnicodeEncodeError:
            message = f"{short(text)!r} is not UTF-8"
            advice = "Type it in UTF-8; file names must be UTF-8, too. No calls were made."
            raise BulkcertError(ExitStatus.USAGE, message, advice) from None


_ENVIRONMENT = Env("BULKCERT_", command=False)


def _demand(demanded: object, _app: App, _commands: tuple[str, ...], arguments: cyclopts.ArgumentCollection) -> None:
    """Adds what a job file demands to what is demanded by other means: neither option nor variable lifts it."""
    for argument in arguments:
        if argument.name == "--require" and argument.tokens:
            names = ",".join(map(str, demanded)) if isinstance(demanded, list) else str(demanded)
            argument.append(argument.tokens[0].evolve(value=names, index=len(argument.tokens)))


def _of_a_run_alone(app: App, commands: tuple[str, ...], arguments: cyclopts.ArgumentCollection) -> None:
    """Fills in from the environment which run is meant: what is asked of its session is typed."""
    of_run = [each for each in arguments if each.name in ("--results", "--state-dir")]
    _ENVIRONMENT(app, commands, cyclopts.ArgumentCollection(of_run))  # type: ignore[no-untyped-call]


def _fill_in_kept(app: App, commands: tuple[str, ...], arguments: cyclopts.ArgumentCollection) -> None:
    """Fills in, as the last layer, what was kept before: in the plan of a run, or by the session that is resumed."""
    typed = {name: argument.tokens[0].value for argument in arguments for name in argument.names if argument.tokens}
    kept: dict[str, Any] = {}
    if commands == ("run",) and "--plan" in typed:
        kept, source = planned_options(typed), typed["--plan"]
    elif commands == ("resume",) and "--results" in typed:
        from bulkcert.commands.resume import stored_options  # noqa: PLC0415 - loads what no other command needs

        kept, source = stored_options(typed), "the store"
    if kept:
        # Below the command: at the top the library ignores a key that has the name of a command, as cluster has.
        Dict({commands[0]: kept}, source=source, allow_unknown=commands == ("resume",))(app, commands, arguments)


def _warn_of_unknown(command: str, set_: set[str]) -> None:
    """Says which variables look like options and are none, since a misspelt one would be ignored in silence."""
    options = _options_of("run") | _options_of(command)
    own = {f"BULKCERT_{option.upper().replace('-', '_')}" for option in options}
    for name in sorted(set_ - own):
        near = nearest(name, own, cutoff=0.8)
        meant = f"; did you mean {near[0]}?" if near else ""
        terminal.warn(f"{name} is not an option of this command; it is ignored{meant}")


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


def _done(typed: list[str]) -> object:
    """Does what is typed; returns what the command returned."""
    if shown := shown_at_once(typed):
        sys.stdout.write(shown)
        return ExitStatus.OK
    match typed:
        case [command, *options] if command in COMMANDS and {"--help", "-h"} & {*options}:
            app.meta.help_print([command])
            return ExitStatus.OK
        case [command, "--help" | "-h"] if not command.startswith("-"):
            typed = [command]  # there is no such command; the library would show another help than the one asked for
        case ["help", command] if command in COMMANDS and command not in topics():
            app.meta.help_print([command])
            return ExitStatus.OK
    try:
        _confirm_text(typed)
        job, tokens = _job_of(typed)
        return bulkcert(*tokens, job=job)
    except cyclopts.CycloptsError as error:
        raise wrong_options(error, topics()) from error


def _failed(error: BaseException, dropped: DroppedSignals) -> ExitStatus:
    """Says what has ended a command in one clear message, which a second signal does not cut short."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    error = dropped.cause_of(error)
    if isinstance(own_error(error), KeyboardInterrupt):
        over_echo()
    return show_failure(error)


def main() -> NoReturn:
    """Runs a command; whatever happens becomes an exit status and, if need be, a message."""
    # A core would hold the secret.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed: no file of ours gets its number
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - to the end
    stdout = sys.stdout
    sys.stdout = cast(TextIO, Product(stdout))
    # By itself the library asks whatever stream is a terminal how wide it is.
    app.console = app.meta.console = Console(width=None if stdout.isatty() else PLAIN_WIDTH)
    end_on_signals()
    sys.unraisablehook = dropped = DroppedSignals()
    status: object = ExitStatus.INTERNAL
    if format_asked(sys.argv[1:], os.environ) == "json":
        terminal.begin_json()
    try:
        status = _done(sys.argv[1:])
        sys.stdout.flush()
    except ReaderGoneError as error:  # as head goes: whoever reads has read enough
        status = error.status
    except _whatever() as error:
        status = _failed(error, dropped)
    _let_go(stdout)
    _let_go(sys.stderr)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # Nothing is left to be stopped, and nobody wants to see where.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    gc.freeze()  # what is left goes with the process: nothing is looked for among it
    sys.exit(int(status) if isinstance(status, int) else ExitStatus.OK)
