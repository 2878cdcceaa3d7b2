"""``undo``: exactly what a run has changed is taken back, whatever happened to the run."""

import random

import pytest
from program import INSTANCE, UNHURRIED, bulkcert, here, outcomes, read_results, start, wait_for, write_devices

OPPOSITE = {"inactivate-device": "activate-device", "activate-device": "inactivate-device"}


pytestmark = pytest.mark.usefixtures("inside")


def inventory(service, path, chance, mark):
    """Registers random certificates in random states, some not in the list; returns the list."""
    listed, rows = write_devices(path, chance.randint(150, 400), cas=chance.randint(1, 4)), {"0": [], "1": []}
    listed = [(f"{mark}{device}", f"{mark}{ca}") for device, ca in listed]
    path.write_text("DeviceSn,CaSn\n" + "".join(f"{device},{ca}\n" for device, ca in listed))
    share = chance.random()
    for device, ca in [*listed, *((f"{mark}x{number}", listed[0][1]) for number in range(20))]:
        if chance.random() < 0.95:
            rows["1" if chance.random() < share else "0"].append((ca, device))
    for status, pairs in rows.items():
        service.tell("seed", instance=INSTANCE, rows=pairs, status=status)
    return listed


def states(service):
    """Returns the status of every certificate there is."""
    found = service.ask("states", instance=INSTANCE)
    return found["cas"], sorted(found["devices"])


def killed(service, command, cwd, after):
    """Starts a run and kills it after so many changes more, if it has not ended by then."""
    most = service.report().changes + after
    with start(*command, cwd=cwd) as child:
        wait_for(None, lambda: service.report().changes >= most or child.poll() is not None)
        child.kill()
        child.communicate()


@pytest.mark.parametrize("seed", range(8))
def test_undo_after_two_kills_restores_the_state_before(tmp_path, service, seed):
    """Any inventory, either action, killed twice at random instants, ended or left as it is: as if it had not been."""
    chance = random.Random(seed)
    action = chance.choice([*OPPOSITE])
    listed = inventory(service, tmp_path / "d.csv", chance, f"u{seed}")
    to_change = service.states(listed).count("1" if action == "inactivate-device" else "0")
    before = states(service)
    where = ("--endpoint", service.url, "--instance", INSTANCE, "--yes", "-q")
    command = ("run", action, "d.csv", *where, "-o", "r.csv")
    for _ in range(2):
        killed(service, (*command, "--rate", "100"), tmp_path, chance.randint(1, max(1, to_change // 3)))
        assert states(service) != before, "something was changed before it was killed"
    if chance.random() < 0.5:
        assert here(*command, *UNHURRIED).status in (0, 1)
        undo = ("undo", "r.csv", "--yes")
    else:
        here(*command, "--limit-rows", "0")
        undo = ("undo", "r.csv", "--yes", "--include-unknown")

    assert here(*undo, *UNHURRIED).status in (0, 1)
    assert states(service) == before


def test_only_what_was_changed(tmp_path, service):
    """Rows that were in the wanted state before are not touched; the list and the results say which were."""
    devices = write_devices(tmp_path / "d.csv", 60)
    service.seed(devices, "1")
    service.seed(devices[:20], "0")
    here("run", "inactivate-device", "d.csv", *service.looking, "-o", "r.csv").ended(0)
    calls = service.report().arrivals
    here("undo", "r.csv", "--yes", *UNHURRIED).ended(0)

    assert service.states(devices) == ["0"] * 20 + ["1"] * 40
    changed = [call for call in service.calls()[calls:] if call["operation"].startswith("Active")]
    assert sorted(call["device_sn"] for call in changed) == [device for device, _ in devices[20:]]
    rows = read_results(tmp_path / "r.undo.csv")
    assert [row["original_row"] for row in rows] == [str(number) for number in range(21, 61)]
    assert outcomes(tmp_path / "r.undo.csv") == {"succeeded": 40}


def test_undone_once(tmp_path, service):
    """The same undo again calls nothing; an undo that was stopped goes on."""
    devices = write_devices(tmp_path / "d.csv", 30)
    service.seed(devices, "1")
    here("run", "inactivate-device", "d.csv", *service.looking, "-o", "r.csv").ended(0)
    here("undo", "r.csv", "--yes", *UNHURRIED, "--limit-rows", "10").ended(75)
    assert service.states(devices).count("1") == 10
    here("undo", "r.csv", "--yes", *UNHURRIED).ended(0)
    calls = service.report().arrivals
    here("undo", "r.csv", "--yes", *UNHURRIED).ended(0)

    assert service.states(devices) == ["1"] * 30
    assert service.report().arrivals == calls


def test_unknown_states_want_a_word(tmp_path, service):
    """2: without a look before the run nobody knows what to restore; --include-unknown takes all back."""
    devices = write_devices(tmp_path / "d.csv", 12)
    service.seed(devices, "1")
    here("run", "inactivate-device", "d.csv", *service.where, "-o", "r.csv").ended(0)
    refused = here("undo", "r.csv", "--yes", *UNHURRIED).ended(2)
    assert "12 rows" in refused.stderr
    assert "--include-unknown" in refused.stderr
    left = here("undo", "r.csv", "--yes", *UNHURRIED, "--no-include-unknown").ended(0)
    assert "nothing to undo" in left.stderr
    assert service.states(devices) == ["0"] * 12

    here("undo", "r.csv", "--yes", *UNHURRIED, "--include-unknown").ended(0)
    assert service.states(devices) == ["1"] * 12


def test_delete_has_no_undo(tmp_path, service):
    """2: what was deleted cannot be brought back, and that is said before anything else."""
    devices = write_devices(tmp_path / "d.csv", 4, cas=2)
    service.seed(devices)
    here("run", "delete-ca", "d.csv", *service.where, "-o", "r.csv").ended(0)

    assert "cannot be undone" in here("undo", "r.csv", "--yes").ended(2).stderr


def test_undo_of_cas(tmp_path, service):
    """A CA action over a device list is taken back for each CA that it has changed."""
    devices = write_devices(tmp_path / "d.csv", 9, cas=3)
    service.tell("seed", instance=INSTANCE, rows=[(ca, "") for _, ca in devices[:3]])
    service.tell("seed", instance=INSTANCE, rows=[(devices[0][1], "")], status="0")
    before = states(service)
    here("run", "inactivate-ca", "d.csv", *service.looking, "-o", "r.csv").ended(0)
    here("undo", "r.csv", "--yes", *UNHURRIED).ended(0)

    assert states(service) == before


def test_undo_asks(tmp_path, service):
    """2: without a terminal and --yes nothing is called."""
    devices = write_devices(tmp_path / "d.csv", 5)
    service.seed(devices, "1")
    here("run", "inactivate-device", "d.csv", *service.looking, "-o", "r.csv").ended(0)
    bulkcert("undo", "r.csv", *UNHURRIED, cwd=tmp_path).ended(2)

    assert service.states(devices) == ["0"] * 5
