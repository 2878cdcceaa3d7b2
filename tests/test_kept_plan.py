"""A plan that is kept: the run that is bound to it does exactly that, or refuses; if wanted, only what was signed."""

import hashlib
import json
import shutil
import subprocess

import pytest
from program import INSTANCE, UNHURRIED, here, outcomes, summary_of, write_devices

from bulkcert.service.actions import OPERATIONS
from bulkcert.store.paths import RunFiles

CHANGING = {name for name in OPERATIONS if not name.startswith(("Get", "List"))}
signing = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen (openssh-client) is not installed")


class Planned:
    """A list of devices, and the plan for it."""

    def __init__(self, directory, service, rows=120, active=100):
        self.directory, self.service = directory, service
        self.list, self.file = directory / "leaked.csv", directory / "leaked.plan.json"
        self.results = directory / "leaked.inactivate-device.results.csv"
        self.devices = write_devices(self.list, rows)
        service.seed(self.devices, "0")
        service.seed(self.devices[:active])
        self.calls = self._changes()

    def _changes(self):
        return sum(call["operation"] in CHANGING for call in self.service.calls())

    @property
    def changes(self):
        """Calls since then that change something."""
        return self._changes() - self.calls

    @property
    def where(self):
        return ("--endpoint", self.service.url, "--instance", INSTANCE, *UNHURRIED)

    def plan(self, *more, status=0):
        return here("plan", "inactivate-device", self.list, *self.where, "-o", self.file, *more).ended(status)

    def run(self, *more, status=0, **options):
        return here("run", "--plan", self.file, "--yes", *more, **options).ended(status)


@pytest.fixture
def planned(tmp_path, service):
    return Planned(tmp_path, service)


def test_what_was_planned_is_done(planned):
    """Action, list and service come from the plan; what it was, who made it and when are kept and shown."""
    shown = planned.plan("--ticket", "CHG-4711")
    assert f"to run it: bulkcert run --plan {planned.file}" in shown.stderr
    assert "CHG-4711" in shown.stdout
    plan = json.loads(planned.file.read_bytes())
    assert plan["totals"]["to_change"] == 100
    assert (plan["options"]["rate"], plan["options"]["ticket"]) == (100_000, "CHG-4711")
    assert plan["input_sha256"] == hashlib.sha256(planned.list.read_bytes()).hexdigest()
    assert plan["made"].keys() == {"at", "by", "host", "version"}

    ran = planned.run()
    assert outcomes(planned.results) == {"succeeded": 100, "unchanged": 20}
    digest = hashlib.sha256(planned.file.read_bytes()).hexdigest()
    change = summary_of(planned.results)["sessions"][0]["change"]
    assert (change["plan"]["sha256"], change["plan"]["to_change"], change["ticket"]) == (digest, 100, "CHG-4711")
    status = here("status", planned.results).ended(0).stdout
    page = here("report", planned.results, "--format", "text").ended(0).stdout
    assert all(digest in text and "CHG-4711" in text for text in (ran.stderr, status, page))


def test_what_is_typed_must_agree(planned, service, tmp_path):
    """Another action, service, ticket or a higher limit is refused (2); all that differs is named, no call made."""
    planned.plan("--ticket", "CHG-4711")
    other = ("--instance", "post-cn-other", "--region", "cn-hangzhou", "--ticket", "CHG-1", "--rate", "200000")
    refused = planned.run("--action", "activate-device", *other, status=2).stderr

    for name in ("--action", "--instance", "--region or --endpoint", "--ticket", "--rate"):
        assert f"{name}: " in refused
    assert planned.changes == 0
    assert not RunFiles(planned.results).folder.exists()
    planned.run("--action", "inactivate-device", "--rate", "9000", "--input", planned.list, "-o", tmp_path / "r.csv")


def test_another_list_is_refused(planned, tmp_path):
    """The list is the one that was planned, wherever it is now and whatever other columns it has (65 if not)."""
    planned.plan()
    write_devices(planned.list, 121)
    refused = planned.run(status=65).stderr
    assert "the list is not the one of the plan" in refused
    assert "121 rows, 120 planned" in refused
    assert planned.changes == 0
    assert not RunFiles(planned.results).folder.exists()

    write_devices(tmp_path / "moved.csv", 120)
    planned.run("--input", tmp_path / "moved.csv", "-o", tmp_path / "r.csv")
    assert planned.changes == 100


