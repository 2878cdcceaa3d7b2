"""Every command line of README and docs is executed as it is, once files and service are where it expects them."""

import re
import shlex
import shutil
import signal

import pytest
from program import bulkcert, emulator, here, start, write_devices
from test_readme import DOCS, README, ROOT

from bulkcert.cli import COMMANDS

INSTANCES = ("post-cn-7mz2d000001", "post-cn-emulator")
LINES = list(dict.fromkeys(re.findall(r"^ {4,7}(bulkcert .+)$", "\n".join((README, *DOCS.values())), re.MULTILINE)))
UNTIL_STOPPED = [line for line in LINES if line.startswith("bulkcert emulator ")]
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
    for name in ("leaked.csv", "jobs/sample-devices.csv"):
        shutil.copy(tmp_path / "devices.csv", tmp_path / name)
    (tmp_path / "keep.txt").write_text("not-in-the-list\n")
    return tmp_path


def moved(line, place, url):
    """Returns the words of a line, with its addresses and directories turned to what is there."""
    line = line.replace("http://127.0.0.1:8080", url).replace("--port 8080", "--port 0")
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
    if words[0] in RUN_BEFORE:
        run = ("run", "inactivate-device", "devices.csv", "--instance", INSTANCES[0], "--preflight", "always")
        of = ("run", *words[1:]) if "--job" in words else (*run, "-o", words[1])
        here(*of, env=environment, cwd=place).ended(0)
    # A process keeps its log for machines to its end.
    do = bulkcert if "--log-format" in words else here
    do(*words, env=environment, cwd=place).ended(0)


@pytest.mark.parametrize("line", UNTIL_STOPPED)
def test_what_serves_until_it_is_stopped(place, service, line):
    """The emulator serves, and SIGTERM ends it."""
    with start(*moved(line, place, service.url), cwd=place) as child:
        assert b"http://127.0.0.1:" in child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        child.communicate()


def test_there_are_such_lines():
    """Every command is shown at least once, but for those that only list."""
    assert {line.split()[1] for line in LINES} >= COMMANDS.keys() - {"runs", "help"}
