"""Every exit status that a user can reach: said with its cause and what to do, and mended by the same command."""

import re

import pytest
from place import Place
from program import (
    INSTANCE,
    KEY_ID,
    STS,
    STS_KEY,
    UNHURRIED,
    bulkcert,
    emulator,
    free_port,
    here,
    outcomes,
    read_results,
    summary_of,
    write_devices,
)

from bulkcert.emulator.registry import ACCOUNT
from bulkcert.service.actions import ACTIONS

ROWS = 40
IN_FLIGHT = 8
PAGES = 2
"""Pages that looking first reads: one for each CA."""

OPERATION = ACTIONS["inactivate-device"].operation
RAM_ACTION = OPERATION.ram_action


class Elsewhere(Place):
    """A run that may be led to another endpoint or instance, or have other credentials."""

    def run(self, *more, env=None, endpoint=None, instance=INSTANCE, look="never"):
        where = ("--endpoint", endpoint or self.service.url, "--instance", instance, "--yes", "--preflight", look)
        command = self.command("--max-in-flight", IN_FLIGHT, *UNHURRIED, *more, where=where)
        return bulkcert(*command, env=env) if env else here(*command)


@pytest.fixture
def place(tmp_path, service):
    return Elsewhere(tmp_path, service, ROWS, cas=2)


def test_0_all_in_the_wanted_state(place):
    """0: every row is done; the same command again says that it calls nothing, and ends alike."""
    assert "exit status   0" in place.run().ended(0).stdout
    again = place.run().ended(0)

    assert place.arrivals == ROWS
    assert place.service.states(place.devices[:3]) == ["0"] * 3
    assert "nothing to call: all 40 already finished" in again.stderr


def test_1_some_are_not(place):
    """1: an unregistered certificate is no success, nor is the duplicate of its row; --retry mends it."""
    place.list.write_text("DeviceSn,CaSn\n0077,00ca\n0077,00ca\n")
    place.run().ended(1)

    rows = read_results(place.results)
    assert [row["outcome"] for row in rows] == ["not_registered", "duplicate"]
    assert (rows[0]["code"], rows[1]["message"]) == ("FindDeviceBySnError", "same pair as row 1")
    place.run().ended(1)
    assert place.arrivals == 1
    place.service.seed([("0077", "00ca")])
    place.run("--retry", "failed,not_registered").ended(0)


KEY, OWNED = {"id": KEY_ID}, {"id": INSTANCE}
REFUSALS = {
    "key unknown": (77, "InvalidAccessKeyId.NotFound", {"ALIBABA_CLOUD_ACCESS_KEY_ID": "nobody"}),
    "secret wrong": (77, "SignatureDoesNotMatch", {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "anotherSecret"}),
    "key disabled": (77, "InvalidAccessKeyId.Inactive", None, "access-key", KEY, {"enabled": False}, {"enabled": True}),
    "permission denied": (77, "NoPermission", None, "access-key", KEY, {"denied": [RAM_ACTION]}, {"denied": []}),
    "another account's": (77, "MqttOwnerCheckError", None, "instance", OWNED, {"account": "2"}, {"account": ACCOUNT}),
    "token": (77, "InvalidSecurityToken.Expired", STS, "access-key", STS_KEY, {"expires_at": 1.0}, {"expires_at": 4e9}),
    "clock off": (78, "InvalidTimeStamp.Expired", None, "clock", {}, {"offset_s": 3600}, {"offset_s": 0}),
}
"""Exit status, what stderr says, and the environment; what is changed in the service, whose, how, and how again."""


@pytest.mark.parametrize("look", ["never", "auto"])
@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_stop_the_run(place, case, look):
    """77, 78: no calls beyond those in flight, the rest not attempted; when the cause is gone, 0 and each row once."""
    status, says, env, *change = REFUSALS[case]

    def tell(which):
        if change:
            name, whose, *values = change
            place.service.tell(name, **whose, **values[which])

    tell(0)
    try:
        refused = place.run(env=env, look=look).ended(status)
    finally:
        tell(1)

    assert says in refused.stderr
    assert "→" in refused.stderr
    assert place.arrivals <= IN_FLIGHT + PAGES * (look == "auto")
    assert outcomes(place.results) == {"not_attempted": ROWS}
    assert summary_of(place.results)["exit_status"] == status

    place.run(env=env if change else None, look=look).ended(0)
    assert outcomes(place.results) == {"succeeded": ROWS}
    done = [call["operation"] for call in place.service.calls()[place.started :] if call["done"]]
    assert done.count(OPERATION.name) == ROWS
    assert len(done) == ROWS + PAGES * (look == "auto")


def test_78_unknown_instance(place):
    """78: an instance that nobody knows; once it exists, the same command goes on."""
    refused = place.run(instance="post-cn-late").ended(78)
    assert re.search("MqttInstanceNotFound.*Check --instance and --region", refused.stderr, re.DOTALL)
    assert place.arrivals <= IN_FLIGHT

    place.service.tell("instance", id="post-cn-late")
    rows = [(ca, device) for device, ca in write_devices(place.list, ROWS, cas=2)]
    place.service.tell("seed", instance="post-cn-late", rows=rows)
    place.run(instance="post-cn-late").ended(0)


@pytest.mark.parametrize(("limit", "calls"), [("3", 4 + IN_FLIGHT), ("5%", 100 + IN_FLIGHT)])
def test_3_too_many_errors(place, limit, calls):
    """3: more errors than allowed, a share only after 100 rows; the failed ones wait for --retry."""
    place.service.seed(write_devices(place.list, 200))
    with place.service.faulty(ParameterFieldCheckFailed=1.0):
        refused = place.run("--max-errors", limit).ended(3)

    found = outcomes(place.results)
    assert re.search("too many errors: .*ParameterFieldCheckFailed", refused.stderr)
    assert f"bulkcert resume {place.results}\n" in refused.stderr
    assert found["failed"] >= (4 if limit == "3" else 100)
    assert place.arrivals <= calls
    assert sum(found.values()) == 200
    assert "--retry failed" in place.run("--max-errors", limit).ended(1).stderr
    here("resume", place.results, "--retry", "failed", "--yes").ended(0)


def test_69_nobody_listens_then_somebody(tmp_path, place):
    """69: no such host, a refused connection; once the service is there, the same command does every row."""
    assert "nowhere.invalid" in place.run(endpoint="https://nowhere.invalid").ended(69).stderr
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    refused = place.run("--attempts", 1, endpoint=endpoint).ended(69)

    assert re.search(f"127.0.0.1:{port}.*Check the endpoint and the network", refused.stderr, re.DOTALL)
    assert outcomes(place.results) == {"not_attempted": ROWS}
    with emulator(port=port) as late:
        late.seed(place.devices)
        place.run("--attempts", 1, endpoint=endpoint).ended(0)
        assert late.counts()["devices"] == {"0": ROWS}
