"""The commands; each is one function, and everything they do happens elsewhere."""

import signal
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, NoReturn

import anyio
import cyclopts
import msgspec
from cyclopts import App, Parameter
from cyclopts.config import Env, Toml
from polars.exceptions import PanicException

from bulkcert import terminal
from bulkcert.actions import ActionName
from bulkcert.api.credentials import ChainKeyring, Keyring
from bulkcert.batch.job import Job, Options, resolve
from bulkcert.batch.run import Run, check_input, open_run
from bulkcert.batch.summary import Summary
from bulkcert.emulator.options import EmulatorOptions
from bulkcert.emulator.server import serve
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.rehearsal import Stage, staged

app = App(
    name="bulkcert",
    help="Switch very many ApsaraMQ for MQTT device certificates off or on: fast, under the limits, losing nothing.",
    default_parameter=Parameter(negative_iterable=()),
)


class JobFile(Toml):
    """A job file: options by their names; its relative paths start where the file is."""

    def _load_config(self, path: Path) -> dict[str, Any]:
        try:
            options = super()._load_config(path)
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BulkcertError(ExitStatus.USAGE, f"{path}: {error}", "Correct the job file.") from error
        for name in ("input", "results"):
            if isinstance(options.get(name), str):
                options[name] = str(path.parent / options[name])
        return options


@app.command
def run(
    action: ActionName,
    input_: Annotated[Path, Parameter(name="input")],
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> ExitStatus:
    """Calls the service once for each row of a list, and writes what became of every row.

    Args:
        action: What to do with each row.
        input_: The list: .csv, .csv.gz, .csv.zst or .parquet with the columns DeviceSn and CaSn.
        options: See below.
    """
    summary = execute(resolve(action, input_, options), ChainKeyring(), ask=not options.yes)
    if options.json:
        _print_json(summary)
    return ExitStatus(summary.exit_status)


def execute(job: Job, keyring: Keyring, *, ask: bool) -> Summary:
    """Does a whole run, as a person or a timer sees it; prints its summary unless it is wanted as JSON."""
    options = job.options
    opened = _open(job)
    try:
        if opened.to_call:
            if ask or not options.quiet:
                terminal.show_plan(opened)
            if ask:
                _ask(opened)
            anyio.run(opened.call, keyring, terminal.Board(opened).watch)
            signal.signal(signal.SIGTERM, _terminated)
        summary = opened.finish()
    finally:
        opened.journal.close()
    if not options.json:
        terminal.show_summary(summary)
    return summary


def _print_json(product: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(product) + b"\n")


def _open(job: Job) -> Run:
    """Checks the input with a word on stderr where that takes long."""
    if job.options.quiet:
        return open_run(job, *check_input(job))
    with terminal.stderr.status(f"checking {job.input}") as status:
        checked = check_input(job, lambda rows: status.update(f"checking {job.input}: {rows:,} rows"))
        return open_run(job, *checked)


def _ask(opened: Run) -> None:
    try:
        terminal.confirm(opened)
    except BaseException:
        if opened.journal.is_new:
            opened.journal.discard()
        raise


@app.command
def rehearse(
    action: ActionName,
    input_: Annotated[Path, Parameter(name="input")],
    *,
    options: Options = Options(),  # noqa: B008 - frozen
    stage: Stage = Stage(),  # noqa: B008 - frozen
) -> ExitStatus:
    """Does the same as run, against an emulator on this machine; needs no account and reaches nothing else.

    Args:
        action: What to do with each row.
        input_: The list, as for run.
        options: See below; endpoint, region and source addresses are not used.
        stage: See below.
    """
    with staged(action, input_, options, stage, before=check_input) as rehearsal:
        if rehearsal.fault_seed is not None:
            terminal.stderr.print(f"faults with --fault-seed {rehearsal.fault_seed}")
        summary = execute(rehearsal.job, rehearsal.keyring(), ask=False)
        report = rehearsal.emulator.report()
    if options.json:
        _print_json({"summary": summary, "emulator": report})
    else:
        terminal.show_report(report)
    return ExitStatus(summary.exit_status)


@app.command
def emulator(
    *,
    settings: EmulatorOptions = EmulatorOptions(),  # noqa: B008 - frozen
) -> ExitStatus:
    """Serves a double of the service on loopback until it is stopped; accepts testAccessKeyId / testAccessKeySecret."""
    serve(settings.settings(), seed=settings.seed(), on_ready=settings.announce)
    return ExitStatus.OK


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    job: Annotated[Path | None, Parameter(env_var="BULKCERT_JOB")] = None,
) -> object:
    """Reads the job file, then does what the command says.

    Args:
        tokens: The command and its options.
        job: TOML file with the options of the command by their names; flags and BULKCERT_… win over it.
    """
    layers: list[Any] = [Env("BULKCERT_", command=False)]
    if job is not None:
        if not job.is_file():
            raise BulkcertError(ExitStatus.USAGE, f"--job {job}: no such file", "Check the path.")
        layers.append(JobFile(job, use_commands_as_keys=False))
    app.config = tuple(layers)
    return app(tokens, exit_on_error=False, print_error=False, result_action="return_value")


def main() -> NoReturn:
    """Runs a command; whatever happens becomes an exit status and, if need be, a message."""
    signal.signal(signal.SIGTERM, _terminated)
    status: object = ExitStatus.INTERNAL
    try:
        status = app.meta(exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        terminal.show_error(BulkcertError(ExitStatus.USAGE, str(error), "See bulkcert --help. Nothing was called."))
        status = ExitStatus.USAGE
    except BulkcertError as error:
        terminal.show_error(error)
        status = error.status
    except KeyboardInterrupt:
        terminal.show_error(BulkcertError(ExitStatus.INTERRUPTED, "interrupted"))
        status = ExitStatus.INTERRUPTED
    except BrokenPipeError:
        # Whoever read stdout has gone; what a run did stands in its files.
        sys.stderr.close()
        status = ExitStatus.CANNOT_WRITE
    except (Exception, PanicException) as error:  # noqa: BLE001 - the last resort: whatever it is, the user gets one clear message
        terminal.show_internal(error)
    sys.exit(int(status) if isinstance(status, int) else ExitStatus.OK)


def _terminated(number: int, _frame: object) -> NoReturn:
    raise BulkcertError(
        ExitStatus(128 + number), f"{signal.Signals(number).name} received", "Run the same command again."
    )
