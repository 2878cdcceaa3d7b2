"""What stands in jobs/: each file is checked by the tool it is written for, and each of its command lines is done."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kubernetes_validate import validate
from program import KEY_ID, NO_KEY, SECRET, bulkcert, emulator, here, outcomes, write_devices
from test_readme import README

from bulkcert.errors import ExitStatus

JOBS = Path(__file__).parent.parent / "jobs"
AT_ANY_HOUR = {"BULKCERT_DEADLINE": "12h"}
"""In place of the time of day at which a night ends, for a real run of it, so that tests don't go by the clock."""
LANE = (JOBS / "bulkcert-lane.service").read_text(encoding="utf-8")
UNIT = (JOBS / "nightly-inactivation.service").read_text(encoding="utf-8")
CRONTAB = (JOBS / "nightly-inactivation.crontab").read_text(encoding="utf-8")
MANIFESTS = {
    f"{path.name}: {manifest['kind']}": manifest
    for path in sorted(JOBS.glob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))
}
JOB_FILES = {path.name: path.read_text(encoding="utf-8") for path in sorted(JOBS.glob("*.toml"))} | {
    f"{name} ({key})": text
    for name, manifest in MANIFESTS.items()
    if manifest["kind"] == "ConfigMap"
    for key, text in manifest["data"].items()
}
GOES_ON = {
    ExitStatus.UNAVAILABLE,
    ExitStatus.STOPPED_EARLY,
    ExitStatus.HUNG_UP,
    ExitStatus.INTERRUPTED,
    ExitStatus.READER_GONE,
    ExitStatus.TERMINATED,
}
"""Statuses after which the same command, started again without a person, has a chance."""


def command_for(job_file):
    """Returns what runs the command: a process where a job file turns its messages to JSON for good."""
    return bulkcert if 'log-format = "json"' in job_file else here


def pods():
    """Yields each Job's specification, of itself or of a CronJob."""
    for manifest in MANIFESTS.values():
        if manifest["kind"] in ("Job", "CronJob"):
            spec = manifest["spec"]
            yield spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec


def command_lines():
    """Yields every command line of bulkcert in jobs/, by its file; those of the README are done with it."""
    for name, text in JOB_FILES.items():
        for line in re.findall(r"^# +(bulkcert .+?)(?:   .*)?$", text, re.MULTILINE):
            if line not in README:
                yield name, line
    yield "service", re.findall(r"^ExecStart=(.+)$", UNIT, re.MULTILINE)[0]
    yield "crontab", re.findall(r"^[\d* ]+ bulkcert (/.+) >/dev/null$", CRONTAB, re.MULTILINE)[0]
    for spec in pods():
        [container] = spec["template"]["spec"]["containers"]
        yield "manifest", shlex.join(["bulkcert", *container["args"]])


@pytest.fixture(scope="module")
def service():
    with emulator(instances=("post-cn-7mz2d000001",)) as running:
        yield running


@pytest.fixture
def etc(tmp_path):
    """A copy of jobs/ as it would be installed, a job file of each manifest included, with a short list."""
    shutil.copytree(JOBS, tmp_path / "jobs", ignore=shutil.ignore_patterns("*.rehearsal*", "*.results*"))
    for manifest in MANIFESTS.values():
        for name, text in manifest.get("data", {}).items():
            (tmp_path / "jobs" / f"kubernetes-{name}").write_text(text, encoding="utf-8")
    write_devices(tmp_path / "jobs" / "sample-devices.csv", 20)
    return tmp_path / "jobs"


@pytest.mark.parametrize(("name", "line"), list(command_lines()))
def test_every_command_line(tmp_path, service, etc, name, line):
    """Each command line in jobs/ does what it says, once files and service are where it looks for them."""
    rows = write_devices(tmp_path / "list.csv", 20)
    service.tell("seed", instance="post-cn-7mz2d000001", rows=[(ca, device) for device, ca in rows], status="1")
    prefix = "kubernetes-" if name == "manifest" else ""
    words = [re.sub(r"^(/etc/bulkcert|jobs)/", f"{etc}/{prefix}", word) for word in shlex.split(line)]
    moved = {"BULKCERT_INPUT": str(tmp_path / "list.csv"), "BULKCERT_RESULTS": str(tmp_path / "r-2026-11-21.csv")}
    moved |= {"BULKCERT_ENDPOINT": service.url, "BULKCERT_YES": "true", **AT_ANY_HOUR}

    assert Path(words[0]).name == "bulkcert"
    command = command_for(Path(words[words.index("--job") + 1]).read_text(encoding="utf-8"))
    if words[1] in ("status", "resume"):
        command("run", *words[2:], env=moved, cwd=tmp_path).ended(0)
    command(*words[1:], env=moved, cwd=tmp_path).ended(0)
    [results] = tmp_path.glob("r-2026-11-21*.csv")
    assert outcomes(results) == {"succeeded": 20}


