"""``bulkcert cluster``: the keys of a cluster."""

from pathlib import Path

from bulkcert.errors import ExitStatus
from bulkcert.fleet.keys import COORDINATOR, MOST_LANES, make_keys
from bulkcert.runs.target import refuse
from bulkcert.views import console as terminal
from bulkcert.words import counted

MOST_DAYS = 365
"""Days that keys may be valid: they are made for a run, or for a season of runs."""


def cluster(what: str, directory: Path, *, lanes: int, days: int) -> ExitStatus:  # noqa: ARG001 - there is one thing
    """Makes the keys of a cluster, and says which file goes where."""
    problems = []
    if not 1 <= lanes <= MOST_LANES:
        problems.append(f"--lanes must be from 1 to {MOST_LANES:,}, not {lanes}")
    if not 1 <= days <= MOST_DAYS:
        problems.append(f"--days must be from 1 to {MOST_DAYS}, not {days}")
    refuse(problems, "cluster")
    make_keys(directory, lanes, days)
    terminal.stdout.print(f"{directory}: keys of a coordinator and {counted(lanes, 'lane')}, valid for {days} days")
    terminal.stdout.print(f"Coordinator: {COORDINATOR} and ca.pem. Each lane: its own lane-….pem and ca.pem.")
    return ExitStatus.OK
