"""Telling a silent service from single calls that fail."""

from bulkcert.engine.backoff import IN_A_ROW, REFUSAL_S, SILENCE_S, Outage


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
