"""``bulkcert policy`` for what comes after a run: it is enough to verify and to undo, and nothing in it is too much."""

import json

import pytest
from program import INSTANCE, KEY_ID, SECRET, emulator, here, write_devices

from bulkcert.service.actions import ACTIONS
from bulkcert.service.operations import INSTANCE_ACCESS, OPERATIONS

ALL = {operation.ram_action for operation in OPERATIONS.values()} | {INSTANCE_ACCESS}


def granted(*arguments):
    """Returns the RAM actions that the policy allows."""
    (statement,) = json.loads(here("policy", *arguments).ended(0).stdout)["Statement"]
    return set(statement["Action"])


@pytest.mark.parametrize("name", ["inactivate-device", "inactivate-ca"])
def test_verify_and_undo(tmp_path, name):
    """The policy with --undo lets run, verify and undo through; without it the undo is refused, and says why."""
    by_device = ACTIONS[name].by_device
    devices = write_devices(tmp_path / "list.csv", 8, cas=8)
    with emulator(tmp_path) as service:

        def allow(actions):
            service.tell("access-key", id=KEY_ID, secret=SECRET, denied=sorted(ALL - actions))

        rows = [(ca, device if by_device else "") for device, ca in devices]
        service.tell("seed", instance=INSTANCE, rows=rows, status="1")
        allow(granted(name))
        where = (*service.looking, "--preflight", "always")
        here("run", name, "list.csv", "-o", "r.csv", *where, cwd=tmp_path).ended(0)
        here("verify", "r.csv", cwd=tmp_path).ended(0)
        refused = here("undo", "r.csv", "--yes", cwd=tmp_path).ended(77).stderr
        assert ACTIONS[ACTIONS[name].inverse].operation.ram_action in refused

        allow(granted(name, "--undo"))
        here("undo", "r.csv", "--yes", cwd=tmp_path).ended(0)
        counted = service.counts()
        assert sum(counted["devices" if by_device else "cas"].values()) == 8, counted


def test_verify_needs_to_read(tmp_path):
    """A policy without verifying does not let verify read what no page shows: 77, and the results stay as they are."""
    devices = write_devices(tmp_path / "list.csv", 8, cas=8)
    with emulator(tmp_path) as service:
        service.seed(devices)
        allowed = granted("inactivate-device", "--preflight", "never", "--no-verify")
        service.tell("access-key", id=KEY_ID, secret=SECRET, denied=sorted(ALL - allowed))
        here("run", "inactivate-device", "list.csv", "-o", "r.csv", *service.where, cwd=tmp_path).ended(0)
        before = (tmp_path / "r.csv").read_bytes()
        here("verify", "r.csv", cwd=tmp_path).ended(77)

    assert (tmp_path / "r.csv").read_bytes() == before
