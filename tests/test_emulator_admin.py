"""Calls that steer and question the emulator itself."""

import pytest
from test_emulator_calls import CA, DEVICE, INSTANCE, InProcess

from bulkcert.emulator.bulk import VALIDITY_MS
from bulkcert.emulator.settings import Settings


async def test_other_admin_calls():
    """Seeds, counts, single certificates and the clock can be asked and set."""
    async with InProcess() as call:
        rows = [["ca", "1"], ["ca", "2"], ["alone", ""]]
        assert await call.admin("seed", instance="new", rows=rows, status="0") == {"rows": 3}
        counts = await call.admin("counts?instance=new")
        assert counts == {"cas": {"0": 1, "1": 1}, "devices": {"0": 2}}
        assert (await call.admin("device?instance=new&ca_sn=ca&device_sn=1"))["Status"] == "0"
        assert await call.admin("device?instance=new&ca_sn=ca&device_sn=3") is None
        assert (await call.admin("ca?instance=new&sn=alone"))["Status"] == "0"
        await call.admin("clock", offset_s=-3600)
        assert (await call.inactivate()).json()["Code"] == "InvalidTimeStamp.Expired"


async def test_seed_with_validity():
    """A seed may say from when to when its certificates are valid, as numbers or as the service spells them."""
    async with InProcess() as call:

        async def limits(of, **wanted):
            await call.admin("seed", instance=INSTANCE, rows=[["ca", "1"], ["alone", ""]], **wanted)
            shown = await call.admin(of)
            return int(shown["ValidBegin"]), int(shown["ValidEnd"])

        device, ca = f"device?instance={INSTANCE}&ca_sn=ca&device_sn=1", f"ca?instance={INSTANCE}&sn=alone"
        assert await limits(device, valid_begin=1000, valid_end="2000") == (1000, 2000)
        assert await limits(ca, valid_begin="3000", valid_end=4000) == (3000, 4000)
        assert await limits(ca) == (3000, 4000), "a CA keeps its own unless it is told another"
        assert await limits(device, valid_end=VALIDITY_MS) == (0, VALIDITY_MS)
        assert await limits(device, valid_begin="0") == (0, VALIDITY_MS)
        _, end = await limits(f"ca?instance={INSTANCE}&sn=ca", valid_end="1")
        assert end > VALIDITY_MS, "the CA of a device row is not named by it"
        listed = await call.ok("ListDeviceCertificateByCaSn", CaSn="ca", PageNo="1", PageSize="1")
        assert listed["DeviceCertificateVOS"][0]["ValidEnd"] == "1"


async def test_delete():
    """A device loses its registration and comes back when it connects; a CA goes with all its devices."""
    async with InProcess() as call:
        await call.admin("seed", instance=INSTANCE, rows=[[CA, "1"], ["other", "1"]])
        device = {"instance": INSTANCE, "ca_sn": CA, "device_sn": DEVICE}

        assert await call.admin("delete", **device) == {"deleted": True}
        assert await call.admin("delete", **device) == {"deleted": False}
        assert (await call.inactivate()).json()["Code"] == "FindDeviceBySnError"
        assert (await call.admin("connect", **device))["registered"]

        assert await call.admin("delete", **device | {"device_sn": ""}) == {"deleted": True}
        assert await call.admin("delete", **device | {"device_sn": ""}) == {"deleted": False}
        states = await call.admin(f"states?instance={INSTANCE}")
        assert states == {"cas": {"other": "1"}, "devices": [["other", "1", "1"]]}
        assert (await call.admin("report"))["changes"] == 0, "admin calls do not count"


async def test_states():
    """All certificates of one instance with their states, in order."""
    async with InProcess() as call:
        call.state.seed("new", [("b", "2"), ("a", "2"), ("a", "1")])
        call.state.seed("new", [("b", ""), ("a", "1")], "0")

        assert await call.admin("states?instance=new") == {
            "cas": {"a": "1", "b": "0"},
            "devices": [["a", "1", "0"], ["a", "2", "1"], ["b", "2", "1"]],
        }
        assert await call.admin("states?instance=unknown") == {"cas": {}, "devices": []}


async def test_access_key_is_changed_field_by_field():
    """Fields that an admin call leaves out stay as they are; null takes a token away."""
    async with InProcess() as call:
        await call.admin("access-key", id="testAccessKeyId", enabled=False)
        assert (await call.inactivate()).json()["Code"] == "InvalidAccessKeyId.Inactive"
        await call.admin("access-key", id="testAccessKeyId", enabled=True, token="t")
        assert (await call.inactivate()).json()["Code"] == "MissingSecurityToken"
        await call.admin("access-key", id="testAccessKeyId", token=None)
        assert (await call.inactivate()).status_code == 200


async def test_faults_spare_admin_calls_and_can_be_changed():
    """Faults apply to certificate operations only, and another plan takes effect at once."""
    async with InProcess(Settings(faults={"html-502": 1})) as call:
        await call.admin("faults", shares={"overflow": 1}, seed=3)
        assert (await call.inactivate()).json()["Code"] == "SystemOverFlow"
        await call.admin("faults", shares={})
        assert (await call.inactivate()).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "content", "status_code"),
    [
        ("GET", "/-/nosuch", b"", 404),
        ("POST", "/-/report", b"", 404),
        ("GET", "/-/device?instance=x", b"", 400),
        ("POST", "/-/seed", b"no json", 400),
        ("POST", "/-/seed", b'{"instance": "x", "rows": [], "status": "2"}', 400),
        ("POST", "/-/seed", b'{"instance": "x", "rows": [], "valid_end": "tomorrow"}', 400),
        ("POST", "/-/delete", b'{"instance": "x", "ca_sn": "y"}', 400),
        ("GET", "/-/states", b"", 400),
        ("POST", "/-/clock", b'{"offset": 1}', 400),
        ("POST", "/-/faults", b'{"shares": {"nosuch": 1}}', 400),
    ],
)
async def test_wrong_admin_calls(method, path, content, status_code):
    """A wrong admin call is told what is wrong, in JSON."""
    async with InProcess() as call:
        answer = await call.http.request(method, path, content=content)

        assert answer.status_code == status_code
        assert answer.json()["error"]
