"""Telling a service that is silent from single calls that fail. Pure arithmetic: times are passed in, in seconds."""

IN_A_ROW = 10
"""So many calls in a row without an answer are an outage, not bad luck."""

SILENCE_S = 60.0
"""An outage that lasts this long after the last answer ends the run; a shorter one is waited for."""

REFUSAL_S = 600.0
"""Nothing but throttling for so long ends the run."""

PAUSE_S = 2.0
"""While there is an outage each failed call holds all lanes this long: an address that is blocked must be quiet."""


class Outage:
    """Whether the service answers, as seen by all workers together.

    Args:
        now: Time at which the run starts.
    """

    def __init__(self, now: float) -> None:
        self.answered = False
        """Whether the service has answered at all."""
        self.since = now
        """Time of the last answer, or of the start."""
        self.confirmed = False
        """Whether something else was asked during the outage, and got no answer either."""
        self.count = 0
        """How many outages were confirmed."""
        self.waits_until = now
        """Time until which a service that has answered before is waited for, however long that takes."""
        self._decided_at = now
        self._silent_since = now
        self._unanswered = 0

    def answer(self, now: float, *, throttled: bool) -> None:
        """Takes note of an answer of the service."""
        self.answered = True
        self.since = now
        self._unanswered = 0
        self.confirmed = False
        if not throttled:
            self._decided_at = now

    def no_answer(self, now: float, *, probe: bool = False) -> None:
        """Takes note of a call that the service did not answer.

        Args:
            now: When.
            probe: Whether it was made to find out whether the silence is the service's: a few rows that are never
                answered look like an outage, too.
        """
        if not self._unanswered:
            self._silent_since = now
        self._unanswered += 1
        if probe and self.ongoing and not self.confirmed:
            self.confirmed = True
            self.count += 1

    def paused(self, seconds: float) -> None:
        """Takes note that nothing was sent for so long since nothing was to be: that is nobody's silence."""
        self._silent_since += seconds
        self._decided_at += seconds

    @property
    def ongoing(self) -> bool:
        """Whether there seems to be an outage: attempts that fail now say nothing about their rows."""
        return self._unanswered >= IN_A_ROW

    def verdict(self, now: float) -> str:
        """Returns why continuing is senseless, or an empty text."""
        if self.confirmed and not self.answered:
            return "the service never answered"
        if now < self.waits_until:
            return ""
        # From the first call without an answer: a pause of our own is not the service's silence.
        if self.confirmed and (silence := now - self._silent_since) >= SILENCE_S:
            return (
                f"no answer for {silence:.0f} s: the service is unreachable, or this address is blocked "
                "for sending too fast"
            )
        if self.answered and self.since - self._decided_at >= REFUSAL_S:
            return f"nothing but throttling for {self.since - self._decided_at:.0f} s"
        return ""
