"""README and docs say what the program does: their tables are the code's, and each of their command lines is done."""

import re
import shlex
import shutil
import signal
import subprocess
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest
from program import bulkcert, emulator, free_port, here, start, wait_for, write_devices

from bulkcert.commands import COMMANDS
from bulkcert.errors import ExitStatus
from bulkcert.fleet.keys import make_keys
from bulkcert.output.results import COLUMNS, VERIFIED_COLUMNS
from bulkcert.runs.options import Options
from bulkcert.service.actions import ACTIONS
from bulkcert.store.outcome import Outcome

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "bulkcert" / "docs").glob("*.md"))}


def first_cells(text):
    """Returns what is in the first column of the tables of a text."""
    return [cell for cell in re.findall(r"^\| (.+?) \|", text, re.MULTILINE) if not cell.startswith("---")]


def names(cells):
    return [name for cell in cells for name in re.findall(r"`([a-z_-]+)`", cell)]


def section(heading):
    return README.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_readme_is_short():
    """Whoever has an incident reads no more than 200 lines."""
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("text", [section("Exit status"), DOCS["exit-statuses"]], ids=["README", "topic"])
def test_exit_statuses(text):
    """Every exit status is in the table, and no other."""
    assert [int(number) for cell in first_cells(text) for number in re.findall(r"\d+", cell)] == list(ExitStatus)


def test_outcomes_and_columns():
    """Every outcome and every column of the results is explained, in order."""
    outcomes = [outcome.value for outcome in Outcome]

    assert names(first_cells(section("Results"))) == outcomes
    assert names(first_cells(DOCS["results"])) == [*COLUMNS, *VERIFIED_COLUMNS, *outcomes]


def test_actions_and_commands():
    """Every command and every action is named."""
    cells = first_cells(section("Commands"))

    assert names(cells)[-len(ACTIONS) :] == list(ACTIONS)
    assert all(any(f"`bulkcert {command}`" in cell for cell in cells) for command in COMMANDS if command != "help")


@pytest.mark.parametrize("job", sorted(ROOT.glob("jobs/*.toml")), ids=lambda path: path.name)
def test_jobs(job):
    """Every job file is in the README, and holds nothing but options of the command."""
    options = tomllib.loads(job.read_text(encoding="utf-8"))

    assert f"jobs/{job.name}" in README
    known = {name.replace("_", "-") for name in Options.__dataclass_fields__}
    assert set(options) <= {"action", "input", "rehearsal", *known}


def test_two_command_lines():
    """A fresh machine needs two command lines, which CI runs exactly as they are."""
    lines = re.findall(r"^    (python3 -m venv .*|\.venv/bin/pip .*)$", README, re.MULTILINE)

    assert len(lines) == 2
    assert lines[0].endswith(".venv/bin/bulkcert rehearse --job jobs/mass-revocation.toml")
    assert lines[1] == ".venv/bin/pip install '.[test]' && .venv/bin/pytest -n auto --dist worksteal"


