"""Certificates that an emulator is seeded with from a list: when they end."""

import polars as pl
import pytest
from program import INSTANCE, write_devices

from bulkcert.emulator.app import Emulator
from bulkcert.emulator.seeding import Shares, seed_for
from bulkcert.emulator.settings import Settings
from bulkcert.service.actions import ACTIONS

DAY_MS = 24 * 60 * 60 * 1000


def lengths(path, action="inactivate-device"):
    """Returns for how many days each certificate of a list is valid, by its serial."""
    seed = seed_for(ACTIONS[action], path, INSTANCE, device_column="", ca_column="", shares=Shares(), draw=0)
    seeded = Emulator(Settings())
    seeded.seed(seed)
    if action.endswith("ca"):
        shown, serial = seeded.state.cas(INSTANCE, 1, 100)[1], "Sn"
    else:
        shown, serial = seeded.state.devices(INSTANCE, 1, 100)[1], "DeviceSn"
    seeded.close()
    return {one[serial]: (int(one["ValidEnd"]) - int(one["ValidBegin"])) / DAY_MS for one in shown}


@pytest.mark.parametrize("action", ["inactivate-device", "inactivate-ca"])
def test_ends_are_spread(tmp_path, action):
    """Certificates of a list end between one and ten years on, not all at once, so that filters by expiry bite."""
    write_devices(tmp_path / "d.csv", 100, cas=100)

    days = lengths(tmp_path / "d.csv", action)

    assert len(days) == 100
    assert all(365 <= length <= 3650 for length in days.values())
    assert max(days.values()) - min(days.values()) > 2000


def test_ends_follow_from_the_serials(tmp_path):
    """The same serial is valid for as long in every emulator, wherever it stands in the list."""
    write_devices(tmp_path / "d.csv", 50)
    pl.read_csv(tmp_path / "d.csv", infer_schema=False).reverse().tail(20).write_csv(tmp_path / "other.csv")

    first, second = lengths(tmp_path / "d.csv"), lengths(tmp_path / "other.csv")

    assert second == {serial: first[serial] for serial in second}
    assert len(second) == 20
