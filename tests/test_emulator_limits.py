"""Limits and statistics as arithmetic, against the plain definition of a half-open second."""

from hypothesis import given
from hypothesis import strategies as st

from bulkcert.emulator.limits import AccountCap, AddressCap, Arrivals

# Quarters of a second are exact in binary, so times a full second apart really occur.
TIMES = st.lists(st.integers(0, 24), max_size=60).map(lambda quarters: [q / 4 for q in sorted(quarters)])


def peak_window(times):
    """Most times in [t, t + 1) for any t."""
    return max((sum(start <= time < start + 1 for time in times) for start in times), default=0)


@given(TIMES)
def test_what_is_counted_is_exact(times):
    """The running maximum is the count of every half-open second, the rate intervals by span, or 0 without a span."""
    arrivals = Arrivals()
    for at in times:
        arrivals.add(at)

    span = times[-1] - times[0] if times else 0
    assert (arrivals.peak_window, arrivals.total) == (peak_window(times), len(times))
    assert arrivals.rate() == ((len(times) - 1) / span if span else 0)
    assert (arrivals.first_at, arrivals.last_at) == ((times[0], times[-1]) if times else (None, None))


@given(TIMES, st.integers(1, 5))
def test_account_cap_holds_and_wastes_nothing(times, cap):
    """No half-open second holds more than the cap, and whoever is refused finds it full."""
    limit, admitted = AccountCap(cap), []
    for at in times:
        recent = sum(at - 1 < time <= at for time in admitted)
        assert limit.acquire("account", "operation", at) == (recent < cap)
        if recent < cap:
            admitted.append(at)

    assert peak_window(admitted) <= cap


def test_account_cap_is_per_account_and_operation():
    """Another operation and another account have quotas of their own."""
    limit = AccountCap(1)

    admitted = [limit.acquire(*who, 0.0) for who in (("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"))]

    assert admitted == [True, False, True, True]


@given(TIMES, st.integers(1, 5), st.sampled_from([0.25, 1.0, 2.5]))
def test_address_cap_blocks_for_its_time(times, cap, block_seconds):
    """The first call over the cap starts a block, all calls within it are dropped, and the next are heard again."""
    limit, blocked_until, blocks = AddressCap(cap, block_seconds), float("-inf"), 0
    for number, at in enumerate(times, 1):
        recent = sum(at - 1 < time <= at for time in times[:number])
        starts = at >= blocked_until and recent > cap
        assert limit.acquire(at) == (at >= blocked_until and not starts)
        if starts:
            blocks, blocked_until = blocks + 1, at + block_seconds

    assert (limit.total, limit.blocks) == (len(times), blocks)


def test_memory_is_bounded_by_one_second():
    """Long serving keeps no history: only the last second's times are held."""
    arrivals = Arrivals()
    for step in range(10_000):
        arrivals.add(step / 100)

    assert len(arrivals._times) == 100
