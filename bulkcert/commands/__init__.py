"""The commands: what each takes is in ``signatures``, what it does in a module of its name loaded when given.

The function of a module that has its name takes what is explained in ``signatures``.
"""

import re

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