def test_less_protection_is_refused(planned, tmp_path):
    """What the plan left out since it is protected may not be called because the list of it is left out."""
    (tmp_path / "keep.csv").write_text(f"DeviceSn\n{planned.devices[0][0]}\n")
    planned.plan("--protect", tmp_path / "keep.csv", "--skip-protected")
    (tmp_path / "none.csv").write_text("DeviceSn\nunheard-of\n")
    refused = planned.run("--protect", tmp_path / "none.csv", status=65).stderr
    assert "0 rows protected, and 1 by the plan" in refused
    planned.run(status=1)
    assert (planned.changes, outcomes(planned.results)["protected"]) == (99, 1)


def test_more_rows_to_change_than_planned(planned, service):
    """Devices that were switched on since were approved by nobody: the run reads, and stops before the first call."""
    planned.plan()
    service.seed(planned.devices[:110])
    refused = planned.run(status=65)
    assert "110 rows would be changed, and 100 were planned" in refused.stderr
    assert planned.changes == 0
    assert not RunFiles(planned.results).folder.exists()

    planned.plan("--overwrite")
    planned.run()
    assert planned.changes == 110


def test_fewer_rows_to_change_than_planned(planned, service):
    """What is in the desired state by now needs no call, and is no reason to refuse; the log names the plan."""
    planned.plan()
    service.seed(planned.devices[:40], "0")
    lines = [json.loads(line) for line in planned.run("--log-format", "json").stderr.splitlines()]
    (started,) = [line for line in lines if line["event"] == "run_started"]
    assert started["plan"]["sha256"] == hashlib.sha256(planned.file.read_bytes()).hexdigest()
    assert planned.changes == 60


def test_what_is_not_registered_is_not_changed(planned, service, tmp_path):
    """A plan with certificates that nobody has registered allows no more than those that are."""
    write_devices(planned.list, 130)
    for device, ca in planned.devices[100:]:
        service.tell("delete", instance=INSTANCE, ca_sn=ca, device_sn=device)
    planned.plan()
    plan = json.loads(planned.file.read_bytes())["totals"]
    assert (plan["to_change"], plan["not_registered"], plan["not_read"]) == (100, 30, 0)
    planned.run(status=1)
    assert outcomes(planned.results)["succeeded"] == 100


@pytest.mark.parametrize("command", ["resume", "run"])
def test_who_resumes_is_bound_as_well(planned, service, command):
    """A run stays bound to its plan, whoever resumes it and by which command, with what was called before counted."""
    planned.plan()
    planned.run("--limit-rows", "60", status=75)
    service.seed(planned.devices[:5])  # by somebody else: those are done, and not called again
    again = ["resume", planned.results]
    if command == "run":
        again = ["run", "inactivate-device", planned.list]
    service.seed(planned.devices[100:101])
    refused = here(*again, *planned.where, "--yes").ended(65)
    assert "101 rows would be changed, and 100 were planned" in refused.stderr
    assert planned.changes == 60

    service.seed(planned.devices[100:101], "0")
    here(*again, *planned.where, "--yes").ended(0)
    assert planned.changes == 100
    assert len({each["change"]["plan"]["sha256"] for each in summary_of(planned.results)["sessions"]}) == 1


def test_more_devices_than_planned(planned, service, tmp_path):
    """What an action on a CA hits is bound as well; the number that was planned stands for --confirm-devices."""
    cas = tmp_path / "cas.csv"
    cas.write_text("CaSn\n00ca999999\n")
    devices = [(f"00{number:06d}", "00ca999999") for number in range(150)]
    service.seed([("", "00ca999999"), *devices])
    here("plan", "delete-ca", cas, *planned.where, "-o", planned.file).ended(0)
    service.seed([("00999999", "00ca999999")])
    refused = planned.run(status=65).stderr
    assert "151 devices would be changed, and 150 were planned" in refused
    assert planned.changes == 0

    service.tell("delete", instance=INSTANCE, ca_sn="00ca999999", device_sn="00999999")
    planned.run()
    assert planned.changes == 1


