"""What exists before the first call, and what connects while calls are coming."""

import csv
import random
import time
from contextlib import closing
from dataclasses import replace

import httpx
import pytest
from test_emulator_calls import CA, DEVICE, INSTANCE, Caller, InProcess

from bulkcert.emulator.app import Emulator
from bulkcert.emulator.options import EmulatorOptions
from bulkcert.emulator.process import running
from bulkcert.emulator.settings import Seed, SeededCertificate, Settings
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.actions import ACTIONS

COUNT = 300


@pytest.fixture
def listed(tmp_path):
    """Options for a list of 300 devices under 300 CAs."""
    path = tmp_path / "devices.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("DeviceSn", "CaSn"), *((f"d{n:03}", f"c{n:03}") for n in range(COUNT))])
    return EmulatorOptions(seed_from=path, seed_for="inactivate-device")


def seeded(options):
    """What an emulator knows at its start: states of CAs, and of devices by their serial."""
    with closing(Emulator(Settings())) as emulator:
        emulator.seed(options.seed())
        states = emulator.state.states(INSTANCE)
        return states["cas"], {device: status for _, device, status in states["devices"]}


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("inactivate-device", "1", "0"),
        ("activate-device", "0", "1"),
        ("inactivate-ca", "1", "0"),
        ("activate-ca", "0", "1"),
        ("delete-ca", "1", None),
    ],
)
def test_already(listed, action, before, after):
    """A share of the list is already as the action wants it, the rest in the state that it changes."""

    def states(share):
        cas, devices = seeded(replace(listed, seed_for=action, already=share))
        if ACTIONS[action].by_device:
            assert set(cas.values()) == {"1"}, "the CAs of devices are active"
            return list(devices.values())
        assert devices == {}
        return list(cas.values())

    assert states(0) == [before] * COUNT
    assert states(1) == ([after] * COUNT if after else [])
    mixed = states(0.25)
    assert 0.15 * COUNT < COUNT - mixed.count(before) < 0.35 * COUNT
    assert len(mixed) == COUNT if after else set(mixed) == {before}


def test_draws_follow_the_seed(listed):
    """The same seed gives the same choice, another seed another; other shares leave out the same certificates."""
    options = replace(listed, unregistered=0.3, already=0.4, fault_seed=7)
    chance = random.Random(7)
    left_out = {f"d{number:03}" for number in range(COUNT) if chance.random() < 0.3}

    first = seeded(options)

    assert seeded(options) == first
    assert seeded(replace(options, fault_seed=8)) != first
    for other in (options, replace(options, already=0), replace(options, connecting=1)):
        assert {f"d{number:03}" for number in range(COUNT)} - seeded(other)[1].keys() == left_out


def test_cas_of_unregistered_devices(listed):
    """The CA of every device of the list is there, though none of its devices is."""
    cas, devices = seeded(replace(listed, unregistered=1))

    assert cas == {f"c{number:03}": "1" for number in range(COUNT)}
    assert devices == {}


@pytest.mark.parametrize("action", ["inactivate-ca", "delete-ca"])
def test_unregistered_cas(listed, action):
    """A CA that is left out of its own list is not there, and never connects."""
    options = replace(listed, seed_for=action, unregistered=1, connecting=1)

    assert seeded(options) == ({}, {})
    assert {row.connects_at for row in options.seed().rows} == {None}


@pytest.mark.parametrize("name", ["unregistered", "already", "connecting"])
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_out_of_range(listed, name, share):
    """A share is from 0 to 1, and the option is named."""
    with pytest.raises(BulkcertError, match=f"--{name} must be from 0 to 1") as refused:
        replace(listed, **{name: share}).seed()

    assert refused.value.status is ExitStatus.USAGE


async def test_connection_at_its_call():
    """A device connects with the call that it was drawn for, before that is carried out."""
    async with InProcess() as call:
        call.emulator.seed(Seed(INSTANCE, [SeededCertificate(CA, "new", None, 3)]))
        codes = [(await call.inactivate("new")).json().get("Code") for _ in range(4)]

        assert codes == ["FindDeviceBySnError", "FindDeviceBySnError", None, None]
        assert (await call.admin("report"))["connected"] == 1


async def test_connections_that_come_to_nothing():
    """A device under an inactive or a missing CA is turned away; a known one is left as it is; none of them counts."""
    async with InProcess() as call:
        call.state.seed(INSTANCE, [("off", "")], "0")
        call.state.seed(INSTANCE, [(CA, DEVICE)], "0")
        rows = [
            SeededCertificate("off", "1", None, 1),
            SeededCertificate("gone", "1", None, 1),
            SeededCertificate(CA, DEVICE, None, 1),
        ]
        call.emulator.seed(Seed(INSTANCE, rows))
        call.state.set_ca_status(INSTANCE, "off", "0")
        call.state.delete_ca(INSTANCE, "gone")
        await call.inactivate("unknown")

        assert call.state.states(INSTANCE) == {"cas": {CA: "1", "off": "0"}, "devices": [(CA, DEVICE, "0")]}
        assert (await call.admin("report"))["connected"] == 0


UNHURRIED = Settings(address_cap=100_000, account_cap=100_000)


@pytest.mark.parametrize("share", [0, 0.5, 1])
async def test_connecting(listed, share):
    """The share of the devices left out is registered, active, by the time that each was called once."""
    async with InProcess(UNHURRIED) as call:
        options = replace(listed, unregistered=0.25, already=1, connecting=share)
        call.emulator.seed(options.seed())
        before = call.state.counts(INSTANCE)["devices"]["0"]
        drawn = sorted(call.emulator.gateway.connecting)
        halfway = 0
        for number in range(COUNT):
            await call.inactivate("unknown")
            if number == COUNT // 2:
                halfway = (await call.admin("report"))["connected"]
        connected = (await call.admin("report"))["connected"]

        left_out = COUNT - before
        assert left_out > 0.15 * COUNT
        assert connected == pytest.approx(share * left_out, abs=0 if share in (0, 1) else 0.2 * left_out)
        assert call.state.counts(INSTANCE)["devices"] == {"0": before, "1": 1 + connected}
        assert all(1 <= number <= COUNT for number in drawn)
        assert halfway == pytest.approx(connected / 2, abs=connected / 4)
        assert not call.emulator.gateway.connecting, "all have had their turn"


async def test_options_of_the_program(listed):
    """The command takes the options, and the report of a process tells what connected."""
    shares = ("--unregistered=1", "--connecting=1", "--list-total=zero")
    with running(f"--seed-from={listed.seed_from}", *shares, "--per-address-rate=100000") as child:
        async with httpx.AsyncClient(base_url=child.url) as http:
            call = Caller(http, None, time.time)
            for _ in range(COUNT):
                page = await call.ok("ListDeviceCertificate", PageNo="1", PageSize="100")
        assert page["Total"] == 0
        assert len(page["DeviceCertificateVOS"]) == 100
        assert child.report().connected == COUNT
