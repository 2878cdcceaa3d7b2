"""The commands, one module each, imported only when its command is given; and what help says of each."""

from typing import NamedTuple

_RUN = (
    "0 done · 1 rows are not · 2 options · 3 errors · 65 list · 69 service · 73 disk · 75 early · 77 access · 78 setup"
)
_READ = "0 done · 2 options · 69 service · 73 disk · 77 access · 78 setup"
_LOCAL = "0 done · 2 options · 66 no such run · 73 disk"


class Described(NamedTuple):
    """What help says of a command.

    Attributes:
        group: Under which it is listed.
        line: What it does, in at most 60 characters.
        examples: Two command lines, without the name of the program.
        statuses: What it can end with, in short.
    """

    group: str
    line: str
    examples: tuple[str, str]
    statuses: str

    @property
    def help(self) -> str:
        """The head of the command's own help, in Markdown."""
        first, second = self.examples
        return f"{self.line}.\n\nbulkcert {first}\\\nbulkcert {second}"

    @property
    def epilogue(self) -> str:
        """The end of the command's own help."""
        return f"Exit status: {self.statuses}"


_LIST = "inactivate-device devices.csv"
_WHERE = "--instance ID --region REGION"
_RESULTS = "devices.inactivate-device.results.csv"

COMMANDS = {
    "inventory": Described(
        "Prepare",
        "List registered certificates into a file, as an input",
        (f"inventory -o devices.csv {_WHERE}", f"inventory --cas -o cas.csv {_WHERE}"),
        _READ,
    ),
    "plan": Described(
        "Prepare",
        "Find out what a run would do and cost; change nothing",
        (f"plan {_LIST} {_WHERE}", "--job night.toml plan"),
        "0 it can start · otherwise what the run would end with",
    ),
    "policy": Described(
        "Prepare",
        "Print the minimal RAM policy for what a run calls",
        ("policy inactivate-device", "policy inactivate-ca --undo --instance ID"),
        "0 done · 2 options · 73 disk · 78 setup",
    ),
    "rehearse": Described(
        "Prepare",
        "Do the same against a local emulator: no account needed",
        (f"rehearse {_LIST}", f"rehearse {_LIST} --faults --and-then verify"),
        _RUN,
    ),
    "emulator": Described(
        "Prepare",
        "Serve a local emulator of the service until stopped",
        ("emulator", "emulator --port 0 --seed-from devices.csv"),
        "0 stopped · 2 options · 66 no list · 69 no port · 73 disk",
    ),
    "run": Described(
        "Change",
        "Make one call for each row of a list; write the outcomes",
        (f"run {_LIST} {_WHERE}", f"run {_LIST} {_WHERE} --limit-rows 100"),
        _RUN,
    ),
    "resume": Described(
        "Change",
        "Resume what was interrupted, or retry failed rows",
        (f"resume {_RESULTS}", f"resume {_RESULTS} --retry failed,unknown"),
        _RUN,
    ),
    "undo": Described(
        "Change",
        "Undo what a run has changed",
        (f"undo {_RESULTS}", f"undo {_RESULTS} --no-include-unknown"),
        _RUN,
    ),
    "verify": Described(
        "Check",
        "Read back the status of every row of a run",
        (f"verify {_RESULTS}", f"verify {_RESULTS} --watch 10m"),
        _RUN,
    ),
    "status": Described(
        "Check",
        "Show the status of a run, from another terminal",
        (f"status {_RESULTS}", f"status --follow {_RESULTS}"),
        "0 running or done · 66 no such run · 75 interrupted · otherwise that of the run",
    ),
    "runs": Described("Check", "List the runs in a directory", ("runs", "runs nightly --json"), _LOCAL),
    "report": Described(
        "Check",
        "Report a run in one page, as HTML, text, Markdown or JSON",
        (f"report {_RESULTS}", f"report {_RESULTS} --format text"),
        _LOCAL,
    ),
    "export": Described(
        "Check",
        "Write results again, all rows or some, in any format",
        (f"export {_RESULTS} -o all.parquet", f"export {_RESULTS} -o failed.csv --outcome failed"),
        _LOCAL,
    ),
    "help": Described(
        "Check",
        "Show the help of a command, or a topic",
        ("help run", "help exit-statuses"),
        "0 done · 2 no such topic",
    ),
}
"""Commands, in the order of the help."""


def overview() -> str:
    """Returns the first page of the help: what there is, in 24 lines of 80 columns."""
    lines = [
        "Switch very many device certificates of ApsaraMQ for MQTT off or on.",
        "",
        f"    bulkcert rehearse {_LIST}",
        f"    bulkcert run {_LIST} {_WHERE}",
        "",
    ]
    group = ""
    for name, described in COMMANDS.items():
        head = described.group if described.group != group else ""
        group = described.group
        lines.append(f"{head:<8} {name:<10} {described.line}")
    lines += [
        "",
        "bulkcert help COMMAND shows options. --job FILE (BULKCERT_JOB) reads them from",
        "a job file, BULKCERT_... from the environment. --version, --install-completion",
    ]
    return "\n".join(lines) + "\n"