def test_a_list_from_a_pipe(planned):
    """It can be planned; the run says that the list has to be named."""
    text = planned.list.read_text()
    here("plan", "inactivate-device", "-", *planned.where, "-o", planned.file, stdin=text).ended(0)
    assert "input" in planned.run(status=2).stderr.lower()
    planned.run("--input", planned.list)
    assert planned.changes == 100


@pytest.mark.parametrize("how", ["job", "environment"])
def test_a_job_names_its_plan(planned, tmp_path, how):
    """A plan that a job file or the environment names binds as one that is typed."""
    planned.plan()
    (tmp_path / "job.toml").write_text('plan = "leaked.plan.json"\n' if how == "job" else "")
    env = {"BULKCERT_PLAN": str(planned.file)} if how == "environment" else {}
    refused = here("run", "--job", tmp_path / "job.toml", "--yes", "--rate", "200000", env=env).ended(2).stderr
    assert "--rate: 200000 is more than was planned, 100000" in refused
    here("run", "--job", tmp_path / "job.toml", "--yes", env=env).ended(0)
    assert planned.changes == 100


def test_where_it_may_be_kept(planned, tmp_path):
    """A plan has its own ending, replaces nothing unasked, and is not kept where the run would not start."""
    elsewhere = ("plan", "inactivate-device", planned.list, *planned.where, "-o", tmp_path / "r.csv")
    assert "must end in .plan.json" in here(*elsewhere).ended(2).stderr
    planned.plan()
    before = planned.file.read_bytes()
    assert "--overwrite" in planned.plan(status=73).stderr
    assert planned.file.read_bytes() == before
    planned.list.write_text("DeviceSn,CaSn\n,00ca\n")
    assert "is not written" in planned.plan("--overwrite", status=65).stderr
    assert planned.file.read_bytes() == before


@pytest.mark.parametrize("content", [None, "", "{}", '{"action": 1}', "\udcff", "[" * 99_999])
def test_what_is_no_plan(tmp_path, content):
    """Anything else is refused (66) with the way to a plan, and never ends in a traceback."""
    if content is not None:
        (tmp_path / "x.plan.json").write_text(content, errors="surrogateescape")
    refused = here("run", "--plan", "x.plan.json", cwd=tmp_path).ended(66)
    assert "bulkcert plan … -o FILE.plan.json" in " ".join(refused.stderr.split())


def test_a_plan_in_the_place_of_the_action(tmp_path):
    """Whoever types it as other tools have it reads how it is typed here."""
    assert "bulkcert run --plan x.plan.json" in here("run", "x.plan.json", cwd=tmp_path).ended(2).stderr


