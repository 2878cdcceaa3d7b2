"""Commands that only read a run, or write other files of it, killed: the run is left as it was.

At rest: before and after such a command the run is the same, byte for byte, and what the command makes is whole or not
there; once the command was let go to its end nothing is left of those before. Next to a session: that ends as it would
have without.
"""

import json
import signal
from contextlib import suppress

from blows import ENDED, PATIENCE_S, begin, strike, wait_at_most
from killed_run import must, must_be_ended_by
from program import INSTANCE, UNHURRIED, start

from bulkcert.store.database import reading

TABLES = ("run", "session", "certificate", "claim", "attempt", "control", "tally")
HTML = b"</html>"
FASTER = ("--rate", "200000", "--per-address-rate", "200000", "--limits-raised")

AT_REST = {
    "status": ("status", "--json"),
    "report": ("report", "-o", "shown.html"),
    "report, text": ("report", "--format", "text"),
    "export": ("export", "-o", "copy.csv", "--overwrite"),
    "export, Parquet": ("export", "-o", "copy.parquet", "--overwrite"),
    "export again": ("export",),
    "export --check": ("export", "--check"),
    "inventory": ("inventory", "-o", "there.csv", "--overwrite"),
    "plan": ("plan", "-o", "r.plan.json", "--overwrite"),
}
"""What is typed while no session goes, but for the results and where the service is."""
PRODUCTS = ("shown.html", "copy.csv", "copy.parquet", "there.csv", "r.plan.json")

NEXT_TO_IT = {
    **{name: AT_REST[name] for name in ("status", "report", "export")},
    "status --follow": ("status", "--follow"),
    "report --live": ("report", "--live"),
    "control --rate": ("control", *FASTER),
    "control --continue": ("control", "--continue"),
    "control --stop": ("control", "--stop"),
}
"""The same while one goes."""


def picture(trial):
    """Returns all that a run consists of: the rows of its store, and its files."""
    rows = {}
    with suppress(FileNotFoundError), reading(trial.files.store) as db:
        rows = {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
    ours = {trial.files.results, trial.files.failed, trial.files.summary}
    return rows, {path: path.read_bytes() for path in ours if path.exists()}


def is_sealed(trial):
    """Returns whether the newest session has left the digest of all rows; a full disk may have kept it from that."""
    with suppress(FileNotFoundError), reading(trial.files.store) as db:
        return db.execute("SELECT rows_digest FROM session ORDER BY id DESC LIMIT 1").fetchone() != (None,)
    return False


def left_of(trial, words):
    """Returns the files that somebody has begun and not ended: of the run, and of what a command makes."""
    others = tuple(f".{product}." for product in PRODUCTS if product not in words)
    return sorted(path.name for path in trial.input.parent.rglob(".*.part") if not path.name.startswith(others))


def command_of(trial, words):
    """Returns what is typed about a run."""
    if words[0] in ("inventory", "plan"):
        where = ("--endpoint", trial.running.url, "--instance", INSTANCE, *UNHURRIED)
        return (*words, *where) if words[0] == "inventory" else (*words, trial.action.name, trial.results, *where)
    return words[0], trial.results, *words[1:]


def confirm_made(trial, words):
    """Confirms that what a command makes is whole, if it is there."""
    product = trial.input.parent / words[2] if "-o" in words else None
    if product is None or not product.exists():
        return
    made = product.read_bytes()
    if product.suffix == ".html":
        must(made.rstrip().endswith(HTML), f"{product} is cut")
    elif product.suffix == ".json":
        json.loads(made)
    elif words[0] == "inventory":
        devices = sum(len(serials) > 1 for serials in trial.running.all_states())
        lines = made.count(b"\n")
        must(lines == devices + 1, f"{product} has {lines} lines, for {devices} devices")
    elif product.suffix == ".csv":
        must(made == trial.results.read_bytes(), f"{product} differs from the results")
    else:
        must(made.endswith(b"PAR1"), f"{product} is cut")


def kill_at_rest(trial, left, figures, **how):
    """Kills commands over a run that is through, each until it is let go to its end; returns how many kills."""
    if not left:
        return 0
    chance, kills = trial.chance, 0
    name = chance.choice([*AT_REST])
    words, before = AT_REST[name], picture(trial)
    tables = TABLES if is_sealed(trial) or words != ("export",) else [each for each in TABLES if each != "session"]
    left_before = left_of(trial, ())
    must(not left_before, f"after a session to its end there are {left_before}")
    trial.files.report.unlink(missing_ok=True)  # of a session that was running: no report of what there is now
    for product in PRODUCTS:
        (trial.input.parent / product).unlink(missing_ok=True)
    while True:
        traced = how["traced"] and kills < left and chance.random() < 0.5
        child, blow = begin(command_of(trial, words), chance, cwd=trial.input.parent, **(how | {"traced": traced}))
        if kills < left and not blow:
            wait_at_most(child, chance.uniform(0, 0.4))
            blow = strike(child, chance)
        said = b"".join(child.communicate(timeout=PATIENCE_S))
        what = f"{name} ended with {child.returncode} by {blow or 'itself'}: {said.decode()}"
        after = picture(trial)
        must(after[1] == before[1], f"another file than before: {what}")
        changed = [table for table in tables if after[0][table] != before[0][table]]
        must(not changed, f"{changed} are not as before: {what}")
        confirm_made(trial, words)
        # Status ends as the run did: one that was undone is a 1.
        if child.returncode == 0 or (words[0] == "status" and child.returncode == 1):
            must(not left_of(trial, words), f"{left_of(trial, words)} stay after {what}")
            return kills
        must_be_ended_by(child, blow, said, what)
        kills += 1
        figures.kills[f"at rest: {name}"] += 1
        figures.blows[blow] += 1


def kill_next_to(trial, session, figures):
    """Kills a command at a random instant while a session goes, or lets it end if it does so before."""
    chance = trial.chance
    name = chance.choice([*NEXT_TO_IT])
    child = start(*command_of(trial, NEXT_TO_IT[name]), cwd=trial.input.parent)
    wait_at_most(child, chance.uniform(0, 0.4))
    is_killed = child.poll() is None
    if is_killed:
        child.send_signal(signal.SIGKILL)
    said = b"".join(child.communicate(timeout=PATIENCE_S))
    what = f"{name} next to {session.pid} ended with {child.returncode}: {said.decode()}"
    must(child.returncode in {0, -9, *ENDED} and b"Traceback" not in said, what)
    figures.kills[f"next to a session: {name}"] += is_killed
    figures.blows["SIGKILL"] += is_killed
    return is_killed