def test_links():
    """Every relative link of the README leads to a file or a heading, and every topic can be found from there."""
    links = re.findall(r"\]\(([^)]+)\)", README)
    headings = {"#" + heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", README, re.MULTILINE)}

    assert not [link for link in links if link not in headings and not (ROOT / link).is_file()]
    assert {Path(link).stem for link in links if link.startswith("bulkcert/docs/")} == set(DOCS)


# Each command line, once files and service are where it expects them.

INSTANCES = ("post-cn-7mz2d000001", "post-cn-emulator")
IN_ORDER = re.findall(r"^    ((?:bulkcert|ssh-keygen|echo) .+)$", DOCS["approval"], re.MULTILINE)
"""Lines of one walk through several commands, each of which needs what the one before has made."""
SINGLE = "\n".join((README, *(text for topic, text in DOCS.items() if topic != "approval")))
LINES = list(dict.fromkeys(re.findall(r"^ {4,7}(bulkcert .+)$", SINGLE, re.MULTILINE)))
UNTIL_STOPPED = [line for line in LINES if line.startswith(("bulkcert emulator ", "bulkcert lane "))]
RUN_BEFORE = {"resume", "verify", "undo", "status", "report", "export"}
"""Commands that want a run that has ended."""


@pytest.fixture(scope="module")
def service():
    with emulator(instances=INSTANCES) as running:
        yield running


@pytest.fixture
def place(tmp_path, service):
    """A directory with the files that the texts name; a short list is in place of all of their lists."""
    devices = write_devices(tmp_path / "devices.csv", 20)
    for instance in INSTANCES:
        service.tell("seed", instance=instance, rows=[(ca, device) for device, ca in devices], status="1")
    shutil.copytree(ROOT / "jobs", tmp_path / "jobs", ignore=shutil.ignore_patterns("*.rehearsal*", "*.results*"))
    for name in ("leaked.csv", "cas.csv", "first.csv.failed.csv", "jobs/sample-devices.csv"):
        shutil.copy(tmp_path / "devices.csv", tmp_path / name)
    rows = [f"{device},{ca},{instance}" for instance in INSTANCES for device, ca in devices]
    (tmp_path / "fleets.csv").write_text("\n".join(["DeviceSn,CaSn,MqttInstanceId", *rows]))
    make_keys(tmp_path / "keys", 1, days=1)
    (tmp_path / "keep.txt").write_text("not-in-the-list\n")
    return tmp_path


def moved(line, place, url):
    """Returns the words of a line, with its addresses and directories turned to what is there."""
    line = line.replace("http://127.0.0.1:8080", url).replace("--port 8080", "--port 0")
    line = line.replace("--confirm-devices 14386", "--confirm-devices 20")
    line = line.replace("cluster keys keys", "cluster keys new-keys").replace(":8786", f":{free_port()}")
    line = re.sub(r"\b10\.0\.0\.(\d+)", r"127.0.0.\1", line)
    return shlex.split(line.replace("/etc/bulkcert/", f"{place}/jobs/"))[1:]


@pytest.mark.parametrize("line", [line for line in LINES if line not in UNTIL_STOPPED])
def test_every_command_line(place, service, line):
    """Each line is understood, and ends as a run does whose rows are in the desired state, or some of them are not."""
    words = moved(line, place, service.url)
    environment = {"BULKCERT_ENDPOINT": service.url, "BULKCERT_YES": "true"}
    if "nightly" in line:
        # The job ends at a time of day, which tests do not go by.
        environment |= {"BULKCERT_DEADLINE": "12h"}
        environment |= {"BULKCERT_INPUT": "devices.csv", "BULKCERT_RESULTS": "night-2026-11-21.parquet"}
    if words[0] == "control":
        with running(words[1], service, place):
            here(*words, cwd=place).ended(0)
        return
    if words[0] in RUN_BEFORE:
        run = ("run", "inactivate-device", "devices.csv", "--instance", INSTANCES[0], "--preflight", "always")
        of = ("run", *words[1:]) if "--job" in words else (*run, "-o", words[1])
        here(*of, env=environment, cwd=place).ended(0)
    # A process keeps its log for machines to its end.
    do = bulkcert if {"--log-format", "--log-file"} & {*words} else here
    do(*words, env=environment, cwd=place).ended(0)


@contextmanager
def running(results, service, place):
    """Holds a session that is running, since nothing is answered."""
    where = ("--endpoint", service.url, "--instance", INSTANCES[0], "--preflight", "never", "--yes")
    run = ("run", "inactivate-device", "devices.csv", "-o", results, *where, "-q")
    with service.faulty(slow=1.0), start(*run, cwd=place) as child:
        wait_for(child, lambda: '"running"' in here("status", results, "--json", cwd=place).stdout)
        try:
            yield
        finally:
            child.kill()


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen (openssh-client) is not installed")
def test_from_the_plan_to_the_report_with_two_people(place, service):
    """The lines of the topic, one after the other, lead from a plan that somebody else signs to its report."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / "alice"], check=True)
    for line in IN_ORDER:
        if line.startswith("bulkcert "):
            environment = {"BULKCERT_ENDPOINT": service.url, "BULKCERT_YES": "true"}
            here(*moved(line, place, service.url), env=environment, cwd=place).ended(0)
        else:
            subprocess.run(line, shell=True, check=True, cwd=place, capture_output=True)
    assert "alice@example.com, SHA256:" in (place / "r.csv.report.html").read_text()


@pytest.mark.parametrize("line", UNTIL_STOPPED)
def test_what_serves_until_it_is_stopped(place, service, line):
    """The emulator serves, a lane waits, and SIGTERM ends them."""
    with start(*moved(line, place, service.url), cwd=place) as child:
        says = (child.stdout, b"http://127.0.0.1:") if "emulator" in line else (child.stderr, b"egress")
        assert says[1] in says[0].readline()
        child.send_signal(signal.SIGTERM)
        child.communicate()


def test_there_are_such_lines():
    """Every command is shown at least once, but for those that only list."""
    assert {line.split()[1] for line in LINES} >= COMMANDS.keys() - {"runs", "help"}
