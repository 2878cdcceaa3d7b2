"""The command line: which commands there are, where their options come from, and how everything ends."""

import signal
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, NoReturn

import cyclopts
from cyclopts import App, Parameter
from cyclopts.config import Env, Toml
from polars.exceptions import PanicException

from bulkcert import terminal
from bulkcert.errors import BulkcertError, ExitStatus, terminated

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
                options[name] = str(Path(self.path).parent / options[name])
        return options


COMMANDS = {
    "run": "Call the service once for each row of a list, and write what became of every row.",
    "rehearse": "Do the same against an emulator on this machine: no account, no network.",
    "emulator": "Serve a double of the service on this machine until stopped.",
}
"""Commands, in the order of the help, each with its line there."""

for position, (command, line) in enumerate(COMMANDS.items()):
    app.command(f"bulkcert.commands.{command}:{command}", name=command, help=line, sort_key=position)


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
    signal.signal(signal.SIGTERM, terminated)
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
