"""What exists before the first call, and what connects while calls are coming."""

import random
import time
from contextlib import closing
from dataclasses import replace

import httpx
import polars as pl
import pytest
from test_emulator_calls import CA, INSTANCE, Caller, InProcess

from bulkcert.emulator.process import running
from bulkcert.emulator.registry import DEVICES, Registry, SeededCertificate
from bulkcert.emulator.seeding import seeded as read
from bulkcert.emulator.settings import Settings
from bulkcert.service.actions import ACTIONS

COUNT = 300
DAY_MS = 24 * 60 * 60 * 1000


@pytest.fixture
def listed(tmp_path):
    """Settings for a list of 300 devices under 300 CAs."""
    path = tmp_path / "devices.csv"
    pl.DataFrame([(f"d{n:03}", f"c{n:03}") for n in range(COUNT)], ["DeviceSn", "CaSn"], orient="row").write_csv(path)
    return Settings(seed_from=path)


def seeded(settings):
    """What an emulator knows at its start: states of CAs, and of devices by their serial."""
    with closing(Registry()) as registry:
        registry.fill(INSTANCE, read(settings, settings.seed_from))
        states = registry.states(INSTANCE)
        cas = {serials[0]: status for serials, status in states.items() if len(serials) == 1}
        return cas, {serials[1]: status for serials, status in states.items() if len(serials) == 2}


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


def test_unregistered(listed):
    """The CA of a device that is left out is there; a CA that is left out itself is not, and never connects."""
    assert seeded(replace(listed, unregistered=1)) == ({f"c{number:03}": "1" for number in range(COUNT)}, {})
    for action in ("inactivate-ca", "delete-ca"):
        options = replace(listed, seed_for=action, unregistered=1, connecting=1)
        assert seeded(options) == ({}, {})
        assert {row.connects_at for row in read(options, options.seed_from)} == {None}


async def test_connection_at_its_call():
    """A device connects with the call that it was drawn for, before that is carried out."""
    async with InProcess() as call:
        call.emulator.seed(INSTANCE, [SeededCertificate(CA, "new", None, 3)])
        codes = [(await call.inactivate("new")).json().get("Code") for _ in range(4)]

        assert codes == ["FindDeviceBySnError", "FindDeviceBySnError", None, None]
        assert call.emulator.report().connected == 1


@pytest.mark.parametrize("share", [0, 0.5, 1])
async def test_connecting(listed, share):
    """The share of the devices left out is registered, active, by the time that each was called once."""
    async with InProcess(Settings(address_cap=100_000, account_cap=100_000)) as call:
        options = replace(listed, unregistered=0.25, already=1, connecting=share)
        call.emulator.seed(INSTANCE, read(options, options.seed_from))
        before = [*call.registry.states(INSTANCE).values()].count("0")
        halfway = 0
        for number in range(COUNT):
            await call.inactivate("unknown")
            if number == COUNT // 2:
                halfway = call.emulator.report().connected
        connected = call.emulator.report().connected

        left_out = COUNT - before
        assert left_out > 0.15 * COUNT
        assert connected == pytest.approx(share * left_out, abs=0 if share in (0, 1) else 0.2 * left_out)
        devices = [status for serials, status in call.registry.states(INSTANCE).items() if len(serials) == 2]
        assert (devices.count("0"), devices.count("1")) == (before, 1 + connected)
        assert halfway == pytest.approx(connected / 2, abs=connected / 4)


async def test_options_of_the_program(listed):
    """The command takes the options, and the report of a process says what connected."""
    shares = ("--unregistered=1", "--connecting=1")
    with running(f"--seed-from={listed.seed_from}", *shares, "--per-address-rate=100000") as child:
        async with httpx.AsyncClient(base_url=child.url) as http:
            call = Caller(http, None, time.time)
            for _ in range(COUNT):
                await call.ok("ListDeviceCertificate", PageNo="1", PageSize="1")
        assert child.report().connected == COUNT


@pytest.fixture
def registry():
    with closing(Registry()) as registry:
        yield registry


def fill(registry, *serials, status="1"):
    registry.fill(INSTANCE, [SeededCertificate(*pair, status) for pair in serials])


def test_a_seed_names_cas_and_implies_them(registry):
    """The status of a row is its certificate's; a CA that a device row names is there, and active unless named."""
    fill(registry, ("off", ""), ("off", "1"), ("ca", "1"), status="0")

    assert registry.states(INSTANCE) == {("off",): "0", ("ca",): "1", ("off", "1"): "0", ("ca", "1"): "0"}
    assert registry.owner(INSTANCE) is not None


def test_seed_again(registry):
    """A second seed sets the status of what is there and leaves the rest alone, the owner of the instance included."""
    registry.put_instance(INSTANCE, "2000000000000002")
    fill(registry, ("ca", "1"), ("ca", "2"))
    fill(registry, ("ca", "2"), ("ca", ""), status="0")

    assert registry.states(INSTANCE) == {("ca",): "0", ("ca", "1"): "1", ("ca", "2"): "0"}
    assert registry.owner(INSTANCE) == "2000000000000002"


def test_seed_is_all_or_nothing(registry):
    """Rows that break off in the middle leave nothing behind."""

    def broken():
        yield SeededCertificate("ca", "1")
        raise LookupError

    with pytest.raises(LookupError):
        registry.fill(INSTANCE, broken())

    assert registry.states(INSTANCE) == {}
    assert registry.owner(INSTANCE) is None


def lengths(registry):
    """For how many days each device is valid, by its serial."""
    _, shown = registry.page(DEVICES, (INSTANCE,), 1, 100)
    return {one["DeviceSn"]: (int(one["ValidEnd"]) - int(one["ValidBegin"])) / DAY_MS for one in shown}


def test_ends_are_spread(registry):
    """Certificates end between one and ten years on, not all at once, and each in every emulator after as long."""
    serials = [("ca", f"{number:03}") for number in range(100)]
    fill(registry, *serials)
    with closing(Registry()) as other:
        fill(other, *reversed(serials[50:]))
        fewer = lengths(other)
    days = lengths(registry)

    assert all(365 <= length <= 3650 for length in days.values())
    assert max(days.values()) - min(days.values()) > 2000
    assert fewer == {serial: days[serial] for _, serial in serials[50:]}
