"""``bulkcert policy``: what it prints is enough for the run, and without any of it the run is refused."""

import json
from itertools import cycle

import pytest
from program import INSTANCE, KEY_ID, NO_KEY, SECRET, bulkcert, emulator, here, write_devices

from bulkcert.service.actions import ACTIONS, INSTANCE_ACCESS, OPERATIONS

ALL = {operation.ram_action for operation in OPERATIONS.values()} | {INSTANCE_ACCESS}
LOOKS = ("auto", "always", "never")


def policy(*arguments):
    return json.loads(here("policy", *arguments).ended(0).stdout)


def allowed(*arguments):
    (statement,) = policy(*arguments)["Statement"]
    assert statement["Effect"] == "Allow"
    assert statement["Action"] == sorted(statement["Action"])
    return set(statement["Action"])


def test_whole():
    """The policy as a whole, for one instance and for any; no credentials are needed."""
    without = NO_KEY | {"HOME": "/nonexistent"}
    asked = bulkcert("policy", "inactivate-device", "--preflight", "never", "--no-verify", env=without).ended(0)
    where = ("--instance", "post-cn-7", "--account", "1234", "--region", "cn-hangzhou")
    (statement,) = policy("activate-ca", *where)["Statement"]

    assert json.loads(asked.stdout) == {
        "Version": "1",
        "Statement": [{"Effect": "Allow", "Action": ["mq:UnregisterDeviceCertificate"], "Resource": "acs:mq:*:*:*"}],
    }
    assert statement["Resource"] == "acs:mq:cn-hangzhou:1234:post-cn-7"


def test_options():
    """Looking, verifying and undoing add what they call."""
    read = {"mq:GetDeviceCertificate", "mq:ListDeviceCertificateByCaSn", INSTANCE_ACCESS}
    change = {"mq:UnregisterDeviceCertificate"}
    never = ("--preflight", "never")

    assert allowed("inactivate-device") == read | change
    assert allowed("inactivate-device", "--no-verify") == (read | change) - {"mq:GetDeviceCertificate"}
    assert allowed("inactivate-device", "--no-verify", "--preflight", "always") == read | change
    assert allowed("inactivate-device", *never) == read | change
    undo = allowed("inactivate-device", *never, "--no-verify", "--undo")
    assert undo == change | {"mq:ActiveDeviceCertificate", INSTANCE_ACCESS}
    read = {"mq:ListCaCertificate", "mq:GetCaCertificate", "mq:ListDeviceCertificateByCaSn"}
    assert allowed("delete-ca", *never, "--no-verify") == read | {"mq:DeleteCaCertificate", INSTANCE_ACCESS}


def test_refused():
    """What cannot be granted is said."""
    assert "cannot be undone" in here("policy", "delete-ca", "--undo").ended(2).stderr
    here("policy", "inactivate-ca", "--region", "cn-nowhere").ended(78)
    here("policy", "inactivate-ca", "--account", "1:2").ended(2)


@pytest.mark.parametrize(
    ("name", "look"), [*(("inactivate-device", look) for look in LOOKS), *zip([*ACTIONS][1:], cycle(LOOKS))]
)
def test_least(tmp_path, name, look):
    """With the policy alone the run gets through, looking included; without a changing action it does not."""
    action = ACTIONS[name]
    path = tmp_path / "list.csv"
    devices = write_devices(path, 12, cas=1 if action.by_device else 12)
    rows = [(ca, device if action.by_device else "") for device, ca in devices]
    before = "1" if action.before == "active" else "0"
    granted = allowed(name, "--preflight", look, "--no-verify")

    def run(allow, label):
        service.tell("seed", instance=INSTANCE, rows=rows, status=before)
        service.tell("access-key", id=KEY_ID, secret=SECRET, denied=sorted(ALL - allow))
        options = (*service.looking, "--preflight", look, "-o", tmp_path / f"{label}.csv", "-q")
        sure = ("--confirm-devices", 0) if action.deletes else ()
        return here("run", name, path, *options, *sure)

    with emulator() as service:
        assert "not looked" not in run(granted, "enough").ended(0).stderr
        for missing in {action.operation.ram_action, INSTANCE_ACCESS} & granted:
            # Without access to the instance looking alone is refused where the change does not need it.
            if missing == INSTANCE_ACCESS and not action.operation.needs_instance_access:
                continue
            run(granted - {missing}, missing.replace(":", "-")).ended(77)


@pytest.mark.parametrize("name", ["inactivate-device", "inactivate-ca"])
def test_verify_and_undo(tmp_path, name):
    """The policy with --undo lets run, verify and undo through; without it the undo is refused, and says why."""
    by_device = ACTIONS[name].by_device
    devices = write_devices(tmp_path / "list.csv", 8, cas=8)
    with emulator() as service:

        def allow(actions):
            service.tell("access-key", id=KEY_ID, secret=SECRET, denied=sorted(ALL - actions))

        rows = [(ca, device if by_device else "") for device, ca in devices]
        service.tell("seed", instance=INSTANCE, rows=rows, status="1")
        allow(allowed(name))
        where = (*service.looking, "--preflight", "always")
        here("run", name, "list.csv", "-o", "r.csv", *where, cwd=tmp_path).ended(0)
        here("verify", "r.csv", cwd=tmp_path).ended(0)
        refused = here("undo", "r.csv", "--yes", cwd=tmp_path).ended(77).stderr
        assert ACTIONS[ACTIONS[name].inverse].operation.ram_action in refused

        allow(allowed(name, "--undo"))
        here("undo", "r.csv", "--yes", cwd=tmp_path).ended(0)
        counted = service.counts()
        assert sum(counted["devices" if by_device else "cas"].values()) == 8, counted
