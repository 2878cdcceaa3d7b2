"""The plan of faults: seeded shares, and refusal of plans that make no sense."""

from collections import Counter

import pytest

from bulkcert.emulator.faults import DEFAULT_FAULTS, FaultPlan, InjectedFault
from bulkcert.errors import BulkcertError, ExitStatus


def test_same_seed_same_faults():
    """A printed seed is enough to see the same faults again."""
    first, second = (FaultPlan(DEFAULT_FAULTS, 7) for _ in range(2))

    assert [first.draw() for _ in range(2000)] == [second.draw() for _ in range(2000)]


def test_shares_are_kept():
    """Each fault comes about as often as its share says."""
    shares = {"throttle": 0.5, "slow": 0.25, "GetCaNumError": 0.125}
    plan = FaultPlan(shares, 1)

    drawn = Counter(plan.draw() for _ in range(20_000))

    assert {name: round(drawn[name] / 20_000, 2) for name in shares} == pytest.approx(shares, abs=0.01)


def test_default_mix_is_a_few_percent():
    """The default mix holds every fault and lets nearly all calls through."""
    assert set(DEFAULT_FAULTS) == set(InjectedFault)
    assert 0.02 <= sum(DEFAULT_FAULTS.values()) <= 0.06


@pytest.mark.parametrize(("share", "drawn"), [(0, None), (1, "drop-after")])
def test_extremes(share, drawn):
    """A share of 0 never happens and one of 1 always does."""
    plan = FaultPlan({"drop-after": share}, 0)

    assert {plan.draw() for _ in range(100)} == {drawn}


@pytest.mark.parametrize(
    "shares", [{"nosuch": 0.1}, {"Throttling*": 0.1}, {"slow": -0.1}, {"slow": 1.1}, {"slow": 0.6, "throttle": 0.6}]
)
def test_senseless_plans_are_refused(shares):
    """Unknown names and impossible shares are errors of usage."""
    with pytest.raises(BulkcertError) as refused:
        FaultPlan(shares, 0)

    assert refused.value.status is ExitStatus.USAGE
