"""Faults, of all operations or of one: seeded shares, and what the emulator refuses before it listens."""

from collections import Counter

import pytest
from program import emulator, here, outcomes, write_devices

from bulkcert.emulator.faults import DEFAULT_FAULTS, FaultPlan, InjectedFault
from bulkcert.errors import BulkcertError, ExitStatus

LIST, CHANGE = "ListDeviceCertificateByCaSn", "InactivateDeviceCertificate"


def test_same_seed_same_faults():
    """A printed seed is enough to see the same faults again; its default mix has all, and is rare."""
    first, second = (FaultPlan(DEFAULT_FAULTS, 7) for _ in range(2))

    assert [first.draw(CHANGE) for _ in range(2000)] == [second.draw(CHANGE) for _ in range(2000)]
    assert set(DEFAULT_FAULTS) == set(InjectedFault)
    assert 0.02 <= sum(DEFAULT_FAULTS.values()) <= 0.06


@pytest.mark.parametrize(
    "shares",
    [
        {"nosuch": 0.1},
        {"Throttling*": 0.1},
        {"Nosuch:slow": 1},
        {"slow": -0.1},
        {"slow": float("nan")},
        {"slow": 0.6, "throttle": 0.6},
        {f"{LIST}:NoPermission": 0.6, "slow": 0.6},
    ],
)
def test_senseless_plans_are_refused(shares):
    """Unknown names and shares that no operation can have are errors of usage."""
    with pytest.raises(BulkcertError) as refused:
        FaultPlan(shares, 0)

    assert refused.value.status is ExitStatus.USAGE


def test_only_the_named_operation_meets_it():
    """A fault with an operation before it is drawn for the calls of that operation alone, beside those for all.

    Shares are summed for the calls that meet them, not for all operations together; each comes as often as it says.
    """
    shares = {"NoPermission": 0.5, "slow": 0.25, "GetCaNumError": 0.125}
    of_all = {"slow": 0.25, "GetCaNumError": 0.125}
    plan = FaultPlan({f"{LIST}:NoPermission": 0.5, f"{CHANGE}:drop-after": 0.5} | of_all, 1)

    drawn = {name: Counter(plan.draw(name) for _ in range(20_000)) for name in (LIST, CHANGE, "GetDeviceCertificate")}

    assert [set(counts) for counts in drawn.values()] == [
        {*shares, None},
        {*of_all, "drop-after", None},
        {*of_all, None},
    ]
    assert {name: drawn[LIST][name] / 20_000 for name in shares} == pytest.approx(shares, abs=0.01)


def test_may_change_but_not_list(tmp_path):
    """Who may change but not list is rehearsed: the run says so and calls every row."""
    devices = write_devices(tmp_path / "d.csv", 120)
    with emulator(fault=(f"{LIST}:NoPermission=1",)) as service:
        service.seed(devices)
        said = here("run", "inactivate-device", "d.csv", "-o", "r.csv", *service.looking, cwd=tmp_path).ended(0).stderr

    assert "NoPermission" in said
    assert ".;" not in said, "the service's message ends in a full stop, and the sentence goes on"
    assert outcomes(tmp_path / "r.csv") == {"succeeded": 120}


WRONG = {
    "falling latency": (("--latency-ms", "50", "10"), "--latency-ms must be two rising numbers, not 50 and 10"),
    "endless latency": (("--latency-ms", "0", "inf"), "--latency-ms must be two rising numbers"),
    "no such port": (("--port", "99999"), "--port must be from 0 to 65535, not 99999"),
    "no such fault": (("--port", "0", "--fault", "default", "--fault", "nosuch=1"), "no fault named nosuch."),
    "no share of a fault": (("--port", "0", "--fault", "slow"), "--fault takes NAME=SHARE, not 'slow'"),
    **{
        f"{name} {share}": (("--port", "0", f"--{name}={share}"), f"--{name} must be from 0 to 1, not {share}")
        for name, share in (("unregistered", "-0.1"), ("already", "1.1"), ("connecting", "nan"))
    },
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_refused(options, message):
    """A setting that cannot be meant is a wrong option (2), before anything listens."""
    assert message in here("emulator", *options).ended(2).stderr


def test_help_lists_every_fault():
    """What ``--fault`` takes stands in the help: no fault has to be guessed."""
    said = " ".join(here("emulator", "--help", env={"COLUMNS": "200"}).ended(0).stdout.split())

    assert [fault for fault in InjectedFault if fault not in said] == []
    assert f"{LIST}:NoPermission=1" in said
