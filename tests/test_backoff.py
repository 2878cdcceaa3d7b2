"""How calls give way: a silent service is told from single calls that fail, and throttles slow all lanes down."""

from hypothesis import given
from hypothesis import strategies as st

from bulkcert.engine.failures import IN_A_ROW, REFUSAL_S, SILENCE_S, Outage, backoff_s
from bulkcert.engine.slow_down import SlowDown


def silent(outage, times, now=100.0):
    """So many calls without an answer, and from an outage on the question whether anything is answered."""
    for _ in range(times):
        outage.no_answer(now)
    if outage.ongoing:
        outage.no_answer(now, probe=True)


def test_a_service_that_never_answers_ends_the_run_soon():
    """Without a single answer a handful of failures is enough: the endpoint is wrong or down."""
    outage = Outage(0.0)
    silent(outage, IN_A_ROW - 1)
    assert outage.verdict(1.0) == ""
    silent(outage, 1)
    assert outage.verdict(1.0) == "the service never answered"


def test_calls_alone_are_no_outage():
    """However many calls get no answer in a row, the service is silent only if nothing else is answered either."""
    outage = Outage(0.0)
    for _ in range(10 * IN_A_ROW):
        outage.no_answer(1.0)
    assert (outage.ongoing, outage.count, outage.verdict(1.0 + SILENCE_S)) == (True, 0, "")
    outage.answer(2.0, throttled=False)
    assert not outage.ongoing


def test_a_service_that_went_silent_is_waited_for():
    """After an answer an outage is waited for, and ends the run only when it has lasted."""
    outage = Outage(0.0)
    outage.answer(100.0, throttled=False)
    silent(outage, IN_A_ROW)

    assert outage.ongoing
    assert outage.verdict(100.0 + SILENCE_S - 1) == ""
    assert "no answer for 60 s" in outage.verdict(100.0 + SILENCE_S)


def test_a_pause_of_our_own_is_not_silence():
    """Silence is counted from the first call without an answer, not from the last answer before a long pause."""
    outage = Outage(0.0)
    outage.answer(1.0, throttled=True)
    silent(outage, IN_A_ROW, now=500.0)

    assert outage.verdict(501.0) == ""
    assert "no answer for 60 s" in outage.verdict(500.0 + SILENCE_S)


def test_endless_throttling_ends_the_run():
    """A service that does nothing but throttle for ten minutes will not get better by asking."""
    outage = Outage(0.0)
    outage.answer(1.0, throttled=False)
    outage.answer(1.0 + REFUSAL_S - 1, throttled=True)
    assert outage.verdict(700.0) == ""
    outage.answer(1.0 + REFUSAL_S, throttled=True)
    assert "nothing but throttling" in outage.verdict(700.0)


def test_a_watch_waits_until_its_time_is_over():
    """Neither silence nor throttling ends what was told to wait that long; a service that never answered does."""
    outage = Outage(0.0)
    outage.waits_until = 5000.0
    outage.answer(1.0, throttled=False)
    outage.answer(1.0 + REFUSAL_S, throttled=True)
    silent(outage, IN_A_ROW, now=700.0)

    assert outage.verdict(4999.0) == ""
    assert "no answer for 4300 s" in outage.verdict(5000.0)

    wrong = Outage(0.0)
    wrong.waits_until = 5000.0
    silent(wrong, IN_A_ROW)
    assert wrong.verdict(1.0) == "the service never answered"


@given(steps=st.lists(st.tuples(st.floats(0, 20), st.one_of(st.none(), st.floats(0, 30))), max_size=40))
def test_slow_down_stays_in_bounds_and_recovers(steps):
    """The factor never leaves its bounds, only time raises it, and enough time restores the full rate."""
    slow_down, now = SlowDown(), 0.0
    for passed, retry_after in steps:
        before = slow_down.factor(now)
        now += passed
        assert slow_down.factor(now) >= before
        if retry_after is not None:
            risen = slow_down.factor(now)
            slow_down.throttled(now, retry_after)
            assert slow_down.factor(now) <= risen
            slow_down.answered()
            assert slow_down.paused_until >= now + retry_after
        assert SlowDown.FLOOR <= slow_down.factor(now) <= 1
    assert slow_down.factor(max(now, slow_down.paused_until) + 1 / SlowDown.RECOVERY_PER_S) == 1


def test_throttles_in_the_same_second_count_once():
    """The answers to calls that were already on their way do not lower the rate again and again."""
    slow_down = SlowDown()
    for number in range(50):
        slow_down.throttled(10 + number / 100, 0)

    assert slow_down.factor(10.5) >= 1 - SlowDown.LEAST_CUT


def test_a_stray_throttle_costs_little_and_a_storm_halves_the_rate():
    """The cut follows the share of answers that are throttles."""
    stray, storm = SlowDown(), SlowDown()
    for _ in range(200):
        stray.answered()
        storm.throttled(9.0, 0)
    stray.throttled(11.0, 0)
    before = storm.factor(11.0)
    storm.throttled(11.0, 0)

    assert stray.factor(11.0) == 1 - SlowDown.LEAST_CUT
    assert storm.factor(11.0) == before * (1 - SlowDown.MOST_CUT)


def test_an_outage_holds_all_lanes():
    """While the service is silent next to nothing is sent, and afterwards the rate rises slowly."""
    slow_down = SlowDown()
    slow_down.silent(5.0, 2.0)

    assert slow_down.paused_until == 7.0
    assert slow_down.factor(7.0) == SlowDown.FLOOR
    assert slow_down.factor(7.0 + 10) == SlowDown.FLOOR + 10 * SlowDown.RECOVERY_PER_S


@given(attempt=st.integers(1, 2000), chance=st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded(attempt, chance):
    """The wait grows with the attempts, has full jitter, and never passes its bound."""
    wait = backoff_s(attempt, chance)

    assert 0 <= wait <= 15
    assert wait <= 0.5 * 2.0 ** min(attempt - 1, 10)