def test_credentials_file_of_the_unit(tmp_path, service):
    """The unit's credentials file, in the format that its comment shows, is what a run signs with."""
    [variable] = re.findall(r"^Environment=(ALIBABA_CLOUD_\w+)=%d/credentials.ini$", UNIT, re.MULTILINE)
    shown = "\n".join(re.findall(r"^#   (\[default\]|\w+ = .*)$", UNIT, re.MULTILINE))
    (tmp_path / "credentials.ini").write_text(shown.replace("…", KEY_ID, 1).replace("…", SECRET, 1))
    write_devices(tmp_path / "list.csv", 1)
    where = ("--endpoint", service.url, "--instance", "post-cn-7mz2d000001")
    env = NO_KEY | {variable: "credentials.ini"}

    assert KEY_ID in bulkcert("plan", "inactivate-device", "list.csv", *where, env=env, cwd=tmp_path).stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian package systemd)")
def test_systemd(tmp_path):
    """Units and timer are what systemd understands, and nothing is left open that could be closed."""
    for name, unit in (("nightly-inactivation", UNIT), ("a-lane", LANE)):
        installed = unit.replace("/opt/bulkcert/bin/bulkcert", str(Path(sys.prefix) / "bin" / "python"))
        (tmp_path / f"{name}.service").write_text(installed, encoding="utf-8")
    shutil.copy(JOBS / "nightly-inactivation.timer", tmp_path)
    files = sorted(map(str, tmp_path.iterdir()))

    for check in (["verify", "--man=no"], ["security", "--offline=true", "--threshold=20", "--no-pager"]):
        analyzed = [*files] if check[0] == "verify" else files[:2]
        done = subprocess.run(["systemd-analyze", *check, *analyzed], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert check[0] != "verify" or not done.stderr


@pytest.mark.parametrize("manifest", list(MANIFESTS.values()), ids=list(MANIFESTS))
def test_manifests(manifest):
    """Each manifest is as the Kubernetes API's schema wants it."""
    validate(manifest, "1.31", strict=True)


def test_lanes(tmp_path):
    """The command lines of unit and Deployment are understood: they get as far as the keys, which are not there."""
    deployment = MANIFESTS["kubernetes-lanes.yaml: Deployment"]["spec"]["template"]["spec"]["containers"][0]
    for line in (re.findall(r"^ExecStart=\S+ (.+)$", LANE, re.MULTILINE)[0].split(), deployment["args"]):
        told = here(*line, cwd=tmp_path).ended(66).stderr
        assert "no lane-….pem is there" in " ".join(told.split())


def test_what_is_started_again():
    """Schedulers start a run again after exactly the statuses after which it can go on."""
    for spec in pods():
        _, refused = spec["podFailurePolicy"]["rules"]
        assert set(refused["onExitCodes"]["values"]) == set(ExitStatus) - {ExitStatus.OK} - GOES_ON
        assert spec["backoffLimit"] > 1
        assert spec["template"]["spec"]["restartPolicy"] == "Never"  # what podFailurePolicy needs
    [prevented] = re.findall(r"^RestartPreventExitStatus=(.+)$", UNIT, re.MULTILINE)
    # 75 is the job's own deadline there.
    assert set(map(int, prevented.split())) == set(ExitStatus) - {ExitStatus.OK} - GOES_ON | {ExitStatus.STOPPED_EARLY}


def test_pods_may_do_nothing_but_run():
    """No root, nothing written but the volumes, a limit of memory, credentials from a secret."""
    for spec in pods():
        pod = spec["template"]["spec"]
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert all("secretKeyRef" in variable["valueFrom"] for variable in container["env"])


def test_the_image():
    """What the image copies is there, and it is the one that the manifests name."""
    text = (JOBS / "Containerfile").read_text(encoding="utf-8")
    copied = [path for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for path in line.split()[:-1]]

    assert all((JOBS.parent / path).exists() for path in copied)
    for spec in pods():
        assert f"manifests name, {spec['template']['spec']['containers'][0]['image']}." in text
