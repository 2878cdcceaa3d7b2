"""The commands: what each takes is in a module of signatures, what it does in a module of its own name.

Both are loaded when the command is given, and no others. The function of a module that has its name takes what is
explained in the signature.
"""

import gc
import re
from importlib import import_module
from typing import NamedTuple

from bulkcert import __version__


class Command(NamedTuple):
    """A command of the command line.

    Attributes:
        signature: The module of this package whose function of the command's name takes its options; its docstring is
            the help.
        statuses: What it ends with.
    """

    signature: str
    statuses: str


_RUN = (
    "0 done · 1 some rows are not · 2 options · 3 errors · 65 list\n"
    "66 input · 69 service · 73 disk · 75 stopped early · 77 access · 78 setup"
)
_READ = "0 done · 2 options · 69 service · 73 disk · 77 access · 78 setup"
_LOCAL = "0 done · 2 options · 66 no such run · 73 disk"


COMMANDS = {
    "inventory": Command("signatures", _READ),
    "plan": Command("signatures", "0 it can start · otherwise what the run would end with"),
    "doctor": Command("signatures", "0 a run could start · otherwise what it would end with"),
    "policy": Command("signatures", "0 done · 2 options · 73 disk · 78 setup"),
    "rehearse": Command("signatures", _RUN),
    "emulator": Command("signatures", "0 stopped · 2 options · 66 no list · 69 no port · 73 disk"),
    "cluster": Command("signatures", "0 done · 2 options · 73 disk"),
    "lane": Command("signatures", "0 stopped, its calls reported · 2 options · 66 keys · 77 access"),
    "run": Command("change_signatures", _RUN),
    "resume": Command("change_signatures", _RUN),
    "undo": Command("change_signatures", _RUN),
    "verify": Command("run_signatures", _RUN),
    "status": Command(
        "run_signatures", "0 running or done · 66 no such run · 75 interrupted · otherwise that of the run"
    ),
    "control": Command("run_signatures", "0 done · 2 options · 66 no such run, or ended · 75 not running, or late"),
    "runs": Command("run_signatures", _LOCAL),
    "report": Command("run_signatures", _LOCAL),
    "export": Command("run_signatures", f"{_LOCAL} · 65 not of this run"),
    "help": Command("help", "0 done · 2 no such topic"),
}
"""The commands, in the order of the first page."""

OVERVIEW = """\
Switch very many device certificates of ApsaraMQ for MQTT off or on.
    bulkcert rehearse inactivate-device devices.csv
    bulkcert run inactivate-device devices.csv --instance ID --region REGION
Prepare  inventory  List registered certificates into a file, as an input
         plan       Find out what a run would do and cost; change nothing
         doctor     Check what a run needs: credentials, service, clock, disk
         policy     Print the minimal RAM policy for what a run calls
         rehearse   Do the same against a local emulator: no account needed
         emulator   Serve a local emulator of the service until stopped
         cluster    Make the keys of several machines that call together
         lane       Call for runs on another machine, until stopped
Change   run        Make one call for each row of a list; write the outcomes
         resume     Resume what was interrupted, or retry failed rows
         undo       Undo what a run has changed
Check    verify     Read back the status of every row of a run
         status     Show the status of a run, from another terminal
         control    Change the rate of a running session; pause or stop it
         runs       List the runs in a directory
         report     Report a run in one page, as HTML, text, Markdown or JSON
         export     Write results again, all rows or some, in any format
         help       Show the help of a command, or a topic

bulkcert COMMAND --help shows options; --job FILE (BULKCERT_JOB) reads them from
a job file, BULKCERT_... from the environment. --version, --install-completion
"""
"""The first page of the help, in 24 lines of 80 columns; it is here so that nothing is loaded for it."""


GARBAGE_AFTER = 50_000
"""Objects after which garbage is looked for. Calls that wait by the thousand are none, and looking through them at each
700, as is the default, is a third of what a row costs that another machine calls."""


def do(command: str, *arguments: object, **options: object) -> int:
    """Loads the module of a command, and calls its function of the same name; its log begins before that."""
    from bulkcert.runs.options import ServiceOptions  # noqa: PLC0415 - nothing is loaded for the first page
    from bulkcert.views.console import show_log  # noqa: PLC0415

    for asked in (*arguments, *options.values()):
        if isinstance(asked, ServiceOptions):
            show_log(verbose=asked.verbose, quiet=asked.quiet, file=asked.log_file)
    function = getattr(import_module(f"bulkcert.commands.{command}"), command)
    gc.freeze()  # from now on garbage is collected, and not looked for among what was loaded
    gc.set_threshold(GARBAGE_AFTER)
    gc.enable()
    return int(function(*arguments, **options))


def shown_at_once(typed: list[str]) -> str:
    """Returns what answers before anything is loaded, the first page or the version; empty where it is a command."""
    match typed:
        case [] | ["--help" | "-h"]:
            return OVERVIEW
        case ["--version" | "-V" | "version", *verbose] if verbose in ([], ["-v"], ["--verbose"]):
            lines = [f"{name:<26}{value}" for name, value in versions().items()] if verbose else []
            return "\n".join([__version__, *lines, ""])
    return ""


def versions() -> dict[str, str]:
    """Returns what a report of a fault should say: versions of Python, of the event loop, and of each library."""
    import platform  # noqa: PLC0415 - nothing is loaded for the first page
    from importlib.metadata import requires, version  # noqa: PLC0415

    libraries = [line for line in requires("bulkcert") or () if "extra ==" not in line]
    names = [re.split(r"[^\w-]", line)[0] for line in libraries if not line.startswith("uvloop")]
    try:
        import uvloop  # noqa: F401, PLC0415 - not everywhere

        loop = f"uvloop {version('uvloop')}"
    except ImportError as error:
        loop = f"asyncio, since there is no uvloop: {error}"
    return {"python": platform.python_version(), "loop": loop, **{name: version(name) for name in names}}