def key(directory, name):
    """Makes a key without a passphrase; returns its file."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", directory / name], check=True)
    return directory / name


@pytest.fixture
def signed(planned):
    """A plan that alice has signed, who may approve; bob may not."""
    planned.alice, planned.bob = (key(planned.directory, name) for name in ("alice", "bob"))
    planned.approvers = planned.directory / "approvers"
    planned.approvers.write_text(
        f'alice@example.com namespaces="bulkcert" {planned.alice.with_suffix(".pub").read_text()}'
    )
    planned.plan()
    sign(planned)
    return planned


def sign(planned, by=None, namespace="bulkcert"):
    signature = planned.file.with_name(f"{planned.file.name}.sig")
    signature.unlink(missing_ok=True)
    command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", by or planned.alice, planned.file]
    subprocess.run(command, check=True, capture_output=True)
    return signature


@signing
def test_two_people(signed):
    """What alice has signed may be run; her name and her key are kept and shown, and so they are when it is resumed."""
    fingerprint = subprocess.run(["ssh-keygen", "-lf", signed.alice], check=True, capture_output=True).stdout.split()[1]
    demanded = ("--require", "plan,approver-key,approved-by")
    ran = signed.run("--approver-key", signed.approvers, *demanded, "--limit-rows", "50", status=75)
    assert "alice@example.com" in ran.stderr
    here("resume", signed.results, "--yes").ended(0)

    for each in summary_of(signed.results)["sessions"]:
        plan = each["change"]["plan"]
        assert (each["change"]["approved_by"], plan["signed_by"]) == ("alice@example.com", "alice@example.com")
        assert plan["signed_with"] == fingerprint.decode()
    for shown in (here("status", signed.results), here("report", signed.results, "--format", "text")):
        assert "alice@example.com, SHA256:" in shown.ended(0).stdout


@signing
@pytest.mark.parametrize("wrong", ["unsigned", "list", "stranger", "changed", "namespace", "rubbish", "other"])
def test_what_is_not_approved_is_not_run(signed, wrong):
    """Nothing is called without the signature of one who may, over this very plan, for this very purpose."""
    signature, more = signed.file.with_name(f"{signed.file.name}.sig"), ()
    match wrong:
        case "unsigned":
            signature.unlink()
        case "stranger":
            sign(signed, signed.bob)
        case "changed":
            signed.file.write_bytes(signed.file.read_bytes().replace(b'"to_change": 100', b'"to_change": 101', 1))
        case "namespace":
            sign(signed, namespace="file")
        case "rubbish":
            signature.write_text("rubbish")
        case "other":
            more = ("--approved-by", "bob@example.com")
        case "list":
            signed.approvers.unlink()
    before = signed.service.report().arrivals
    status = 66 if wrong in ("unsigned", "list") else 77
    refused = signed.run("--approver-key", signed.approvers, *more, status=status)

    assert "ssh-keygen -Y sign -n bulkcert -f KEY" in " ".join(refused.stderr.split())
    assert signed.service.report().arrivals == before
    assert not RunFiles(signed.results).folder.exists()


def test_what_a_signature_needs(planned, tmp_path):
    """A signature is that of a plan, and needs ssh-keygen; what a job demands is demanded of who resumes as well."""
    planned.plan()
    refused = here("run", "inactivate-device", planned.list, "--approver-key", "x").ended(2).stderr
    assert "--approver-key needs --plan" in refused
    for name in ("approvers", "leaked.plan.json.sig"):
        (tmp_path / name).write_text("")
    missing = planned.run("--approver-key", tmp_path / "approvers", status=78, env={"PATH": str(tmp_path)}).stderr
    assert "ssh-keygen is not installed" in missing
    assert "--approver-key is missing" in planned.run("--require", "approver-key", status=2).stderr
    plain = ("run", "inactivate-device", planned.list, *planned.where, "--yes")
    assert "--plan is missing" in here(*plain, "--require", "plan").ended(2).stderr
    assert planned.changes == 0
    here(*plain, "--limit-rows", "5").ended(75)
    assert "--plan is missing" in here("resume", planned.results, "--require", "plan", "--yes").ended(2).stderr


@pytest.mark.parametrize("demanded", ["plan", "approver-key"])
def test_what_is_demanded_of_every_command_that_changes(planned, demanded):
    """Where two people are needed nobody undoes, watches or resumes alone; a way on is named that does work."""
    plain = ("run", "inactivate-device", planned.list, *planned.where, "--yes")
    here(*plain, "--limit-rows", "5").ended(75)
    before = planned.changes
    for command in (("undo",), ("verify", "--watch", "10m"), ("resume",)):
        refused = here(command[0], planned.results, *command[1:], "--require", demanded, "--yes").ended(2).stderr
        words = " ".join(refused.split())
        assert f"--{demanded} is missing" in words
        ways = {"undo": "bulkcert plan activate-device back.csv -o back.plan.json"}
        assert ways.get(command[0], "bulkcert run --plan FILE.plan.json --approver-key FILE") in words
    assert planned.changes == before
    here("verify", planned.results, "--require", demanded).ended(1)


def test_a_signature_that_nobody_checks(planned):
    """A plan that was signed is not run as if it were approved without a word."""
    planned.plan()
    assert "not checked" not in planned.run("--limit-rows", "1", status=75).stderr
    planned.file.with_name(f"{planned.file.name}.sig").write_text("")
    assert "is not checked: --approver-key FILE" in " ".join(planned.run("--limit-rows", "1", status=75).stderr.split())
